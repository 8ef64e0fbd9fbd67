"""Every handler by its number and every route by its path, knocked at by nobody, visitor, owner.

What is found is Gradio's own registry, so a handler or a route that somebody adds is tested too.
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
from tests.security.support import GRADIO, ONLY_OWNERS, Person, handlers, knock, listening

pytestmark = GRADIO


def test_the_table_has_an_answer_for_every_role_action_and_mode() -> None:
    for action, modes in TABLE.items():
        assert set(modes) == set(AccessMode), action
        for mode in AccessMode:
            assert not may(Role.ANONYMOUS, action, mode)
            if may(Role.USER, action, mode):
                assert may(Role.ADMIN, action, mode)
    assert {a for a in TABLE if may(Role.ADMIN, a, AccessMode.LOCAL)} == set(TABLE)
    assert {
        "free_memory",
        "get_models",
        "import_folder",
        "open_workflow",
        "reconnect",
        "see_server",
    } == ONLY_OWNERS


def test_every_handler_is_shut_to_nobody(
    shared: Any, nobody: Person, record_property: Callable[[str, object], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for handler in handlers(shared):
            told = nobody.fire(handler._id, [None] * len(handler.inputs), event_data={})
            assert told == {"msg": "refused", "status": 401}, handler.name
        assert asked.take() == []
    record_property("handlers called as nobody", len(handlers(shared)))


def test_every_handler_asks_before_it_does_anything(
    shared: Any, vera: Person, record_property: Callable[[str, object], None]
) -> None:
    refused = knock(shared, vera)
    assert refused >= {"free_memory", "open_workflow"}
    record_property("handlers called as a visitor", len(handlers(shared)))


def test_the_owner_is_let_in_wherever_the_mode_allows(
    shared: Any, anna: Person, record_property: Callable[[str, object], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for handler in handlers(shared):
            anna.fire(handler._id, [None] * len(handler.inputs), event_data={})
        questions = asked.take()
    assert {action for action, no in questions if no} <= {"import_folder"}
    assert ("free_memory", False) in questions
    record_property("handlers called as an owner", len(handlers(shared)))


def test_only_the_six_endpoints_have_names(shared: Any, vera: Person) -> None:
    told = vera.client.get("/gradio_api/info").json()
    assert set(told["named_endpoints"]) == {f"/{name}" for name in NAMES}
    assert told["unnamed_endpoints"] == {}
    for endpoint in told["named_endpoints"].values():
        assert len(endpoint["description"]) > 40


def paths(page: Any) -> Iterator[tuple[str, str]]:
    """Each method and path of the whole app, with something harmless for its parameters."""
    todo = list(page.app.routes)
    while todo:
        route = todo.pop()
        inner = getattr(route, "original_router", route)
        todo += getattr(inner, "routes", None) or []
        path = re.sub(r"\{[^}]*\}", "1", getattr(route, "path", ""))
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, path


def test_nobody_gets_through_any_route_but_the_login_page(
    shared: Any, nobody: Person, record_property: Callable[[str, object], None]
) -> None:
    tried = 0
    for method, path in paths(shared):
        if not path or door(path) is Role.ANONYMOUS or path == "/alive":
            continue
        status = nobody.client.request(method, path).status_code
        assert status in {401, 404}, (method, path, status)
        tried += 1
    assert tried > 60
    record_property("routes called as nobody", tried)


def test_routes_that_the_page_does_not_need_are_shut_to_everybody(
    shared: Any, anna: Person
) -> None:
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


def our_routes(page: Any) -> Iterator[tuple[str, str]]:
    """Each method and path that was added to Gradio's; manifest and icons are everybody's."""
    gate = next(m for m in page.app.user_middleware if m.cls.__name__ == "AccessMiddleware")
    for route in gate.kwargs["ours"]:
        if door(route.path) is not Role.ANONYMOUS:
            for method in route.methods - {"HEAD"}:
                yield method, re.sub(r"\{[^}]*\}", "1", route.path)


def test_our_own_routes_ask_too(shared: Any, vera: Person) -> None:
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for method, path in our_routes(shared):
            # Streamed, because some are streams without an end.
            with vera.client.stream(method, path, content=b"{}") as answer:
                assert answer.status_code < 500, (method, path)
                next(answer.iter_raw(), b"")
            assert asked.take(), (method, path)


def test_our_own_routes_are_shut_to_nobody_and_to_other_sites(
    shared: Any, nobody: Person, vera: Person, record_property: Callable[[str, object], None]
) -> None:
    writing = 0
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for method, path in our_routes(shared):
            assert nobody.client.request(method, path).status_code == 401, (method, path)
            if method == "POST":
                writing += 1
                for site in ("cross-site", "same-site"):
                    headers = {"sec-fetch-site": site}
                    answer = vera.client.post(path, content=b"{}", headers=headers)
                    assert answer.status_code == 403, path
        assert asked.take() == []
    assert writing >= 8
    record_property("requests of other sites refused", 2 * writing)


def test_no_other_site_reads_anything_with_somebodys_login(
    shared: Any, vera: Person, record_property: Callable[[str, object], None]
) -> None:
    """Under any name but localhost Gradio lets every site read every answer, credentials included,
    and its cookie goes along from every site.
    """
    tried = 0
    for host in ("gpu.example:7860", "demo.gradio.live"):
        for origin in ("https://evil.example", "null", "http://localhost:1", f"https://x.{host}"):
            headers = {"host": host, "origin": origin}
            for path in {path for method, path in paths(shared) if path and method == "GET"}:
                assert vera.client.get(path, headers=headers).status_code == 403, (path, headers)
                tried += 1
        mine = {"host": host, "origin": f"https://{host}"}
        assert vera.client.get("/config", headers=mine).status_code == 200
    record_property("readings by other sites refused", tried)


def test_the_login_page_shows_nothing_of_the_app(nobody: Person) -> None:
    answer = nobody.client.get("/", headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert '"auth_required":true' in answer.text.replace(" ", "")
    for inside in ('"dependencies":[{', "elem_id"):
        assert inside not in answer.text
    assert set(OPEN) >= {"/", "/login"}
