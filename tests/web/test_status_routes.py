"""Health, readiness and metrics of the app, with its real services."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from comfy_ui.web.http.request_budgets import budget_of
from comfy_ui.web.http.request_slots import RequestSlots
from comfy_ui.web.operations.app_status import AppStatus
from comfy_ui.web.operations.status_routes import STATUS_PATHS
from tests.jobs.support import end_of, submit_sleepy
from tests.web.web_app import WebApp, open_web_app

TOKEN = "a-token-of-the-operator"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path) as app:
        yield app


@asynccontextmanager
async def _open(
    app: WebApp, *, token: str = "", slots: RequestSlots | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    services = SimpleNamespace(
        jobs=app.service,
        library=app.service.library,
        settings=SimpleNamespace(metrics_token=SecretStr(token) if token else None),
        connection=SimpleNamespace(end_listeners=[]),
    )
    status = AppStatus(services, RequestSlots() if slots is None else slots)  # type: ignore[arg-type]
    for listener in services.connection.end_listeners:
        app.service.on_end(listener)
    transport = httpx.ASGITransport(Starlette(routes=status.routes()))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
        status.running(),
    ):
        yield client


async def test_healthz_and_readyz_say_that_the_app_runs_and_nothing_else(app: WebApp) -> None:
    async with _open(app) as client:
        health, ready = await client.get("/healthz"), await client.get("/readyz")
        assert (health.status_code, health.json()) == (200, {"status": "ok"})
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert (await client.get("/metrics")).status_code == 404, "no token is set"


async def test_readyz_without_the_files_is_503_while_healthz_is_fine(app: WebApp) -> None:
    shutil.rmtree(app.service.library.files.folder / "incoming")
    async with _open(app) as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json() == {"status": "unavailable", "reason": "files"}
        assert (await client.get("/healthz")).status_code == 200


async def test_readyz_with_a_closed_database_is_503(tmp_path: Path) -> None:
    async with open_web_app(tmp_path) as app:
        pass
    async with _open(app) as client:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "database")


async def test_metrics_need_the_token_and_count_the_jobs(app: WebApp) -> None:
    slots = RequestSlots()
    async with (
        _open(app, token=TOKEN, slots=slots) as client,
        slots.of_all(budget_of("GET", "/gradio_api/heartbeat/x")),
    ):
        assert (await client.get("/metrics")).status_code == 401
        wrong = {"Authorization": "Bearer another-token-of-somebody"}
        assert (await client.get("/metrics", headers=wrong)).status_code == 401
        end = await end_of(app.service, await submit_sleepy(app.service, nonce=1))
        response = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.headers["content-type"].startswith("text/plain")
        labels = r'outcome="succeeded",preset="custom",server="\w+"'
        assert re.search(rf"comfy_ui_jobs_ended_total\{{{labels}\}} 1.0", response.text)
        assert "comfy_ui_pages_open 1.0" in response.text
        assert end.items


def test_budgets_of_the_status_are_small() -> None:
    assert all(budget_of("GET", path).total <= 16 for path in STATUS_PATHS)
