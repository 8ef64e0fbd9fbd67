"""Local mode: open to requests from this machine, closed to proxies, other hosts and other sites.

Each handler of Gradio's registry and each route is called directly, through a proxy, under another
host name, and by another site.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfy_ui.web.auth import access
from comfy_ui.web.auth.access import Access
from comfy_ui.web.auth.accounts import Role
from comfy_ui.web.auth.rate_limit import RateLimit
from tests.security.support import (
    GRADIO,
    PageClient,
    call_every_handler,
    handlers,
    record_access_checks,
    served,
)
from tests.security.test_access_control import PUBLIC, own_routes, paths

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
    # Callers without a cookie share the rate limits of their address.
    for action in access.PACES:
        patch.setitem(access.PACES, action, RateLimit(burst=1000, per_minute=1000))
    with served(tmp_path_factory.mktemp("local"), patch, users=False, host="127.0.0.1") as app_page:
        yield app_page


@pytest.fixture
def me(page: Any) -> Iterator[PageClient]:
    with PageClient.open(page) as person:
        yield person


def test_local_mode_direct_request_is_allowed_everything(
    page: Any, me: PageClient, record_property: Callable[[str, object], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        for handler in handlers(page):
            me.fire(handler._id, [None] * len(handler.inputs), event_data={})
            recorded = checks.take()
            assert recorded, f"{handler.name} checks nothing"
            assert not any(no for _, no in recorded), (handler.name, recorded)
        for method, path in own_routes(page):
            with me.client.stream(method, path, content=b"{}") as answer:
                assert answer.status_code not in {401, 403}, (method, path)
                next(answer.iter_raw(), b"")
            recorded = checks.take()
            assert recorded or path in PUBLIC, path
            assert not any(no for _, no in recorded), (path, recorded)
    record_property("handlers called from this machine", len(handlers(page)))


@pytest.mark.slow
@pytest.mark.parametrize("header", PROXIES)
def test_local_mode_proxied_request_is_a_user_at_every_handler(
    page: Any, me: PageClient, header: str, record_property: Callable[[str, object], None]
) -> None:
    me.client.headers[header] = PROXIES[header]
    assert call_every_handler(page, me) >= {"free_memory", "open_workflow", "reconnect"}
    record_property("handlers called through a proxy", len(handlers(page)))


@pytest.mark.parametrize("header", PROXIES)
def test_local_mode_proxied_request_is_a_user_at_every_route(
    page: Any, me: PageClient, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    me.client.headers[header] = PROXIES[header]
    role, roles = Access.role, set()

    def noted(self: Access, request: Any) -> Role:
        roles.add(role(self, request))
        return role(self, request)

    monkeypatch.setattr(Access, "role", noted)
    for method, path in own_routes(page):
        roles.clear()
        with me.client.stream(method, path, content=b"{}") as answer:
            next(answer.iter_raw(), b"")
        assert roles == {Role.USER}, path


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_local_mode_foreign_host_header_is_403(
    page: Any, me: PageClient, host: str, record_property: Callable[[str, object], None]
) -> None:
    tried = 0
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        me.client.headers["host"] = host
        for method, path in paths(page):
            if path:
                answer = me.client.request(method, path)
                assert answer.status_code == 403, (method, path, answer.status_code)
                tried += 1
        for handler in handlers(page):
            result = me.fire(handler._id, [None] * len(handler.inputs), event_data={})
            assert result == {"msg": "refused", "status": 403}, handler.name
            tried += 1
        assert checks.take() == []
    assert tried > 90
    record_property("requests under other host names refused", tried)


@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
def test_local_mode_cross_site_request_is_403(
    page: Any,
    me: PageClient,
    headers: dict[str, str],
    record_property: Callable[[str, object], None],
) -> None:
    tried = 0
    me.client.headers.update(headers)
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        for handler in handlers(page):
            result = me.fire(handler._id, [None] * len(handler.inputs), event_data={})
            assert result == {"msg": "refused", "status": 403}, handler.name
            tried += 1
        for method, path in {*paths(page), *own_routes(page)}:
            if path and method not in {"GET", "HEAD", "OPTIONS"}:
                assert me.client.request(method, path).status_code == 403, (method, path)
                tried += 1
        assert checks.take() == []
    if "origin" in headers:
        # Gradio would allow the read; an image or a link of another site reads nothing.
        for path in {path for method, path in paths(page) if path and method == "GET"}:
            assert me.client.get(path).status_code == 403, path
            tried += 1
    record_property("requests of other sites refused", tried)


def test_local_mode_http_1_0_request_counts_as_proxied(page: Any, me: PageClient) -> None:
    """By default nginx forwards requests as HTTP/1.0 without naming their origin.

    No browser and no HTTP library in use speaks HTTP/1.0.
    """
    (free,) = (handler._id for handler in page.fns.values() if handler.name == "_free")
    body = f'{{"fn_index": {free}, "data": [], "session_hash": "old"}}'.encode()
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
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
            (check,) = [(action, no) for action, no in checks.take() if action == "free_memory"]
            assert check == ("free_memory", version == "1.0")
