"""The app below a path of a reverse proxy, as ASGI without one. See also tests/browser."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from comfy_ui.errors import ValidationError
from comfy_ui.settings import Settings, load_settings
from comfy_ui.web.auth.access import AccessMode, mode_of
from comfy_ui.web.http.proxy_headers import (
    ReverseProxyMiddleware,
    own_path_problem,
    trusted_proxies,
)

PROXY = "10.0.0.5"


async def about(request: Request) -> Response:
    response = JSONResponse(
        {
            "path": request.scope["path"],
            "base": str(request.base_url),
            "client": request.client.host if request.client else "",
        }
    )
    response.set_cookie("ours", "1")
    response.set_cookie("other", "1", path="/elsewhere")
    return response


async def leave(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"])


def client(root_path: str = "", *, address: str = PROXY) -> httpx.AsyncClient:
    routes = [Route("/files/{id}", about), Route("/", about), Route("/logout", leave)]
    app: Any = ReverseProxyMiddleware(
        Starlette(routes=routes), trusted=f"127.0.0.1,{PROXY}", root_path=root_path
    )
    transport = httpx.ASGITransport(app, client=(address, 5000))
    return httpx.AsyncClient(transport=transport, base_url="http://gpu.example")


@pytest.mark.parametrize("path", ["/files/1", "/comfy/files/1"])
async def test_reverse_proxy_with_a_root_path_serves_stripped_and_whole_paths(path: str) -> None:
    async with client("/comfy") as proxy:
        response = await proxy.get(path)
    assert response.json()["path"] == "/files/1"
    assert response.json()["base"] == "http://gpu.example/comfy/"
    cookies = response.headers.get_list("set-cookie")
    assert [cookie.split("Path=")[1].split(";")[0] for cookie in cookies] == [
        "/comfy",
        "/elsewhere",
    ]


async def test_reverse_proxy_takes_the_prefix_of_a_trusted_proxy_only() -> None:
    sent = [("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-Prefix", "/tools/comfy/")]
    more = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")]
    async with client() as proxy, client(address="192.0.2.9") as stranger:
        trusted = (await proxy.get("/", headers=[*sent, *more])).json()
        untrusted = (await stranger.get("/", headers=[*sent, *more])).json()
    assert trusted["base"] == "https://gpu.example/tools/comfy/"
    assert trusted["client"] == "192.0.2.7"
    assert untrusted == {"path": "/", "base": "http://gpu.example/", "client": "192.0.2.9"}


@pytest.mark.parametrize("prefix", ["//evil.example", "/a/../b", "/files", "/a b", "x", "/a;b"])
async def test_reverse_proxy_with_an_unusable_prefix_refuses_the_request(prefix: str) -> None:
    async with client() as proxy:
        response = await proxy.get("/", headers={"X-Forwarded-Prefix": prefix})
    assert response.status_code == 400
    assert "Content-Security-Policy" in response.headers


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/", "/comfy/"),
        ("/?a=1", "/comfy/?a=1"),
        ("/comfy/files/1", "/comfy/files/1"),
        ("http://gpu.example", "http://gpu.example/comfy/"),
        ("http://public.example/x", "http://public.example/comfy/x"),
        ("https://huggingface.co/oauth", "https://huggingface.co/oauth"),
    ],
)
async def test_reverse_proxy_redirects_of_the_app_stay_below_the_path(
    target: str, location: str
) -> None:
    async with client("/comfy") as proxy:
        headers = {"X-Forwarded-Host": "public.example"}
        response = await proxy.get("/logout", params={"to": target}, headers=headers)
    assert response.headers["location"] == location


async def test_reverse_proxy_at_the_path_without_a_slash_redirects_to_the_folder() -> None:
    async with client("/comfy") as proxy:
        response = await proxy.get("/comfy?preset=sd15")
        beside = await proxy.get("/comfyx")
    assert (response.status_code, response.headers["location"]) == (308, "/comfy/?preset=sd15")
    assert beside.status_code == 404


def test_own_path_problem_of_the_apps_own_paths_is_a_sentence() -> None:
    assert own_path_problem("") is None
    assert own_path_problem("/comfy/files") is None
    for path in ("/files", "/v1", "/gradio_api/x", "/mcp"):
        assert own_path_problem(path) is not None, path


def test_trusted_proxies_come_from_the_setting_then_the_environment() -> None:
    environ = {"FORWARDED_ALLOW_IPS": "10.1.1.1"}
    chosen = Settings(trusted_proxies="10.2.2.2")
    assert trusted_proxies(chosen, AccessMode.SHARED, environ) == "10.2.2.2"
    assert trusted_proxies(Settings(), AccessMode.SHARED, environ) == "10.1.1.1"
    assert trusted_proxies(Settings(), AccessMode.LOCAL, {}) == "127.0.0.1,::1"
    assert "10.0.0.0/8" in trusted_proxies(Settings(), AccessMode.SPACE, {})


def test_mode_of_an_app_behind_a_proxy_is_shared() -> None:
    assert mode_of(Settings(root_path="/comfy/"), {}) is AccessMode.SHARED
    assert mode_of(Settings(trusted_proxies="127.0.0.1"), {}) is AccessMode.SHARED
    assert mode_of(Settings(), {}) is AccessMode.LOCAL


def test_settings_root_path_is_normalized_or_refused() -> None:
    assert load_settings(root_path="/tools/comfy/").root_path == "/tools/comfy"
    assert load_settings(root_path="/").root_path == ""
    with pytest.raises(ValidationError, match="not a path"):
        load_settings(root_path="https://gpu.example/comfy")
