"""``analyze_prompt``: what a prompt is about, and which preset and size suit it. By rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ValidationError
from ..workflow.presets import Preset, list_presets
from .draft import Kind
from .protect import PartKind, protected_parts
from .vocabulary import said_in, subject_of, subject_words, vocabulary, words

__all__ = ["PromptAnalysis", "analyze_prompt"]


@dataclass(frozen=True, slots=True)
class PromptAnalysis:
    """What was found. ``reasons`` says in words why.

    ``intent`` is the group of the subject (portrait, landscape, city, …, other), ``subjects`` are
    the words for it; ``said`` are the aspects that the prompt describes already (light, colour,
    framing, …), ``mood`` its words for a mood. ``suggested_size`` is width and height in pixels,
    None for what has no size.
    """

    intent: str
    kind: Kind
    styles: tuple[str, ...]
    said: tuple[str, ...]
    suggested_preset: str
    reasons: tuple[str, ...]
    subjects: tuple[str, ...] = ()
    mood: tuple[str, ...] = ()
    suggested_size: tuple[int, int] | None = None


def analyze_prompt(prompt: str, *, presets: Collection[str] | None = None) -> PromptAnalysis:
    """Find subject, styles and the kind of result that a prompt asks for.

    Args:
        prompt: what the person typed.
        presets: ids of the presets to choose from, such as those that a server can run; by
            default all.

    Raises:
        ValidationError: the prompt is empty.
    """
    found = words(prompt)
    if not found:
        raise ValidationError("There is no prompt to analyse.", hint="Type a few words first.")
    rules = vocabulary()["analysis"]
    subject, subjects = subject_of(found), subject_words(found)
    kind, reasons = _kind(found, rules)
    reasons += [f"'{word}' is a word for {subject}" for word in subjects if _is(word, subject)]
    styles: list[str] = []
    for style, known in rules["styles"].items():
        if told := [word for word in found if word in known]:
            styles.append(style)
            reasons += [f"'{word}' is a word of the style {style}" for word in told]
    preset, why = _preset(prompt, found, kind=kind, styles=styles, rules=rules, among=presets)
    size, why_size = _size(preset, found, subject, rules)
    return PromptAnalysis(
        intent=subject,
        kind=kind,
        styles=tuple(styles),
        said=tuple(sorted(said_in(found))),
        suggested_preset=preset.id,
        reasons=tuple(dict.fromkeys([*reasons, *filter(None, (why, why_size))])),
        subjects=subjects,
        mood=tuple(dict.fromkeys(word for word in found if word in vocabulary()["said"]["mood"])),
        suggested_size=size,
    )


def _is(word: str, subject: str) -> bool:
    return subject_of([word]) == subject


def _kind(found: Sequence[str], rules: Mapping[str, Any]) -> tuple[Kind, list[str]]:
    if found[0] in rules["edits"]:
        return "edit", [f"'{found[0]}' at the beginning asks for a change to a picture"]
    kinds: tuple[Kind, ...] = ("video", "audio")
    for kind in kinds:
        if told := [word for word in found if word in rules["asks_for"][kind]]:
            return kind, [f"'{word}' asks for {kind}" for word in dict.fromkeys(told)]
    return "image", []


def _preset(
    prompt: str,
    found: Sequence[str],
    *,
    kind: Kind,
    styles: Sequence[str],
    rules: Mapping[str, Any],
    among: Collection[str] | None,
) -> tuple[Preset, str]:
    """The preset that suits best of those there are, and why."""
    wanted: list[tuple[str, str]] = []
    if kind == "image":
        if any(part.kind is PartKind.QUOTE for part in protected_parts(prompt)):
            wanted += [(name, "it writes text well") for name in rules["presets"]["text"]]
        for style in styles:
            names = rules["presets"].get(style, [])
            wanted += [(name, f"it suits the style {style}") for name in names]
    if kind == "audio" and not set(found) & set(rules["sings"]):
        wanted += [(name, "it makes sounds") for name in rules["presets"]["sound"]]
    wanted += [(name, "") for name in rules["presets"][kind]]
    known = {p.id: p for p in list_presets() if among is None or p.id in among}
    for name, why in wanted:
        if name in known:
            return known[name], f"{known[name].title}: {why}" if why else ""
    task = {"edit": "edit", "image": "t2i", "video": "t2v", "audio": "audio"}[kind]
    fitting = next((p for p in known.values() if p.task == task), None)
    # Better one that is not there (the page says what it lacks) than one of another kind.
    return fitting or next(p for p in list_presets() if p.id == rules["presets"][kind][0]), ""


def _size(
    preset: Preset, found: Sequence[str], subject: str, rules: Mapping[str, Any]
) -> tuple[tuple[int, int] | None, str]:
    """A size with about the pixels of the preset's own, in the shape that the prompt asks for."""
    width, height = preset.by_role("width"), preset.by_role("height")
    if width is None or height is None or not width.default or not height.default:
        return None, ""
    own = (int(width.default), int(height.default))
    shapes = rules["shapes"]
    word = next((w for w in found if any(w in shapes[s]["words"] for s in shapes)), None)
    shape = next(
        (
            s
            for s in shapes
            if word in shapes[s]["words"] or (not word and subject in shapes[s]["subjects"])
        ),
        None,
    )
    if shape is None or (preset.kind == "video" and not word):
        return own, ""
    ratio = float(shapes[shape]["ratio"])
    area, step = own[0] * own[1], max(int(width.step or 1), int(height.step or 1), 16)
    sized = tuple(
        min(max(round(side / step) * step, int(param.min or step)), int(param.max or side * 2))
        for side, param in (((area * ratio) ** 0.5, width), ((area / ratio) ** 0.5, height))
    )
    because = f"'{word}'" if word else f"a {subject}"
    return (sized[0], sized[1]), f"{because} suits a {shape} picture"
