"""The allow list for users without admin rights: a preset's own graph with values for its params.

A raw graph can execute code on the machine with the GPU, so the origin of a graph is never trusted:
it is compared with the preset's graph, node for node and input for input. Allowed are

- a literal at a param's target, of the param's type, in its range, among its choices
- for a file param, only a name that an upload of this user returned
- another model file where the preset names one, as a plain relative name
- LoRA loaders in the preset's LoRA slots
- the nodes of ControlNets and references, see :mod:`..conditioning.inserted_nodes`
- the removal of nodes that the preset removes when an optional value is empty

Any other node, link or changed constant is refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ...errors import Problem, ValidationError
from ..conditioning.inserted_nodes import (
    INSERTED_NODES,
    Allowed,
    InsertedNode,
    Range,
    is_free_slot,
)
from ..fields.field_types import FIELD_TYPES, FILE_ROLES, MODEL_ROLES, NUMBER_ROLES
from ..fields.param_values import choices, limits
from ..graph import AnyGraph, Graph, NodeLink, as_link, copied, inputs_of, title
from ..presets.graph_builder import patched_graph
from ..presets.schema import Param, Preset

_MAX_TEXT = 100_000
_LORA_INPUTS: Mapping[str, frozenset[str]] = {
    "LoraLoader": frozenset({"lora_name", "strength_model", "strength_clip", "model", "clip"}),
    "LoraLoaderModelOnly": frozenset({"lora_name", "strength_model", "model"}),
}


def allowed_inputs(preset: Preset) -> frozenset[tuple[str, str]]:
    """Return the ``(class, input)`` pairs that a user may set through this preset."""
    graphs = [*_references(preset)]
    pairs = {
        (str(graph[target.node]["class_type"]), target.input)
        for param in preset.params
        for target in param.targets
        for graph in graphs
        if target.node in graph
    }
    if preset.lora_slots:
        pairs |= {
            (name, key) for name, keys in _LORA_INPUTS.items() for key in keys - {"model", "clip"}
        }
    return frozenset(pairs)


def class_types(presets: Iterable[Preset]) -> tuple[frozenset[str], int]:
    """Return all classes that users may run, and the size of the largest graph of a preset."""
    names, largest = {*_LORA_INPUTS, *INSERTED_NODES}, 0
    for preset in presets:
        names |= {str(node["class_type"]) for node in preset.graph.values()}
        largest = max(largest, len(preset.graph))
        for variant in preset.variants.values():
            names |= {patch.class_type for patch in variant.patch.values() if patch.class_type}
            largest = max(largest, len(preset.graph.keys() | variant.patch.keys()))
    return frozenset(names), largest


def check_allowed(graph: AnyGraph, preset: Preset, uploads: Collection[str] = ()) -> list[Problem]:
    """Return why this preset cannot have produced the graph; empty if it can.

    Args:
        graph: in API format, as it would be queued.
        preset: the claimed source; all of its variants are tried.
        uploads: the names that uploads of this user returned, as used in a ``LoadImage`` input.
    """
    if not all(_is_node(entry) for entry in graph.values()):
        return [_refused("This is not a graph in API format.")]
    verdicts = (
        [*_compare(graph, reference, preset, frozenset(uploads))]
        for reference in _references(preset)
    )
    return min(verdicts, key=len)


def is_allowed(graph: AnyGraph, preset: Preset, uploads: Collection[str] = ()) -> bool:
    """Whether this preset can have produced the graph, as :func:`check_allowed` without reasons.

    Takes a thousandth of the time if a node has another class than in the preset.
    """
    patches = [variant.patch for variant in preset.variants.values()]
    for node, entry in graph.items():
        if not _is_node(entry):
            return False
        sources = [preset.graph[node]["class_type"]] if node in preset.graph else []
        sources += [patch[node].class_type for patch in patches if node in patch]
        if entry["class_type"] not in {*sources, *_LORA_INPUTS, *INSERTED_NODES}:
            return False
    return not check_allowed(graph, preset, uploads)


def _references(preset: Preset) -> Iterator[Graph]:
    yield patched_graph(preset, None)
    for variant in preset.variants.values():
        yield patched_graph(preset, variant)


def _is_node(entry: object) -> bool:
    return (
        isinstance(entry, Mapping)
        and isinstance(entry.get("class_type"), str)
        and isinstance(entry.get("inputs"), Mapping)
        and set(entry) <= {"class_type", "inputs", "_meta"}
    )


def _compare(
    graph: AnyGraph, reference: Graph, preset: Preset, uploads: frozenset[str]
) -> Iterator[Problem]:
    unguided, guide_problems = _without_guides(graph, reference, uploads)
    yield from guide_problems
    bare, lora_problems = _without_loras(unguided, reference, preset)
    yield from lora_problems
    params = {(t.node, t.input): (p, t.transform) for p in preset.params for t in p.targets}
    droppable = {t.node for p in preset.params if p.on_empty == "drop_node" for t in p.targets}
    models = {(node, name) for _, node, name in preset.model_inputs(reference)}
    for node in bare.keys() - reference.keys():
        yield _refused("The preset has no such node.", graph, node)
    for node, entry in reference.items():
        if node not in bare:
            if node not in droppable:
                yield _refused(f"The node '{title(reference, node)}' is missing.")
            continue
        if bare[node]["class_type"] != entry["class_type"]:
            yield _refused("The preset has a node of another class there.", graph, node)
            continue
        inputs, expected = inputs_of(bare, node), entry["inputs"]
        for name in [*inputs, *(name for name in expected if name not in inputs)]:
            if name not in inputs:
                link = as_link(expected[name])
                fault = None if link and link.node in droppable - bare.keys() else "It is missing."
            elif (node, name) in params:
                fault = _value_fault(*params[node, name], inputs[name], uploads)
            elif name in expected and _same(inputs[name], expected[name]):
                fault = None
            elif (node, name) in models:
                fault = _file_name_fault(inputs[name])
            else:
                fault = "The preset does not allow setting it."
            if fault is not None:
                yield _refused(fault, graph, node, name)


def _same(one: Any, other: Any) -> bool:
    """Compare two literals; unlike ``==``, True and 1 differ."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _without_guides(
    graph: AnyGraph, reference: Graph, uploads: frozenset[str]
) -> tuple[AnyGraph, list[Problem]]:
    """Return the graph without the nodes of ControlNets and references, and their problems."""
    guides = {
        node: INSERTED_NODES[graph[node]["class_type"]]
        for node in graph
        if node not in reference and graph[node]["class_type"] in INSERTED_NODES
    }
    if not guides:
        return graph, []
    problems = [
        _refused(fault, graph, node)
        for node, inserted in guides.items()
        for fault in _guide_faults(graph[node]["inputs"], inserted, uploads)
    ]
    bare = copied({node: graph[node] for node in graph if node not in guides})
    for node, entry in bare.items():
        for name, value in [*entry["inputs"].items()]:
            link = as_link(value)
            if link is None or link.node not in guides:
                continue
            origin = _passed(graph, guides, link)
            if origin is not None:
                entry["inputs"][name] = [*origin]
            elif is_free_slot(entry["class_type"], name) and link.slot == 0:
                del entry["inputs"][name]
            else:
                problems.append(_refused("The preset takes no image there.", graph, node, name))
    return bare, problems


def _passed(graph: AnyGraph, guides: Mapping[str, InsertedNode], link: NodeLink) -> NodeLink | None:
    """Return the output that the outputs of ControlNets and references stand for, or None."""
    for _ in range(len(guides) + 1):
        if link.node not in guides:
            return link
        passes = guides[link.node].passes
        if not 0 <= link.slot < len(passes):
            return None
        before = as_link(inputs_of(graph, link.node).get(passes[link.slot]))
        if before is None:
            return None
        link = before
    return None  # the nodes feed each other


def _guide_faults(
    inputs: Mapping[str, Any], inserted: InsertedNode, uploads: frozenset[str]
) -> Iterator[str]:
    for name, value in inputs.items():
        if name in inserted.links:
            if as_link(value) is None:
                yield f"'{name}' must be a link."
        elif name not in inserted.values:
            yield f"'{name}' cannot be set."
        elif fault := _guide_fault(value, inserted.values[name], uploads):
            yield f"'{name}': {fault}"


def _guide_fault(value: Any, allowed: Allowed, uploads: frozenset[str]) -> str | None:
    match allowed:
        case "upload":
            is_upload = isinstance(value, str) and value in uploads
            return None if is_upload else "Only your own uploads can be used."
        case "file":
            return _file_name_fault(value)
        case Range(low, high):
            return None if _is_number(value) and low <= value <= high else "It is out of range."
    is_constant = isinstance(value, str | int | float) and any(_same(value, a) for a in allowed)
    return None if is_constant else "It cannot be changed."


def _without_loras(
    graph: AnyGraph, reference: Graph, preset: Preset
) -> tuple[AnyGraph, list[Problem]]:
    """Return the graph without its LoRA loaders, and the problems of those loaders."""
    loras = {
        node: graph[node]
        for node in graph
        if node not in reference and graph[node]["class_type"] in _LORA_INPUTS
    }
    if not loras or not preset.lora_slots:
        return graph, []
    problems = [
        _refused(fault, graph, node)
        for node, entry in loras.items()
        for fault in _lora_faults(entry)
    ]
    sources = {
        NodeLink(*end) for slot in preset.lora_slots for end in (slot.model, slot.clip) if end
    }
    bare = copied({node: graph[node] for node in graph if node not in loras})
    for node, entry in bare.items():
        for name, value in entry["inputs"].items():
            link = as_link(value)
            if link is None or link.node not in loras:
                continue
            origin = _origin(loras, link)
            if origin in sources:
                entry["inputs"][name] = [*origin]
            else:
                problems.append(
                    _refused("A LoRA is where the preset has no slot.", graph, node, name)
                )
    return bare, problems


def _origin(loras: Mapping[str, Mapping[str, Any]], link: NodeLink) -> NodeLink | None:
    """Return the output that feeds the first of a chain of LoRA loaders."""
    for _ in range(len(loras) + 1):
        if link.node not in loras:
            return link
        if link.slot not in (0, 1):
            return None
        before = as_link(loras[link.node]["inputs"].get(("model", "clip")[link.slot]))
        if before is None:
            return None
        link = before
    return None  # the loaders feed each other


def _lora_faults(entry: Mapping[str, Any]) -> Iterator[str]:
    inputs = entry["inputs"]
    if set(inputs) != _LORA_INPUTS[entry["class_type"]]:
        yield "A LoRA loader has unexpected inputs."
        return
    fault = _file_name_fault(inputs["lora_name"])
    if fault is not None:
        yield fault
    for name, value in inputs.items():
        if name.startswith("strength") and not (_is_number(value) and -20 <= value <= 20):
            yield f"'{name}' is out of range."


def _value_fault(
    param: Param, transform: str | None, value: Any, uploads: frozenset[str]
) -> str | None:
    """Return why the value is not allowed at a target of the param, or None."""
    parse = FIELD_TYPES[param.role].parse
    if parse is not None:
        try:
            return None if _same(parse(param.label, value), value) else "The value is not valid."
        except ValidationError as error:
            return error.message
    if param.role in NUMBER_ROLES:
        if not _is_number(value):
            return "A number is required."
        low, high = limits(param)
        # The param's range does not apply to the result of its formula.
        return None if transform is not None or low <= value <= high else "It is out of range."
    if FIELD_TYPES[param.role].value == "bool":
        return None if isinstance(value, bool) else "True or false is required."
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        return "Text is required."
    if param.role in FILE_ROLES:
        return None if value in uploads else "Only your own uploads can be used."
    if param.role in MODEL_ROLES:
        return _file_name_fault(value)
    allowed = choices(param)
    return None if allowed is None or value in allowed else "It is not among the choices."


def _is_number(value: Any) -> bool:
    # math.isfinite raises OverflowError for an integer beyond the range of float.
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _file_name_fault(value: Any) -> str | None:
    """Return why a value is not a plain relative file name, as in the server's lists, or None."""
    if not isinstance(value, str) or not 0 < len(value) <= 400:
        return "A file name is required."
    parts = value.replace("\\", "/").split("/")
    if ".." in parts or "" in parts or ":" in value or any(ord(sign) < 32 for sign in value):
        return "It is not the name of a file in the models folder."
    return None


def _refused(
    message: str, graph: AnyGraph | None = None, node: str | None = None, name: str | None = None
) -> Problem:
    return Problem(
        kind="not_allowed",
        message=f"'{name}': {message}" if name else message,
        hint="Only presets can be run here, with the values they offer.",
        node=node,
        node_title=title(graph, node) if graph is not None and node is not None else None,
        class_type=str(graph[node].get("class_type")) if graph is not None and node else None,
        input=name,
    )
