"""ComfyUI's editor ("workflow") format → the API format that a server runs.

``document``  the file as frozen values: nodes, links, subgraph definitions
``groups``    legacy group nodes, turned into subgraph definitions
``widgets``   saved widget values → inputs by name
``links``     where an input's value comes from, through reroutes, bypasses and subgraphs
``convert``   the walk that puts it all together
"""

from __future__ import annotations

from .convert import Conversion, convert, convert_workflow

__all__ = ["Conversion", "convert", "convert_workflow"]
