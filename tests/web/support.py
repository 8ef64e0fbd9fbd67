"""Small values for the tests of the page."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

from comfy_ui.storage.records import LibraryItem
from comfy_ui.workflow.presets.preset_store import Preset

GRAPH: dict[str, Any] = {
    "1": {
        "class_type": "KSampler",
        "inputs": {"seed": 0, "steps": 8, "cfg": 1.0, "sampler_name": "euler"},
    },
    "2": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 1024, "height": 1024, "batch_size": 1},
    },
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}},
    "4": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}},
    "5": {"class_type": "LoadImage", "inputs": {"image": ""}},
}


def _param(role: str, node: str, name: str, default: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "targets": [{"node": node, "input": name}], "default": default, **more}


_SIDE = {"min": 256, "max": 2048, "step": 16}
PARAMS: dict[str, dict[str, Any]] = {
    "prompt": _param("prompt", "3", "text", ""),
    "width": _param("width", "2", "width", 1024, **_SIDE),
    "height": _param("height", "2", "height", 1024, **_SIDE),
    "seed": _param("seed", "1", "seed", 0),
    "steps": _param("steps", "1", "steps", 8, min=1, max=50),
    "cfg": _param("cfg", "1", "cfg", 1.0, min=0, max=20),
    "sampler": _param(
        "sampler", "1", "sampler_name", "euler", choices_from="object_info", advanced=True
    ),
    "image": _param("image", "5", "image", None, optional=True),
}


def preset(
    name: str = "test", *, params: tuple[str, ...] = tuple(PARAMS), **changes: Any
) -> Preset:
    """A preset with some of the parameters above; ``steps={"max": 4}`` changes one of them."""
    about = {
        key: {"id": key, "label": key.title(), **PARAMS.get(key, {}), **changes.pop(key, {})}
        for key in params
    }
    return Preset.model_validate(
        {
            "id": name,
            "graph": GRAPH,
            "title": name,
            "description": "",
            "task": "t2i",
            "family": "test",
            "params": list(about.values()),
            "outputs": [{"node": "4", "kind": "image"}],
            **changes,
        }
    )


def item(**changes: Any) -> LibraryItem:
    """A finished image."""
    values: dict[str, Any] = {
        "id": 7,
        "job_id": "j",
        "user_id": "local",
        "kind": "image",
        "filename": "a.png",
        "media_type": "image/png",
        "path": Path("a.png"),
        "thumbnail": Path("a.webp"),
        "width": 1024,
        "height": 768,
        "size_bytes": 5,
        "created_at": 0.0,
        "preset": "test",
        "prompt": "a harbour",
        "seed": 42,
        "values": {},
    }
    return LibraryItem(**{**values, **changes})


class Page(HTMLParser):
    """The elements of a piece of HTML, as ``(tag, attributes)``."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str | None = None, **expected: str) -> list[dict[str, str | None]]:
        """Attributes of the elements with these attribute values (``data_x`` for ``data-x``)."""
        return [
            attributes
            for name, attributes in self.elements
            if tag in (None, name)
            and all(
                attributes.get(k.rstrip("_").replace("_", "-")) == v for k, v in expected.items()
            )
        ]


def picture_bytes(kind: str, *, side: int = 4) -> bytes:
    """Return a small teal image in that format."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, kind)
    return file.getvalue()
