"""The HTTP side: routes, status codes and bodies as recorded from a ComfyUI server."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from ..engine import Engine, RefusedError
from ..engine_folders import KINDS
from ..node_specs import models
from .jobs_api import job_routes
from .responses import answer, empty
from .sockets import new_sid
from .userdata import UserFiles
from .view_and_upload import Transfers

Handler = Callable[[Request], Awaitable[Response]]

TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"
_log = logging.getLogger(__name__)

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def _by_method(handlers: dict[str, Handler]) -> Handler:
    """One handler for a path; HEAD is answered like GET."""

    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


class TooLargeError(Exception):
    """A body above the limit."""


def build_app(engine: Engine, *, max_upload_bytes: int) -> ASGIApp:
    """The ASGI application of one engine."""
    routes = _Routes(engine, max_upload_bytes)
    app = Starlette(
        routes=[*routes.all(), *(job_routes(engine, answer) if engine.modern else ())],
        exception_handlers={
            404: _unknown_path,
            405: _wrong_method,
            TooLargeError: _too_large(max_upload_bytes),
            Exception: _trouble,
        },
    )
    return _Guard(app)


async def _unknown_path(_request: Request, _error: Exception) -> Response:
    return Response(b"", 404, headers={"content-type": "application/octet-stream"})


async def _wrong_method(request: Request, error: Exception) -> Response:
    if request.method in ("GET", "HEAD"):  # ComfyUI's static route swallows these
        return await _unknown_path(request, error)
    headers = {"Allow": (getattr(error, "headers", None) or {}).get("Allow", "")}
    return Response("405: Method Not Allowed", 405, headers=headers, media_type="text/plain")


def _too_large(limit: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(_request: Request, _error: Exception) -> Response:
        return Response(
            f"Maximum request body size {limit} exceeded.", 413, media_type="text/plain"
        )

    return handler


async def _trouble(_request: Request, _error: Exception) -> Response:
    return Response(TROUBLE, 500, media_type="text/plain")


class _Guard:
    """On a loopback Host, requests of pages from elsewhere are refused, as ComfyUI does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _foreign(dict(scope["headers"])):
            await empty(403)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception:  # noqa: BLE001 -- Starlette raises it again after the 500 was sent
            _log.debug("A request ended in an error.", exc_info=True)


def _foreign(headers: dict[bytes, bytes]) -> bool:
    origin, host = headers.get(b"origin"), headers.get(b"host")
    if origin is None or host is None:
        return False
    at = host.decode("latin-1").lower()
    name = urlsplit(f"//{at}").hostname
    return name in LOOPBACK and urlsplit(origin.decode("latin-1")).netloc.lower() != at


class _Routes:
    def __init__(self, engine: Engine, max_upload_bytes: int) -> None:
        self.engine = engine
        self.limit = max_upload_bytes

    def all(self) -> list[Route | WebSocketRoute]:
        transfers = Transfers(self.engine.folders, self.body)
        user_files = UserFiles(self.engine.folders.root, self.body)
        twice: list[tuple[str, str, Handler]] = [
            ("GET", "/ws", self.no_upgrade),
            ("GET", "/prompt", self.get_prompt),
            ("POST", "/prompt", self.post_prompt),
            ("GET", "/queue", self.get_queue),
            ("POST", "/queue", self.post_queue),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/history", self.get_histories),
            ("POST", "/history", self.post_history),
            ("GET", "/history/{prompt_id:path}", self.get_history),
            ("GET", "/view", transfers.view),
            ("POST", "/upload/image", transfers.upload_image),
            ("POST", "/upload/mask", transfers.upload_mask),
            ("GET", "/object_info", self.object_infos),
            ("GET", "/object_info/{name}", self.object_info),
            ("GET", "/system_stats", self.system_stats),
            ("GET", "/features", self.features),
            ("GET", "/embeddings", self.embeddings),
            ("GET", "/models", self.model_folders),
            ("GET", "/models/{folder}", self.model_files),
            ("GET", "/experiment/models", self.experiment_folders),
            ("GET", "/experiment/models/{folder}", self.experiment_files),
            ("GET", "/view_metadata/{folder}", self.view_metadata),
            ("GET", "/extensions", self.empty_list),
            ("GET", "/workflow_templates", self.empty_object),
            ("GET", "/i18n", self.empty_object),
            ("GET", "/settings", self.empty_object),
            ("GET", "/settings/{name}", self.null),
            ("GET", "/users", self.users),
            ("GET", "/userdata", user_files.listed),
            ("GET", "/userdata/{name:path}", user_files.read),
            ("POST", "/userdata/{name:path}", user_files.write),
            ("DELETE", "/userdata/{name:path}", user_files.delete),
        ]
        once: list[tuple[str, str, Handler]] = [
            ("GET", "/", self.home),
            ("GET", "/templates/{name:path}", user_files.template),
            ("GET", "/internal/logs", self.logs_text),
            ("GET", "/internal/logs/raw", self.logs),
            ("PATCH", "/internal/logs/subscribe", self.subscribe_logs),
            ("GET", "/internal/folder_paths", self.folder_paths),
            ("GET", "/internal/files/{kind}", self.internal_files),
        ]
        both = [*twice, *((m, f"/api{path}", h) for m, path, h in twice), *once]
        handlers: dict[str, dict[str, Handler]] = {}
        for method, path, handler in both:
            handlers.setdefault(path, {})[method] = handler
        return [
            *(
                Route(path, _by_method(found), methods=list(found))
                for path, found in handlers.items()
            ),
            WebSocketRoute("/ws", self.socket),
            WebSocketRoute("/api/ws", self.socket),
        ]

    # -- bodies ----------------------------------------------------------------------------

    async def body(self, request: Request) -> bytes:
        if int(request.headers.get("content-length") or 0) > self.limit:
            raise TooLargeError
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > self.limit:
                raise TooLargeError
        return bytes(data)

    async def json(self, request: Request) -> Any:
        return json.loads(await self.body(request))

    async def home(self, _request: Request) -> Response:
        page = "<!doctype html><title>comfy-ui</title><p>The embedded engine of comfy-ui.</p>"
        return Response(page, headers={"content-type": "text/html"})

    async def no_upgrade(self, _request: Request) -> Response:
        text = 'No WebSocket UPGRADE hdr: None\n Can "Upgrade" only to "WebSocket".'
        return Response(text, 400, media_type="text/plain")

    # -- running jobs ------------------------------------------------------------------------

    async def get_prompt(self, _request: Request) -> Response:
        return answer({"exec_info": {"queue_remaining": self.engine.queue.remaining()}})

    async def post_prompt(self, request: Request) -> Response:
        body = await self.json(request)
        try:
            accepted = self.engine.accept(body)
        except RefusedError as refused:
            return answer(refused.body, 400)
        if self.engine.faults.post_delay_s:
            await asyncio.sleep(self.engine.faults.post_delay_s)
        return answer(
            {
                "prompt_id": accepted.prompt_id,
                "number": accepted.number,
                "node_errors": accepted.node_errors,
            }
        )

    async def get_queue(self, _request: Request) -> Response:
        running, pending = self.engine.queue.snapshot()
        return answer({"queue_running": running, "queue_pending": pending})

    async def post_queue(self, request: Request) -> Response:
        body = await self.json(request)
        if body.get("clear"):
            self.engine.queue.clear()
        if "delete" in body:
            self.engine.queue.delete(list(body["delete"]))
        return empty()

    async def interrupt(self, request: Request) -> Response:
        try:
            body = await self.json(request)
        except ValueError:
            body = {}
        self.engine.queue.interrupt(body.get("prompt_id") or None)
        return empty()

    async def free(self, request: Request) -> Response:
        body = await self.json(request)
        self.engine.free(forget_results=bool(body.get("free_memory")))
        return empty()

    async def get_histories(self, request: Request) -> Response:
        entries = list(self.engine.history().items())
        query = request.query_params
        most = int(query["max_items"]) if "max_items" in query else None
        offset = int(query["offset"]) if "offset" in query else -1
        if offset < 0 and most is not None:
            offset = max(0, len(entries) - most)
        entries = entries[max(0, offset) :]
        return answer(dict(entries[:most] if most is not None else entries))

    async def get_history(self, request: Request) -> Response:
        prompt_id = request.path_params["prompt_id"]
        entry = self.engine.history().get(prompt_id)
        return answer({prompt_id: entry} if entry is not None else {})

    async def post_history(self, request: Request) -> Response:
        body = await self.json(request)
        if body.get("clear"):
            self.engine.queue.forget_all()
        if "delete" in body:
            self.engine.queue.forget(list(body["delete"]))
        return empty()

    # -- discovery ---------------------------------------------------------------------------

    async def object_infos(self, _request: Request) -> Response:
        if self.engine.faults.object_info_delay_s:
            await asyncio.sleep(self.engine.faults.object_info_delay_s)
        return answer(self.engine.object_info())

    async def object_info(self, request: Request) -> Response:
        name = request.path_params["name"]
        info = self.engine.object_info()
        return answer({name: info[name]} if name in info else {})

    async def system_stats(self, _request: Request) -> Response:
        memory = 16 * 1024**3
        modern = self.engine.modern
        return answer(
            {
                "system": {
                    "os": sys.platform if modern else "posix",
                    "ram_total": memory,
                    "ram_free": memory // 2,
                    "comfyui_version": self.engine.core,
                    "required_frontend_version": "1.27.10",
                    "installed_templates_version": "0.1.95",
                    "required_templates_version": "0.1.95",
                    "python_version": platform.python_version(),
                    "pytorch_version": "none (embedded engine)",
                    "embedded_python": False,
                    "argv": ["comfy-ui", "demo"],
                },
                "devices": [
                    {
                        "name": "comfy-ui embedded engine",
                        "type": "cpu",
                        "index": None,
                        "vram_total": memory,
                        "vram_free": memory // 2,
                        "torch_vram_total": memory,
                        "torch_vram_free": memory // 2,
                    }
                ],
            }
        )

    async def features(self, _request: Request) -> Response:
        return answer(self.engine.features(self.limit))

    async def embeddings(self, _request: Request) -> Response:
        return answer([])

    async def model_folders(self, _request: Request) -> Response:
        return answer(list(models()))

    async def model_files(self, request: Request) -> Response:
        files = models().get(request.path_params["folder"])
        return empty(404) if files is None else answer(files)

    async def experiment_folders(self, _request: Request) -> Response:
        return answer([{"name": name, "folders": [f"models/{name}"]} for name in models()])

    async def experiment_files(self, request: Request) -> Response:
        files = models().get(request.path_params["folder"])
        if files is None:
            return empty(404)
        facts = {"pathIndex": 0, "modified": 0.0, "created": 0.0, "size": 0}
        return answer([{"name": name, **facts} for name in files])

    async def view_metadata(self, _request: Request) -> Response:
        return empty(404)

    async def empty_list(self, _request: Request) -> Response:
        return answer([])

    async def empty_object(self, _request: Request) -> Response:
        return answer({})

    async def null(self, _request: Request) -> Response:
        return answer(None)

    async def users(self, _request: Request) -> Response:
        return answer({"storage": "server", "migrated": False})

    async def logs(self, _request: Request) -> Response:
        size = {"cols": 80, "rows": 24}
        return answer({"entries": list(self.engine.logs), "size": size})

    async def logs_text(self, _request: Request) -> Response:
        return answer("".join(f"{entry['t']} - {entry['m']}" for entry in self.engine.logs))

    async def subscribe_logs(self, request: Request) -> Response:
        body = await self.json(request)
        self.engine.sockets.subscribe_logs(body["clientId"], enabled=bool(body["enabled"]))
        return empty()

    async def folder_paths(self, _request: Request) -> Response:
        return answer({name: [f"models/{name}"] for name in models()})

    async def internal_files(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind not in KINDS:
            return answer({"error": "Invalid directory type"}, 400)
        files = [p for p in self.engine.folders[kind].iterdir() if p.is_file()]
        files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return answer([path.name for path in files])

    # -- the push channel ----------------------------------------------------------------------

    async def socket(self, socket: WebSocket) -> None:
        await socket.accept()
        engine = self.engine
        sid = socket.query_params.get("clientId") or new_sid()
        greeting: list[tuple[str, Any]] = [("status", {**engine.status(), "sid": sid})]
        current = engine.executor.current
        if current is not None and current[0] == sid:
            greeting.append(("executing", {"node": current[1]}))
        await engine.sockets.serve(
            socket,
            greeting=greeting,
            features=engine.features(self.limit),
            sid=sid,
            faults=engine.faults,
        )
