"""Walk back through a graph: to the literals that determine a value, and along links of one type.

Every walk visits a node once, and all walks together have a budget of visits: in a hostile graph
the values beyond it get no role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from ...protocol.object_info import NodeSpec
from ..graph import NodeLink
from .literal_inputs import GraphView, LiteralInput
from .name_clues import NEGATIVE, NOT_A_PROMPT, SIZE, TEXT_FOR_A_MODEL

_MAX_VISITS = 50_000  # the largest official template takes 300
_VALUES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*"})


class GraphWalk:
    """Walks over one graph."""

    def __init__(self, view: GraphView) -> None:
        self._view = view
        self._visits = 0

    def samplers(self) -> list[str]:
        """Return the sampler nodes, each after those that it depends on."""
        return [node for node in self.in_order if self.is_sampler(node)]

    def is_sampler(self, node: str) -> bool:
        spec = self._view.spec(node)
        if spec is None or "LATENT" not in spec.outputs:
            return False
        names = spec.inputs.keys()
        return {"positive", "latent_image"} <= names or {"guider", "sigmas"} <= names

    @cached_property
    def in_order(self) -> list[str]:
        """The nodes that outputs need, sources first. Cycles are cut where they close."""
        view = self._view
        done: dict[str, None] = {}
        entered: set[str] = set()
        todo = [(node, False) for node in reversed([*view.graph]) if node in view.needed]
        while todo:
            node, is_left = todo.pop()
            if is_left:
                done[node] = None
            elif node not in entered:
                entered.add(node)
                todo.append((node, True))
                sources = (view.source(node, name) for name in reversed(view.inputs(node)))
                todo += [(link.node, False) for link in sources if link]
        return [*done]

    def first_samplers(self) -> dict[str, str]:
        """Return, for each node that a sampler depends on, the first sampler that it feeds."""
        ranks = {node: rank for rank, node in enumerate(self.samplers())}
        fed: dict[str, str] = {}
        for node in reversed(self.in_order):
            sampler = node if node in ranks else fed.get(node)
            if sampler is None:
                continue
            for name in self._view.inputs(node):
                link = self._view.source(node, name)
                if link is not None:
                    known = fed.setdefault(link.node, sampler)
                    fed[link.node] = min(known, sampler, key=ranks.__getitem__)
        return fed | {node: node for node in ranks}

    def behind(
        self, node: str, name: str, fits: Callable[[LiteralInput], bool]
    ) -> Iterator[LiteralInput]:
        """Yield the literals that determine an input: its own, or the operands of its value."""
        seen: set[str] = set()
        todo = [(node, name)]
        while todo and self._may_go_on():
            where = todo.pop()
            literal = self._view.literal_input(*where)
            if literal is not None and fits(literal):
                yield literal
            link = self._view.source(*where)
            if link is not None and link.node not in seen:
                seen.add(link.node)
                todo += reversed([*self._operands(link.node)])

    def chain(self, node: str, name: str, *kinds: str) -> Iterator[str]:
        """Yield the nodes behind an input, through inputs of these types and through switches.

        The walk stops at a sampler: nodes behind it belong to an earlier stage.
        """
        seen: set[str] = set()
        todo = [(node, name)]
        while todo and self._may_go_on():
            link = self._view.source(*todo.pop())
            if link is None or link.node in seen or self.is_sampler(link.node):
                continue
            seen.add(link.node)
            yield link.node
            branch = self._branch(link.node)
            todo += [
                (link.node, key)
                for key, spec in self._view.inputs(link.node).items()
                if spec.type in (*kinds, "*") and branch in (None, key)
            ]

    def encoders(self, node: str, name: str) -> Iterator[tuple[str, bool]]:
        """Yield the text encoders behind a conditioning input, and whether each is negative.

        An encoder is negative if the walk there goes through an input of that name.
        """
        seen: set[NodeLink] = set()
        todo = [(node, name, False)]
        while todo and self._may_go_on():
            node, name, negative = todo.pop()
            negative = negative or name == "negative"
            link = self._view.source(node, name)
            if link is None or link in seen:
                continue
            seen.add(link)
            spec = self._view.spec(link.node)
            if spec is None or (negative and spec.class_type == "ConditioningZeroOut"):
                continue
            if any(True for _ in self.text_inputs(link.node, negative=negative)):
                yield link.node, negative
            names = self._conditioning_inputs(link, spec)
            todo += [(link.node, key, negative) for key in reversed(names)]

    def text_inputs(self, node: str, *, negative: bool) -> Iterator[str]:
        """Yield the text inputs of an encoder, for one side of the guidance."""
        inputs = self._view.inputs(node)
        encodes = not any(spec.type == "CONDITIONING" for spec in inputs.values())
        names = [
            name
            for name, spec in inputs.items()
            if spec.type == "STRING"
            and ((spec.multiline and encodes) or TEXT_FOR_A_MODEL.search(name))
            and not NOT_A_PROMPT.search(name)
        ]
        sided = [name for name in names if NEGATIVE.search(name)]
        if negative and sided:
            yield from sided
        else:
            yield from (name for name in names if name not in sided)

    def _may_go_on(self) -> bool:
        self._visits += 1
        return self._visits <= _MAX_VISITS

    def _branch(self, node: str) -> str | None:
        """Return the input that a switch with a constant setting passes on."""
        if not {"switch", "on_true", "on_false"} <= self._view.inputs(node).keys():
            return None
        settings = self.behind(node, "switch", lambda literal: literal.spec.type == "BOOLEAN")
        setting = next(settings, None)
        if setting is None:
            return None
        return "on_true" if setting.value else "on_false"

    def _operands(self, node: str) -> Iterator[tuple[str, str]]:
        """Yield the inputs that a node computes its value from."""
        inputs = self._view.inputs(node)
        if {spec.type for spec in inputs.values()} == {"IMAGE"}:  # a node that measures an image
            for where in self.chain(node, next(iter(inputs)), "IMAGE"):
                names = self._view.inputs(where)
                yield from ((where, name) for name in names if SIZE.search(name))
            return
        branch = self._branch(node)
        for name, spec in inputs.items():
            is_value = not _VALUES.isdisjoint(spec.type.split(","))
            if is_value and branch in (None, name) and not spec.advanced:
                yield node, name

    def _conditioning_inputs(self, link: NodeLink, spec: NodeSpec) -> list[str]:
        """Return the inputs that a node computes its conditioning from."""
        inputs = self._view.inputs(link.node)
        pair = [slot for slot, kind in enumerate(spec.outputs) if kind == "CONDITIONING"]
        if {"positive", "negative"} <= inputs.keys() and len(pair) > 1:
            return ["negative" if link.slot == pair[1] else "positive"]
        branch = self._branch(link.node)
        return [
            key
            for key, declared in inputs.items()
            if declared.type in ("CONDITIONING", "*") and branch in (None, key)
        ]
