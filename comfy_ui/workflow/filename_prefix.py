"""Expand placeholders in file name prefixes, as ComfyUI's editor does on Run.

``%date:yyyy-MM-dd%`` is the time, ``%KSampler.seed%`` the value of a node's input; the node is
looked up by class, then by title. Unknown placeholders, and those that the server expands itself
(``%width%``, ``%year%`` …), are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from .graph import AnyGraph, Graph, as_link, copied

__all__ = ["fill_prefixes"]

_FIELD: Final = "filename_prefix"
_MARK: Final = re.compile(r"%([^%]+)%")
_DATE: Final = re.compile(r"yyyy|yy|MM|M|dd|d|hh|h|mm|m|ss|s")
_UNSAFE: Final = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')
_USUAL: Final = "yyyyMMddhhmmss"
_SHOWN: Final = 100  # characters of a value; file systems allow 255 for a name


def fill_prefixes(graph: AnyGraph, now: datetime) -> Graph:
    """Return a copy of the graph with expanded prefixes.

    >>> graph = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "%date:yyyy%/a"}}}
    >>> fill_prefixes(graph, datetime(2026, 3, 1))["1"]["inputs"]
    {'filename_prefix': '2026/a'}
    """
    filled = copied(graph)
    for entry in filled.values():
        inputs = entry.get("inputs")
        if not isinstance(inputs, dict):
            continue
        prefix = inputs.get(_FIELD)
        if isinstance(prefix, str) and "%" in prefix:
            inputs[_FIELD] = _MARK.sub(lambda mark: _meaning(mark, graph, now), prefix)
    return filled


def _meaning(mark: re.Match[str], graph: AnyGraph, now: datetime) -> str:
    text = mark[1]
    if text == "date" or text.startswith("date:"):
        return _UNSAFE.sub("_", _dated(text.partition(":")[2] or _USUAL, now))
    name, dot, field = text.partition(".")
    if not dot:
        return mark[0]
    for called in (_class_of, _title_of):
        for entry in graph.values():
            value = (entry.get("inputs") or {}).get(field)
            if called(entry) == name and value is not None and as_link(value) is None:
                return _UNSAFE.sub("_", str(value))[:_SHOWN]
    return mark[0]


def _class_of(entry: Mapping[str, Any]) -> object:
    return entry.get("class_type")


def _title_of(entry: Mapping[str, Any]) -> object:
    meta = entry.get("_meta")
    return meta.get("title") if isinstance(meta, dict) else None


def _dated(pattern: str, now: datetime) -> str:
    parts = {
        "y": now.year, "M": now.month, "d": now.day, "h": now.hour, "m": now.minute,
        "s": now.second,
    }  # fmt: skip

    def part(match: re.Match[str]) -> str:
        number = str(parts[match[0][0]])
        return number[-2:] if match[0] == "yy" else number.zfill(len(match[0]))

    return _DATE.sub(part, pattern)
