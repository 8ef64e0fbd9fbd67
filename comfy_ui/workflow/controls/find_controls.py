"""Find the controls of a graph, from the author's hints and from the graph itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import InvalidWorkflowError
from ..editor.convert import Conversion, convert_only
from ..fields.field_types import FIELD_TYPES, FILE_ROLES, OUTPAINT_ROLES, Role, usual
from ..graph import AnyGraph, is_api_graph
from ..presets.graph_builder import ObjectInfo, as_library
from .author_hints import AuthorHint, find_hints
from .control import PLAIN, Control, ControlTarget
from .graph_trace import trace
from .graph_walk import GraphWalk
from .literal_inputs import GraphView, LiteralInput
from .name_clues import is_plumbing, role_in
from .presentation import ControlDraft, NodePlace, present
from .sections import Sections

MAX_MAIN = 7  # rows of the form before "Advanced"; width and height share one

# The order of roles that have none: texts before the negative prompt, others after the size.
_ORDER: Mapping[str, int] = {"text": 9, "choice": 35, "bool": 36, "int": 37, "float": 38}
# The roles that stay in the main part of a long form, most important first.
_NEEDED: tuple[Role, ...] = (
    "prompt", "image", "video", "audio", "mask", *OUTPAINT_ROLES, "negative", "width", "height",
    "duration", "seed",
    "frames", "choice", "bool", "text", "float", "int", "strength", "steps", "cfg", "guidance",
    "batch", "fps",
)  # fmt: skip
# Roles whose equal values share one control: two samplers with the same seed have one seed.
_SHARED_ROLES = frozenset(role for role in FIELD_TYPES if usual(role)) - {"lora", *FILE_ROLES}


def find_controls(
    graph: AnyGraph,
    object_info: ObjectInfo,
    editor: Mapping[str, Any] | None = None,
) -> list[Control]:
    """Find the controls of a graph, in the order in which a form shows them.

    About seven are not ``advanced``; technical ones are ``hidden``. Each input that an output needs
    and that has a literal value belongs to exactly one control. Pure.

    Args:
        graph: in API format.
        object_info: the server's answer of that name, raw or as a :class:`NodeRegistry`. Inputs of
            classes that are not in it have no controls.
        editor: the editor-format file that the graph was converted from, if any: App mode, labels
            and promoted inputs are only there.

    Raises:
        InvalidWorkflowError: ``graph`` is not in API format.
    """
    if graph and not is_api_graph(graph):
        raise InvalidWorkflowError("Not a graph in API format.")
    view = GraphView(graph, as_library(object_info))
    conversion = _conversion(view, editor) if editor is not None else None
    walk = GraphWalk(view)
    drafts = _Drafts(view, walk, Sections(view, walk, conversion.document if conversion else None))
    for hint in find_hints(view, editor, conversion):
        drafts.add_hint(hint)
    drafts.add_rest()
    return [*present(_arranged(drafts.all))]


def _conversion(view: GraphView, editor: Mapping[str, Any]) -> Conversion | None:
    try:
        return convert_only(editor, view.library)
    except InvalidWorkflowError:
        return None  # the graph is enough; the editor file only adds hints


class _Drafts:
    def __init__(self, view: GraphView, walk: GraphWalk, sections: Sections) -> None:
        self._view = view
        self._sections = sections
        self._meanings = trace(view, walk)
        self._used_targets: set[ControlTarget] = set()
        self._targets_by_key: dict[tuple[Any, ...], list[ControlTarget]] = {}
        for target in self._meanings:
            literal = view.literal_input(*target)
            if literal is not None:
                self._targets_by_key.setdefault(self._key(literal), []).append(target)
        self.all: list[ControlDraft] = []

    def add_hint(self, hint: AuthorHint) -> None:
        literals = [
            literal for target in hint.targets if (literal := self._free(target)) is not None
        ]
        if literals:
            self._add(literals, hint)

    def add_rest(self) -> None:
        """Add the inputs without a hint: those with a role first, then all others."""
        for target in self._meanings:
            literal = self._free(target)
            if literal is not None:
                self._add([literal], None)
        for literal in self._view.literal_inputs():
            if literal.target not in self._used_targets:
                self._add([literal], None)

    def _free(self, target: ControlTarget) -> LiteralInput | None:
        return None if target in self._used_targets else self._view.literal_input(*target)

    def _add(self, literals: list[LiteralInput], hint: AuthorHint | None) -> None:
        named = next(
            (literal for literal in literals if literal.target in self._meanings), literals[0]
        )
        meaning = self._meanings.get(named.target)
        role = meaning.role if meaning else PLAIN[named.spec.type]
        if role in ("int", "float") and hint is not None:
            role = role_in(hint.label) or role
        targets = [literal.target for literal in literals]
        if meaning is not None:
            twins = self._targets_by_key[self._key(named)]
            targets += [
                twin for twin in twins if twin not in self._used_targets and twin not in targets
            ]
        self._used_targets.update(targets)
        node = named.target.node
        self.all.append(
            ControlDraft(
                named,
                targets,
                role,
                [self._place(target.node) for target in targets],
                meaning,
                hint,
                title=self._view.title(node),
                own_title=self._view.own_title(node),
                plumbing=hint is None
                and is_plumbing(self._view.class_of(node), named.target.input),
                integral=any(self._view.inputs(node)[name].type == "INT" for node, name in targets),
            )
        )

    def _place(self, node: str) -> NodePlace:
        sections = self._sections
        return NodePlace(
            sections.rank(node),
            sections.subgraph(node),
            sections.group(node),
            sections.stage(node),
        )

    def _key(self, literal: LiteralInput) -> tuple[Any, ...]:
        """Return a key that is equal for values that share a control."""
        role = self._meanings[literal.target].role
        if role not in _SHARED_ROLES or literal.value == "":
            return literal.target
        if (
            role == "strength" and literal.target.input != "denoise"
        ):  # of a LoRA, of a ControlNet, …
            return literal.target
        return role, literal.value, type(literal.value)


def _arranged(drafts: list[ControlDraft]) -> list[ControlDraft]:
    """Sort into the form's order, and mark the controls of the main part."""
    chosen = [draft for draft in drafts if draft.hint and draft.hint.chosen]
    others = [draft for draft in drafts if not (draft.hint and draft.hint.chosen)]
    others.sort(key=lambda draft: (_order(draft.role), _stage(draft)))
    if chosen:  # the author's list is the whole form, in that order
        for draft in chosen:
            draft.advanced = draft.hint is not None and not draft.hint.main
    else:
        _show(sorted(filter(_may_be_main, others), key=lambda draft: _NEEDED.index(draft.role)))
    ranks = _section_ranks(others)
    return sorted(
        [*chosen, *others],
        key=lambda draft: (
            draft.hidden,
            draft.advanced,
            ranks.get(draft.section, len(ranks)) if draft.advanced else 0,
        ),
    )


def _section_ranks(drafts: Iterable[ControlDraft]) -> dict[str, int]:
    """Return the positions of the author's headings, in the order in which they run."""
    ranks: dict[str, int] = {}
    for draft in drafts:
        if draft.section:
            rank = draft.places[0].rank
            ranks[draft.section] = min(rank, ranks.get(draft.section, rank))
    return {section: i for i, section in enumerate(sorted(ranks, key=ranks.__getitem__))}


def _show(candidates: Iterable[ControlDraft]) -> None:
    """Mark the controls of the main part, which has room for ``MAX_MAIN`` rows."""
    rows = 0
    has_width = False
    for draft in candidates:
        shares_a_row = draft.role == "height" and has_width
        if rows < MAX_MAIN or shares_a_row or draft.literal.spec.upload:
            draft.advanced = False  # a required file is never hidden
            has_width = has_width or draft.role == "width"
            rows += not shares_a_row


def _stage(draft: ControlDraft) -> int:
    """Return the position of the first sampler that an input file is for; 0 for other controls."""
    return min(place.rank for place in draft.places) if draft.role in FILE_ROLES else 0


def _order(role: Role) -> int:
    """Return the position of a role; those set most often come first."""
    return _ORDER[role] if role in _ORDER else int(usual(role).get("order", _ORDER["text"]))


def _may_be_main(draft: ControlDraft) -> bool:
    if draft.role not in _NEEDED or draft.literal.spec.advanced:
        return False
    if draft.hint is not None and draft.hint.main and draft.author_label:
        return True
    meaning = draft.meaning
    if meaning is None or not meaning.main or draft.role in ("text", "int", "float", "bool"):
        return False
    has_effect = bool(draft.literal.value != 1)
    if draft.role == "cfg":  # models distilled for cfg 1 have no use for it
        return has_effect
    return draft.role != "strength" or (draft.literal.target.input == "denoise" and has_effect)
