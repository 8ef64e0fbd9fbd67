"""The app on one's own machine: open to whoever sits at it, and to nobody else, door by door.

Each handler of Gradio's registry and each route is called as the person at the machine, as somebody
whose request a proxy passed on, under another name of the machine, and by another site.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfy_ui.web.auth.access import Access
from comfy_ui.web.auth.accounts import Role
from tests.security.support import GRADIO, Person, handlers, knock, listening, served
from tests.security.test_doors import our_routes, paths

pytestmark = GRADIO

PROXIES = {
    "Forwarded": "for=203.0.113.9",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "comfy.example",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "203.0.113.9",
    "Via": "1.1 proxy",
}
OTHER_HOSTS = ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.1.4", "")
OTHER_SITES: tuple[dict[str, str], ...] = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://localhost:1"},
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[Any]:
    with served(tmp_path_factory.mktemp("local"), patch, users=False, host="127.0.0.1") as made:
        yield made


@pytest.fixture
def me(page: Any) -> Iterator[Person]:
    with Person.comes(page) as person:
        yield person


def test_the_person_at_the_machine_may_do_all(
    page: Any, me: Person, record_property: Callable[[str, object], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for handler in handlers(page):
            me.fire(handler._id, [None] * len(handler.inputs), event_data={})
            questions = asked.take()
            assert questions, f"{handler.name} asked nothing"
            assert not any(no for _, no in questions), (handler.name, questions)
        for method, path in our_routes(page):
            with me.client.stream(method, path, content=b"{}") as answer:
                assert answer.status_code not in {401, 403}, (method, path)
                next(answer.iter_raw(), b"")
            questions = asked.take()
            assert questions, path
            assert not any(no for _, no in questions), (path, questions)
    record_property("handlers called as the person at the machine", len(handlers(page)))


@pytest.mark.slow
@pytest.mark.parametrize("header", PROXIES)
def test_whom_a_proxy_brings_is_a_visitor_at_every_handler(
    page: Any, me: Person, header: str, record_property: Callable[[str, object], None]
) -> None:
    me.client.headers[header] = PROXIES[header]
    assert knock(page, me) >= {"free_memory", "open_workflow", "reconnect"}
    record_property("handlers called through a proxy", len(handlers(page)))


@pytest.mark.parametrize("header", PROXIES)
def test_whom_a_proxy_brings_is_a_visitor_at_every_route(
    page: Any, me: Person, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    me.client.headers[header] = PROXIES[header]
    role, roles = Access.role, set()

    def noted(self: Access, request: Any) -> Role:
        roles.add(role(self, request))
        return role(self, request)

    monkeypatch.setattr(Access, "role", noted)
    for method, path in our_routes(page):
        roles.clear()
        with me.client.stream(method, path, content=b"{}") as answer:
            next(answer.iter_raw(), b"")
        assert roles == {Role.USER}, path


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_under_another_name_the_machine_has_no_door_at_all(
    page: Any, me: Person, host: str, record_property: Callable[[str, object], None]
) -> None:
    tried = 0
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        me.client.headers["host"] = host
        for method, path in paths(page):
            if path:
                answer = me.client.request(method, path)
                assert answer.status_code == 403, (method, path, answer.status_code)
                tried += 1
        for handler in handlers(page):
            told = me.fire(handler._id, [None] * len(handler.inputs), event_data={})
            assert told == {"msg": "refused", "status": 403}, handler.name
            tried += 1
        assert asked.take() == []
    assert tried > 90
    record_property("requests under other names of the machine refused", tried)


@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
def test_another_site_changes_nothing_and_reads_nothing(
    page: Any,
    me: Person,
    headers: dict[str, str],
    record_property: Callable[[str, object], None],
) -> None:
    tried = 0
    me.client.headers.update(headers)
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for handler in handlers(page):
            told = me.fire(handler._id, [None] * len(handler.inputs), event_data={})
            assert told == {"msg": "refused", "status": 403}, handler.name
            tried += 1
        for method, path in {*paths(page), *our_routes(page)}:
            if path and method not in {"GET", "HEAD", "OPTIONS"}:
                assert me.client.request(method, path).status_code == 403, (method, path)
                tried += 1
        assert asked.take() == []
    if "origin" in headers:
        # It is Gradio that would let it read; a picture or a link of another site reads nothing.
        for path in {path for method, path in paths(page) if path and method == "GET"}:
            assert me.client.get(path).status_code == 403, path
            tried += 1
    record_property("requests of other sites refused", tried)


def test_an_old_proxy_that_says_nothing_is_known_by_its_http(page: Any, me: Person) -> None:
    """nginx passes requests on as HTTP/1.0, without a word of where they come from, if told no
    more than an address. No browser and no program of ours speaks that.
    """
    (free,) = (found._id for found in page.fns.values() if found.name == "_free")
    body = f'{{"fn_index": {free}, "data": [], "session_hash": "old"}}'.encode()
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for version in ("1.0", "1.1"):
            head = (
                f"POST /gradio_api/queue/join HTTP/{version}\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", page.server_port)) as raw:
                raw.sendall(head.encode() + body)
                while raw.recv(65536):
                    pass
            with me.client.stream(
                "GET", "/gradio_api/queue/data", params={"session_hash": "old"}
            ) as events:
                for line in events.iter_lines():
                    if "process_completed" in line or "unexpected_error" in line:
                        break
            (question,) = [(action, no) for action, no in asked.take() if action == "free_memory"]
            assert question == ("free_memory", version == "1.0")
