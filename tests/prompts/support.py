"""A scripted OpenAI-compatible server, over real sockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from comfy_ui.prompts import LanguageModel

MODEL = "tiny-instruct"


@dataclass(frozen=True)
class Reply:
    """One answer. ``pieces`` are streamed; ``raw`` is sent instead, as it is."""

    pieces: tuple[str, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    between_s: float = 0.0
    finish: str | None = "stop"
    cut: bool = False
    raw: bytes | None = None
    delta: Mapping[str, Any] = field(default_factory=dict)
    endless: bytes = b""
    """Streamed again and again until the client closes the connection."""


def says(text: str, **more: Any) -> Reply:
    """``text`` in pieces of five characters."""
    return Reply(tuple(text[n : n + 5] for n in range(0, len(text), 5)), **more)


def says_prompt(
    prompt: str, *, negative: str | None = None, lyrics: str | None = None, **more: Any
) -> Reply:
    """Structured output."""
    fields = {"prompt": prompt, "negative": negative, "lyrics": lyrics}
    return says(json.dumps({k: v for k, v in fields.items() if v is not None}), **more)


class LlmServer:
    """``replies`` are sent in order, the last one repeatedly. ``refuses`` are request keys that
    get a 400. ``requests`` are the received bodies, ``gone`` counts closed connections."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [says_prompt("a cat on a sunlit sill")]
        self.refuses: set[str] = set()
        self.models = [MODEL]
        self.requests: list[dict[str, Any]] = []
        self.gone = 0
        self.sent_bytes = 0
        server = self

        class Handler(_Handler):
            llm = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def model(self, name: str = MODEL) -> LanguageModel:
        return LanguageModel(self.url, name, "secret")

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    llm: LlmServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        data = [{"id": name, "object": "model"} for name in self.llm.models]
        self._whole(200, json.dumps({"object": "list", "data": data}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.llm.requests.append(body)
        if self.llm.refuses & set(body):
            self._whole(400, b'{"error": {"message": "not supported"}}')
            return
        reply = self.llm.next_reply()
        time.sleep(reply.wait_s)
        try:
            if reply.raw is not None or reply.status != 200:
                self._whole(reply.status, reply.raw or b'{"error": {}}', reply.headers)
            else:
                self._stream(reply)
        except OSError:
            self.llm.gone += 1
            self.close_connection = True

    def _stream(self, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while reply.endless:
            self._chunk(reply.endless)
            self.llm.sent_bytes += len(reply.endless)
        for piece in reply.pieces:
            self._event({"content": piece}, None)
            time.sleep(reply.between_s)
        if reply.cut:
            self.close_connection = True
            return
        self._event(dict(reply.delta), reply.finish)
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, delta: dict[str, Any], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        event = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
        self._chunk(f"data: {json.dumps(event | {'choices': [choice]})}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _whole(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
