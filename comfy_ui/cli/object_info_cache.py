"""A server's ``/object_info`` on disk; only the classes that are used are parsed.

A server with many node packs has ten megabytes of it, and a workflow uses a few dozen classes. The
file is one line of JSON, ``{class: [start, end]}``, followed by the classes, each as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["keep", "kept"]


class CachedObjectInfo(Mapping[str, Any]):
    """The cached classes; a class is parsed on every access."""

    def __init__(self, places: dict[str, list[int]], content: bytes) -> None:
        self._places, self._content = places, content

    def __getitem__(self, class_type: str) -> Any:
        start, end = self._places[class_type]
        return json.loads(self._content[start:end])

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def kept(path: Path) -> CachedObjectInfo | None:
    """The cache in that file; None if it is missing or incomplete."""
    try:
        head, _, content = path.read_bytes().partition(b"\n")
        places = json.loads(head)
        last = max(end for _, end in places.values())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return CachedObjectInfo(places, content) if last == len(content) else None


def keep(path: Path, raw: Mapping[str, Any]) -> None:
    """Write the cache atomically. A failure only makes the next command ask the server."""
    places, parts, at = {}, [], 0
    for class_type, spec in raw.items():
        part = json.dumps(spec).encode()
        places[class_type] = [at, at := at + len(part)]
        parts.append(part)
    half = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"\n".join([json.dumps(places).encode(), b"".join(parts)]))
        half.replace(path)
