"""The login page, in place of Gradio's.

It is served at the same address while a login is required and missing. Gradio's ``POST /login``
checks the password and sets the cookie.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Route

from ...resources import assets_dir
from ..auth.access import login_missing
from ..components.html import Html
from ..components.templates import render
from .web_app_manifest import HEAD

__all__ = ["LoginRoute"]

_SCRIPTS: Final = ("catalog.js", "app.js", "languages.js", "login_page.js")


class LoginRoute(Route):
    """The page ``/`` for requests that lack a required login; others go on to Gradio."""

    def __init__(self) -> None:
        super().__init__("/", _login_page)

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        """Match a page load without the required login."""
        match, child_scope = super().matches(scope)
        if match is Match.FULL and login_missing(Request(scope)):
            return match, child_scope
        return Match.NONE, {}


async def _login_page(_: Request) -> Response:
    assets = assets_dir()
    style = (assets / "css" / "style.css").read_text(encoding="utf-8")
    scripts = [(assets / "js" / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    page = render(
        "login_page.html",
        "login_page",
        head=Html(HEAD),
        style=Html(style),
        scripts=[Html(script) for script in scripts],
    )
    return HTMLResponse(f"<!doctype html>{page}", headers={"Cache-Control": "no-store"})
