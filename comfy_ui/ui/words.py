"""The line below the prompt, and what becomes of wildcards when a prompt is sent."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..prompts import WildcardFolder, expand_wildcards, has_wildcards
from ..prompts.families import find_family
from ..workflow.presets import MAX_SEED, Preset
from .catalog import Catalog
from .html import Html, el, icon

__all__ = ["expanded", "words_bar"]


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


def expanded(preset: Preset, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``values`` with the wildcards of their prompts chosen by the job's seed.

    The seed is drawn here where there is none, so that it is stored with what it chose.

    Raises:
        ValidationError: a wildcard is not there, or the syntax is wrong.
    """
    sent = dict(values)
    texts = [
        param.id
        for role in ("prompt", "negative")
        if (param := preset.by_role(role)) and has_wildcards(str(sent.get(param.id) or ""))
    ]
    if not texts:
        return sent
    seed_of = preset.by_role("seed")
    given = str(sent.get(seed_of.id) or "").strip() if seed_of else ""
    # What is no number is told as such when the job is checked.
    seed = int(given) if given.isdecimal() and len(given) < 20 else random.randrange(MAX_SEED)
    if seed_of and given in {"", "-1"}:
        sent[seed_of.id] = seed
    wildcards = WildcardFolder(folder)
    for name in texts:
        sent[name] = expand_wildcards(str(sent[name]), seed=seed, wildcards=wildcards).text
    return sent
