"""Write a preset as the text of its two files, the inverse of :func:`.preset_store.load_preset`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .schema import Preset

__all__ = ["graph_text", "sidecar_text"]

_NOT_IN_SIDECAR = {"id", "graph", "thumbnail"}  # the file name, the other file, the cover


def graph_text(preset: Preset) -> str:
    """Return the text of ``NAME.json``."""
    return json.dumps(preset.graph, indent=2, ensure_ascii=True) + "\n"


def sidecar_text(preset: Preset) -> str:
    """Return the text of ``NAME.toml``: values that are not defaults, in schema order."""
    fields = preset.model_dump(exclude=_NOT_IN_SIDECAR, exclude_unset=True, mode="json")
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
        if value is not None:  # TOML has no null; an absent key means the same
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
    """Write a one-line basic string of TOML. A lone surrogate becomes a question mark."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(encodable, ensure_ascii=False).replace("\x7f", "\\u007f")
