"""The official workflow templates, from the package comfyui-workflow-templates-json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def templates() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the name and editor-format file of every template."""
    return iter(_templates())


@cache
def _templates() -> tuple[tuple[str, dict[str, Any]], ...]:
    spec = find_spec("comfyui_workflow_templates_json")
    assert spec is not None, "install the dev dependencies"
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "templates"
    files = [(path.stem, json.loads(path.read_text("utf-8"))) for path in folder.glob("*.json")]
    return tuple(sorted((name, file) for name, file in files if "nodes" in file))


def template_with_model(address: str, filename: str) -> dict[str, Any]:
    """Return an audio template whose only model file is downloaded from ``address``."""
    template = deepcopy(dict(templates())["audio_stable_audio_example"])
    model = {
        "name": filename,
        "url": f"{address}/x/resolve/main/{filename}",
        "directory": "checkpoints",
    }
    for node in template["nodes"]:
        if node["type"] == "CheckpointLoaderSimple":
            node["widgets_values"] = [filename]
            node.pop("widgets_values_named", None)
            node["properties"]["models"] = [model]
    return template
