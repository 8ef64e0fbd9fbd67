"""The head of the page, and what a phone has at its foot."""

from __future__ import annotations

from typing import Final

from ..languages import LANGUAGES
from .html import Html, act, el, icon, icon_button, join

__all__ = ["enter", "header", "leave"]

# What stays under the thumb on a phone (mobile_nav.js).
_PLACES: Final = (
    ("inputs", "pen", "Inputs"),
    ("results", "image", "Results"),
    ("queue", "clock", "Queue"),
)


def header(title: str, login: Html | None) -> Html:
    """Name, tools, ``login``: how to come in or leave; and the places of a phone's page."""
    top = el(
        "header",
        el("span", el("i"), el("i"), el("i"), class_="mark", aria_hidden="true"),
        el("h1", title, translate="no"),
        el(
            "div",
            _language(),
            icon_button("keyboard", "Keyboard shortcuts (?)", data_do="keys", class_="tool keys"),
            icon_button("moon", "Dark colours", data_do="theme", class_="tool when-light"),
            icon_button("sun", "Light colours", data_do="theme", class_="tool when-dark"),
            login,
            class_="tools",
        ),
        class_="top",
    )
    return join(
        top,
        el("nav", [_place(*place) for place in _PLACES], class_="places", aria_label="Places"),
    )


def _place(name: str, image: str, label: str) -> Html:
    return act(image, el("span", label), class_="place-to", data_do="go-to", data_place=name)


def leave(name: str = "") -> Html:
    """The way out, for who is logged in."""
    label = f"Log out {name}".strip()
    return el("a", icon("leave"), class_="tool", href="/logout", aria_label=label, title=label)


def enter(address: str) -> Html:
    """The way in, with an account at Hugging Face."""
    # In a tab of its own: in the frame of a Space some browsers keep no cookies.
    return el(
        "a",
        "Log in",
        class_="act",
        href=address,
        target="_blank",
        title="With Hugging Face: your results are then yours on every device",
    )


def _language() -> Html:
    """The languages by their own names; the page chooses one (``languages.js``)."""
    return el(
        "label",
        icon("globe"),
        el(
            "select",
            [el("option", name, value=code, lang=code) for code, name in LANGUAGES.items()],
            aria_label="Language",
            title="Language",
            translate="no",
        ),
        class_="tool language",
    )
