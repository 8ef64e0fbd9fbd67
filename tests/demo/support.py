"""Minimal client of the demo engine: urllib for HTTP, websockets for messages."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from websockets.sync.client import ClientConnection, connect

Graph = dict[str, dict[str, Any]]
OPEN = ExitStack()  # sockets of the current test; conftest.py closes them


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    server: Any,
    path: str,
    *,
    method: str | None = None,
    json_body: Any = ...,
    data: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    if json_body is not ...:
        data = json.dumps(json_body).encode()
    http_request = urllib.request.Request(
        server.url + path, data=data, headers=headers or {}, method=method
    )
    try:
        with urllib.request.urlopen(http_request, timeout=60) as response:
            return Response(response.status, _lower(response.headers), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def upload(server: Any, name: str, data: bytes, **fields: str) -> Response:
    boundary = "BOUND"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; '
        f'filename="{name}"\r\nContent-Type: image/png\r\n\r\n'.encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return request(
        server,
        "/upload/image",
        data=b"".join(parts),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )


@dataclass
class Listener:
    """WebSocket that records the messages it receives."""

    socket: ClientConnection
    texts: list[dict[str, Any]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def until_finished(self, prompt_id: str, timeout: float = 30) -> list[dict[str, Any]]:
        """Read up to the last message of a job and return the JSON messages read."""
        start, deadline = len(self.texts), time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self.next(deadline - time.monotonic())
            if (
                isinstance(message, dict)
                and message["type"] == "executing"
                and message["data"].get("node", "") is None
                and message["data"]["prompt_id"] == prompt_id
            ):
                return self.texts[start:]
        raise TimeoutError(prompt_id)

    def next(self, timeout: float = 10) -> dict[str, Any] | bytes:
        raw = self.socket.recv(timeout=timeout)
        if isinstance(raw, bytes):
            self.frames.append(raw)
            self.order.append(f"binary {int.from_bytes(raw[:4], 'big')}")
            return raw
        message: dict[str, Any] = json.loads(raw)
        self.texts.append(message)
        self.order.append(message["type"])
        return message

    def is_silent_for(self, seconds: float) -> bool:
        try:
            self.next(seconds)
        except TimeoutError:
            return True
        return False


def listen(server: Any, client_id: str = "c1", *, previews: bool = False) -> Listener:
    """Connect a listener and read its first ``status`` (and ``feature_flags``)."""
    url = server.url.replace("http", "ws", 1) + f"/ws?clientId={client_id}"
    listener = Listener(OPEN.enter_context(connect(url, max_size=None, compression=None)))
    if previews:
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        listener.socket.send(json.dumps(flags))
    listener.next()
    if previews:
        listener.next()
    return listener


def empty_image(color: int = 1, **inputs: Any) -> Graph:
    """EmptyImage -> SaveImage: the cheapest job."""
    image = {"width": 64, "height": 64, "batch_size": 1, "color": color} | inputs
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "e"}},
    }


def sleep_graph(
    seconds: float = 5.0, steps: int = 100, nonce: int = 0, *, blocking: bool = False
) -> Graph:
    """EmptyImage -> DemoSleep -> SaveImage; needs ``Faults(test_nodes=True)``."""
    graph = empty_image(nonce + 1)
    inputs = {
        "image": ["1", 0],
        "seconds": seconds,
        "steps": steps,
        "nonce": nonce,
        "blocking": blocking,
    }
    graph["3"] = {"class_type": "DemoSleep", "inputs": inputs}
    graph["2"]["inputs"]["images"] = ["3", 0]
    return graph


def text_to_image(prompt: str = "a harbour at dusk", **sampler: Any) -> Graph:
    """Build a small checkpoint graph."""
    width, height = sampler.pop("width", 128), sampler.pop("height", 96)
    batch = sampler.pop("batch", 1)
    negative = sampler.pop("negative", "")
    settings = {
        "seed": 1,
        "steps": 4,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
    } | sampler
    checkpoint = "sd_xl_base_1.0.safetensors"
    size = {"width": width, "height": height, "batch_size": batch}
    links = {
        "model": ["4", 0],
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
    }
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "5": {"class_type": "EmptyLatentImage", "inputs": size},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": negative, "clip": ["4", 1]}},
        "3": {"class_type": "KSampler", "inputs": settings | links},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "t2i"}},
    }


def post(server: Any, graph: Graph, **more: Any) -> str:
    response = request(server, "/prompt", json_body={"prompt": graph, **more})
    assert response.status == 200, response.body
    return str(response.json["prompt_id"])


def wait_for_history(server: Any, prompt_id: str, timeout: float = 60) -> dict[str, Any]:
    """Wait for a job's history entry."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        entries = request(server, f"/history/{prompt_id}").json
        if entries:
            return entries[prompt_id]
        time.sleep(0.005)
    raise TimeoutError(prompt_id)


def run(server: Any, graph: Graph, **more: Any) -> dict[str, Any]:
    """Run a job that must succeed and return its history entry."""
    entry = wait_for_history(server, post(server, graph, **more))
    assert entry["status"]["status_str"] == "success", entry["status"]
    return entry


def files(entry: dict[str, Any]) -> list[dict[str, str]]:
    return [
        item
        for ui in entry["outputs"].values()
        for items in ui.values()
        for item in items
        if isinstance(item, dict)
    ]


def view(server: Any, file: dict[str, str]) -> bytes:
    from urllib.parse import urlencode

    response = request(server, f"/view?{urlencode(file)}")
    assert response.status == 200
    return response.body
