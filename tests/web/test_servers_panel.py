"""The list of servers on the page: tested, kept with its credentials, and never showing them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from comfy_ui.demo import DemoServer
from comfy_ui.scale.choose_stores import open_documents
from comfy_ui.settings import load_settings
from comfy_ui.web.admin import saved_servers
from comfy_ui.web.admin.servers_panel import ServersPanel
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.auth.accounts import Role
from comfy_ui.web.server_choice import ServerChoice, configured
from comfy_ui.web.services import Services
from tests.client.support import ScriptedServer, response
from tests.scale.postgres_server import new_database

OFFLINE = "http://127.0.0.1:9"
SECRETS = {"token": "canary-token", "password": "canary-password", "headers": "X-Key: canary-key"}


@dataclass
class Panel:
    services: Services
    access: Access
    page: httpx.AsyncClient

    async def post(self, action: str, **form: object) -> httpx.Response:
        return await self.page.post(f"/admin/servers/{action}", json=form)

    @property
    def clients(self) -> list[Any]:
        return [client._server for client in self.services.connection.clients]


@asynccontextmanager
async def panel_of(
    folder: Path, choice: ServerChoice | None = None, **settings: Any
) -> AsyncIterator[Panel]:
    loaded = load_settings(data_dir=folder, demo_speed="instant", **settings)
    services = Services.create(loaded, choice or configured([OFFLINE]), open_documents(loaded))
    mode = AccessMode.SHARED if settings.get("host") else AccessMode.LOCAL
    access = Access(mode, b"secret")
    app = Starlette(routes=ServersPanel(services, access).routes())
    app.auth = None  # type: ignore[attr-defined]
    services.connection.start_engine()
    await services.connection.open()
    cookies = {COOKIE: access.new_cookie()}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://page", cookies=cookies
    ) as page:
        yield Panel(services, access, page)
    await services.connection.aclose()
    services.connection.stop_engine()
    services.documents.close()


@pytest.fixture(scope="module")
def engine() -> Any:
    with DemoServer(speed="instant").in_thread() as server:
        yield server


async def test_servers_are_for_admins(tmp_path: Path) -> None:
    async with panel_of(tmp_path, host="0.0.0.0") as panel:
        assert (await panel.page.get("/admin/servers")).is_client_error
        for action in ("test", "save", "remove"):
            answer = await panel.post(action, address=OFFLINE, id="x")
            assert "Only admins" in answer.text


async def test_server_is_tested_before_it_is_saved(tmp_path: Path, engine: Any) -> None:
    async with panel_of(tmp_path) as panel:
        answer = await panel.post("test", address=engine.url)
        assert answer.json()["text"].startswith("Online: ComfyUI 0.")
        refused = await panel.post("test", address=OFFLINE)
        assert "Check the address" in refused.json()["error"]
        assert (await panel.post("test", address="ftp://x")).status_code == 422
        assert panel.services.saved_servers.listed() == ()


async def test_added_server_serves_with_its_credentials_also_after_a_restart(
    tmp_path: Path, engine: Any
) -> None:
    async with panel_of(tmp_path) as panel:
        form = {"address": engine.url, "name": "Big GPU", "parallel_jobs": 3, "username": "me"}
        answer = await panel.post("save", **form, **SECRETS)
        html = answer.json()["html"]
        assert "Big GPU" in html
        assert "x-key" in html
        assert 'placeholder="Set"' in html
        assert "canary" not in html
        assert [server.address.base_url for server in panel.clients] == [OFFLINE, engine.url]
    assert (tmp_path / "servers.json").stat().st_mode & 0o077 == 0
    async with panel_of(tmp_path) as panel:
        added = panel.clients[1]
        assert added.address.parallel_jobs == 3
        assert added.headers["authorization"] == "Basic bWU6Y2FuYXJ5LXBhc3N3b3Jk"
        assert added.headers["x-key"] == "canary-key"
        assert "canary" not in (await panel.page.get("/admin/servers")).text
        assert "canary" not in repr(panel.services.saved_servers.listed())
        configured_server = panel.clients[0]
        assert "authorization" not in configured_server.headers


async def test_edited_server_keeps_its_secrets_only_at_the_same_address(
    tmp_path: Path,
) -> None:
    with (
        ScriptedServer(lambda _: response(status=401)) as first,
        ScriptedServer(lambda _: response(status=401)) as second,
    ):
        async with panel_of(tmp_path) as panel:
            await panel.post("save", address=first.url, token="canary-token")
            (saved,) = panel.services.saved_servers.listed()
            await panel.post("save", id=saved.id, address=first.url, name="Renamed")
            (renamed,) = panel.services.saved_servers.listed()
            assert (renamed.name, renamed.token) == ("Renamed", "canary-token")
            await panel.post("test", id=saved.id, address=second.url)
            assert second.requests
            assert "canary" not in str([request.headers for request in second.requests])
            await panel.post("save", id=saved.id, address=first.url, token="")
            assert panel.services.saved_servers.listed()[0].token == ""


async def test_removed_server_gives_its_place_back_to_the_demo_engine(
    tmp_path: Path, engine: Any
) -> None:
    async with panel_of(tmp_path, ServerChoice("embedded")) as panel:
        assert panel.services.connection.embedded
        await panel.post("save", address=engine.url)
        assert [server.address.base_url for server in panel.clients] == [engine.url]
        (saved,) = panel.services.saved_servers.listed()
        answer = await panel.post("save", address=engine.url)
        assert "in the list already" in answer.json()["error"]
        await panel.post("remove", id=saved.id)
        assert panel.services.connection.embedded
        assert (await panel.services.connection.refresh())[0].online
    async with panel_of(tmp_path, ServerChoice("embedded")) as panel:
        assert panel.services.connection.embedded


async def test_servers_changed_at_one_app_are_used_by_the_others(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any
) -> None:
    monkeypatch.setattr(saved_servers, "_CHECK_EVERY_S", 0.05)

    async def used(panel: Panel, *urls: str) -> None:
        async with asyncio.timeout(30):
            while True:
                if [server.address.base_url for server in panel.clients] == [*urls]:
                    return
                await asyncio.sleep(0.02)

    async with new_database() as url:
        shared = {"database": url, "workers": "external"}
        async with panel_of(tmp_path, **shared) as one, panel_of(tmp_path, **shared) as other:
            connection = other.services.connection
            follow = asyncio.create_task(
                other.services.saved_servers.keep_current(connection.use_saved)
            )
            await used(other, OFFLINE)
            client = connection.client
            await one.post("save", address=engine.url, **SECRETS)
            await used(other, OFFLINE, engine.url)
            assert other.clients[1].headers["x-key"] == "canary-key"
            assert connection.client is not client
            assert (await connection.refresh())[0].error
            client = connection.client
            (saved,) = one.services.saved_servers.listed()
            await connection.use_saved()
            assert connection.client is client, "nothing had changed"
            await one.post("remove", id=saved.id)
            await used(other, OFFLINE)
            follow.cancel()


async def test_servers_of_a_shared_page_are_guarded_and_tell_nothing_of_the_network(
    tmp_path: Path, engine: Any
) -> None:
    async with panel_of(tmp_path, host="0.0.0.0") as panel:
        panel.access.role = lambda _: Role.ADMIN  # type: ignore[method-assign]
        errors = set()
        for address in ("http://169.254.169.254", OFFLINE):
            answer = await panel.post("test", address=address)
            errors.add(answer.json()["error"].replace(address, "X"))
        assert len(errors) == 1
        await panel.post("save", address="http://169.254.169.254")
        assert [server.guarded for server in panel.clients] == [False, True]


async def test_saved_server_stays_beside_a_typed_address_and_the_managed_comfyui(
    tmp_path: Path, engine: Any
) -> None:
    with DemoServer(speed="instant").in_thread() as other:
        async with panel_of(tmp_path) as panel:
            connection = panel.services.connection
            await panel.post("save", address=engine.url)
            for switch in (connection.reconnect, connection.use_managed):
                await switch(other.url)
                assert [client.url for client in connection.clients] == [other.url, engine.url]
                # Its address typed, too: once. It comes back with the next switch.
                await connection.reconnect(engine.url)
                assert [client.url for client in connection.clients] == [engine.url]


async def test_managed_comfyui_that_cannot_start_leaves_the_jobs_to_the_saved_servers(
    tmp_path: Path, engine: Any
) -> None:
    async with panel_of(tmp_path) as panel:
        await panel.post("save", address=engine.url)
    async with panel_of(tmp_path, ServerChoice("managed")) as panel:  # nothing is installed
        assert [client.url for client in panel.services.connection.clients] == [engine.url]
        assert not panel.services.connection.embedded


async def test_test_of_an_offline_server_asks_it_each_time(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: response(status=500)) as stopped:
        address = stopped.url
    async with panel_of(tmp_path) as panel:
        for _ in range(8):
            answer = await panel.post("test", address=address)
            assert "Check the address" in answer.json()["error"]
            assert "etrying" not in answer.text


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"address": ""}, "address is empty"),
        ({"address": f"{OFFLINE}/"}, "in the list already"),
        ({"address": OFFLINE, "headers": "no colon"}, "Name: value"),
        ({"address": OFFLINE, "parallel_jobs": 0}, "parallel_jobs"),
        ({"address": "http://other:1", "id": "nothing"}, "no such server"),
    ],
)
async def test_bad_server_is_refused_and_not_saved(
    tmp_path: Path, form: dict[str, Any], reason: str
) -> None:
    async with panel_of(tmp_path) as panel:
        answer = await panel.post("save", **form)
        assert answer.status_code == 422
        assert reason in answer.json()["error"]
        assert panel.services.saved_servers.listed() == ()
