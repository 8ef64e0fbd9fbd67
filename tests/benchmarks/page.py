"""``python -m tests.benchmarks.page``: the page for many, beside a bare Gradio page in one run.

Drives both with plain HTTP and SSE, as browsers do. The embedded engine paints in a process of its
own. All share this machine, clients too, so that the ratios say more than the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from tests.benchmarks.server import embedded

PARTS = ("start", "watch", "crowd")
BARE = """
import os, sys
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    box = gr.Textbox()
    box.change(lambda text: text, box, box, api_name="echo")
page.queue(default_concurrency_limit=None)
page.launch(server_port=int(sys.argv[1]), quiet=True, max_threads=200)
"""
_sessions = itertools.count()


@contextmanager
def started(command: list[str], port: int, **environment: str) -> Iterator[tuple[str, Any, float]]:
    """A server's address, its process, and the seconds until it answered."""
    env = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", **environment}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(trust_env=False) as client:
            while True:
                try:
                    if client.get(url, timeout=5).status_code == 200:
                        break
                except httpx.HTTPError:
                    if process.poll() is not None:
                        raise RuntimeError("the server ended") from None
                    time.sleep(0.02)
        yield url, psutil.Process(process.pid), time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ours(engine: str) -> Iterator[tuple[str, Any, float]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        more = {"COMFY_UI_PORT": str(port), "COMFY_UI_DATA_DIR": folder, "COMFYUI_URL": engine}
        with started([sys.executable, "app.py"], port, **more) as found:
            yield found


@contextmanager
def bare() -> Iterator[tuple[str, Any, float]]:
    port = free_port()
    with started([sys.executable, "-c", BARE, str(port)], port) as found:
        yield found


class Visitor:
    """One open page, without the browser."""

    def __init__(self, client: httpx.AsyncClient, numbers: dict[str, int]) -> None:
        self._client = client
        self._numbers = numbers
        self._session = f"page{next(_sessions)}"

    async def heartbeat(self) -> None:
        """What every open page holds for as long as it is open."""
        async with self._client.stream("GET", f"/gradio_api/heartbeat/{self._session}") as beat:
            async for _ in beat.aiter_raw():
                pass

    async def said(self, handler: str, *data: Any) -> AsyncIterator[str]:
        """The messages that a handler answers with, as text."""
        session = f"{self._session}e{next(_sessions)}"
        asked = {
            "fn_index": self._numbers[handler],
            "data": data,
            "event_data": {},
            "session_hash": session,
        }
        (await self._client.post("/gradio_api/queue/join", json=asked)).raise_for_status()
        path = f"/gradio_api/queue/data?session_hash={session}"
        async with self._client.stream("GET", path) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    yield line[6:]
                    if json.loads(line[6:])["msg"] == "process_completed":
                        return

    async def shown(self) -> str | None:
        """The job that the stage shows, if it has not ended."""
        stage = (await self._client.get("/stage")).raise_for_status().json()
        return stage["job"] or None

    async def looked_ms(self) -> float:
        """How long the stage takes, which the page asks for when a job has ended."""
        began = time.perf_counter()
        await self.shown()
        return (time.perf_counter() - began) * 1000

    async def answered_ms(self, handler: str, *data: Any) -> float:
        began = time.perf_counter()
        async for _ in self.said(handler, *data):
            pass
        return (time.perf_counter() - began) * 1000


async def handlers(client: httpx.AsyncClient) -> dict[str, int]:
    told = (await client.get("/config")).json()["dependencies"]
    return {str(handler["api_name"]): handler["id"] for handler in told}


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False)


async def _generate(client: httpx.AsyncClient, seed: int, steps: int) -> str:
    """Start a job as a program does; gives its event."""
    values = {"seed": seed, "steps": steps, "width": 512, "height": 512}
    body = {"preset": "sd15", "prompt": "a harbour", "values": values}
    answer = await client.post("/gradio_api/call/v2/generate", json=body)
    answer.raise_for_status()
    return str(answer.json()["event_id"])


def start(rounds: int) -> None:
    """Start-up, in turns. On a busy machine the processor's time says more than the clock's."""
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    with embedded() as engine:
        for _ in range(rounds):
            for name, server in (("bare", bare()), ("ours", ours(engine))):
                with server as (_, process, took_s):
                    seconds[name].append((took_s, sum(process.cpu_times()[:2])))
    for at, kind in enumerate(("by the clock", "of the processor")):
        lone, mine = (median(took[at] for took in seconds[name]) for name in ("bare", "ours"))
        print(
            f"start-up {kind}: bare {lone:.2f} s, ours {mine:.2f} s, "
            f"ratio {mine / lone:.2f} (goal 1.2)"
        )
    print()


async def watch(url: str, process: Any, people: int, seconds: float) -> None:
    """Many people look at one running job with previews at 10 Hz."""
    async with _client(url) as client:
        numbers = await handlers(client)
        for seed in range(3):
            await _generate(client, seed, 60)
        await asyncio.sleep(1.0)
        frames = [0] * people
        began = time.perf_counter() + 1.0  # all are there by then

        async def look(number: int) -> None:
            visitor = Visitor(client, numbers)
            while job := await visitor.shown():
                params = {"job": job}
                async with client.stream("GET", "/stage/events", params=params) as stream:
                    async for line in stream.aiter_lines():
                        frames[number] += len(line) > 1000 and time.perf_counter() > began
                        if line == "event: over":
                            break

        looking = [asyncio.create_task(look(number)) for number in range(people)]
        await asyncio.sleep(1.0)
        cpu_s = sum(process.cpu_times()[:2])
        await asyncio.sleep(seconds)
        cpu_s = sum(process.cpu_times()[:2]) - cpu_s
        rates = [count / seconds for count in frames]
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    print(
        f"{people} watch 10 Hz previews of 512²: {min(rates):.1f} to {max(rates):.1f} frames/s "
        f"each (goal 9.5), {100 * cpu_s / seconds:.0f} % of a core (goal 30)\n"
    )


async def stall(url: str, process: Any, people: int, seconds: float) -> None:
    """Pages that hold the stream of a running job and never read from it."""
    async with _client(url) as client:
        await _generate(client, 9, 100)
        visitor = Visitor(client, await handlers(client))
        while (job := await visitor.shown()) is None:  # noqa: ASYNC110 -- asks another process
            await asyncio.sleep(0.05)
    at = urlsplit(url)
    asked = f"GET /stage/events?job={job} HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(people):
            asks = stack.enter_context(socket.create_connection((at.hostname, at.port)))
            asks.sendall(asked)
        await asyncio.sleep(2.0)
        before = process.memory_info().rss
        await asyncio.sleep(seconds)
        grown = (process.memory_info().rss - before) / 2**20
    print(
        f"{people} pages that do not read: {grown / seconds:+.2f} MB/s "
        f"(all they miss would be {people * 0.36:.1f} MB/s)\n"
    )


async def crowd(url: str, lone_url: str, pages: int, running: int) -> None:
    """Short events while many pages are open and many jobs wait and run."""
    async with _client(lone_url) as client:
        visitor = Visitor(client, await handlers(client))
        alone = [await visitor.answered_ms("echo", "x") for _ in range(40)]
    async with _client(url) as client:
        numbers = await handlers(client)
        open_pages = [
            asyncio.create_task(Visitor(client, numbers).heartbeat()) for _ in range(pages)
        ]
        events = [await _generate(client, seed, 20) for seed in range(running)]
        following = [
            asyncio.create_task(client.get(f"/gradio_api/call/generate/{event}"))
            for event in events
        ]
        await asyncio.sleep(1.0)
        visitor = Visitor(client, numbers)
        short = [await visitor.looked_ms() for _ in range(40)]
        cancelled = [await visitor.answered_ms("_stop", "") for _ in range(min(20, running))]
        for task in (*open_pages, *following):
            task.cancel()
        await asyncio.gather(*open_pages, *following, return_exceptions=True)
    lone, mine = (quantiles(times, n=20)[18] for times in (alone, short))
    print(
        f"{pages} open pages, {running} jobs: a short event p95 {mine:.0f} ms (goal 300), "
        f"bare and idle {lone:.0f} ms, ratio {mine / lone:.1f}; "
        f"cancel accepted p95 {quantiles(cancelled, n=20)[18]:.0f} ms (goal 1000)\n"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts of each page")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--running", type=int, default=50)
    parser.add_argument("--only", choices=PARTS, action="append", help="leave out the other parts")
    args = parser.parse_args(argv)
    parts = args.only or PARTS
    os.chdir(Path(__file__).resolve().parents[2])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    if "start" in parts:
        start(args.rounds)
    if "watch" in parts:
        with embedded(10) as engine, ours(engine) as (url, process, _):
            asyncio.run(watch(url, process, args.people, args.seconds))
            asyncio.run(stall(url, process, args.people, args.seconds))
    if "crowd" in parts:
        with embedded(20) as engine, ours(engine) as (url, _, _), bare() as (lone_url, _, _):
            asyncio.run(crowd(url, lone_url, args.pages, args.running))


if __name__ == "__main__":
    main()
