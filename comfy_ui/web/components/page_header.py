"""The header of the page, and the navigation of its mobile layout."""

from __future__ import annotations

from typing import Final

from ..languages import LANGUAGES
from .html import Html
from .templates import render

__all__ = ["enter", "header", "leave"]

# The buttons of the mobile navigation (mobile_nav.js): name, icon, label.
_PLACES: Final = (
    ("inputs", "pen", "Inputs"),
    ("results", "image", "Results"),
    ("queue", "clock", "Queue"),
)


def header(title: str, login: Html | None) -> Html:
    """The title, tools, and ``login``, the link that logs in or out."""
    return _render("header", title=title, languages=LANGUAGES, places=_PLACES, account=login)


def leave(name: str = "") -> Html:
    """The link that logs out."""
    return _render("leave", label=f"Log out {name}".strip())


def enter(url: str) -> Html:
    """The link that logs in with a Hugging Face account."""
    return _render("enter", url=url)


def _render(view: str, **context: object) -> Html:
    return render("page_header.html", view, **context)
