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


def test_html_doctests_pass() -> None:
    assert doctest.testmod(html).failed == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_el_with_hostile_text_escapes_it(text: str) -> None:
    page = Page(el("p", text))
    assert [tag for tag, _ in page.elements] == ["p"]
    assert page.text.replace("\ufffd", "\x00") == text


@pytest.mark.parametrize("text", HOSTILE)
def test_el_with_a_hostile_attribute_keeps_one_attribute(text: str) -> None:
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
def test_el_with_a_script_url_omits_the_attribute(address: str) -> None:
    assert Page(el("a", "x", href=address)).all("a") == [{}]


@pytest.mark.parametrize(
    "address", ["/files/1", "files/1", "https://x.org/a?b=c&d", "data:image/png;base64,AA"]
)
def test_el_with_a_safe_url_keeps_it(address: str) -> None:
    assert Page(el("a", "x", href=address)).all("a") == [{"href": address}]


def test_html_plus_plain_text_is_escaped_again() -> None:
    mixed = el("b", "x") + "<i>"
    assert not isinstance(mixed, Html)
    assert el("p", mixed) == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"


def test_el_omits_false_and_none_and_writes_true_as_a_bare_attribute() -> None:
    element = el("input", disabled=True, checked=False, title=None)
    assert element == "<input disabled>"
    assert el("p", None, False, 0, ["a", el("br")]) == "<p>0a<br></p>"


def test_page_text_cuts_long_texts() -> None:
    assert page_text("x" * 500, limit=10) == "x" * 9 + "…"
    assert page_text("  short ") == "short"


def test_page_text_with_invisible_characters_removes_them() -> None:
    assert page_text("model\u202exe.safetensors\u2066") == "modelxe.safetensors"
    assert page_text("عربي 👩\u200d🎨") == "عربي 👩\u200d🎨"


def test_icon_is_hidden_from_screen_readers() -> None:
    assert Page(icon("dice")).all("svg")[0]["aria-hidden"] == "true"
    assert join(icon("dice"), "x").endswith("</svg>x")
