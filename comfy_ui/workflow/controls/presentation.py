"""Labels, ranges, choices and ids of controls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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


@dataclass(slots=True)
class ControlDraft:
    """A control under construction."""

    literal: LiteralInput
    targets: list[ControlTarget]
    role: Role
    meaning: InputMeaning | None = None
    hint: AuthorHint | None = None
    title: str = ""  # of the node
    own_title: str = ""
    advanced: bool = True
    integral: bool = False  # one of the targets accepts only integers

    @property
    def author_label(self) -> str:
        """The author's label."""
        return self.hint.label if self.hint else ""


def present(drafts: list[ControlDraft]) -> Iterator[Control]:
    """Yield the finished controls, in the same order, with unique labels and ids."""
    shared = Counter(_label(draft) for draft in drafts if not draft.advanced)
    seen: Counter[str] = Counter()
    ids: set[str] = set()
    numbers: Counter[str] = Counter()
    for draft in drafts:
        label = _label(draft)
        seen[label] += 1
        if shared[label] > 1 and not draft.author_label and not draft.advanced:
            label = _unique_label(draft, label, seen[label])
        stem = draft.role if usual(draft.role) else _slug(draft.author_label or _label(draft))
        key = stem
        while key in ids:
            numbers[stem] += 1
            key = f"{stem}_{numbers[stem] + 1}"
        ids.add(key)
        yield _control(draft, label, key)


def _unique_label(draft: ControlDraft, label: str, number: int) -> str:
    """Make a label unique that several controls would have."""
    name = draft.literal.target.input
    if draft.role in ("cfg", "strength") and name not in ("cfg", "denoise"):
        return _pretty(name)
    if draft.own_title:
        return f"{label} ({draft.own_title})"
    return f"{label} {number}" if number > 1 else label


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
    group = _GROUPS.get(draft.role, draft.title) if draft.advanced else "Main"
    choices = hint.choices if hint and hint.choices else spec.choices
    help_text = hint.help if hint else ""
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
        group=(hint.group if hint else "") or group,
        help=help_text or spec.tooltip or str(usual(draft.role).get("help", "")),
        multiline=spec.multiline or draft.role in ("prompt", "negative"),
        optional=not spec.required,
    )


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
