"""A small preset for the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path

from comfy_ui.workflow.graph import Graph

SIDECAR = """\
schema_version = 1
title = "Mine"
description = "A plain picture."
task = "t2i"
family = "None"
outputs = [{ node = "2", kind = "image" }]

[params.width]
role = "width"
targets = ["1.width"]
default = 64
min = 64
max = 1024

[params.seed]
targets = ["1.color"]
max = 1000

[profiles.narrow]
title = "Narrow"
values = { width = 64 }

[base]
steps = 1
"""


def small_graph() -> Graph:
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }


def write_preset(folder: Path, name: str, sidecar: str = SIDECAR) -> Path:
    """Write a preset into ``folder`` and return the path of its sidecar."""
    path = folder / f"{name}.toml"
    path.write_text(sidecar, encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(small_graph()), encoding="utf-8")
    return path
