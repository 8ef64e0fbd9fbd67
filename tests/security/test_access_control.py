"""Access control: every handler by its number and every route by its path, for each role.

Both are taken from Gradio's registry, so that new handlers and routes are tested too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfy_ui.web.api.program_endpoints import NAMES
from comfy_ui.web.auth.access import TABLE, AccessMode, may
from comfy_ui.web.auth.accounts import Role
from comfy_ui.web.http.middleware import OPEN, door
from comfy_ui.web.http.request_budgets import DEFAULT, budget_of
from comfy_ui.web.operations.status_routes import STATUS_PATHS
from comfy_ui.web.share_link import ALIVE_PATH
from comfy_ui.web.tabs.account_panel import INVITATION_PATH
from tests.security.support import (
    ADMIN_ACTIONS,
    GRADIO,
    PageClient,
    call_every_handler,
    handlers,
    record_access_checks,
)

pytestmark = GRADIO
STATUS = dict(zip(STATUS_PATHS, (200, 200, 404), strict=True))  # there is no token for metrics
PUBLIC = {ALIVE_PATH, INVITATION_PATH, *STATUS}
"""Own routes that need no login."""


def test_access_table_covers_every_role_action_and_mode() -> None:
    for action, modes in TABLE.items():
        assert set(modes) == set(AccessMode), action
        for mode in AccessMode:
            assert not may(Role.ANONYMOUS, action, mode)
            if may(Role.USER, action, mode):
                assert may(Role.ADMIN, action, mode)
    assert {a for a in TABLE if may(Role.ADMIN, a, AccessMode.LOCAL)} == set(TABLE)
    assert {
        "change_settings",
        "free_memory",
        "get_models",
        "import_folder",
        "manage_users",
        "open_workflow",
        "pause_all",
        "reconnect",
        "see_server",
        "set_up_engine",
        "spend",
    } == ADMIN_ACTIONS


def test_handlers_as_guest_are_401(
    shared: Any, guest: PageClient, record_property: Callable[[str, object], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        for handler in handlers(shared):
            result = guest.fire(handler._id, [None] * len(handler.inputs), event_data={})
            assert result == {"msg": "refused", "status": 401}, handler.name
        assert checks.take() == []
    record_property("handlers called as a guest", len(handlers(shared)))


def test_handlers_as_user_check_access_first(
    shared: Any, vera: PageClient, record_property: Callable[[str, object], None]
) -> None:
    refused = call_every_handler(shared, vera)
    assert refused >= {"free_memory", "open_workflow"}
    record_property("handlers called as a user", len(handlers(shared)))


def test_handlers_as_admin_are_allowed_by_mode(
    shared: Any, anna: PageClient, record_property: Callable[[str, object], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        for handler in handlers(shared):
            anna.fire(handler._id, [None] * len(handler.inputs), event_data={})
        recorded = checks.take()
    assert {action for action, no in recorded if no} <= {"import_folder"}
    assert ("free_memory", False) in recorded
    record_property("handlers called as an admin", len(handlers(shared)))


def test_api_info_names_exactly_the_program_endpoints(shared: Any, vera: PageClient) -> None:
    info = vera.client.get("/gradio_api/info").json()
    assert set(info["named_endpoints"]) == {f"/{name}" for name in NAMES}
    assert info["unnamed_endpoints"] == {}
    for endpoint in info["named_endpoints"].values():
        assert len(endpoint["description"]) > 40


def paths(page: Any) -> Iterator[tuple[str, str]]:
    """Yield each method and path of the app, with harmless path parameters."""
    todo = list(page.app.routes)
    while todo:
        route = todo.pop()
        inner = getattr(route, "original_router", route)
        todo += getattr(inner, "routes", None) or []
        path = re.sub(r"\{[^}]*\}", "1", getattr(route, "path", ""))
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, path


def test_routes_as_guest_are_401_except_the_login_page(
    shared: Any, guest: PageClient, record_property: Callable[[str, object], None]
) -> None:
    tried = 0
    for method, path in paths(shared):
        if not path or door(path) is Role.ANONYMOUS or path in PUBLIC:
            continue
        status = guest.client.request(method, path).status_code
        assert status in {401, 404}, (method, path, status)
        tried += 1
    assert tried > 60
    record_property("routes called as a guest", tried)


def test_open_routes_have_a_request_budget(shared: Any) -> None:
    own = set(own_routes(shared))
    tried = [
        (method, path)
        for method, path in paths(shared)
        if path and (door(path) is not None or (method, path) in own or path in PUBLIC)
    ]
    assert len(tried) > 60
    # Gradio has a GET at / only, but its folder routes match every path.
    missing = [each for each in tried if budget_of(*each) is DEFAULT]
    assert not missing


def test_unneeded_routes_are_closed_for_admins_too(shared: Any, anna: PageClient) -> None:
    for path in (
        "/gradio_api/upload",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/x",
        "/gradio_api/proxy=https://x.hf.space",
        "/gradio_api/component_server",
        "/gradio_api/token",
        "/gradio_api/run/generate",
        "/gradio_api/api/generate",
        "/gradio_api/deep_link",
        "/gradio_api/process_recording",
        "/gradio_api/vibe-edit",
        "/gradio_api/mcp/",
        "/gradio_api/stream/x/0/1/playlist.m3u8",
        "/monitoring",
        "/monitoring/summary",
        "/docs",
        "/openapi.json",
    ):
        for method in ("GET", "POST"):
            status = anna.client.request(method, path).status_code
            assert status in {404, 405}, (method, path, status)


def own_routes(page: Any) -> Iterator[tuple[str, str]]:
    """Yield each method and path added to Gradio's, without the public ones."""
    gate = next(m for m in page.app.user_middleware if m.cls.__name__ == "AccessMiddleware")
    for route in gate.kwargs["ours"]:
        if door(route.path) is not Role.ANONYMOUS:
            for method in route.methods - {"HEAD"}:
                yield method, re.sub(r"\{[^}]*\}", "1", route.path)


def test_own_routes_check_access(shared: Any, vera: PageClient) -> None:
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        for method, path in own_routes(shared):
            # Streamed, because some streams are endless.
            with vera.client.stream(method, path, content=b"{}") as answer:
                assert answer.status_code < 500, (method, path)
                next(answer.iter_raw(), b"")
            assert checks.take() or path in PUBLIC, (method, path)


def test_own_routes_refuse_guests_and_other_sites(
    shared: Any, guest: PageClient, vera: PageClient, record_property: Callable[[str, object], None]
) -> None:
    writing = 0
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        for method, path in own_routes(shared):
            expected = STATUS.get(path, 422) if path in PUBLIC else 401
            assert guest.client.request(method, path).status_code == expected, (method, path)
            if method == "POST":
                writing += 1
                for site in ("cross-site", "same-site"):
                    headers = {"sec-fetch-site": site}
                    answer = vera.client.post(path, content=b"{}", headers=headers)
                    assert answer.status_code == 403, path
        assert checks.take() == []
    assert writing >= 8
    record_property("requests of other sites refused", 2 * writing)


def test_routes_with_foreign_origin_are_403_despite_a_login(
    shared: Any, vera: PageClient, record_property: Callable[[str, object], None]
) -> None:
    """Under any host but localhost Gradio lets every site read with the user's cookie."""
    tried = 0
    for host in ("gpu.example:7860", "demo.gradio.live"):
        for origin in ("https://evil.example", "null", "http://localhost:1", f"https://x.{host}"):
            headers = {"host": host, "origin": origin}
            for path in {path for method, path in paths(shared) if path and method == "GET"}:
                assert vera.client.get(path, headers=headers).status_code == 403, (path, headers)
                tried += 1
        mine = {"host": host, "origin": f"https://{host}"}
        assert vera.client.get("/config", headers=mine).status_code == 200
    record_property("reads by other sites refused", tried)


def test_login_page_shows_no_components(guest: PageClient) -> None:
    answer = guest.client.get("/", headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert 'name="password"' in answer.text
    for part in ('"dependencies":[{', "elem_id"):
        assert part not in answer.text
    assert set(OPEN) >= {"/", "/login"}
