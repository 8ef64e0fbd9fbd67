"""Workflows of users who may only run presets: cheap checks first, then preparation.

:func:`check_guest_workflow` looks at the workflow as it was sent, in time linear in its size and
bounded. :func:`prepare_guest_workflow` and :func:`read_guest_metadata` do the rest, in a worker
process: a workflow of a few kilobytes can stand for millions of nodes. :func:`prepare_workflow`
does so for users who may run any workflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ValidationError, WorkLimitError
from ..protocol.object_info import NodeRegistry
from .checks.allow_list import class_types
from .conditioning.picture_values import PICTURE_VALUES
from .controls import find_controls
from .graph import AnyGraph, Graph
from .loras.lora_slots import loras_in_graph
from .loras.lora_values import MAX_LORAS
from .metadata import Metadata, read_metadata
from .prepare import prepare
from .presets.preset_store import Preset, load_presets
from .wildcards import WildcardFolder

__all__ = [
    "PreparedWorkflow",
    "check_guest_workflow",
    "most_nodes",
    "not_a_preset",
    "part_of_registry",
    "prepare_guest_workflow",
    "prepare_workflow",
    "read_guest_metadata",
    "values_by_role",
]

_MAX_ITEMS: Final = 50_000
_MAX_CHARACTERS: Final = 1_000_000
_MAX_METADATA_BYTES: Final = 2_000_000
# Nodes beside those of a preset: loaders of LoRAs, which may have two models, and the nodes of
# ControlNets and references.
_ADDED: Final = 2 * MAX_LORAS + 7 * sum(value.most for value in PICTURE_VALUES.values())
_EDITOR_NODES: Final = 4  # times as many: notes, reroutes and subgraphs are not in the graph


@dataclass(frozen=True, slots=True)
class PreparedWorkflow:
    """A prepared workflow: its graph, the values set in it, and the prompts before expansion."""

    graph: Graph
    values: dict[str, Any]
    templates: dict[str, str]


def check_guest_workflow(
    workflow: Mapping[str, Any], values: Mapping[str, Any], presets: Iterable[Preset]
) -> frozenset[str]:
    """Refuse a workflow that no preset can have produced; return the class names in it.

    The workflow may be in API or editor format. Whether a preset produced it is decided later, by
    :func:`.allow_list.check_allowed`.

    Raises:
        ValidationError: it is too large, or has classes that no preset has.
    """
    known, largest = class_types(presets)
    node_classes, editor_classes = _classes([workflow, values], largest + _ADDED)
    if not known.issuperset(node_classes):
        raise not_a_preset()
    return frozenset(node_classes) | frozenset(editor_classes)


def prepare_guest_workflow(
    workflow: Mapping[str, Any],
    values: Mapping[str, Any],
    registry: NodeRegistry,
    wildcards: WildcardFolder,
    most_nodes: int,
) -> PreparedWorkflow:
    """Prepare a workflow, see :func:`.prepare.prepare`.

    Raises:
        ValidationError: it cannot be prepared, or has more than ``most_nodes``.
    """
    prepared = prepare_workflow(workflow, values, registry, wildcards)
    if len(prepared.graph) > most_nodes:
        raise not_a_preset()
    return prepared


def prepare_workflow(
    workflow: Mapping[str, Any],
    values: Mapping[str, Any],
    registry: NodeRegistry,
    wildcards: WildcardFolder,
) -> PreparedWorkflow:
    """Prepare a workflow, see :func:`.prepare.prepare`.

    Raises:
        ValidationError: it cannot be prepared.
    """
    prepared = prepare(
        workflow, values, presets=load_presets(), object_info=[registry], wildcards=wildcards
    )
    return PreparedWorkflow(prepared.graph, prepared.values, prepared.templates)


def read_guest_metadata(content: bytes) -> Metadata:
    """Read the settings in a user's file, see :func:`.metadata.read_metadata`.

    Raises:
        ValidationError: it is no file of a known format.
        WorkLimitError: its settings are larger than 2 MB.
    """
    return read_metadata(content, limit_bytes=_MAX_METADATA_BYTES)


def values_by_role(graph: AnyGraph, registry: NodeRegistry) -> dict[str, Any]:
    """Return a graph's values by role, the first of several, and its LoRAs."""
    loras = loras_in_graph(graph)[:MAX_LORAS]
    values: dict[str, Any] = {"loras": loras} if loras else {}
    for control in find_controls(graph, registry):
        values.setdefault(control.role, control.default)
    return values


def part_of_registry(registry: NodeRegistry, names: Iterable[str]) -> NodeRegistry:
    """Return a registry of these classes only, small enough to send to a worker process."""
    return NodeRegistry({name: registry.raw[name] for name in sorted(names) if name in registry})


def most_nodes(presets: Iterable[Preset]) -> int:
    """Return the number of nodes of the largest graph that a preset can produce."""
    return class_types(presets)[1] + _ADDED


def not_a_preset() -> ValidationError:
    """Return the error for a workflow that no preset produced."""
    return ValidationError(
        "Only admins can run workflows that are not presets.",
        hint="Use a preset: 'presets' lists them.",
    )


def _classes(data: Any, most_nodes: int) -> tuple[list[str], list[str]]:
    """Return the class of each node, in API format and in the editor's.

    Raises:
        ValidationError: there are more than ``most_nodes``.
        WorkLimitError: the data is too large.
    """
    node_classes: list[str] = []
    editor_classes: list[str] = []
    items, characters, todo = 0, 0, [data]
    while todo:
        value = todo.pop()
        items += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, Mapping):
            characters += sum(map(len, value))
            if isinstance(name := value.get("class_type"), str):
                node_classes.append(name)
            elif isinstance(name := value.get("type"), str) and "id" in value:
                editor_classes.append(name)
            if len(node_classes) > most_nodes or len(editor_classes) > _EDITOR_NODES * most_nodes:
                raise not_a_preset()
            todo += value.values()
        elif isinstance(value, list):
            todo += value
        if items + len(todo) > _MAX_ITEMS or characters > _MAX_CHARACTERS:
            raise WorkLimitError("This workflow is too large.", hint="Use one of the presets.")
    return node_classes, editor_classes
