"""Find the prompt and seed of a graph without ``/object_info``.

Imported files have only the graph. With ``/object_info``, :func:`.controls.find_controls` finds
more.
"""

from __future__ import annotations

from collections.abc import Iterator

from .graph import AnyGraph, as_link, inputs_of

_SEEDS = ("seed", "noise_seed", "rand_seed")
_TEXTS = ("text", "prompt", "tags", "text_g", "clip_l", "t5xxl", "positive", "string", "value")
_POSITIVE = ("positive", "conditioning", "guider", "cond")


def prompt_of_graph(graph: AnyGraph) -> tuple[str, int | None]:
    """Return the prompt (empty if none is found) and the seed (None if none is found).

    The prompt is the first text upstream of a node's positive conditioning.

    >>> prompt_of_graph({"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
    ...          "2": {"class_type": "KSampler", "inputs": {"seed": 7, "positive": ["1", 0]}}})
    ('a fox', 7)
    """
    return next(_prompts(graph), ""), next(_seeds(graph), None)


def _prompts(graph: AnyGraph) -> Iterator[str]:
    for key in _POSITIVE:
        for node in graph:
            if as_link(inputs_of(graph, node).get(key)) is not None:
                yield from _texts_above(graph, node, key, set())
    for node in graph:  # nodes with an own prompt input, such as partner nodes
        text = inputs_of(graph, node).get("prompt")
        if isinstance(text, str) and text.strip():
            yield text


def _texts_above(graph: AnyGraph, node: str, key: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    value = inputs_of(graph, node).get(key)
    link = as_link(value)
    if link is None:
        if isinstance(value, str) and value.strip():
            yield value
        return
    if (node, key) in seen or link.node not in graph:
        return
    seen.add((node, key))
    above = inputs_of(graph, link.node)
    for name in (*_POSITIVE, *_TEXTS):
        if name in above:
            yield from _texts_above(graph, link.node, name, seen)


def _seeds(graph: AnyGraph) -> Iterator[int]:
    for node in graph:
        inputs = inputs_of(graph, node)
        for key in _SEEDS:
            value = inputs.get(key)
            link = as_link(value)
            if link is not None and link.node in graph:
                above = inputs_of(graph, link.node)
                value = next((above[k] for k in (*_SEEDS, "value") if k in above), None)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                yield value
