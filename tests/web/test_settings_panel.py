"""Settings that admins change on the page: each takes effect, and the environment wins."""

from __future__ import annotations

import logging as stdlib_logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from comfy_ui import logging, telemetry
from comfy_ui.admin_settings.changed_settings import ChangedSettings, is_secret
from comfy_ui.errors import ModelDownloadError
from comfy_ui.private_files import FileDocuments
from comfy_ui.prompts import find_model
from comfy_ui.settings import CHANGEABLE, Settings, load_settings
from comfy_ui.web.admin.settings_panel import SettingsPanel
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.auth.accounts import Role
from comfy_ui.web.openai.cors import CorsMiddleware
from comfy_ui.web.page import Page
from comfy_ui.web.server_choice import configured
from comfy_ui.web.services import Services
from comfy_ui.web.tab import PageContext

SERVER = "https://127.0.0.1:9"
CANARY = "canary-of-a-setting"


@dataclass
class Panel:
    services: Services
    access: Access
    page: httpx.AsyncClient

    async def change(self, name: str, value: object) -> httpx.Response:
        return await self.page.post("/admin/settings", json={"name": name, "value": value})

    async def html(self) -> str:
        return str((await self.page.get("/admin/settings")).json()["html"])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HF_TOKEN", "COMFYUI_TOKEN", "COMFYUI_URL"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def panel_of(folder: Path, mode: AccessMode = AccessMode.LOCAL) -> AsyncIterator[Panel]:
    settings = load_settings(data_dir=folder, comfyui_url=SERVER)
    services = Services.create(settings, configured([SERVER]))
    access = Access(mode, b"secret")
    app = Starlette(routes=SettingsPanel(services, access).routes())
    app.auth = None  # type: ignore[attr-defined]
    await services.connection.open()
    transport = httpx.ASGITransport(app)
    cookies = {COOKIE: access.new_cookie()}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://page", cookies=cookies
    ) as page:
        yield Panel(services, access, page)
    await services.connection.aclose()


@pytest.fixture
async def panel(tmp_path: Path) -> AsyncIterator[Panel]:
    async with panel_of(tmp_path) as opened:
        yield opened


def guest_may_spend(panel: Panel) -> bool:
    access = Access(AccessMode.SHARED, b"s", users_spend=panel.access.users_spend)
    app = type("App", (), {"auth": None, "tokens": {}, "cookie_id": "c"})
    return access.allows(
        "spend", Request({"type": "http", "headers": [], "client": None, "app": app})
    )


def downloads_from(panel: Panel) -> bool:
    try:
        panel.services.downloads.sources.check("https://models.example/a.safetensors")
    except ModelDownloadError:
        return False
    return True


async def allowed_origin(panel: Panel) -> str | None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("a preflight ends in the middleware")

    settings = panel.services.settings
    transport = httpx.ASGITransport(CorsMiddleware(app, lambda: settings.allowed_origins))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        try:
            answer = await client.options("/v1/models", headers={"Origin": "https://tool.example"})
        except AssertionError:
            return None
        return answer.headers.get("access-control-allow-origin")


def private_webhook_hosts(panel: Panel) -> tuple[str, ...]:
    page = Page(PageContext.create(panel.services, panel.access))
    return tuple(page._webhook_sender()._private_hosts())


def log_level(panel: Panel) -> int:
    return stdlib_logging.getLogger("comfy_ui").handlers[0].level


def server(panel: Panel) -> Any:
    return panel.services.client._server


def model(panel: Panel) -> Any:
    return find_model(settings=panel.services.settings)


EFFECTS: dict[str, tuple[object, Callable[[Panel], Any], object]] = {
    "paid_runs": ("users", guest_may_spend, True),
    "storage_gb": (2.5, lambda p: p.services.connection.storage_limits("user:x"), 2_500_000_000),
    "timeout_s": (12, lambda p: server(p).timeout_s, 12.0),
    "verify_tls": (False, lambda p: server(p).tls.verify_mode, ssl.CERT_NONE),
    "comfyui_token": (CANARY, lambda p: server(p).headers.get("authorization"), f"Bearer {CANARY}"),
    "api_key_comfy_org": (CANARY, lambda p: server(p).partner_key, CANARY),
    "openai_base_url": ("http://llm/v1", lambda p: (m := model(p)) and m.base_url, "http://llm/v1"),
    "openai_api_key": (CANARY, lambda p: (m := model(p)) and m.api_key, CANARY),
    "llm_model": ("qwen9", lambda p: p.services.settings.llm_model, "qwen9"),
    "llm_shares_gpu": (True, lambda p: p.services.settings.llm_shares_gpu, True),
    "cors_origins": ("https://tool.example", allowed_origin, "https://tool.example"),
    "webhook_hosts": ("n8n.lan", private_webhook_hosts, ("n8n.lan",)),
    "download_hosts": ("models.example", downloads_from, True),
    "hf_token": (
        CANARY,
        lambda p: p.services.downloads.sources.headers("https://huggingface.co/a").get(
            "authorization"
        ),
        f"Bearer {CANARY}",
    ),
    "log_level": ("error", log_level, stdlib_logging.ERROR),
    "trace_prompts": (True, lambda _: telemetry.records_prompts(), True),
}


async def read(effect: Callable[[Panel], Any], panel: Panel) -> Any:
    found = effect(panel)
    return await found if hasattr(found, "__await__") else found


def test_every_changeable_setting_has_an_effect_to_test() -> None:
    assert list(EFFECTS) == list(CHANGEABLE)


@pytest.mark.parametrize("name", CHANGEABLE)
async def test_changed_setting_takes_effect_is_kept_and_can_be_reset(
    name: str, panel: Panel, tmp_path: Path
) -> None:
    logging.configure("warning")
    value, effect, expected = EFFECTS[name]
    before = await read(effect, panel)
    assert before != expected
    answer = await panel.change(name, value)
    assert answer.status_code == 200, answer.text
    assert await read(effect, panel) == expected
    assert CANARY not in answer.text + await panel.html()
    fresh = load_settings(data_dir=tmp_path)
    assert ChangedSettings(fresh, FileDocuments(tmp_path)).source(name) == "page"
    kept = getattr(fresh, name)
    assert (kept.get_secret_value() if is_secret(name) else kept) == value
    assert (tmp_path / "settings.json").stat().st_mode & 0o077 == 0
    assert (await panel.change(name, None)).status_code == 200
    assert await read(effect, panel) == before
    assert (
        ChangedSettings(load_settings(data_dir=tmp_path), FileDocuments(tmp_path)).source(name)
        == "default"
    )


async def test_setting_of_the_environment_wins_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ChangedSettings(load_settings(data_dir=tmp_path), FileDocuments(tmp_path)).change(
        "storage_gb", 5, user_id="local"
    )
    monkeypatch.setenv("COMFY_UI_STORAGE_GB", "7")
    async with panel_of(tmp_path) as panel:
        assert panel.services.settings.storage_gb == 7
        html = await panel.html()
        assert "Set by COMFY_UI_STORAGE_GB" in html
        answer = await panel.change("storage_gb", 6)
        assert answer.status_code == 422
        assert "environment" in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("timeout_s", 0, "greater than 0"),
        ("storage_gb", "many", "valid number"),
        ("paid_runs", "everyone", "'admins' or 'users'"),
        ("openai_base_url", "ftp://x", "http"),
        ("hf_token", "two\nlines", "one line"),
        ("port", 1, "restart"),
        ("nothing", 1, "restart"),
    ],
)
async def test_invalid_setting_is_refused_with_the_reason(
    name: str, value: object, reason: str, panel: Panel, tmp_path: Path
) -> None:
    answer = await panel.change(name, value)
    assert answer.status_code == 422
    assert reason in answer.json()["error"]
    assert not (tmp_path / "settings.json").exists()


async def test_settings_are_for_admins_and_network_ones_for_local_mode(tmp_path: Path) -> None:
    async with panel_of(tmp_path, AccessMode.SHARED) as panel:
        assert (await panel.page.get("/admin/settings")).is_client_error
        assert (await panel.change("storage_gb", 5)).is_client_error
        panel.access.role = lambda _: Role.ADMIN  # type: ignore[method-assign]
        assert (await panel.change("storage_gb", 5)).status_code == 200
        for name, value in (("openai_base_url", "http://169.254.169.254/"), ("verify_tls", False)):
            answer = await panel.change(name, value)
            assert "local mode only" in answer.json()["error"]


async def test_settings_list_all_others_as_needing_a_restart(panel: Panel) -> None:
    html = await panel.html()
    assert "Need a restart" in html
    assert html.count('data-form="setting"') == len(CHANGEABLE)
    assert html.count("<dt><code>") == len(Settings.model_fields) - len(CHANGEABLE)


async def test_history_says_who_changed_what_and_hides_secrets(panel: Panel) -> None:
    await panel.change("storage_gb", 5)
    await panel.change("hf_token", CANARY)
    answer = (await panel.change("storage_gb", None)).json()
    assert answer["history"].count('class="row change"') == 3
    assert CANARY not in answer["history"]
    changes = panel.services.changed_settings.history()
    assert [(c.name, c.value) for c in changes] == [
        ("storage_gb", None),
        ("hf_token", ""),
        ("storage_gb", "5.0"),
    ]
    assert {change.user_id for change in changes} == {"local"}


def test_change_by_another_process_is_followed(tmp_path: Path) -> None:
    here = ChangedSettings(load_settings(data_dir=tmp_path), FileDocuments(tmp_path))
    there = ChangedSettings(load_settings(data_dir=tmp_path), FileDocuments(tmp_path))
    there.change("paid_runs", "users", user_id="local")
    assert here.follow_file() == {"paid_runs"}
    assert here.settings.paid_runs == "users"
    assert here.follow_file() == frozenset()
