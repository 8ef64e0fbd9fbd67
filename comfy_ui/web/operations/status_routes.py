"""``/healthz``, ``/readyz`` and ``/metrics`` of the app: for balancers, supervisors, Prometheus."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...monitoring.app_metrics import CONTENT_TYPE, AppMetrics
from ...monitoring.metrics_token import may_read
from ...monitoring.readiness import Readiness
from ..http.handlers import PRIVATE, refusal
from ..services import Services

__all__ = ["STATUS_PATHS", "readiness_of", "status_routes"]

STATUS_PATHS: Final = ("/healthz", "/readyz", "/metrics")
"""Paths that need no login: the first two tell nothing else, the third asks for a token."""


def readiness_of(services: Services) -> Readiness:
    """Return the checks of the app. Each asks for the services that are in use at that time."""

    async def database() -> str | None:
        return await services.jobs.database_problem()

    async def files() -> str | None:
        await services.library.check_files()
        return None

    async def queue() -> str | None:
        return None if services.jobs.is_running() else "queue"

    return Readiness({"database": database, "files": files, "queue": queue})


def status_routes(readiness: Readiness, metrics: AppMetrics | None, token: str) -> list[BaseRoute]:
    """Return the routes. Without ``metrics`` there is no ``/metrics``."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=PRIVATE)

    async def ready(_: Request) -> Response:
        problem = await readiness.problem()
        if problem is None:
            return JSONResponse({"status": "ready"}, headers=PRIVATE)
        content = {"status": "unavailable", "reason": problem}
        return JSONResponse(content, status_code=503, headers=PRIVATE)

    async def figures(request: Request) -> Response:
        if metrics is None:
            return refusal(404, "There is no such thing here.")
        if not may_read(request.headers.get("authorization", ""), token):
            return refusal(401, "The token is wrong.", PRIVATE)
        return Response(metrics.text(), headers={**PRIVATE, "Content-Type": CONTENT_TYPE})

    handlers = (health, ready, figures)
    return [Route(path, handler) for path, handler in zip(STATUS_PATHS, handlers, strict=True)]
