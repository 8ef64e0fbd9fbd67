"""The HTTP side of the demo engine: routes, status codes and bodies as recorded from ComfyUI.

Served by aiohttp, as ComfyUI is, so that parsing, limits and error pages are the real ones.
"""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..demo_loras import METADATA, preview
from ..engine import Engine, RefusedError
from ..engine_folders import KINDS
from ..node_specs import blueprints, models
from .jobs_api import job_routes
from .sockets import new_sid
from .userdata import UserFiles
from .view_and_upload import ViewAndUpload

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ENGINE: Final = web.AppKey("engine", Engine)
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
logger = logging.getLogger(__name__)


def build_app(engine: Engine, *, max_upload_bytes: int) -> web.Application:
    """Build the aiohttp application of one engine. Larger request bodies are answered 413."""
    app = web.Application(
        middlewares=[_refuse_foreign_pages, _answer_errors], client_max_size=max_upload_bytes
    )
    app[ENGINE] = engine
    app.add_routes(_Routes(engine, max_upload_bytes).all())
    if engine.modern:
        app.add_routes(job_routes(engine))
    app.on_shutdown.append(_close_sockets)
    return app


async def _close_sockets(app: web.Application) -> None:
    await app[ENGINE].sockets.close()


@web.middleware
async def _refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests of pages from elsewhere on a loopback Host, as ComfyUI does."""
    if _is_foreign(request.headers.get("Origin"), request.headers.get("Host")):
        return web.Response(status=403)
    return await handler(request)


def _is_foreign(origin: str | None, host: str | None) -> bool:
    if origin is None or host is None:
        return False
    name = urlsplit(f"//{host.lower()}").hostname
    return name in LOOPBACK and urlsplit(origin).netloc.lower() != host.lower()


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed:
        if request.method not in ("GET", "HEAD"):
            raise
        return _not_found()  # ComfyUI's static route swallows these
    except web.HTTPNotFound:
        return _not_found()
    except web.HTTPException:
        raise
    except HttpProcessingError:
        return web.Response(status=400)
    except Exception:
        logger.debug("The request %s %s failed.", request.method, request.path, exc_info=True)
        raise web.HTTPInternalServerError(
            text="500 Internal Server Error\n\nServer got itself in trouble"
        ) from None


def _not_found() -> web.Response:
    return web.Response(status=404, content_type="application/octet-stream")


class _Routes:
    def __init__(self, engine: Engine, max_upload_bytes: int) -> None:
        self.engine = engine
        self.limit = max_upload_bytes

    def all(self) -> list[web.RouteDef]:
        files = ViewAndUpload(self.engine.folders)
        user_files = UserFiles(self.engine.folders.root)
        under_api_too: list[tuple[str, str, Handler]] = [
            ("GET", "/ws", self.socket),
            ("GET", "/prompt", self.get_prompt),
            ("POST", "/prompt", self.post_prompt),
            ("GET", "/queue", self.get_queue),
            ("POST", "/queue", self.post_queue),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/history", self.get_histories),
            ("POST", "/history", self.post_history),
            ("GET", "/history/{prompt_id:.*}", self.get_history),
            ("GET", "/view", files.view),
            ("POST", "/upload/image", files.upload_image),
            ("POST", "/upload/mask", files.upload_mask),
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
            (
                "GET",
                "/experiment/models/preview/{folder}/{index}/{name:.*}",
                self.model_preview,
            ),
            ("GET", "/extensions", self.empty_list),
            ("GET", "/workflow_templates", self.empty_object),
            ("GET", "/global_subgraphs", self.blueprints),
            ("GET", "/global_subgraphs/{id}", self.blueprint),
            ("GET", "/i18n", self.empty_object),
            ("GET", "/settings", self.empty_object),
            ("GET", "/settings/{name}", self.null),
            ("GET", "/users", self.users),
            ("GET", "/userdata", user_files.listed),
            ("GET", "/userdata/{name:.*}", user_files.read),
            ("POST", "/userdata/{name:.*}", user_files.write),
            ("DELETE", "/userdata/{name:.*}", user_files.delete),
        ]
        at_root_only: list[tuple[str, str, Handler]] = [
            ("GET", "/", self.home),
            ("GET", "/templates/{name:.*}", user_files.template),
            ("GET", "/internal/logs", self.logs_text),
            ("GET", "/internal/logs/raw", self.logs),
            ("PATCH", "/internal/logs/subscribe", self.subscribe_logs),
            ("GET", "/internal/folder_paths", self.folder_paths),
            ("GET", "/internal/files/{kind}", self.internal_files),
        ]
        routes = [
            *under_api_too,
            *((method, f"/api{path}", handler) for method, path, handler in under_api_too),
            *at_root_only,
        ]
        return [web.route(method, path, handler) for method, path, handler in routes]

    async def home(self, _request: web.Request) -> web.Response:
        page = "<!doctype html><title>comfy-ui</title><p>The demo engine of comfy-ui.</p>"
        return web.Response(body=page.encode(), headers={"Content-Type": "text/html"})

    # -- running jobs

    async def get_prompt(self, _request: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": self.engine.queue.remaining()}})

    async def post_prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        max_jobs = self.engine.faults.max_jobs
        if max_jobs is not None and self.engine.queue.remaining() >= max_jobs:
            full = {"error": {"message": f"{max_jobs} jobs at a time, by your plan"}}
            return web.json_response(full, status=429, headers={"Retry-After": "1"})
        try:
            accepted = self.engine.accept(body)
        except RefusedError as refused:
            return web.json_response(refused.body, status=400)
        if self.engine.faults.post_delay_s:
            await asyncio.sleep(self.engine.faults.post_delay_s)
        return web.json_response(
            {
                "prompt_id": accepted.prompt_id,
                "number": accepted.number,
                "node_errors": accepted.node_errors,
            }
        )

    async def get_queue(self, _request: web.Request) -> web.Response:
        running, pending = self.engine.queue.snapshot()
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self.engine.queue.clear()
        if "delete" in body:
            self.engine.queue.delete(list(body["delete"]))
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            body = {}
        self.engine.queue.interrupt(body.get("prompt_id") or None)
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.engine.free(forget_results=bool(body.get("free_memory")))
        return web.Response()

    async def get_histories(self, request: web.Request) -> web.Response:
        entries = list(self.engine.history().items())
        query = request.query
        most = int(query["max_items"]) if "max_items" in query else None
        offset = int(query["offset"]) if "offset" in query else -1
        if offset < 0 and most is not None:
            offset = max(0, len(entries) - most)
        entries = entries[max(0, offset) :]
        return web.json_response(dict(entries[:most] if most is not None else entries))

    async def get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        entry = self.engine.history().get(prompt_id)
        return web.json_response({prompt_id: entry} if entry is not None else {})

    async def post_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self.engine.queue.forget_all()
        if "delete" in body:
            self.engine.queue.forget(list(body["delete"]))
        return web.Response()

    # -- discovery

    async def object_infos(self, _request: web.Request) -> web.Response:
        if self.engine.faults.object_info_delay_s:
            await asyncio.sleep(self.engine.faults.object_info_delay_s)
        return web.json_response(self.engine.object_info())

    async def object_info(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        info = self.engine.object_info()
        return web.json_response({name: info[name]} if name in info else {})

    async def system_stats(self, _request: web.Request) -> web.Response:
        memory = 16 * 1024**3
        modern = self.engine.modern
        return web.json_response(
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
                    "pytorch_version": "none (demo engine)",
                    "embedded_python": False,
                    "argv": ["comfy-ui", "demo"],
                },
                "devices": [
                    {
                        "name": "comfy-ui demo engine",
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

    async def features(self, _request: web.Request) -> web.Response:
        return web.json_response(self.engine.features(self.limit))

    async def embeddings(self, _request: web.Request) -> web.Response:
        return web.json_response([])

    async def model_folders(self, _request: web.Request) -> web.Response:
        return web.json_response(list(models()))

    async def model_files(self, request: web.Request) -> web.Response:
        files = models().get(request.match_info["folder"])
        return web.Response(status=404) if files is None else web.json_response(files)

    async def experiment_folders(self, _request: web.Request) -> web.Response:
        return web.json_response(
            [{"name": name, "folders": [f"models/{name}"]} for name in models()]
        )

    async def experiment_files(self, request: web.Request) -> web.Response:
        files = models().get(request.match_info["folder"])
        if files is None:
            return web.Response(status=404)
        facts = {"pathIndex": 0, "modified": 0.0, "created": 0.0, "size": 0}
        return web.json_response([{"name": name, **facts} for name in files])

    async def view_metadata(self, request: web.Request) -> web.Response:
        metadata = METADATA.get(request.query.get("filename", ""))
        if metadata is None or request.match_info["folder"] != "loras":
            return web.Response(status=404)
        return web.json_response(dict(metadata))

    async def model_preview(self, request: web.Request) -> web.Response:
        if request.match_info["folder"] != "loras":
            return web.Response(status=404)
        content = await asyncio.to_thread(preview, request.match_info["name"])
        if content is None:
            return web.Response(status=404)
        return web.Response(body=content, content_type="image/webp")

    async def empty_list(self, _request: web.Request) -> web.Response:
        return web.json_response([])

    async def empty_object(self, _request: web.Request) -> web.Response:
        return web.json_response({})

    async def blueprints(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                key: {
                    "source": "templates",
                    "name": entry["name"],
                    "info": {"node_pack": "comfyui"},
                }
                for key, entry in blueprints().items()
            }
        )

    async def blueprint(self, request: web.Request) -> web.Response:
        entry = blueprints().get(request.match_info["id"])
        if entry is None:
            return web.json_response(None)
        return web.json_response({**entry, "data": json.dumps(entry["data"])})

    async def null(self, _request: web.Request) -> web.Response:
        return web.json_response(None)

    async def users(self, _request: web.Request) -> web.Response:
        return web.json_response({"storage": "server", "migrated": False})

    async def logs(self, _request: web.Request) -> web.Response:
        size = {"cols": 80, "rows": 24}
        return web.json_response({"entries": list(self.engine.logs), "size": size})

    async def logs_text(self, _request: web.Request) -> web.Response:
        return web.json_response(
            "".join(f"{entry['t']} - {entry['m']}" for entry in self.engine.logs)
        )

    async def subscribe_logs(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.engine.sockets.subscribe_logs(body["clientId"], enabled=bool(body["enabled"]))
        return web.Response()

    async def folder_paths(self, _request: web.Request) -> web.Response:
        return web.json_response({name: [f"models/{name}"] for name in models()})

    async def internal_files(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if kind not in KINDS:
            return web.json_response({"error": "Invalid directory type"}, status=400)
        files = [p for p in self.engine.folders[kind].iterdir() if p.is_file()]
        files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return web.json_response([path.name for path in files])

    # -- WebSocket

    async def socket(self, request: web.Request) -> web.StreamResponse:
        # As recorded: the server never pings, and messages are not compressed.
        socket = web.WebSocketResponse(compress=False, max_msg_size=self.limit)
        await socket.prepare(request)
        engine = self.engine
        sid = request.query.get("clientId") or new_sid()
        greeting: list[tuple[str, Any]] = [("status", {**engine.status(), "sid": sid})]
        current = engine.executor.current
        if current is not None and current[0] == sid:
            greeting.append(("executing", {"node": current[1]}))
        await engine.sockets.serve(
            socket,
            request.transport,
            greeting=greeting,
            features=engine.features(self.limit),
            sid=sid,
            faults=engine.faults,
        )
        return socket
