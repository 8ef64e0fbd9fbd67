"""A preset as the text of its two files. The other way round is
:func:`.preset_store.load_preset`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .schema import Preset

__all__ = ["graph_text", "sidecar_text"]

_ELSEWHERE = {"id", "graph", "thumbnail"}  # the file name, the other file, the cover


def graph_text(preset: Preset) -> str:
    """The text of ``NAME.json``."""
    return json.dumps(preset.graph, indent=2, ensure_ascii=True) + "\n"


def sidecar_text(preset: Preset) -> str:
    """The text of ``NAME.toml``: what is not as usual, in the order of the schema."""
    fields = preset.model_dump(exclude=_ELSEWHERE, exclude_unset=True, mode="json")
    params = {param.pop("id"): param for param in fields.pop("params", [])}
    models = fields.pop("models", [])
    lines = [*_pairs(fields)]
    for key, param in params.items():
        lines += ["", f"[params.{key}]", *_pairs(param)]
    for model in models:
        lines += ["", "[[models]]", *_pairs(model)]
    return "\n".join(lines) + "\n"


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if value is not None:  # TOML has no such value; absent means the same
            yield f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if plain else _text(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            inner = ", ".join(_pairs(value))
            return f"{{ {inner} }}" if inner else "{}"
    return "[" + ", ".join(_value(item) for item in value) + "]"


def _text(text: str) -> str:
    """A basic string of TOML, in one line. Half a surrogate pair becomes a question mark."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
