from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from comfy_ui.errors import WorkLimitError
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.http import middleware
from comfy_ui.web.http.middleware import AccessMiddleware, _AnswerTooLargeError
from comfy_ui.web.http.request_budgets import LARGE_JSON, budget_of
from comfy_ui.web.http.same_site import SameSiteMiddleware
from comfy_ui.worker_processes.process_pool import Limits, WorkerProcesses

pytestmark = pytest.mark.usefixtures("quick_passwords")

PAGE = "<html><script>1</script><script src=x></script></html>"


async def page(_: Request) -> Response:
    return HTMLResponse(PAGE)


async def stream(_: Request) -> Response:
    return StreamingResponse(iter(["x" * 30, "x" * 30]))


async def work(request: Request) -> Response:
    if request.url.query != "work":
        return await echo(request)
    pool = WorkerProcesses(1)
    try:
        return PlainTextResponse(str(await pool.run(time.sleep, 1.5, limits=Limits(wall_s=90.0))))
    except WorkLimitError as error:
        return PlainTextResponse(str(error))
    finally:
        pool.close()


async def echo(request: Request) -> Response:
    body = await request.body()
    return PlainTextResponse(f"{len(body)} {request.url.query} {request.headers.get('cookie', '')}")


def client(
    mode: AccessMode,
    *,
    users: bool = False,
    accounts: Accounts | None = None,
    host: str = "localhost",
) -> TestClient:
    accounts = accounts or Accounts()
    if users:
        accounts.add_for_now("anna", "s:ecret", Role.ADMIN)
    ours = [Route("/ours", work, methods=["GET", "POST"])]
    everything = [
        Route("/", page),
        Route("/config", echo),
        Route("/logout", echo),
        Route("/gradio_api/info", stream),
        Route("/gradio_api/upload", echo, methods=["POST"]),
        Route("/gradio_api/queue/join", echo, methods=["POST"]),
        *ours,
    ]
    gate = Middleware(AccessMiddleware, access=Access(mode, b"s", accounts), ours=ours)
    app = Starlette(routes=everything, middleware=[Middleware(SameSiteMiddleware, mode=mode), gate])
    app.auth = accounts.verify if accounts else None  # type: ignore[attr-defined]
    app.tokens, app.cookie_id = {}, "c"  # type: ignore[attr-defined]
    return TestClient(app, base_url=f"http://{host}")


@pytest.fixture
def local() -> Iterator[TestClient]:
    with client(AccessMode.LOCAL) as test_client:
        yield test_client


def test_middleware_unlisted_path_is_404(local: TestClient) -> None:
    assert local.post("/gradio_api/upload").status_code == 404
    assert local.get("/nothing").status_code == 404
    assert local.get("/ours").status_code == 200
    assert local.get("/config").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("evil.example", 403),
        ("192.168.1.4:7860", 403),
        ("", 403),
        ("localhost.evil.example", 403),
    ],
)
def test_middleware_local_mode_refuses_foreign_host_header(
    local: TestClient, host: str, status: int
) -> None:
    assert local.get("/", headers={"host": host}).status_code == status
    with client(AccessMode.SHARED) as shared:
        assert shared.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "http://localhost:1"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/ours", "/gradio_api/queue/join"])
def test_middleware_cross_site_post_is_403(
    local: TestClient, path: str, headers: dict[str, str], status: int
) -> None:
    assert local.post(path, headers=headers).status_code == status


@pytest.mark.parametrize("mode", [*AccessMode])
@pytest.mark.parametrize("path", ["/ours", "/config", "/"])
def test_middleware_get_with_foreign_origin_is_403(mode: AccessMode, path: str) -> None:
    with client(mode) as app:
        for origin in ("https://evil.example", "null", "http://localhost:1", "http://[", ""):
            assert app.get(path, headers={"origin": origin}).status_code == 403, origin
        for headers in ({}, {"origin": "http://localhost"}, {"sec-fetch-site": "cross-site"}):
            assert app.get(path, headers=headers).status_code == 200, headers


def test_middleware_cross_site_logout_is_403(local: TestClient) -> None:
    assert local.get("/logout", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert "all_session=false" in local.get("/logout?all_session=true").text


def test_middleware_other_responses_get_a_csp_without_scripts(local: TestClient) -> None:
    for path in ("/ours", "/nothing"):
        headers = local.get(path).headers
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert headers["x-content-type-options"] == "nosniff"


def test_middleware_with_accounts_only_the_login_page_is_public() -> None:
    with client(AccessMode.SHARED, users=True) as guarded:
        assert guarded.get("/").status_code == 200
        for path in ("/config", "/ours"):
            assert guarded.get(path).status_code == 401
        assert guarded.post("/gradio_api/queue/join").status_code == 401


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_middleware_basic_auth_becomes_a_gradio_login() -> None:
    with client(AccessMode.SHARED, users=True) as guarded:
        answer = guarded.get("/ours", headers=basic("anna:s:ecret"))
        assert answer.status_code == 200
        assert "access-token-c=" in answer.text
        for invalid in ("anna:secret", "bob:s:ecret", "anna", ":", "anna:s:ecret2"):
            assert guarded.get("/ours", headers=basic(invalid)).status_code == 401


def test_middleware_sessions_that_it_opens_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_MAX_TOKENS", 2)
    accounts = Accounts()
    for name in "abc":
        accounts.add_for_now(name, "secret", Role.ADMIN)
    with client(AccessMode.SHARED, accounts=accounts) as guarded:
        sessions = guarded.app.tokens  # type: ignore[attr-defined]
        for name in "abcab":
            assert guarded.get("/ours", headers=basic(f"{name}:secret")).status_code == 200
            assert [*sessions.values()][-1] == name
            assert len(sessions) <= 2


@pytest.mark.parametrize(
    "header", ["Basic", "Basic ?", "Bearer x", "Basic w7/Dvw==x", "basic //8="]
)
def test_middleware_malformed_authorization_header_is_401(header: str) -> None:
    with client(AccessMode.SHARED, users=True) as guarded:
        assert guarded.get("/ours", headers={"authorization": header}).status_code == 401


def test_middleware_repeated_wrong_passwords_are_429() -> None:
    with client(AccessMode.SHARED, users=True) as guarded:
        statuses = [guarded.get("/ours", headers=basic(f"anna:{n}")).status_code for n in range(8)]
        assert statuses[:5] == [401] * 5
        assert statuses[-1] == 429
        answer = guarded.get("/ours", headers=basic("anna:s:ecret"))
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1


def endless(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000 + 1):
        yield b"1" * 1000


@pytest.mark.parametrize(
    ("path", "limit"), [("/gradio_api/queue/join", 2 * 2**20), ("/nothing", 1024)]
)
def test_middleware_body_above_its_budget_is_refused(
    local: TestClient, path: str, limit: int
) -> None:
    assert local.post(path, content=b"1" * (limit + 1)).status_code == 413
    answer = local.post(path, content=endless(limit))
    assert answer.status_code in {404, 413}
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("body", [b"[" * 1000, b'{"seed": 1e400}', "[1]".encode("utf-16")])
def test_middleware_dangerous_json_is_400_with_a_sentence(local: TestClient, body: bytes) -> None:
    answer = local.post("/gradio_api/queue/join", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == answer.json()["detail"]
    assert answer.json()["error"].endswith((".", "UTF-8."))


def test_middleware_json_body_reaches_the_app_unchanged(local: TestClient) -> None:
    body = b'{"data": [1, "x"]}'
    assert local.post("/gradio_api/queue/join", content=body).text.startswith(f"{len(body)} ")


def budgeted(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    budget = replace(budget_of("GET", "/config"), **limits)
    monkeypatch.setattr(middleware, "budget_of", lambda *_: budget)


def test_middleware_answer_above_its_budget_is_a_500_with_a_sentence(
    local: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgeted(monkeypatch, answer_bytes=100)
    assert local.get(f"/config?{'x' * 30}").status_code == 200
    answer = local.get(f"/config?{'x' * 120}")
    assert (answer.status_code, answer.json()["error"]) == (500, "The answer is too large.")


def test_middleware_streamed_answer_above_its_budget_is_cut_off(
    local: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgeted(monkeypatch, answer_bytes=40)
    with pytest.raises((_AnswerTooLargeError, ExceptionGroup)):
        local.get("/gradio_api/info")
    budgeted(monkeypatch, answer_bytes=0)
    assert len(local.get("/gradio_api/info").content) == 60


def test_middleware_work_of_a_request_has_the_limits_of_its_budget(
    local: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgeted(monkeypatch, work=Limits(wall_s=0.2))
    assert "too long" in local.get("/ours?work").text
    budgeted(monkeypatch, work=Limits())
    assert local.get("/ours?work").text == "None"


def test_middleware_websocket_is_refused(local: TestClient) -> None:
    with pytest.raises(Exception) as caught, local.websocket_connect("/"):  # noqa: PT011
        pass
    assert getattr(caught.value, "code", None) == 1008


def role_of(mode: AccessMode, **headers: str) -> Any:
    """A role that the access rules give a request with these headers."""
    scope = {
        "type": "http",
        "app": Starlette(),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }
    return Access(mode, b"s").role(Request(scope))


def test_access_role_of_proxied_request_is_user() -> None:
    assert role_of(AccessMode.LOCAL) is Role.ADMIN
    for name in ("x_forwarded_for", "forwarded", "x_real_ip", "x_forwarded_host"):
        assert role_of(AccessMode.LOCAL, **{name: "1.2.3.4"}) is Role.USER
    assert role_of(AccessMode.SHARED) is Role.USER


def test_middleware_large_json_bodies_are_processed_one_after_the_other() -> None:
    small = budget_of("POST", "/gradio_api/queue/join")
    assert middleware._place(small, b"x" * 65_537) is LARGE_JSON
    assert middleware._place(small, b"x" * 65_536) is small
    assert LARGE_JSON.total == 1
    lasting, upload = budget_of("POST", "/mcp"), budget_of("POST", "/uploads")
    assert middleware._place(lasting, b"x" * 65_537) is lasting
    assert middleware._place(upload, b"x" * 65_537) is upload
