"""Find the node pack that has a missing node class. The list is ``node_packs.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Final

DEMO_HINT: Final = (
    "The demo engine does not have it. Connect a real ComfyUI: enter its address under Status, "
    "or start with --comfyui URL."
)
"""The advice for a class that only the demo engine lacks."""


@dataclass(frozen=True, slots=True)
class NodePack:
    """A node pack and where to get it."""

    name: str
    url: str
    classes: tuple[str, ...]

    @property
    def install(self) -> str:
        """How to install it, in a sentence."""
        return (
            f"Install '{self.name}' with ComfyUI-Manager, or clone {self.url} into "
            "ComfyUI's custom_nodes folder, then restart ComfyUI."
        )


def find_pack(class_type: str) -> NodePack | None:
    """Return the pack that has this node class, or None. An exact name wins over patterns."""
    patterns = None
    for pack in _packs():
        if class_type in pack.classes:
            return pack
        if patterns is None and any(fnmatchcase(class_type, name) for name in pack.classes):
            patterns = pack
    return patterns


@cache
def _packs() -> tuple[NodePack, ...]:
    text = Path(__file__).with_name("node_packs.toml").read_text(encoding="utf-8")
    return tuple(
        NodePack(name=entry["name"], url=entry["url"], classes=tuple(entry["classes"]))
        for entry in tomllib.loads(text)["packs"]
    )
