"""Adding a tab takes its class and its place in ``TABS``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient

from comfy_ui.settings import Settings
from comfy_ui.web import page
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.components.html_block import html_block
from comfy_ui.web.http.handlers import guarded
from comfy_ui.web.server_choice import ServerChoice
from comfy_ui.web.services import Services
from comfy_ui.web.tab import LoadHandlers, PageContext, PageParts, Tab


class CountersTab(Tab):
    """A contributed tab: an id, a title, components and routes."""

    id = "counters"
    title = "Counters"

    @property
    def visible(self) -> bool:
        return self._access.allows("see_server")

    def build(self, _: PageParts, /) -> None:
        html_block("<p>0</p>", elem_id="counters")

    def routes(self) -> list[BaseRoute]:
        return [Route("/counters", guarded(self._counters))]

    async def _counters(self, request: Request) -> Response:
        self._access.require("see_server", request)
        return JSONResponse({"mode": str(self._access.mode)})


@pytest.fixture(autouse=True)
def counters_tab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "TABS", (*page.TABS, CountersTab))


def page_in(mode: AccessMode, folder: Path) -> tuple[page.Page, Access]:
    services = Services.create(Settings(data_dir=folder), ServerChoice("embedded"))
    access = Access(mode, b"secret")
    return page.Page(PageContext.create(services, access)), access


def components(built_page: page.Page) -> list[dict[str, Any]]:
    async def build() -> Any:  # Gradio leaves event loops open where it is built outside of one
        return built_page.build()

    return list(asyncio.run(build()).config["components"])


def browser(built_page: page.Page, access: Access) -> TestClient:
    app = Starlette(routes=built_page.routes())
    app.auth = None  # type: ignore[attr-defined]
    return TestClient(app, cookies={COOKIE: access.new_cookie()})


def test_tabs_added_class_is_shown_after_the_others(tmp_path: Path) -> None:
    built_page, _ = page_in(AccessMode.LOCAL, tmp_path)
    parts = components(built_page)
    shown = [part["props"]["label"] for part in parts if part["type"] == "tabitem"]
    assert shown == ["Create", "Workflows", "Library", "Queue", "Status", "Counters"]
    assert any(part["props"].get("elem_id") == "counters" for part in parts)


def test_tabs_each_class_has_one_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instances: list[str] = []
    init = Tab.__init__

    def counted(self: Tab, context: PageContext) -> None:
        instances.append(self.id)
        init(self, context)

    monkeypatch.setattr(Tab, "__init__", counted)
    built_page, _ = page_in(AccessMode.LOCAL, tmp_path)
    components(built_page)
    built_page.routes()
    assert instances == [tab.id for tab in page.TABS]


def test_tabs_added_route_answers_an_admin(tmp_path: Path) -> None:
    built_page, access = page_in(AccessMode.LOCAL, tmp_path)
    assert browser(built_page, access).get("/counters").json() == {"mode": "local"}


def test_tabs_added_class_follows_the_access_rules(tmp_path: Path) -> None:
    built_page, access = page_in(AccessMode.SHARED, tmp_path)
    (shown,) = [
        part["props"]["visible"]
        for part in components(built_page)
        if part["type"] == "tabitem" and part["props"]["label"] == "Counters"
    ]
    assert shown is False
    assert browser(built_page, access).get("/counters").status_code == 422


def test_page_opened_starts_no_event_of_gradio_on_the_server(tmp_path: Path) -> None:
    built_page, _ = page_in(AccessMode.SHARED, tmp_path)

    async def build() -> Any:
        return built_page.build().config["dependencies"]

    loads = [one for one in asyncio.run(build()) if "load" in dict(one["targets"]).values()]
    assert [one["backend_fn"] for one in loads] == [False, False]


def test_load_handlers_route_returns_an_update_for_each_output() -> None:
    async def text(_: Request) -> str:
        return "<p>ready</p>"

    on_load = LoadHandlers()
    on_load.add(text, object())
    on_load.add(lambda _: gr.update(visible=False), object())
    client = TestClient(Starlette(routes=[on_load.route()]))
    updates = client.post("/page", json={}).json()
    assert updates == ["<p>ready</p>", {"__type__": "update", "visible": False}]
    assert client.post("/page", headers={"sec-fetch-site": "cross-site"}).status_code == 403
