"""Render the page's views from the Jinja templates in ``comfy_ui/web/templates``.

A template file holds the macros of one component, one macro per view. A view function in Python
decides what to show and passes plain values; the macro holds the markup::

    render("job_card.html", "texts_card", job_id="j", texts=["a < b"])

Everything is escaped except :class:`~.html.Html`, and a value that a macro does not define is an
error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension

from ...storage.records import JobError
from .html import Html, icon, safe_url

__all__ = ["TEMPLATES_DIR", "error_notice", "notice", "render"]

TEMPLATES_DIR: Final = Path(__file__).resolve().parent.parent / "templates"


def render(file: str, view: str, /, **context: object) -> Html:
    """Render the macro ``view`` of the template ``file``."""
    return Html(_macro(file, view)(**context))


def notice(message: str, hint: str = "", details: str = "") -> Html:
    """An error message with its hint and folded details."""
    return render("_macros.html", "notice", message=message, hint=hint, details=details)


def error_notice(error: JobError, *, details: bool = True) -> Html:
    """An error with its hint; ``details`` adds its details, folded."""
    return notice(error.message, error.hint, error.details if details else "")


@cache
def _macro(file: str, name: str) -> Callable[..., str]:
    macro: Callable[..., str] = getattr(_environment().get_template(file).module, name)
    return macro


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        extensions=[CompactLayout],
    )
    environment.globals["icon"] = icon
    environment.filters["safe_url"] = safe_url
    return environment


_TOKENS: Final = re.compile(
    r"(?P<jinja>\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\})|(?P<open><(?=[a-zA-Z/]))|(?P<close>>)|\s*\n\s*",
    re.DOTALL,
)


class CompactLayout(Extension):
    """Remove line breaks and their indentation from templates, as JSX does.

    The layout of a template then adds no white space to the page. Inside a tag and between two
    words a line break becomes a space. Spaces within a line stay.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002 -- Jinja's signature
        parts: list[str] = []
        position, in_tag = 0, False
        for match in _TOKENS.finditer(source):
            parts.append(source[position : match.start()])
            position = match.end()
            text = match[0]
            if match["open"]:
                in_tag = True
            elif match["close"]:
                in_tag = False
            elif not match["jinja"]:
                before, after = source[: match.start()][-1:], source[match.end() :][:1]
                words = before not in {"", ">", "}"} and after not in {"", "<", "{"}
                # A comment keeps the line numbers of Jinja's error messages.
                lines = "{#" + "\n" * text.count("\n") + "#}"
                text = f" {lines}" if in_tag or words else lines
            parts.append(text)
        parts.append(source[position:])
        return "".join(parts)
