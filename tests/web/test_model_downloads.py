"""Model downloads on the page: admins only, and only files reported as missing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from comfy_ui.errors import MissingModel, Problem
from comfy_ui.models.download import ModelSources
from comfy_ui.models.download_queue import DownloadQueue, DownloadState, ModelDownload
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.storage.records import JobError
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.components.workflow_report import DownloadableFile, needs
from comfy_ui.web.tabs.model_downloads import ModelDownloads, panel

MODEL = MissingModel("vae", "a.safetensors", "https://nowhere.invalid/a.safetensors", 2_000_000)
CODE = MissingModel("vae", "b.pth", "https://nowhere.invalid/b.pth")


def missing(*models: MissingModel) -> list[Problem]:
    return [Problem("missing_model", m.filename, extra={"model": m}) for m in models]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Any]:
    downloads = DownloadQueue(ModelSources(frozenset({"nowhere.invalid"})), pause_s=0.01)
    opened = SimpleNamespace(problems=missing(MODEL, CODE))
    yield SimpleNamespace(
        downloads=downloads,
        connection=SimpleNamespace(model_folders=ModelFolders(base=tmp_path)),
        open_workflows=SimpleNamespace(find=lambda name: opened if name == "needy" else None),
        catalog=SimpleNamespace(entry=lambda _: SimpleNamespace(preset=SimpleNamespace(id="x"))),
    )
    await downloads.aclose()


def browser(services: Any, mode: AccessMode) -> httpx.AsyncClient:
    app = Starlette(routes=ModelDownloads(services, Access(mode, b"secret")).routes())
    app.auth = None  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


async def test_model_downloads_by_user_is_refused(services: Any) -> None:
    async with browser(services, AccessMode.SHARED) as page:
        answers = [
            await page.get("/downloads"),
            await page.post("/downloads/start", json={"form": "needy"}),
            await page.post("/downloads/stop", json={"id": "vae/a.safetensors"}),
            await page.post("/downloads/pause", json={"id": "vae/a.safetensors"}),
            await page.post("/downloads/resume", json={"id": "vae/a.safetensors"}),
        ]
    assert [answer.status_code for answer in answers] == [422] * 5
    assert services.downloads.listed == ()


async def test_model_downloads_pause_and_resume_by_admin(services: Any) -> None:
    async with browser(services, AccessMode.LOCAL) as page:
        await page.post("/downloads/start", json={"form": "needy"})
        one = {"id": "vae/a.safetensors"}
        state = (await page.post("/downloads/pause", json=one)).json()
        assert not state["active"]
        assert "paused at nothing yet" in state["html"]
        assert 'data-do="resume-download"' in state["html"]
        state = (await page.post("/downloads/resume", json=one)).json()
        assert state["active"]
        assert 'data-do="pause-download"' in state["html"]


async def test_model_downloads_by_admin_starts_and_reports_failure(
    services: Any,
) -> None:
    async with browser(services, AccessMode.LOCAL) as page:
        assert (await page.get("/downloads")).json() == {"html": "", "active": False, "done": 0}
        state = (await page.post("/downloads/start", json={"form": "needy"})).json()
        assert state["active"]
        assert "a.safetensors" in state["html"]
        assert "b.pth" not in state["html"]
        await services.downloads.settle()
        state = (await page.get("/downloads")).json()
    assert not state["active"]
    assert "did not arrive" in state["html"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"form": "needy", "file": "b.pth"}, "can run code"),
        ({"form": "needy", "file": "https://evil.invalid/x"}, "Nothing is missing anymore"),
        ({"form": "elsewhere"}, "Nothing is missing anymore"),
        ({"url": "https://evil.invalid/x"}, "not understood"),
    ],
)
async def test_model_downloads_start_of_unlisted_file_is_refused(
    services: Any, body: dict[str, str], message: str
) -> None:
    async with browser(services, AccessMode.LOCAL) as page:
        answer = await page.post("/downloads/start", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert services.downloads.listed == ()


def test_downloads_panel_describes_each_state() -> None:
    def shown(state: DownloadState, **more: Any) -> str:
        text = panel([ModelDownload(MODEL, Path("x"), state, **more)])
        return re.sub(r"<[^>]+>", " ", text)

    half = {"received_bytes": 1_000_000, "total_bytes": 2_000_000}
    assert "waiting for the previous download" in shown(DownloadState.WAITING)
    running = shown(DownloadState.RUNNING, **half, bytes_per_s=500_000.0)
    assert "1.0 MB of 2.0 MB, 500 kB/s, 2 s left" in running
    assert "found in models/vae" in shown(DownloadState.DONE, **half)
    assert "stopped at 1.0 MB of 2.0 MB" in shown(DownloadState.CANCELLED, **half)
    failed = shown(DownloadState.FAILED, **half, error=JobError("It <b>broke</b>.", "Try again."))
    assert "It &lt;b&gt;broke&lt;/b&gt;." in failed


def test_requirements_offer_download_only_with_a_model_folder(tmp_path: Path) -> None:
    other = MissingModel("vae", "c.safetensors", "https://nowhere.invalid/c.safetensors")
    problems = missing(MODEL, CODE, other)
    assert "fetch-models" not in needs(problems)
    assert "fetch-models" not in needs(problems, DownloadableFile("needy", ModelFolders()))
    html = needs(problems, DownloadableFile("needy", ModelFolders(base=tmp_path)))
    assert html.count("fetch-models") == 3  # two files, and both at once
    assert 'data-file="b.pth"' not in html
