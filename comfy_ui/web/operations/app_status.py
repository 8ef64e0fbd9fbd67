"""The status of the app for operators: its routes, and what measures in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.routing import BaseRoute

from ...monitoring.app_metrics import AppMetrics
from ...monitoring.event_loop_lag import lag_measured
from ...scale.open_pools import pool_stats
from ...workflow.presets.preset_store import list_presets
from ..http.request_slots import RequestSlots
from ..services import Services
from .status_routes import readiness_of, status_routes

__all__ = ["AppStatus"]

_OF_A_PAGE: Final = "/gradio_api/heartbeat/"  # each open page has one such request


class AppStatus:
    """Health and readiness of the app, and its metrics if there is a token for them.

    Raises:
        MissingFeatureError: there is a token, and the extra [observability] is not installed.
    """

    def __init__(self, services: Services, slots: RequestSlots) -> None:
        self._readiness = readiness_of(services)
        token = services.settings.metrics_token
        self._token = token.get_secret_value() if token else ""
        self._metrics = None
        if self._token:
            self._metrics = AppMetrics(
                presets={preset.id for preset in list_presets()},
                queue=lambda: services.jobs.figures(),  # noqa: PLW0108 -- a reconnect replaces jobs
                pools=pool_stats,
                pages=lambda: slots.in_progress("GET", _OF_A_PAGE),
            )
            services.connection.end_listeners.append(self._metrics.job_ended)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return status_routes(self._readiness, self._metrics, self._token)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Measure the lag of the event loop inside of the ``with`` block."""
        try:
            async with lag_measured(self._metrics):
                yield
        finally:
            await self._readiness.aclose()
