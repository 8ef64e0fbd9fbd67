from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from comfy_ui.web.auth.access import AccessMode
from comfy_ui.web.http.same_site import SameSiteMiddleware


async def echo(request: Request) -> Response:
    return PlainTextResponse(request.headers.get("origin", "no origin"))


APP = Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])


async def answer(
    *headers: tuple[str, str], mode: AccessMode = AccessMode.SHARED, method: str = "GET"
) -> tuple[int, dict[str, str]]:
    """Send a request with exactly these headers; return the status and the headers."""
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await SameSiteMiddleware(APP, mode)(scope, receive, send)
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("gpu-1.example.com", 200),
        ("192.168.1.4:7860", 200),
        ("[::1]:7860", 200),
        ("my_container:80", 200),
        ("", 200),
        ("[::1].evil", 400),
        ("[::1]evil:80", 400),
        ("[evil]", 400),
        ("[::1", 400),
        ("a@localhost", 400),
        ("localhost:evil", 400),
        ("localhost:1:2", 400),
        ("localhost/x", 400),
        ("local host", 400),
        ("locälhost", 400),
        ("localhost:123456", 400),
    ],
)
async def test_same_site_host_header_is_parsed_exactly(host: str, status: int) -> None:
    assert (await answer(("host", host)))[0] == status
    local, _ = await answer(("host", host), mode=AccessMode.LOCAL)
    assert local == (200 if host in {"localhost:7860", "[::1]:7860"} else 403)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://localhost:7860.evil.example",
        "https://localhost.evil.example",
        "https://evil.example/localhost:7860",
        "https://localhost:7860@evil.example",
        "https://evil.example#localhost:7860",
        "https://localhost",
        "http://127.0.0.1:7860",
        "localhost:7860",
        "file://localhost:7860",
        "null",
        "",
    ],
)
async def test_same_site_look_alike_origin_is_refused(origin: str, method: str) -> None:
    status, headers = await answer(
        ("host", "localhost:7860"),
        ("origin", origin),
        ("access-control-request-method", "POST"),
        method=method,
    )
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("name", ["host", "origin"])
async def test_same_site_second_host_or_origin_header_is_refused(name: str) -> None:
    values = {"host": "localhost:7860", "origin": "http://localhost:7860"}
    status, _ = await answer(*values.items(), (name, values[name]))
    assert status == 400


@pytest.mark.parametrize("origin", ["http://localhost:7860", "https://LOCALHOST:7860"])
async def test_same_site_own_origin_passes_and_is_removed(origin: str) -> None:
    for method in ("GET", "POST"):
        status, headers = await answer(
            ("host", "localhost:7860"), ("origin", origin), method=method
        )
        assert status == 200
        assert headers["content-length"] == str(len("no origin"))


async def test_same_site_request_without_headers_of_browsers_passes() -> None:
    assert (await answer(("host", "localhost:7860"), method="POST"))[0] == 200
