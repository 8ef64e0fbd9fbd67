"""The login page, which replaces Gradio's while a login is missing."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from comfy_ui.web.http.login_page import LoginRoute
from tests.web.support import Page


async def page(_: Request) -> Response:
    return PlainTextResponse("the page")


def browser(*, auth: object) -> TestClient:
    app = Starlette(routes=[LoginRoute(), Route("/", page)])
    app.auth, app.tokens, app.cookie_id = auth, {"t": "anna"}, "id"  # type: ignore[attr-defined]
    return TestClient(app)


def test_login_page_without_the_login_is_named_and_in_the_pages_colors() -> None:
    html = browser(auth=object()).get("/").text
    fields = {field["name"]: field for field in Page(html).all("input")}
    assert fields["username"]["autocomplete"] == "username"
    assert fields["password"]["type"] == "password"
    assert "<title>Log in · comfy-ui</title>" in html
    assert "--c-bg: #f5f4f1" in html
    assert "Wrong username or password" in html


def test_login_page_with_a_login_or_without_accounts_is_the_page() -> None:
    logged_in = browser(auth=object())
    logged_in.cookies = {"access-token-unsecure-id": "t"}
    assert logged_in.get("/").text == "the page"
    assert browser(auth=None).get("/").text == "the page"
