"""The nodes that a graph runs and their rough costs, from the graph alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GraphCost:
    """The structure and costs of an API-format graph.

    ``sources`` are the nodes that each node takes inputs from, without switch branches that are
    known not to be taken. ``outputs`` are the nodes at which the run ends; ``outputs_reported``
    says that the server named them. ``weights`` are costs in units of about half a sampling step.
    """

    classes: Mapping[str, str]
    titles: Mapping[str, str]
    sources: Mapping[str, tuple[str, ...]]
    outputs: frozenset[str]
    outputs_reported: bool
    weights: Mapping[str, float]


def plan_graph(
    graph: Mapping[str, Any], *, output_nodes: Collection[str] | None = None
) -> GraphCost:
    """Read a graph, ``{node_id: {"class_type", "inputs", "_meta"}}``. Never raises.

    Args:
        graph: API format. Entries of another shape are skipped.
        output_nodes: the ids that the server runs the graph for, if it reported them. Otherwise
            every node whose outputs are unused, and every node that seems to save or show
            something.
    """
    nodes = {id_: node for id_, node in graph.items() if isinstance(node, Mapping)}
    inputs = {id_: _mapping(node.get("inputs")) for id_, node in nodes.items()}
    classes = {id_: _text(node.get("class_type")) for id_, node in nodes.items()}
    sources = {id_: _sources(id_, nodes) for id_ in nodes}
    used = {source for ids in sources.values() for source in ids}
    reported = frozenset(output_nodes or ()) & nodes.keys()
    return GraphCost(
        classes=classes,
        titles={
            id_: _text(_mapping(node.get("_meta")).get("title")) or classes[id_]
            for id_, node in nodes.items()
        },
        sources=sources,
        outputs=reported
        or frozenset(
            id_ for id_, class_type in classes.items() if id_ not in used or is_saver(class_type)
        ),
        outputs_reported=bool(reported),
        weights={id_: _weight(classes[id_], inputs[id_], nodes) for id_ in nodes},
    )


def ancestors(
    outputs: Iterable[str],
    sources: Mapping[str, tuple[str, ...]],
    *,
    done: Collection[str] = frozenset(),
) -> set[str]:
    """``outputs`` and all nodes that they need, not following nodes that are ``done``."""
    needed: set[str] = set()
    waiting = [id_ for id_ in outputs if id_ not in done]
    while waiting:
        id_ = waiting.pop()
        if id_ not in needed and id_ in sources:
            needed.add(id_)
            waiting += [source for source in sources[id_] if source not in done]
    return needed


def _sources(id_: str, nodes: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    inputs = _mapping(nodes[id_].get("inputs"))
    skipped = ""
    if nodes[id_].get("class_type") == "ComfySwitchNode":
        switch = _literal(inputs.get("switch"), nodes)
        if isinstance(switch, bool):
            skipped = "on_false" if switch else "on_true"
    links = (_link(value) for name, value in inputs.items() if name != skipped)
    return tuple(dict.fromkeys(source for source in links if source in nodes))


def _link(value: Any) -> str:
    """The id of the node that a value is linked to; empty for a literal."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return str(value[0])
    return ""


def _literal(value: Any, nodes: Mapping[str, Mapping[str, Any]]) -> Any:
    """A literal value, directly or from a primitive node; None if it is computed."""
    source = nodes.get(_link(value))
    if source is None:
        return None if isinstance(value, list) else value
    if not _text(source.get("class_type")).startswith("Primitive"):
        return None
    value = _mapping(source.get("inputs")).get("value")
    return None if isinstance(value, list) else value


def is_loader(class_type: str) -> bool:
    """Whether a node class loads a model, by its name."""
    return "Loader" in class_type or (class_type.startswith("Load") and "Model" in class_type)


def is_saver(class_type: str) -> bool:
    """Whether a node class saves or shows a result, by its name."""
    return class_type.startswith(("Save", "Preview", "VHS_VideoCombine"))


def _samples(class_type: str, inputs: Mapping[str, Any]) -> bool:
    return "Sampler" in class_type and not inputs.keys().isdisjoint({"latent_image", "sigmas"})


def _weight(
    class_type: str, inputs: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]
) -> float:
    if is_loader(class_type):
        return 6.0
    if _samples(class_type, inputs):
        return 2.0 * _steps(inputs, nodes)
    if "Upscale" in class_type or "Upsampl" in class_type or "Interpolat" in class_type:
        return 10.0
    if "TextEncode" in class_type:
        return 3.0
    if "VAE" in class_type and ("Decode" in class_type or "Encode" in class_type):
        return 5.0
    return 1.0 if is_saver(class_type) else 0.2


def _steps(inputs: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> float:
    """The number of steps of a sampler; 20 if unknown."""
    for _ in range(8):  # a chain of sigmas is short, but may be a cycle in a broken graph
        steps = _literal(inputs.get("steps"), nodes)
        if isinstance(steps, int | float) and steps > 0:
            first = _literal(inputs.get("start_at_step"), nodes)
            last = _literal(inputs.get("end_at_step"), nodes)
            first = first if isinstance(first, int) else 0
            last = last if isinstance(last, int) else steps
            return min(max(1.0, min(last, steps) - first), 10_000.0)
        source = nodes.get(_link(inputs.get("sigmas")))
        if source is None:
            break
        inputs = _mapping(source.get("inputs"))
    return 20.0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
