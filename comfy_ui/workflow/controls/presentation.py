"""Labels, ranges, choices and ids of controls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..fields.field_types import Role, usual
from ..fields.numbers import MAX_SEED
from .author_hints import AuthorHint
from .control import PLAIN, Control, ControlKind, ControlTarget
from .graph_trace import InputMeaning
from .literal_inputs import LiteralInput

# Useful ranges where a node class allows any value.
_WIDEST: Mapping[Role, tuple[float, float]] = {
    "strength": (-10, 10),
    "width": (16, 4096),
    "height": (16, 4096),
    "duration": (0, 600),
    "frames": (1, 2000),
    "fps": (1, 120),
    "seed": (0, MAX_SEED),
    "batch": (1, 64),
    "steps": (1, 150),
    "cfg": (0, 30),
    "guidance": (0, 100),
}
_STRENGTHS = {"strength_model": "LoRA strength", "strength_clip": "LoRA strength on the text"}
_FILES = {
    "vae_name": "VAE",
    "clip_name": "Text encoder",
    "clip_name1": "Text encoder 1",
    "clip_name2": "Text encoder 2",
    "clip_name3": "Text encoder 3",
    "control_net_name": "ControlNet",
}
_TYPED_TITLE = re.compile(r"(?:int|float|string|text|boolean|bool)\w*\s*\((.+)\)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+")
_LORA_HELP = "How strongly the LoRA changes the result: 0 turns it off."
_ABSURD = 2**31 - 1  # a bound at or beyond this is no real limit

_GROUPS: Mapping[Role, str] = {
    "model": "Models",
    "lora": "Models",
    "steps": "Sampling",
    "cfg": "Sampling",
    "guidance": "Sampling",
    "sampler": "Sampling",
    "scheduler": "Sampling",
}


class NodePlace(NamedTuple):
    """Where a node stands, see :class:`.sections.Sections`."""

    rank: int = 0
    subgraph: str = ""
    group: str = ""
    stage: str = ""

    @property
    def section(self) -> str:
        """The author's heading for its values."""
        return self.subgraph or self.group


@dataclass(slots=True)
class ControlDraft:
    """A control under construction."""

    literal: LiteralInput
    targets: list[ControlTarget]
    role: Role
    places: list[NodePlace]  # of the targets' nodes
    meaning: InputMeaning | None = None
    hint: AuthorHint | None = None
    title: str = ""  # of the node
    own_title: str = ""
    advanced: bool = True
    plumbing: bool = False
    integral: bool = False  # one of the targets accepts only integers

    @property
    def hidden(self) -> bool:
        """Whether the form leaves it out."""
        return self.plumbing and self.advanced

    @property
    def section(self) -> str:
        """The author's heading; empty if it sets values under several."""
        sections = {place.section for place in self.places}
        return sections.pop() if len(sections) == 1 else ""

    @property
    def author_label(self) -> str:
        """The author's label."""
        return self.hint.label if self.hint else ""


def present(drafts: list[ControlDraft]) -> Iterator[Control]:
    """Yield the finished controls, with ids and labels that tell them apart.

    They keep their order, except that numbered ones ascend.
    """
    ids: set[str] = set()
    numbers: Counter[str] = Counter()
    for draft, label in _ascending(drafts, _distinct_labels(drafts)):
        stem = draft.role if usual(draft.role) else _slug(draft.author_label or _label(draft))
        key = stem
        while key in ids:
            numbers[stem] += 1
            key = f"{stem}_{numbers[stem] + 1}"
        ids.add(key)
        yield _control(draft, label, key)


def _ascending(
    drafts: Sequence[ControlDraft], labels: Sequence[str]
) -> list[tuple[ControlDraft, str]]:
    """Put controls whose labels differ only by numbers in the order of these, on their places.

    The order that an author chose stays.
    """
    pairs = [*zip(drafts, labels, strict=True)]
    places: dict[tuple[bool, str, Role, str], list[int]] = {}
    for place, (draft, label) in enumerate(pairs):
        if not (draft.hint and draft.hint.chosen):
            key = draft.hidden, _group(draft), draft.role, _NUMBER.sub("#", label)
            places.setdefault(key, []).append(place)
    for alike in places.values():
        ascending = sorted((pairs[place] for place in alike), key=_numbers)
        for place, pair in zip(alike, ascending, strict=True):
            pairs[place] = pair
    return pairs


def _numbers(pair: tuple[ControlDraft, str]) -> list[int]:
    return [*map(int, _NUMBER.findall(pair[1]))]


def _distinct_labels(drafts: list[ControlDraft]) -> list[str]:
    """Return a label for each control, with what tells it from others of the same name."""
    labels = [_label(draft) for draft in drafts]
    for indices in _alike(drafts, labels):
        if len({drafts[index].literal.target.input for index in indices}) > 1:
            for index in indices:
                labels[index] = _by_input(drafts[index], labels[index])
    for indices in _alike(drafts, labels):
        for index, suffix in _suffixes({index: drafts[index] for index in indices}, _QUALIFIERS):
            labels[index] += f" {suffix}" if suffix.isdigit() else f" ({suffix})" if suffix else ""
    return labels


def _by_input(draft: ControlDraft, label: str) -> str:
    """Return the input's own name for a value whose label is that of its role."""
    name = draft.literal.target.input
    by_role = draft.role in ("cfg", "strength") and name not in ("cfg", "denoise")
    return _pretty(name) if by_role and not draft.author_label else label


def _alike(drafts: Sequence[ControlDraft], labels: Sequence[str]) -> list[list[int]]:
    """Return the indices of the controls with equal labels, where several.

    Those under a heading of the author's are only compared with one another.
    """
    other_headings = {_group(draft) for draft in drafts if not draft.section}
    indices: dict[tuple[bool, str, str], list[int]] = {}
    for index, (draft, label) in enumerate(zip(drafts, labels, strict=True)):
        section = draft.section if draft.advanced else ""
        section = "" if section in other_headings else section
        indices.setdefault((draft.hidden, section, label.casefold()), []).append(index)
    return [group for group in indices.values() if len(group) > 1]


_QUALIFIERS: tuple[Callable[[ControlDraft], str], ...] = (
    lambda draft: draft.own_title,
    lambda draft: draft.places[0].subgraph,
    lambda draft: draft.places[0].group,
    lambda draft: draft.places[0].stage,
    lambda draft: draft.title,
)


def _suffixes(
    drafts: Mapping[int, ControlDraft], qualifiers: Sequence[Callable[[ControlDraft], str]]
) -> Iterator[tuple[int, str]]:
    """Yield what tells controls with the same label apart: titles, else numbers."""
    if len(drafts) == 1:
        yield next(iter(drafts)), ""
        return
    for position, qualifier in enumerate(qualifiers, 1):
        parts: dict[str, dict[int, ControlDraft]] = {}
        for index, draft in drafts.items():
            parts.setdefault(qualifier(draft), {})[index] = draft
        if len(parts) > 1:
            for title, part in parts.items():
                for index, rest in _suffixes(part, qualifiers[position:]):
                    comma = ", " if title and rest and not rest.isdigit() else " "
                    yield index, f"{title}{comma}{rest}".strip()
            return
    yield from ((index, str(number)) for number, index in enumerate(drafts, 1))


def _group(draft: ControlDraft) -> str:
    """Return the heading: the author's, else the role's, else the node's title."""
    if draft.hint and draft.hint.group:
        return draft.hint.group
    if not draft.advanced:
        return "Main"
    return draft.section or _GROUPS.get(draft.role, draft.title)


def _label(draft: ControlDraft) -> str:
    name = draft.literal.target.input.rpartition(".")[2]
    if draft.author_label:
        return _pretty(draft.author_label)
    if draft.role == "strength" and name != "denoise":
        return _STRENGTHS.get(name, _pretty(name))
    if draft.role == "model" and name not in ("ckpt_name", "unet_name", "model_name"):
        return _FILES.get(name, _pretty(name.removesuffix("_name")))
    if usual(draft.role):
        return str(usual(draft.role)["label"])
    if name in ("value", "choice", "text", "string"):
        return draft.own_title or draft.title
    return _pretty(name)


def _control(draft: ControlDraft, label: str, key: str) -> Control:
    spec, hint = draft.literal.spec, draft.hint
    kind = _kind(draft)
    low, high, step = _limits(draft) if kind in ("int", "float") else (None, None, None)
    default = draft.literal.value
    if draft.role == "seed" and isinstance(default, int):
        default = max(0, min(default, MAX_SEED))
    choices = hint.choices if hint and hint.choices else spec.choices
    help_text = (hint.help if hint else "") or spec.tooltip or _help(draft)
    return Control(
        id=key,
        role=draft.role,
        kind=kind,
        label=label,
        targets=tuple(draft.targets),
        default=default,
        min=low,
        max=high,
        step=step,
        choices=choices if kind == "choice" else None,
        advanced=draft.advanced,
        hidden=draft.hidden,
        group=_group(draft),
        help=help_text,
        multiline=spec.multiline or draft.role in ("prompt", "negative"),
        optional=not spec.required,
    )


def _help(draft: ControlDraft) -> str:
    """The help of the role; of a strength only where it is that of denoising."""
    name = draft.literal.target.input.rpartition(".")[2]
    if draft.role == "strength" and name != "denoise":
        return _LORA_HELP if name in _STRENGTHS else ""
    return str(usual(draft.role).get("help", ""))


def _kind(draft: ControlDraft) -> ControlKind:
    spec = draft.literal.spec
    if spec.upload is not None:
        return "file"
    if draft.hint and draft.hint.choices:
        return "choice"
    if spec.type == "COMBO" and spec.choices is None:  # the editor fetches the list from elsewhere
        return "text"
    return "int" if spec.type == "FLOAT" and draft.integral else PLAIN[spec.type]


def _limits(draft: ControlDraft) -> tuple[float | None, float | None, float | None]:
    """Return minimum, maximum and step; the graph's own value is always within."""
    spec, hint = draft.literal.spec, draft.hint
    consumer = draft.meaning.consumer if draft.meaning and draft.meaning.consumer else spec
    low, high = _WIDEST.get(draft.role, (None, None))
    lows = [_sane(spec.min), _sane(consumer.min), low, hint.min if hint else None]
    highs = [_sane(spec.max, high), _sane(consumer.max, high), high, hint.max if hint else None]
    smallest = max((bound for bound in lows if bound is not None), default=None)
    largest = min((bound for bound in highs if bound is not None), default=None)
    step = (hint.step if hint else None) or consumer.step or spec.step
    value = draft.literal.value
    if isinstance(value, int | float) and draft.role != "seed":
        smallest = None if smallest is None else min(smallest, value)
        largest = None if largest is None else max(largest, value)
    if _kind(draft) == "int":
        step = max(1, round(step or 1))
    return smallest, largest, step


def _sane(bound: float | None, limit: float | None = None) -> float | None:
    """Return ``bound``, or None if it is too large to be a real limit."""
    return None if bound is None or abs(bound) >= (limit or _ABSURD) else bound


def _pretty(name: str) -> str:
    typed = _TYPED_TITLE.fullmatch(name)
    name = typed[1] if typed else name
    text = re.sub(r"[_\s]+", " ", name).strip(" :")
    return text[:1].upper() + text[1:] if text else name


def _slug(label: str) -> str:
    text = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    return text if re.match(r"[a-z]", text) else f"value_{text}".rstrip("_")
