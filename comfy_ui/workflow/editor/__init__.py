"""Convert ComfyUI's editor ("workflow") format to the API format that a server runs.

- ``editor_document``: the file as frozen dataclasses: nodes, links, subgraph definitions
- ``group_nodes``: legacy group nodes, turned into subgraph definitions
- ``widget_values``: saved widget values → inputs by name
- ``link_resolution``: the source of an input's value, through reroutes, bypasses and subgraphs
- ``convert``: the conversion itself
"""

from __future__ import annotations

from .convert import Conversion, convert, convert_workflow

__all__ = ["Conversion", "convert", "convert_workflow"]
