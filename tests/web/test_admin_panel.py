"""What admins see of all users: storage, API keys and the log. Others see nothing of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from comfy_ui.admin_settings.storage_limits import StorageLimits
from comfy_ui.logging import configure
from comfy_ui.private_files import FileDocuments
from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.auth.accounts import Role
from comfy_ui.web.auth.api_keys import ApiKeys
from comfy_ui.web.tabs.admin_panel import AdminPanel
from tests.jobs.support import end_of, submit_sleepy
from tests.web.web_app import WebApp, open_web_app

SECRET = "canary-of-the-log"


@pytest.fixture
async def web_app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path) as app:
        yield app


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeys:
    return ApiKeys(FileDocuments(tmp_path))


@pytest.fixture
def admin(web_app: WebApp, keys: ApiKeys, tmp_path: Path) -> httpx.AsyncClient:
    limits = StorageLimits(Settings(), FileDocuments(tmp_path))
    web_app.services.connection = SimpleNamespace(storage_limits=limits)
    access = Access(AccessMode.LOCAL, b"secret", keys=keys)
    page, _ = replace(web_app, access=access).browser(AdminPanel(web_app.services, access))
    return page


async def test_admin_panel_is_refused_to_users(web_app: WebApp, admin: httpx.AsyncClient) -> None:
    user, _ = web_app.browser(AdminPanel(web_app.services, web_app.access))
    for path in ("/admin", "/admin/log", "/admin/log.txt"):
        assert (await admin.get(path)).status_code == 200
        assert (await user.get(path)).is_client_error
    for path in ("/admin/revoke-key", "/admin/storage"):
        assert (await user.post(path, json={})).is_client_error


async def test_admin_sets_and_resets_the_storage_of_a_user(
    web_app: WebApp, admin: httpx.AsyncClient
) -> None:
    _, user_id = web_app.browser()
    await end_of(web_app.service, await submit_sleepy(web_app.service, user_id))
    limits = web_app.services.connection.storage_limits
    for limit_gb, expected in ((2.5, 2_500_000_000), (0, None)):
        new = {"user_id": user_id, "limit_gb": limit_gb}
        html = (await admin.post("/admin/storage", json=new)).json()["html"]
        assert user_id in html
        assert f'value="{limit_gb:g}"' in html
        assert limits.own() == {user_id: expected}
    await admin.post("/admin/storage", json={"user_id": user_id, "limit_gb": None})
    assert limits.own() == {}
    for bad in ({"user_id": "user:nobody", "limit_gb": 1}, {"user_id": user_id, "limit_gb": -1}):
        assert (await admin.post("/admin/storage", json=bad)).is_client_error


async def test_admin_lists_and_revokes_the_keys_of_all_users(
    admin: httpx.AsyncClient, keys: ApiKeys
) -> None:
    key, text = keys.create("vera", "Open WebUI", Role.USER)
    html = (await admin.get("/admin")).json()["html"]
    assert "Open WebUI" in html
    assert "vera" in html
    assert text not in html
    assert key.digest not in html
    html = (await admin.post("/admin/revoke-key", json={"id": key.id})).json()["html"]
    assert "Open WebUI" not in html
    assert keys.listed() == []
    assert (await admin.post("/admin/revoke-key", json={"id": key.id})).is_client_error


async def test_admin_log_is_filtered_continued_and_redacted(admin: httpx.AsyncClient) -> None:
    configure("debug", secrets=[SECRET])
    logger = logging.getLogger("comfy_ui.web")
    logger.info("opened the page with %s", SECRET)
    logger.warning("the server is slow")
    answer = (await admin.get("/admin/log")).json()
    assert [line["level"] for line in answer["lines"]] == ["info", "warning"]
    assert SECRET not in str(answer)
    assert "[redacted]" in answer["lines"][0]["text"]
    logger.error("the server is gone")
    later = (await admin.get("/admin/log", params={"after": answer["last"]})).json()
    assert [line["level"] for line in later["lines"]] == ["error"]
    found = await admin.get("/admin/log.txt", params={"level": "warning", "text": "SERVER IS"})
    assert found.headers["content-disposition"].startswith("attachment")
    assert len(found.text.splitlines()) == 2
    assert (await admin.get("/admin/log", params={"level": "loud"})).status_code == 422
    for number in range(1100):
        logger.debug("line %d", number)
    assert len((await admin.get("/admin/log")).json()["lines"]) == 1000
