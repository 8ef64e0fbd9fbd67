"""Turn a subgraph blueprint into a workflow that takes one image or video and saves its result."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, Literal

from ...errors import InvalidWorkflowError
from .editor_document import read_document

__all__ = ["BlueprintWorkflow", "blueprint_workflow"]

_LOADERS: Final = {"IMAGE": ("LoadImage", "image"), "VIDEO": ("LoadVideo", "file")}
_SAVERS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {  # nodes with their input, in a row
    "IMAGE": (("SaveImage", "images"),),
    "VIDEO": (("SaveVideo", "video"),),
    "MASK": (("MaskToImage", "mask"), ("SaveImage", "images")),
    "STRING": (("PreviewAny", "source"),),
}
_PREFIX: Final = "comfy-ui-tool"


@dataclass(frozen=True, slots=True)
class BlueprintWorkflow:
    """A blueprint as an editor-format file. ``takes`` is the media type of its input."""

    editor: dict[str, Any]
    takes: Literal["image", "video"]
    category: str


def blueprint_workflow(blueprint: Mapping[str, Any]) -> BlueprintWorkflow:
    """Add a loader to the first image or video input of a blueprint, and a saver to its result.

    Inputs that neither have a field nor are optional stay open; checking the graph finds them.

    Args:
        blueprint: an editor-format file with one node, an instance of its subgraph, as
            ``GET /global_subgraphs/{id}`` sends it.

    Raises:
        InvalidWorkflowError: not a blueprint, or one without such an input and result.
    """
    document = read_document(blueprint)
    if len(document.root.nodes) != 1:
        raise InvalidWorkflowError("A blueprint has one node.")
    host = next(iter(document.root.nodes.values()))
    definition = document.definitions.get(host.type)
    if definition is None:
        raise InvalidWorkflowError("A blueprint has the definition of its subgraph.")
    fields = {*definition.fields}
    entry = next(
        (
            (slot.name, slot.type)
            for slot in definition.inputs
            if slot.type in _LOADERS and slot.name not in fields
        ),
        None,
    )
    result = next(
        ((index, slot) for index, slot in enumerate(definition.outputs) if slot.type in _SAVERS),
        None,
    )
    if entry is None or result is None:
        raise InvalidWorkflowError("This blueprint makes nothing of one image or video.")
    editor = deepcopy(dict(blueprint))
    builder = _Builder(editor)
    loader, _ = _LOADERS[entry[1]]
    builder.link(builder.add(loader, ["", entry[1].lower()]), 0, builder.host, *entry)
    source, slot = builder.host, result[0]
    kind = result[1].type
    for class_type, name in _SAVERS[kind]:
        node = builder.add(class_type, [_PREFIX] if class_type.startswith("Save") else [])
        builder.link(source, slot, node, name, kind)
        source, slot, kind = node, 0, "IMAGE"
    return BlueprintWorkflow(
        editor, "image" if entry[1] == "IMAGE" else "video", _category(blueprint, host.type)
    )


class _Builder:
    """Adds nodes and links to a file with one node."""

    def __init__(self, editor: dict[str, Any]) -> None:
        self._nodes: list[dict[str, Any]] = editor["nodes"]
        self._links: list[list[Any]] = []
        editor["links"] = self._links
        self.host = self._nodes[0]
        self._free = 1 + max((node["id"] for node in self._nodes if _is_int(node["id"])), default=0)

    def add(self, class_type: str, values: list[Any]) -> dict[str, Any]:
        node = {
            "id": self._free,
            "type": class_type,
            "mode": 0,
            "inputs": [],
            "outputs": [],
            "properties": {},
            "widgets_values": values,
        }
        self._free += 1
        self._nodes.append(node)
        return node

    def link(
        self, origin: dict[str, Any], slot: int, target: dict[str, Any], name: str, kind: str
    ) -> None:
        number = len(self._links) + 1
        outputs, inputs = _slots(origin, "outputs"), _slots(target, "inputs")
        while len(outputs) <= slot:
            outputs.append({"name": kind, "type": kind, "links": []})
        outputs[slot]["links"] = [number]
        place = next((i for i, one in enumerate(inputs) if one.get("name") == name), len(inputs))
        if place == len(inputs):
            inputs.append({"name": name, "type": kind})
        inputs[place]["link"] = number
        self._links.append([number, origin["id"], slot, target["id"], place, kind])


def _slots(node: dict[str, Any], side: str) -> list[dict[str, Any]]:
    slots: list[dict[str, Any]] = node.setdefault(side, [])
    return slots


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _category(blueprint: Mapping[str, Any], key: str) -> str:
    definitions = blueprint.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    for one in subgraphs if isinstance(subgraphs, list) else ():
        if isinstance(one, Mapping) and one.get("id") == key:
            category = one.get("category")
            return category if isinstance(category, str) else ""
    return ""
