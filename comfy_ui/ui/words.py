"""The line below the prompt."""

from __future__ import annotations

import json

from ..prompts.families import find_family
from .catalog import Catalog
from .html import Html, el, icon

__all__ = ["words_bar"]


def words_bar(catalog: Catalog) -> Html:
    """Room for the number of tokens (the browser counts), and earlier prompts."""
    families = {entry.preset.id: find_family(entry.preset.family) for entry in catalog.entries}
    limits = {name: [f.encoder, f.limit, f.chunk or 0] for name, f in families.items()}
    return el(
        "div",
        el("span", class_="tokens quiet", data_limits=json.dumps(limits)),
        el(
            "button",
            icon("clock"),
            type="button",
            class_="tool",
            data_do="past-prompts",
            aria_label="Earlier prompts",
            title="Earlier prompts (Alt + ↑ / ↓)",
        ),
        class_="words-bar",
    )
