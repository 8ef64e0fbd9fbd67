"""The status of a worker over HTTP: ``/healthz``, ``/readyz`` and ``/metrics`` on its own port.

A port and not a command that looks into the database: a probe costs no new process and no
connection of PostgreSQL, it also shows a worker that does nothing any more, and Prometheus reads
the figures there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..errors import ValidationError
from .app_metrics import CONTENT_TYPE, AppMetrics
from .metrics_token import may_read
from .readiness import Readiness


@asynccontextmanager
async def serve_status(
    address: tuple[str, int], readiness: Readiness, metrics: AppMetrics | None, token: str
) -> AsyncIterator[int]:
    """Answer while the ``with`` block runs; yields the port. ``token``: who may read the metrics.

    Raises:
        ValidationError: the address cannot be used.
    """
    from aiohttp import web

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        problem = await readiness.problem()
        if problem is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "unavailable", "reason": problem}, status=503)

    async def figures(request: web.Request) -> web.Response:
        if metrics is None:
            raise web.HTTPNotFound
        if not may_read(request.headers.get("authorization", ""), token):
            return web.json_response({"error": "The token is wrong."}, status=401)
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", health), web.get("/readyz", ready), web.get("/metrics", figures)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        host, port = address
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ValidationError(
                f"The status of the worker cannot be served at {host}:{port}: {error.strerror}.",
                hint="Choose another COMFY_UI_WORKER_STATUS.",
            ) from error
        addresses: list[Any] = runner.addresses
        yield int(addresses[0][1])
    finally:
        await runner.cleanup()
