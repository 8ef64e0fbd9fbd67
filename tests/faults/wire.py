"""Just enough HTTP/1.1 and WebSocket framing to stand between a client and a server.

Bodies are kept whole in memory, as they came (chunked ones with their chunk marks), so that
what is forwarded is what was sent.
"""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass, replace
from typing import Any

LIMIT_BYTES = 64 * 2**20
TEXT, BINARY, CLOSE = 1, 2, 8


@dataclass(frozen=True)
class Head:
    """The first line and the headers of a request or a response."""

    line: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name.lower()), "")

    def without(self, name: str) -> Head:
        kept = tuple((k, v) for k, v in self.headers if k.lower() != name.lower())
        return replace(self, headers=kept)

    def encode(self) -> bytes:
        lines = [self.line, *(f"{k}: {v}" for k, v in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


@dataclass(frozen=True)
class Response:
    """One response of the server, with ``body`` as on the wire."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.line.split(" ", 2)[1])

    def encode(self) -> bytes:
        return self.head.encode() + self.body

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Frame:
    """One whole WebSocket message from the server (or a control frame)."""

    opcode: int
    payload: bytes

    @property
    def type(self) -> str:
        """ComfyUI's name of a text message; ``binary`` or ``control`` for the others."""
        if self.opcode != TEXT:
            return "binary" if self.opcode == BINARY else "control"
        return str(json.loads(self.payload).get("type", ""))

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.payload).get("data") or {} if self.opcode == TEXT else {}

    def encode(self) -> bytes:
        size = len(self.payload)
        if size < 126:
            length = struct.pack("!B", size)
        elif size < 2**16:
            length = struct.pack("!BH", 126, size)
        else:
            length = struct.pack("!BQ", 127, size)
        return bytes([0x80 | self.opcode]) + length + self.payload


def response(status: int, reason: str, body: bytes, **headers: str) -> Response:
    """A response of the proxy itself, not of the server."""
    fields = [(k.replace("_", "-"), v) for k, v in headers.items()]
    fields.append(("Content-Length", str(len(body))))
    return Response(Head(f"HTTP/1.1 {status} {reason}", tuple(fields)), body)


def close_frame(code: int, reason: str = "") -> Frame:
    return Frame(CLOSE, struct.pack("!H", code) + reason.encode())


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head, or None when the other side has closed."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *fields = raw.decode("latin-1").split("\r\n")[:-2]
    pairs = (field.partition(":") for field in fields)
    return Head(line, tuple((name.strip(), value.strip()) for name, _, value in pairs))


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """The body that belongs to ``head``; raises IncompleteReadError when it is cut short."""
    if "chunked" in head.get("Transfer-Encoding").lower():
        return await _read_chunked(reader)
    if length := head.get("Content-Length"):
        return await reader.readexactly(int(length))
    return b""


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    raw = bytearray()
    while True:
        size_line = await reader.readuntil(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        raw += size_line + await reader.readexactly(size + 2)
        if size == 0:
            return bytes(raw)


async def read_response(reader: asyncio.StreamReader, method: str) -> Response:
    head = await read_head(reader)
    if head is None:
        raise ConnectionError("the server closed without an answer")
    bodiless = method == "HEAD" or head.line.split(" ")[1] in {"204", "304"}
    return Response(head, b"" if bodiless else await read_body(reader, head))


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """The next whole message of the server; fragments are joined. Server frames have no mask."""
    opcode, payload = 0, b""
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await reader.readexactly(8))
        part = await reader.readexactly(size)
        if (first & 0x0F) >= CLOSE:  # control frames come between fragments, unfragmented
            return Frame(first & 0x0F, part)
        opcode, payload = opcode or first & 0x0F, payload + part
        if first & 0x80:
            return Frame(opcode, payload)
