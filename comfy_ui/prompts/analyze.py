"""``analyze_prompt``: the subject of a prompt, and the preset and size that suit it.

The built-in rules decide, or a language model if requested. An answer of the model counts only if
it is one of the allowed values; the rules' answer is used everywhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

from ..errors import LanguageModelError, ValidationError
from ..workflow.presets.preset_store import Preset, list_presets
from ._sync import run_sync
from .draft import Kind
from .language_models.instructions import ANALYSIS_FIELDS, analysis_question
from .language_models.llm_output import Rejected, read_fields
from .language_models.model_choice import DEFAULT_TIMEOUT_S, RULES, LanguageModel, find_model
from .language_models.sources import complete_answer
from .protected_spans import PartKind, protected_parts, remove_quotes
from .rules.vocabulary import mentioned_aspects, subject_of, subject_words, vocabulary, words
from .rules.word_senses import clear_words

__all__ = ["AnalyzeOptions", "PromptAnalysis", "aanalyze_prompt", "analyze_prompt"]

_MAX_WORDS, _MAX_LENGTH = 8, 40  # longest list in a model's answer, and longest word in it
_MAX_PROMPT = 10_000
_TASKS: dict[Kind, tuple[str, ...]] = {
    "image": ("t2i", "i2i"),
    "edit": ("edit", "i2i"),
    "video": ("t2v", "i2v"),
    "audio": ("audio",),
}
"""What can be asked for in words, and the tasks of the presets that make it, best first."""


@dataclass(frozen=True, slots=True)
class PromptAnalysis:
    """The result of an analysis. ``reasons`` explains the decisions.

    ``intent`` is the group of the subject (portrait, landscape, city, …, other), ``subjects`` are
    the words for it. ``mentioned`` are the aspects that the prompt already describes (light, color,
    framing, …), ``mood`` its words for a mood. ``suggested_size`` is width and height in pixels,
    or None for results without a size. ``source`` is the model's name or ``rules``; ``reason``
    explains why the rules decided although a model was requested.
    """

    intent: str
    kind: Kind
    styles: tuple[str, ...]
    mentioned: tuple[str, ...]
    suggested_preset: str
    reasons: tuple[str, ...]
    subjects: tuple[str, ...] = ()
    mood: tuple[str, ...] = ()
    suggested_size: tuple[int, int] | None = None
    source: str = RULES
    reason: str = ""


class AnalyzeOptions(TypedDict, total=False):
    """Options of :func:`analyze_prompt` and :func:`aanalyze_prompt`.

    Keys:
        presets: preset ids to choose from, such as those the server can run; all by default.
        model: ``"rules"`` (the default), None for the configured model or one on this machine
            (see :func:`find_model`), a :class:`LanguageModel`, or the name of one.
        timeout_s: seconds the model may take in all; 20 by default.
    """

    presets: Collection[str] | None
    model: LanguageModel | str | None
    timeout_s: float


def analyze_prompt(prompt: str, **options: Unpack[AnalyzeOptions]) -> PromptAnalysis:
    """Find the subject, the styles and the kind of result that a prompt asks for.

    If a model fails, the rules answer, and ``reason`` explains why.

    Raises:
        ValidationError: the prompt is empty.
    """
    if options.get("model", RULES) == RULES:
        return _by_rules(prompt, options.get("presets"))
    return run_sync(_analyze(prompt, **options))


async def aanalyze_prompt(prompt: str, **options: Unpack[AnalyzeOptions]) -> PromptAnalysis:
    """Analyze a prompt without blocking the event loop; see :func:`analyze_prompt`."""
    return await _analyze(prompt, **options)


async def _analyze(
    prompt: str,
    *,
    presets: Collection[str] | None = None,
    model: LanguageModel | str | None = RULES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> PromptAnalysis:
    by_rules = _by_rules(prompt, presets)
    chosen = await asyncio.to_thread(find_model, model)
    if chosen is None:
        return by_rules
    presets_by_id = {p.id: p for p in list_presets() if presets is None or p.id in presets}
    question = analysis_question(
        prompt[:_MAX_PROMPT],
        intents=[*vocabulary()["subjects"], "other"],
        kinds=_TASKS,
        presets={
            name: f"{p.title}, makes {p.kind} ({p.task})" for name, p in presets_by_id.items()
        },
    )
    try:
        text, name = await complete_answer(chosen, question, timeout_s=timeout_s)
        fields = read_fields(text, ANALYSIS_FIELDS)
    except Rejected as rejected:
        reason = f"{chosen.name or 'The model'} gave no usable answer: {rejected}."
        return replace(by_rules, reason=reason)
    except LanguageModelError as error:
        return replace(by_rules, reason=error.message)
    return _merge_answers(by_rules, fields, name, prompt, presets_by_id)


def _merge_answers(
    by_rules: PromptAnalysis,
    fields: Mapping[str, str],
    name: str,
    prompt: str,
    presets: Mapping[str, Preset],
) -> PromptAnalysis:
    """Take the model's answers where they are allowed values, and the rules' answers elsewhere."""
    rules, prompt_words = vocabulary()["analysis"], words(prompt)
    kind = next((kind for kind in _TASKS if kind == fields["kind"]), by_rules.kind)
    intent = fields["intent"].casefold()
    if intent not in vocabulary()["subjects"]:
        intent = by_rules.intent
    styles = _listed(fields["styles"]) or by_rules.styles
    suits = presets.get(fields["preset"])
    if suits is None or suits.task not in _TASKS[kind]:
        among = list(presets)
        suits, _ = _preset(prompt, prompt_words, kind=kind, styles=styles, rules=rules, among=among)
    shape = fields["shape"].casefold()
    if shape not in (*rules["shapes"], "square"):
        shape, _ = _shape(suits, prompt_words, intent, rules)
    return replace(
        by_rules,
        intent=intent,
        kind=kind,
        styles=styles,
        suggested_preset=suits.id,
        # Only what the prompt says: models tend to add to it.
        subjects=tuple(
            one for one in _listed(fields["subjects"]) if set(words(one)) & set(prompt_words)
        )
        or by_rules.subjects,
        mood=_listed(fields["mood"]) or by_rules.mood,
        suggested_size=_sized(suits, shape, rules),
        reasons=(fields["reason"],) if fields["reason"] else by_rules.reasons,
        source=name,
    )


def _listed(text: str) -> tuple[str, ...]:
    parts = (part.strip(" .").casefold() for part in text.split(","))
    return tuple(dict.fromkeys(part for part in parts if 0 < len(part) <= _MAX_LENGTH))[:_MAX_WORDS]


def _by_rules(prompt: str, presets: Collection[str] | None) -> PromptAnalysis:
    prompt_words = words(remove_quotes(prompt)) or words(prompt)
    if not prompt_words:
        raise ValidationError("There is no prompt to analyze.", hint="Type a few words first.")
    rules = vocabulary()["analysis"]
    meanings = clear_words(remove_quotes(prompt))
    subject, subjects = subject_of(meanings), subject_words(meanings)
    kind, reasons = _kind(prompt_words, rules)
    reasons += [f"'{word}' is a word for {subject}" for word in subjects if _is(word, subject)]
    styles: list[str] = []
    for style, style_words in rules["styles"].items():
        if matches := [word for word in prompt_words if word in style_words]:
            styles.append(style)
            reasons += [f"'{word}' is a word of the style {style}" for word in matches]
    preset, why = _preset(
        prompt, prompt_words, kind=kind, styles=styles, rules=rules, among=presets
    )
    shape, why_shape = _shape(preset, prompt_words, subject, rules)
    return PromptAnalysis(
        intent=subject,
        kind=kind,
        styles=tuple(styles),
        mentioned=tuple(sorted(mentioned_aspects(prompt_words))),
        suggested_preset=preset.id,
        reasons=tuple(dict.fromkeys([*reasons, *filter(None, (why, why_shape))])),
        subjects=subjects,
        mood=tuple(
            dict.fromkeys(word for word in prompt_words if word in vocabulary()["said"]["mood"])
        ),
        suggested_size=_sized(preset, shape, rules),
    )


def _is(word: str, subject: str) -> bool:
    return subject_of([word]) == subject


def _kind(prompt_words: Sequence[str], rules: Mapping[str, Any]) -> tuple[Kind, list[str]]:
    if prompt_words[0] in rules["edits"]:
        return "edit", [f"'{prompt_words[0]}' at the beginning asks for a change to an image"]
    kinds: tuple[Kind, ...] = ("video", "audio")
    for kind in kinds:
        if matches := [word for word in prompt_words if word in rules["asks_for"][kind]]:
            return kind, [f"'{word}' asks for {kind}" for word in dict.fromkeys(matches)]
    return "image", []


def _preset(
    prompt: str,
    prompt_words: Sequence[str],
    *,
    kind: Kind,
    styles: Sequence[str],
    rules: Mapping[str, Any],
    among: Collection[str] | None,
) -> tuple[Preset, str]:
    """Return the most suitable of the given presets, and why."""
    candidates: list[tuple[str, str]] = []
    if kind == "image":
        if any(part.kind is PartKind.QUOTE for part in protected_parts(prompt)):
            candidates += [(name, "it writes text well") for name in rules["presets"]["text"]]
        for style in styles:
            names = rules["presets"].get(style, [])
            candidates += [(name, f"it suits the style {style}") for name in names]
    if kind == "audio" and not set(prompt_words) & set(rules["sings"]):
        candidates += [(name, "it makes sounds") for name in rules["presets"]["sound"]]
    candidates += [(name, "") for name in rules["presets"][kind]]
    available = {p.id: p for p in list_presets() if among is None or p.id in among}
    for name, why in candidates:
        if name in available:
            return available[name], f"{available[name].title}: {why}" if why else ""
    fitting = next((p for p in available.values() if p.task == _TASKS[kind][0]), None)
    # An unavailable preset of the right kind (the page lists what is missing) beats a wrong kind.
    return fitting or next(p for p in list_presets() if p.id == rules["presets"][kind][0]), ""


def _shape(
    preset: Preset, prompt_words: Sequence[str], subject: str, rules: Mapping[str, Any]
) -> tuple[str, str]:
    """Return ``wide`` or ``tall`` and why; nothing if the preset's own shape suits."""
    shapes = rules["shapes"]
    for word in prompt_words:
        if shape := next((s for s in shapes if word in shapes[s]["words"]), ""):
            return shape, f"'{word}' suits a {shape} image"
    shape = next((s for s in shapes if subject in shapes[s]["subjects"]), "")
    if not shape or preset.kind == "video":  # videos are wide by default
        return "", ""
    return shape, f"a {subject} suits a {shape} image"


def _sized(preset: Preset, shape: str, rules: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return a size of that shape with about the preset's pixel count; None without a size."""
    if preset.size_params is None:
        return None
    width, height = preset.size_params
    if not width.default or not height.default:
        return None
    own = (int(width.default), int(height.default))
    if not shape:
        return own
    ratio = float(rules["shapes"][shape]["ratio"]) if shape in rules["shapes"] else 1.0
    area, step = own[0] * own[1], max(int(width.step or 1), int(height.step or 1), 16)
    sides = tuple(
        min(max(round(side / step) * step, int(param.min or step)), int(param.max or side * 2))
        for side, param in (((area * ratio) ** 0.5, width), ((area / ratio) ** 0.5, height))
    )
    return sides[0], sides[1]
