"""Other clients of ComfyUI at the same instant job: ``python others.py NAME URL JOBS``.

It runs in an environment of its own (they want other versions of what we use), so it imports
nothing of ours. It prints one line of JSON for each job, ``{"seconds": …}`` up to the bytes or
``{"error": …}``; without arguments, the names of the clients that are installed: any of
comfy-headless, comfy-api-simplified, and comfy-sdk with comfy-api-proxy.
``python -m tests.benchmarks --beside PYTHON`` runs it with the Python of that environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PATIENCE_S = 5.0
Run = Callable[[dict[str, Any]], Any]


@contextmanager
def headless_http(url: str) -> Iterator[Run]:
    from comfy_headless import ComfyClient

    client = ComfyClient(base_url=url)

    def run(graph: dict[str, Any]) -> Any:
        prompt_id = client.queue_prompt(graph)
        entry = client.wait_for_completion(prompt_id, timeout=PATIENCE_S)
        if entry is None:
            raise TimeoutError("no answer")
        (file,) = entry["outputs"]["2"]["images"]
        return client.get_image(file["filename"], file["subfolder"], file["type"])

    yield run
    client.close()


@contextmanager
def headless_ws(url: str) -> Iterator[Run]:
    from comfy_headless import ComfyWSClient

    loop = asyncio.new_event_loop()
    client = ComfyWSClient(base_url=url)
    loop.run_until_complete(client.connect())

    async def run(graph: dict[str, Any]) -> Any:
        prompt_id = await client.queue_prompt(graph)
        end = await client.wait_for_completion(prompt_id, timeout=PATIENCE_S)
        if end.status != "completed":
            raise TimeoutError(end.status)
        (file,) = (await client.get_history(prompt_id))[prompt_id]["outputs"]["2"]["images"]
        return await client.get_image(file["filename"], file["subfolder"], file["type"])

    yield lambda graph: loop.run_until_complete(run(graph))
    loop.run_until_complete(client.disconnect())
    loop.close()


@contextmanager
def simplified(url: str) -> Iterator[Run]:
    from comfy_api_simplified import ComfyApiWrapper

    client = ComfyApiWrapper(url)
    yield lambda graph: next(iter(client.queue_and_wait_images(graph, "Save").values()))


@contextmanager
def sdk(url: str) -> Iterator[Run]:
    with _proxy(url) as proxy_url:
        os.environ["COMFY_BASE_URL"] = proxy_url
        from comfy_sdk import Comfy

        client = Comfy()

        def run(graph: dict[str, Any]) -> bytes:
            job = client.run(client.workflows.from_json(graph), timeout=PATIENCE_S)
            return job.get_outputs("2")[0].to_bytes()

        yield run
        client.close()


@contextmanager
def _proxy(url: str) -> Iterator[str]:
    """The official SDK speaks to a proxy in front of a server of one's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("comfy-api-proxy")
    with tempfile.TemporaryDirectory() as state:
        command = [program, "run", "--comfyui", url, "--port", str(port), "--state-dir", state]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            give_up = time.monotonic() + 30
            while time.monotonic() < give_up:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


CLIENTS = {
    "comfy-headless (HTTP)": ("comfy_headless", headless_http),
    "comfy-headless (WS)": ("comfy_headless", headless_ws),
    "comfy-api-simplified": ("comfy_api_simplified", simplified),
    "comfy-sdk (proxy)": ("comfy_sdk", sdk),
}


def main(name: str, url: str, jobs: int) -> None:
    with CLIENTS[name][1](url) as run:
        for _ in range(jobs):
            graph, start = _graph(), time.perf_counter()
            try:
                content = run(graph)
                if not content.startswith(b"\x89PNG"):
                    raise ValueError("no picture")
                told = {"seconds": time.perf_counter() - start}
            except Exception as error:  # noqa: BLE001 -- whatever it was, it is no picture
                told = {"error": f"{type(error).__name__}: {error}"[:200]}
            print(json.dumps(told), flush=True)


def _graph() -> dict[str, Any]:
    picture = {"width": 64, "height": 64, "batch_size": 1, "color": random.randrange(2**24)}
    return {
        "1": {"class_type": "EmptyImage", "inputs": picture, "_meta": {"title": "Picture"}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "t"},
            "_meta": {"title": "Save"},
        },
    }


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps([name for name, (module, _) in CLIENTS.items() if find_spec(module)]))
    else:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
