"""Reduce a server's /object_info to facts, for tests/data.

``python -m tests.object_info_facts OBJECT_INFO.json FACTS.json.gz`` writes what tests and checks
need: classes, inputs with types, defaults, ranges and choices, outputs and categories. Texts that
explain nodes belong to their authors and are left out.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

TEXTS = {"tooltip", "description", "output_tooltips", "search_aliases", "price_badge"}
LONGEST_DEFAULT = 80  # characters; a longer default is a prompt or program


def facts(value: Any) -> Any:
    """The same JSON without explaining texts.

    >>> facts({"cfg": ["FLOAT", {"default": 8.0, "tooltip": "How closely ..."}]})
    {'cfg': ['FLOAT', {'default': 8.0}]}
    """
    if isinstance(value, list):
        return [facts(item) for item in value]
    if not isinstance(value, dict):
        return value
    reduced = {key: facts(item) for key, item in value.items() if not _is_text(key, item)}
    default = reduced.get("default")
    if isinstance(default, str) and len(default) > LONGEST_DEFAULT:
        reduced["default"] = ""
    return reduced


def _is_text(key: str, value: Any) -> bool:
    """Whether an entry is a text about a node, and not an input of that name."""
    is_input = isinstance(value, list) and key in {"tooltip", "description"}
    return key in TEXTS and not is_input


def write(source: Path, target: Path) -> None:
    """Write the facts of a plain or compressed file, always with the same bytes."""
    raw = source.read_bytes()
    if source.suffix == ".gz":
        raw = gzip.decompress(raw)
    text = json.dumps(facts(json.loads(raw)), separators=(",", ":"))
    target.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
