"""The template environment: escaping, strictness, layout."""

from __future__ import annotations

import re

import pytest
from jinja2 import Environment, UndefinedError

from comfy_ui.web.components import templates
from comfy_ui.web.components.html import Html, el
from comfy_ui.web.components.templates import TEMPLATES_DIR, CompactLayout, render

FILES = sorted(TEMPLATES_DIR.glob("*.html"))
URL_ATTRIBUTE = re.compile(r'(?<![\w-])(?:href|src|poster|action)="\{\{(.*?)\}\}')


def compact(source: str) -> str:
    return Environment(extensions=[CompactLayout], autoescape=True).from_string(source).render()


def test_render_escapes_text_and_keeps_html() -> None:
    html = render("job_card.html", "texts_card", texts=["<b>", el("b", "x")], job_id='"')
    assert isinstance(html, Html)
    assert '<p translate="no">&lt;b&gt;</p>' in html
    assert '<p translate="no"><b>x</b></p>' in html
    assert 'data-job="&#34;"' in html


def test_render_without_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="details"):
        render("job_card.html", "error_card", phase="failed", job_id=None, message="m", hint="")


def test_render_with_an_unknown_value_is_an_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        render("job_card.html", "texts_card", texts=[], job_id="j", colour="red")


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("<p>\n  a\n</p>\n<p>b</p>\n", "<p>a</p><p>b</p>"),
        ('<p\n  class="a"\n  id="b">x</p>', '<p class="a" id="b">x</p>'),
        ("<p>\n  two\n  words, <b>and</b> more\n</p>", "<p>two words, <b>and</b> more</p>"),
        ("<p>{% if 2 > 1 %}\n  yes\n{% endif %}</p>", "<p>yes</p>"),
        ('<p {% if 2 > 1 %}id="x"{% endif %}\n  title="y">z</p>', '<p id="x" title="y">z</p>'),
    ],
)
def test_compact_layout_removes_line_breaks_and_keeps_words_apart(source: str, html: str) -> None:
    assert compact(source) == html


def test_compact_layout_keeps_line_numbers() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        compact("<p>\n  text\n</p>\n{{ 1 // 0 }}")
    assert caught.traceback[-1].lineno + 1 == 4


def test_templates_check_every_url() -> None:
    for path in FILES:
        urls = URL_ATTRIBUTE.findall(path.read_text(encoding="utf-8"))
        assert [url for url in urls if "| safe_url" not in url] == [], path


def test_templates_never_switch_escaping_off() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape", text), path


def test_environment_escapes_and_does_not_reload() -> None:
    environment = templates._environment()
    assert environment.autoescape is True
    assert environment.auto_reload is False
