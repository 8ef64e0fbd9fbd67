"""A model file server over HTTPS with ranges, ETags, logins and faults."""

from __future__ import annotations

import hashlib
import random
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

WEIGHTS = random.Random(1).randbytes(4 * 2**20 + 17)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@dataclass
class Publisher:
    """Content and behavior of the server; may be changed while it runs."""

    url: str
    content: bytes = WEIGHTS
    etag: str | None = '"one"'
    token: str | None = None
    """Requests without this token get a 401."""
    linked: str | None = None
    """The digest sent as ``x-linked-etag``, as Hugging Face does."""
    announces_length: bool = True
    """Sends a ``content-length``, or ends the file by closing the connection."""
    total: int | None = None
    """The total size in ``content-range``, if not the true one."""
    cuts: list[int] = field(default_factory=list)
    """The number of bytes after which each of the next responses breaks off."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next responses, instead of the file."""
    moved_to: str | None = None
    gate: threading.Event | None = None
    """Sends a part of the file, then waits for it."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request, names in lower case."""

    @property
    def host(self) -> str:
        return self.url.removeprefix("https://")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    publisher: Publisher

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        here = self.publisher
        headers = {name.lower(): value for name, value in self.headers.items()}
        here.asked.append({**headers, "path": self.path})
        if here.statuses:
            return self._head(here.statuses.pop(0), {"content-length": "0"})
        if here.token and headers.get("authorization") != f"Bearer {here.token}":
            return self._head(401, {"content-length": "0"})
        if here.moved_to:
            linked = {"x-linked-etag": f'"{here.linked}"'} if here.linked else {}
            return self._head(302, {"location": here.moved_to, "content-length": "0", **linked})
        return self._file(here, headers)

    def _file(self, here: Publisher, headers: dict[str, str]) -> None:
        start, status, more = 0, 200, {}
        byte_range = headers.get("range")
        if byte_range and headers.get("if-range", here.etag) == here.etag:
            start = int(byte_range.removeprefix("bytes=").rstrip("-"))
            if start >= len(here.content):
                about = {"content-range": f"bytes */{len(here.content)}", "content-length": "0"}
                return self._head(416, about)
            last, whole = len(here.content) - 1, here.total or len(here.content)
            status, more = 206, {"content-range": f"bytes {start}-{last}/{whole}"}
        body = here.content[start:]
        if here.etag:
            more["etag"] = here.etag
        if here.linked and not here.moved_to:
            more["x-linked-etag"] = f'"{here.linked}"'
        if here.announces_length:
            more["content-length"] = str(len(body))
        else:
            self.close_connection = True
        self._head(status, more)
        if here.cuts:
            self.wfile.write(body[: here.cuts.pop(0)])
            self.close_connection = True
            return None
        if here.gate is not None:
            self.wfile.write(body[: 2 * 2**20])
            self.wfile.flush()
            here.gate.wait(30)
            body = body[2 * 2**20 :]
        self.wfile.write(body)
        return None

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def publishing(authority: trustme.CA) -> Iterator[Publisher]:
    """A publisher on a free port of 127.0.0.1, with a certificate of ``authority``."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # A client that rejects the certificate is part of a test.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Handler.publisher = Publisher(f"https://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Handler.publisher
    finally:
        if Handler.publisher.gate is not None:
            Handler.publisher.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
