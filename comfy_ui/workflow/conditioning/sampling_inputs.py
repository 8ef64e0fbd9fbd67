"""Where a graph takes ControlNets and references: the inputs of the nodes that sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..graph import AnyGraph, Graph, NodeLink, as_link, free_id, inputs_of

__all__ = ["SamplingInputs", "add_node", "insert_before", "sampling_inputs", "vae_of"]

# Positive and negative conditioning of samplers and guiders; the last are of guiders without CFG.
_CONDITIONING: Final = (("positive", "negative"), ("conditioning", None))


class SamplingInputs(NamedTuple):
    """A node that samples, or its guider, and the names of its conditioning inputs."""

    node: str
    positive: str
    negative: str | None


def sampling_inputs(graph: AnyGraph) -> list[SamplingInputs]:
    """Return the inputs of all samplers and guiders: nodes that read a model and conditioning."""
    found = []
    for node in graph:
        links = {name for name, value in inputs_of(graph, node).items() if as_link(value)}
        for positive, negative in _CONDITIONING:
            if {"model", positive} <= links:
                found.append(
                    SamplingInputs(node, positive, negative if negative in links else None)
                )
                break
    return found


def vae_of(graph: AnyGraph) -> NodeLink | None:
    """Return the VAE that decodes the result, else any other that is used; None without one."""
    links = [
        (str(graph[node]["class_type"]), link)
        for node in graph
        if (link := as_link(inputs_of(graph, node).get("vae"))) is not None
    ]
    decoding = [link for class_type, link in links if class_type.startswith("VAEDecode")]
    return next(iter([*decoding, *(link for _, link in links)]), None)


def add_node(graph: Graph, class_type: str, title: str = "", **inputs: Any) -> str:
    """Add a node, in place, and return its id. Links are given as :class:`.NodeLink`."""
    node = free_id(graph)
    graph[node] = {
        "class_type": class_type,
        "inputs": {
            name: [*value] if isinstance(value, NodeLink) else value
            for name, value in inputs.items()
        },
        "_meta": {"title": title or class_type},
    }
    return node


def insert_before(
    graph: Graph,
    names: Callable[[SamplingInputs], tuple[str, ...]],
    insert: Callable[[tuple[NodeLink, ...]], tuple[NodeLink, ...]],
) -> None:
    """Replace the links into inputs of all samplers, in place.

    ``insert`` adds nodes behind those links, once for the same links, and returns the new ones.
    """
    replaced: dict[tuple[NodeLink, ...], tuple[NodeLink, ...]] = {}
    for sampling in sampling_inputs(graph):
        inputs = graph[sampling.node]["inputs"]
        links = [as_link(inputs[name]) for name in names(sampling)]
        sources = (*(link for link in links if link is not None),)
        if sources not in replaced:
            replaced[sources] = insert(sources)
        for name, link in zip(names(sampling), replaced[sources], strict=False):
            inputs[name] = [*link]
