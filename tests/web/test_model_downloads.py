"""Missing models on the page: who may fetch them, and only what the server itself knows of."""

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


def lacking(*models: MissingModel) -> list[Problem]:
    return [Problem("missing_model", m.filename, extra={"model": m}) for m in models]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Any]:
    downloads = DownloadQueue(ModelSources(frozenset({"nowhere.invalid"})), pause_s=0.01)
    opened = SimpleNamespace(problems=lacking(MODEL, CODE))
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


async def test_a_visitor_sees_and_starts_nothing(services: Any) -> None:
    async with browser(services, AccessMode.SHARED) as visitor:
        answers = [
            await visitor.get("/downloads"),
            await visitor.post("/downloads/start", json={"form": "needy"}),
            await visitor.post("/downloads/stop", json={"id": "vae/a.safetensors"}),
        ]
    assert [answer.status_code for answer in answers] == [422] * 3
    assert services.downloads.listed == ()


async def test_the_owner_starts_what_can_be_fetched_and_sees_what_became_of_it(
    services: Any,
) -> None:
    async with browser(services, AccessMode.LOCAL) as user_id:
        assert (await user_id.get("/downloads")).json() == {"html": "", "active": False, "done": 0}
        told = (await user_id.post("/downloads/start", json={"form": "needy"})).json()
        assert told["active"]
        assert "a.safetensors" in told["html"]
        assert "b.pth" not in told["html"]
        await services.downloads.settle()
        told = (await user_id.get("/downloads")).json()
    assert not told["active"]
    assert "did not arrive" in told["html"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"form": "needy", "file": "b.pth"}, "can run code"),
        ({"form": "needy", "file": "https://evil.invalid/x"}, "Nothing is missing anymore"),
        ({"form": "elsewhere"}, "Nothing is missing anymore"),
        ({"url": "https://evil.invalid/x"}, "not understood"),
    ],
)
async def test_only_what_is_known_to_be_missing_can_be_asked_for(
    services: Any, asked: dict[str, str], told: str
) -> None:
    async with browser(services, AccessMode.LOCAL) as user_id:
        answer = await user_id.post("/downloads/start", json=asked)
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert services.downloads.listed == ()


def test_each_state_is_told_in_words() -> None:
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


def test_buttons_stand_only_where_a_file_can_be_put(tmp_path: Path) -> None:
    other = MissingModel("vae", "c.safetensors", "https://nowhere.invalid/c.safetensors")
    problems = lacking(MODEL, CODE, other)
    assert "fetch-models" not in needs(problems)
    assert "fetch-models" not in needs(problems, DownloadableFile("needy", ModelFolders()))
    told = needs(problems, DownloadableFile("needy", ModelFolders(base=tmp_path)))
    assert told.count("fetch-models") == 3  # two files, and both at once
    assert 'data-file="b.pth"' not in told
