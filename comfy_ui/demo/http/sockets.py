"""WebSocket connections by clientId, and the delivery of messages to them.

One socket per clientId; nothing is replayed or acknowledged. Each socket has its own writer, so a
client that does not read blocks no other client; it loses previews first, then its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import WSCloseCode, WSMsgType, web

from ..fault_switches import Faults

MAX_WAITING_PREVIEWS = 8
MAX_WAITING = 20_000  # messages of a client that has stopped reading; then it is disconnected

PREVIEW = 1
TEXT = 3
PREVIEW_WITH_METADATA = 4
_FORMATS = {"image/jpeg": 1, "image/png": 2}


@dataclass(frozen=True, slots=True)
class PreviewPicture:
    """An encoded preview image of a running node."""

    data: bytes
    mime: Literal["image/jpeg", "image/png"] = "image/jpeg"

    def frame(self) -> bytes:
        return struct.pack(">II", PREVIEW, _FORMATS[self.mime]) + self.data

    def frame_with(self, about: dict[str, Any]) -> bytes:
        header = json.dumps({**about, "image_type": self.mime}).encode()
        return struct.pack(">II", PREVIEW_WITH_METADATA, len(header)) + header + self.data


def text_frame(node_id: str, text: str, prompt_id: str | None = None) -> bytes:
    """A node's text; ``prompt_id`` is for clients that have announced to read it."""
    parts = [part.encode() for part in (prompt_id, node_id) if part is not None]
    headers = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return struct.pack(">I", TEXT) + headers + text.encode()


def encode(event: str, data: Any) -> str:
    return json.dumps({"type": event, "data": data})


@dataclass(slots=True, eq=False)
class Connection:
    """One open socket and its outgoing messages."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    sid: str
    wants_metadata: bool = False
    wants_text_metadata: bool = False
    _waiting: deque[str | bytes] = field(default_factory=deque)
    _previews: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    overflowed: bool = False

    def push(self, message: str | bytes, *, preview: bool = False) -> None:
        if preview and self._previews >= MAX_WAITING_PREVIEWS:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.overflowed = True
        else:
            self._waiting.append(message)
            self._previews += preview
        self._more.set()

    async def write(self) -> None:
        """Send the outgoing messages in order, until cancelled or overflowed."""
        while not self.overflowed:
            await self._more.wait()
            self._more.clear()
            while self._waiting and not self.overflowed:
                message = self._waiting.popleft()
                if isinstance(message, str):
                    await self.socket.send_str(message)
                else:
                    self._previews = max(0, self._previews - 1)
                    await self.socket.send_bytes(message)


class Sockets:
    """All connections. ``post`` may be called from any thread; the rest belongs to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_sid: dict[str, Connection] = {}
        self._seen: set[str] = set()
        self._connections: set[Connection] = set()
        self._log_readers: set[str] = set()

    # -- sending

    def post(self, event: str, data: Any, sid: str | None = None) -> None:
        """Send a JSON message to one clientId, or to all if it is None."""
        self._soon(self._deliver, encode(event, data), sid)

    def post_step(
        self,
        progress: dict[str, Any],
        preview: PreviewPicture | None,
        about: dict[str, Any],
        sid: str | None,
    ) -> None:
        """Send a node's ``progress``, its preview before it (type 4) or after it (type 1)."""
        self._soon(self._deliver_step, encode("progress", progress), preview, about, sid)

    def post_text(self, node_id: str, text: str, prompt_id: str, sid: str | None) -> None:
        """Send a node's text, with the id of its job to clients that understand it."""
        plain, full = text_frame(node_id, text), text_frame(node_id, text, prompt_id)
        self._soon(self._deliver_text, plain, full, sid)

    def post_log(self, entry: dict[str, str]) -> None:
        self._soon(self._deliver_log, encode("logs", {"entries": [entry], "size": None}))

    def anybody(self, sid: str | None) -> bool:
        """Whether a message to ``sid`` has a recipient. A hint: read from another thread."""
        return bool(self._by_sid) if sid is None else sid in self._by_sid

    def _soon(self, call: Any, *arguments: Any) -> None:
        # The loop is closed while the engine stops; messages have no recipients then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _targets(self, sid: str | None) -> list[Connection]:
        if sid is None:
            return list(self._by_sid.values())
        connection = self._by_sid.get(sid)
        return [connection] if connection else []

    def _deliver(self, message: str | bytes, sid: str | None) -> None:
        for connection in self._targets(sid):
            connection.push(message)

    def _deliver_text(self, plain: bytes, full: bytes, sid: str | None) -> None:
        for connection in self._targets(sid):
            connection.push(full if connection.wants_text_metadata else plain)

    def _deliver_step(
        self, progress: str, preview: PreviewPicture | None, about: dict[str, Any], sid: str | None
    ) -> None:
        for connection in self._targets(sid):
            if preview is None:
                connection.push(progress)
            elif connection.wants_metadata and sid is not None:
                connection.push(preview.frame_with(about), preview=True)
                connection.push(progress)
            else:
                connection.push(progress)
                connection.push(preview.frame(), preview=True)

    def _deliver_log(self, message: str) -> None:
        for sid in self._log_readers:
            self._deliver(message, sid)

    def subscribe_logs(self, sid: str, *, enabled: bool) -> None:
        if enabled and sid in self._by_sid:
            self._log_readers.add(sid)
        else:
            self._log_readers.discard(sid)

    # -- connections

    async def close(self) -> None:
        """Close every connection with 1012 (service restart), without waiting for the peers."""
        for connection in list(self._connections):
            if connection.transport is not None and not connection.transport.is_closing():
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(1):
                        await connection.socket.close(code=WSCloseCode.SERVICE_RESTART)

    async def serve(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        *,
        greeting: list[tuple[str, Any]],
        features: dict[str, Any],
        sid: str,
        faults: Faults,
    ) -> None:
        """Register an accepted socket and keep it until it closes."""
        connection = Connection(socket, transport, sid)
        for event, data in greeting:
            connection.push(encode(event, data))
        if not (faults.silent_reconnect and sid in self._seen):
            self._by_sid[sid] = connection
        self._seen.add(sid)
        self._connections.add(connection)
        writer = asyncio.create_task(connection.write())
        reader = asyncio.create_task(self._read(connection, features))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            if connection.overflowed and transport is not None:
                transport.abort()  # a polite close would wait for the client to read
            # As recorded: closing an old socket also unregisters a newer one of the same clientId.
            self._by_sid.pop(sid, None)
            self._log_readers.discard(sid)
            self._connections.discard(connection)

    async def _read(self, connection: Connection, features: dict[str, Any]) -> None:
        first = True
        async for frame in connection.socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            try:
                message = json.loads(frame.data)
            except ValueError:
                continue
            if first and isinstance(message, dict) and message.get("type") == "feature_flags":
                flags = message.get("data") or {}
                connection.wants_metadata = flags.get("supports_preview_metadata") is True
                connection.wants_text_metadata = (
                    flags.get("supports_progress_text_metadata") is True
                    and features.get("supports_progress_text_metadata") is True
                )
                connection.push(encode("feature_flags", features))
            first = False


def new_sid() -> str:
    return uuid.uuid4().hex
