"""``python -m tests.benchmarks.visits``: what it costs to open the page, and 300 pages at once.

Each visit sends what Chromium sends, over HTTP/1.1 with several connections. App, ComfyUI, visitors
and another visitor that keeps working share this machine, so the CPU time of the app says more than
the seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.server import embedded
from tests.security.attacks import Target, other_visitor, quantile, target

PRESET = "z_image_turbo"
ASSETS = 50  # files of Gradio that Chromium requests
CONNECTIONS = 4
_sessions = itertools.count()
FORM = {"preset": PRESET, "prompt": "", "values": {"width": 1024, "height": 1024, "steps": 8}}


class Connection:
    """A connection that sends one request after the other."""

    def __init__(self, url: str, cookie: str) -> None:
        self._at = urlsplit(url)
        self.cookie = cookie
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, whole: bool = True
    ) -> tuple[bytes, bytes]:
        """Send a request; return head and body, which is empty unless ``whole``."""
        while True:
            used = self._streams is not None
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._at.hostname, self._at.port)
            try:
                return await self._send(*self._streams, self._request(method, path, body), whole)
            except (ConnectionResetError, asyncio.IncompleteReadError):
                if not used:
                    raise
                self.close()  # the server closes idle connections after five seconds

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        content = json.dumps(body).encode() if body is not None else b""
        head = [f"{method} {path} HTTP/1.1", f"Host: {self._at.netloc}", "Accept: text/html,*/*"]
        head.append("Accept-Encoding: gzip, deflate, br")
        if self.cookie:
            head.append(f"Cookie: {self.cookie}")
        if content:
            head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join((*head, "", "")).encode() + content

    async def _send(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: bytes,
        whole: bool,
    ) -> tuple[bytes, bytes]:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), (request, answer)
        if not whole:
            return answer, b""
        length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
        if length:
            return answer, await reader.readexactly(int(length[1]))
        received = bytearray()
        while size := int(await reader.readline(), 16):
            received += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return answer, bytes(received)

    def close(self) -> None:
        if self._streams:
            self._streams[1].transport.abort()
            self._streams = None


@cache
def assets() -> tuple[str, ...]:
    gradio = find_spec("gradio")
    assert gradio is not None
    assert gradio.origin is not None
    folder = Path(gradio.origin).parent / "templates" / "frontend" / "assets"
    files = sorted(folder.glob("Index-*.js")) + sorted(folder.glob("Index-*.css"))
    return tuple(f"/assets/{file.name}" for file in files[:ASSETS])


@contextmanager
def connections(url: str, cookie: str, number: int) -> Iterator[list[Connection]]:
    opened = [Connection(url, cookie) for _ in range(number)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


@dataclass(frozen=True, slots=True)
class Visit:
    """An open page."""

    page_s: float
    ready_s: float
    """Until the form has arrived."""
    cookie: str
    heartbeat: Connection
    """A page keeps it as long as it is open."""


async def visit(url: str, cookie: str = "") -> Visit:
    """Open the page, as a browser does that has its files if it has a cookie."""
    session = f"visit{next(_sessions)}"
    began = time.perf_counter()
    heartbeat = Connection(url, cookie)
    with connections(url, cookie, CONNECTIONS) as opened:
        first = opened[0]
        head, _ = await first.send("GET", "/")
        page_s = time.perf_counter() - began
        files = [] if cookie else [*assets(), "/theme.css?v=1", f"/covers/{PRESET}"]
        new = re.search(rb"set-cookie: ([^;]+)", head, re.IGNORECASE)
        cookie = new[1].decode() if new else cookie
        for connection in (heartbeat, *opened):
            connection.cookie = cookie

        async def load(connection: Connection) -> None:
            while files:
                await connection.send("GET", files.pop())

        beat = f"/gradio_api/heartbeat/{session}"
        await asyncio.gather(heartbeat.send("GET", beat, whole=False), *map(load, opened))
        await first.send("GET", "/stage?shown=&ended=&item=&opened=&opened_item=")
        await first.send("POST", "/page", {})
        await first.send("POST", "/create/open", FORM)
        ready_s = time.perf_counter() - began
        await first.send("GET", f"/presets/own?preset={PRESET}")
        await first.send("POST", "/create/estimate", FORM)
    return Visit(page_s, ready_s, cookie, heartbeat)


async def measure(app: Target, pages: int) -> None:
    url, process = app.app.url, app.app.process

    def cpu_ms() -> float:
        used = process.cpu_times()
        return float(used.user + used.system) * 1000

    async def visits(kind: str, cookies: Sequence[str], *, at_once: bool) -> list[str]:
        """Print a line; return the cookies of the visitors."""
        began, cpu = time.perf_counter(), cpu_ms()
        each = [visit(url, cookie) for cookie in cookies]
        done = await asyncio.gather(*each) if at_once else [await one for one in each]
        seconds, cpu = time.perf_counter() - began, (cpu_ms() - cpu) / len(done)
        for one in done:
            one.heartbeat.close()
        page, ready = [one.page_s for one in done], [one.ready_s for one in done]
        print(
            f"{len(done):3} {kind}: {cpu:.0f} ms of CPU each; page p50 {median(page):.2f} s, "
            f"form p50 {median(ready):.2f} s, p95 {quantile(ready, 0.95):.2f} s; "
            f"all after {seconds:.1f} s",
            flush=True,
        )
        return [one.cookie for one in done]

    await visits("first", [""] * 5, at_once=False)
    cookies = await visits("first visits, one by one", [""] * 30, at_once=False)
    await visits("repeated visits, one by one", cookies, at_once=False)
    async with other_visitor(app) as lines:
        cookies = [""] * pages
        for kind in ("first visits at once", "repeated visits at once"):
            lines.clear()
            cookies = await visits(kind, cookies, at_once=True)
            presses = [took for name, _, took, _ in lines if name == "press"]
            print(f"    another visitor's press p50 {quantile(presses, 0.5):.2f} s")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.visits", description=__doc__)
    parser.add_argument("--pages", type=int, default=300)
    args = parser.parse_args(argv)
    os.chdir(Path(__file__).resolve().parents[2])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    with ExitStack() as stack:
        engine = stack.enter_context(embedded())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        app = stack.enter_context(target(folder / "data", engine=engine))
        asyncio.run(measure(app, args.pages))


if __name__ == "__main__":
    main()
