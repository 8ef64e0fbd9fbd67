"""The names that a caller may use for a control: its id, its role, or a node and an input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ValidationError, closest
from ..graph import AnyGraph, as_link, inputs_of, title, unwrap
from .control import PLAIN, Control, ControlTarget


def named_values(
    graph: AnyGraph, controls: Iterable[Control], values: Mapping[str, Any]
) -> tuple[list[Control], dict[str, Any]]:
    """Return the named controls, and the values by their ids.

    A name is, in this order: a control's id; a role that only one control has; ``node.input``,
    where the node is given by its id, its title or its class; a node with a single control; an
    input that only one control sets. A control that sets more than the named ``node.input`` is
    narrowed to it, and has the name as its id.

    Raises:
        ValidationError: a name is unknown or ambiguous, or two names set the same control.
    """
    listed = [*controls]
    chosen: dict[str, Control] = {}
    by_id: dict[str, Any] = {}
    for name, value in values.items():
        control = _named(graph, listed, name)
        if control.id in by_id:
            raise ValidationError(f"'{name}' sets '{control.id}', which is set already.")
        chosen[control.id], by_id[control.id] = control, value
    narrowed = {id_ for id_ in chosen if all(id_ != control.id for control in listed)}
    ids = sorted(chosen, key=narrowed.__contains__)  # written last, so that the narrower one wins
    return [chosen[id_] for id_ in ids], {id_: by_id[id_] for id_ in ids}


def values_in(graph: AnyGraph, controls: Iterable[Control]) -> dict[str, Any]:
    """Return the value that each control has in a graph, by id."""
    targets = {control.id: control.targets[0] for control in controls}
    return {id_: unwrap(inputs_of(graph, node).get(name)) for id_, (node, name) in targets.items()}


def _named(graph: AnyGraph, controls: Sequence[Control], name: str) -> Control:
    for control in controls:
        if control.id == name:
            return control
    # A role such as "text" is only a type, which any other control may have.
    candidates = [
        control for control in controls if control.role == name and name not in PLAIN.values()
    ]
    if not candidates:
        candidates = [*_addressed(graph, controls, name)] or [
            control for control in controls if any(name == one.input for one in control.targets)
        ]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        ids = ", ".join(dict.fromkeys(control.id for control in candidates))
        raise ValidationError(f"'{name}' can mean several controls.", hint=f"Use one of: {ids}.")
    raise ValidationError(f"There is no control '{name}'.", hint=_hint(graph, controls, name))


def _addressed(graph: AnyGraph, controls: Sequence[Control], name: str) -> Iterator[Control]:
    """Yield the controls of ``node.input``, else those of a node."""
    for node, input_name in _addresses(graph, name):
        target = ControlTarget(node, input_name)
        for control in controls:
            if target in control.targets:
                only = len(control.targets) == 1
                yield control if only else replace(control, id=name, targets=(target,))
    if not any(True for _ in _addresses(graph, name)):
        for node in _nodes(graph, name):
            yield from (
                control for control in controls if any(node == one.node for one in control.targets)
            )


def _addresses(graph: AnyGraph, name: str) -> Iterator[ControlTarget]:
    """Yield the nodes and inputs that a name with a dot may mean. Ids and inputs may have dots."""
    for position in (index for index, sign in enumerate(name) if sign == "."):
        node_name, input_name = name[:position], name[position + 1 :]
        for node in _nodes(graph, node_name):
            if input_name in inputs_of(graph, node):
                yield ControlTarget(node, input_name)


def _nodes(graph: AnyGraph, name: str) -> list[str]:
    """Return the nodes with that id, else those with that title, else those of that class."""
    if name in graph:
        return [name]
    word = name.casefold()
    titled = [node for node in graph if title(graph, node).casefold() == word]
    return titled or [
        node for node in graph if str(graph[node].get("class_type", "")).casefold() == word
    ]


def _hint(graph: AnyGraph, controls: Sequence[Control], name: str) -> str:
    for node, input_name in _addresses(graph, name):
        link = as_link(inputs_of(graph, node)[input_name])
        if link is not None:
            return f"That input is linked to '{title(graph, link.node)}' (node {link.node})."
        return "No output needs that input, or the server does not have the node."
    named = [control.id for control in controls]
    node_name = name.rpartition(".")[0]
    for node in _nodes(graph, node_name) if node_name else ():
        named = [
            f"{node_name}.{target.input}"
            for control in controls
            for target in control.targets
            if target.node == node
        ]
    return closest(name, named)
