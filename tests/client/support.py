"""Small graphs, and a scripted HTTP server."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from comfy_ui.client import ComfyClient, ComfyWSClient, Result
from comfy_ui.client.transport.request import ApiResponse


def image_graph(color: int = 1, *, width: int = 16, prefix: str = "test") -> dict[str, Any]:
    """EmptyImage → SaveImage. Another color makes another job, so that the cache is not used."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": width, "height": 16, "batch_size": 1, "color": color},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": prefix},
            "_meta": {"title": "Keep it"},
        },
    }


def answer(
    body: Any = b"", *, status: int = 200, headers: dict[str, str] | None = None
) -> ApiResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ApiResponse(status, httpx.Headers(headers or {}), content, "GET /test")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Request], bytes | None]


def response(
    body: Any = b"",
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    """Raw bytes of an HTTP answer; ``length`` may promise more than there is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"content-length": str(len(content) if length is None else length), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + content


class ScriptedServer:
    """Answers each request with the bytes that ``handler`` gives; None resets the connection."""

    def __init__(self, handler: Handler, *, host: str = "127.0.0.1") -> None:
        self.handler = handler
        self.requests: list[Request] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _accept(self) -> None:
        workers = []
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.add(connection)
                worker = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                worker.start()
                workers.append(worker)
        for worker in workers:
            worker.join(5)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as stream:
            if stream.peek(1)[:1] == b"\x16":  # a TLS handshake: answered as plain servers do
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            while (line := stream.readline()).strip():
                method, path, _ = line.decode().split(" ", 2)
                headers = {}
                while header := stream.readline().strip():
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, body)
                self.requests.append(request)
                raw = self.handler(request)
                if raw is None:
                    reset = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    break
                connection.sendall(raw)
                head, _, sent = raw.partition(b"\r\n\r\n")
                promised = [h for h in head.split(b"\r\n") if h.lower().startswith(b"content-len")]
                if promised and int(promised[0].split(b":")[1]) > len(sent):
                    break  # cut short
        self._open.discard(connection)


def history_of(prompt_id: str, filename: str = "a_00001_.png") -> dict[str, Any]:
    """The history of one successful job, as a real server returns it."""
    return {
        prompt_id: {
            "prompt": [1, prompt_id, image_graph(), {}, ["2"]],
            "outputs": {
                "2": {"images": [{"filename": filename, "subfolder": "", "type": "output"}]}
            },
            "status": {
                "status_str": "success",
                "completed": True,
                "messages": [
                    ["execution_start", {"prompt_id": prompt_id, "timestamp": 1000}],
                    ["execution_cached", {"nodes": [], "prompt_id": prompt_id, "timestamp": 1001}],
                    ["execution_success", {"prompt_id": prompt_id, "timestamp": 1500}],
                ],
            },
            "meta": {},
        }
    }


EMPTY_QUEUE = {"queue_running": [], "queue_pending": []}


class Awaited:
    """The sync client behind awaitable methods, so that one test covers both clients."""

    def __init__(self, client: ComfyClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return call


@asynccontextmanager
async def open_client(kind: str, url: str, **options: Any) -> AsyncIterator[Any]:
    """``kind`` is "sync" or "async"; the client's methods are awaited either way."""
    if kind == "sync":
        with ComfyClient(url=url, **options) as client:
            yield Awaited(client)
    else:
        async with ComfyWSClient(url=url, **options) as client:
            yield client


async def saved(result: Result[Any], folder: Path) -> list[Path]:
    paths = await asyncio.to_thread(result.save, folder)  # the server may be in this thread
    return await paths if inspect.isawaitable(paths) else paths
