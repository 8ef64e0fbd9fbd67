from __future__ import annotations

import doctest

import pytest

from comfy_ui.web.components import html
from comfy_ui.web.components.html import Html, el, icon, join, page_text
from tests.web.support import Page

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)",
    "</textarea><svg onload=alert(1)>",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "\x00<b>",
]


def test_the_examples_hold() -> None:
    assert doctest.testmod(html).failed == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_text_becomes_text_whatever_is_in_it(text: str) -> None:
    page = Page(el("p", text))
    assert [tag for tag, _ in page.elements] == ["p"]
    assert page.text.replace("\ufffd", "\x00") == text


@pytest.mark.parametrize("text", HOSTILE)
def test_an_attribute_stays_one_attribute(text: str) -> None:
    (attributes,) = Page(el("p", title=text)).all("p")
    assert attributes == {"title": text}


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "JaVaScRiPt:x",
        "vbscript:x",
        "data:text/html,x",
    ],
)
def test_addresses_that_run_scripts_are_left_out(address: str) -> None:
    assert Page(el("a", "x", href=address)).all("a") == [{}]


@pytest.mark.parametrize(
    "address", ["/files/1", "https://x.org/a?b=c&d", "data:image/png;base64,AA"]
)
def test_addresses_of_files_and_sites_are_kept(address: str) -> None:
    assert Page(el("a", "x", href=address)).all("a") == [{"href": address}]


def test_adding_plain_text_to_html_makes_it_plain_again() -> None:
    mixed = el("b", "x") + "<i>"
    assert not isinstance(mixed, Html)
    assert el("p", mixed) == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"


def test_false_and_none_leave_things_out_and_true_stands_alone() -> None:
    made = el("input", disabled=True, checked=False, title=None)
    assert made == "<input disabled>"
    assert el("p", None, False, 0, ["a", el("br")]) == "<p>0a<br></p>"


def test_long_texts_are_cut() -> None:
    assert page_text("x" * 500, limit=10) == "x" * 9 + "…"
    assert page_text("  short ") == "short"


def test_icons_are_hidden_from_screen_readers() -> None:
    assert Page(icon("dice")).all("svg")[0]["aria-hidden"] == "true"
    assert join(icon("dice"), "x").endswith("</svg>x")
