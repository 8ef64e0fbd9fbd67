"""The built-in enhancer: rules and a vocabulary, without a model or the network.

The result begins with the original, verbatim, so that quoted text, weights, LoRA tags, wildcards
and ``BREAK`` survive. Only aspects that the prompt does not mention are added, fewer for longer
prompts. The rules write English: a prompt in another language is left unchanged.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..draft import EnhancedPrompt, Kind, Strength
from ..model_families import Family, count_tokens, find_family
from ..protected_spans import PartKind, protected_parts, remove_quotes
from ..styles import Style, merge_style
from .language_detection import is_foreign
from .vocabulary import contexts_of, mentioned_aspects, phrases, subject_of, vocabulary, words
from .word_senses import clear_words, ideas_of

__all__ = ["built_in_styles", "draft_by_rules"]

_ALL_ASPECTS: Final = ("framing", "light", "detail", "colour", "mood")
_LIGHT_ASPECTS: Final = 2
# Words in the prompt and the most phrases to add: a long prompt has already decided a lot.
_ENOUGH: Final = ((60, 0), (36, 1), (20, 2))
_VIDEO: Final = ("video", "i2v")
_DRAWS: Final = 20  # attempts to find a draft that differs from the previous one


class Phrase(NamedTuple):
    """One addition: as tags, and as prose."""

    tag: str
    prose: str


def built_in_styles() -> list[str]:
    """List the styles that the rules know."""
    return list(phrases()["styles"])


def draft_by_rules(
    prompt: str,
    *,
    style: str | Style,
    strength: Strength,
    family: str,
    kind: Kind,
    seed: int | None,
    unlike: str = "",
) -> EnhancedPrompt:
    """Write the draft. ``style`` is one of :func:`built_in_styles`, or a style with its own words.

    The draft differs from ``unlike`` if the rules know more than one for this prompt.
    """
    original = prompt.strip()
    model_family = find_family(family)
    unquoted = remove_quotes(original)
    prompt_words, meanings = words(unquoted), clear_words(unquoted)
    negative = _negative(original, model_family, kind, subject_of(meanings))
    if isinstance(style, Style):
        merged = merge_style(original, style)
        return EnhancedPrompt(
            enhanced=merged.prompt,
            negative=", ".join(filter(None, (negative, merged.negative)))
            if model_family.negative
            else "",
            original=prompt,
            source="rules",
            changes=tuple(part.strip(" ,.") for part in style.around if part.strip(" ,.")),
        )
    # crc32, not hash(): the draft must be the same in every process.
    chance = random.Random(zlib.crc32(original.encode()) if seed is None else seed)
    foreign = is_foreign(original)
    for _ in range(_DRAWS):
        if foreign:
            added: dict[str, Phrase] = {}
        elif kind == "audio":
            added = _sound(prompt_words, strength, chance, sings=model_family.lyrics)
        elif kind == "edit":
            added = _instruction(meanings, chance)
        else:
            added = _image_phrases(unquoted, style, strength, kind, chance)
        texts = _fitting(original, added, model_family, family)
        enhanced = _joined(original, texts, model_family)
        if enhanced != unlike:
            break
    reason = ""
    if not texts:
        reason = "The prompt is detailed enough: the rules have nothing to add."
        if foreign:
            reason = "The rules support English only; a language model can help with this prompt."
        elif subject_of(meanings) == "other":
            reason = "The rules do not know this subject; a language model can help."
    return EnhancedPrompt(
        enhanced=enhanced,
        negative=negative,
        original=prompt,
        source="rules",
        changes=tuple(texts),
        lyrics="[instrumental]"
        if model_family.lyrics and texts and not _sung(prompt_words)
        else "",
        reason=reason,
    )


# What to add: aspect → phrase, in the order of the result.


def _image_phrases(
    prompt: str, style: str, strength: Strength, kind: Kind, chance: random.Random
) -> dict[str, Phrase]:
    phrase_tables, prompt_words = phrases(), words(prompt)
    mentioned, contexts = mentioned_aspects(prompt_words), contexts_of(clear_words(prompt))
    own = phrase_tables["styles"][style]
    if "medium" in mentioned and not set(prompt_words) & _words_of(style):
        own = {"aspects": own["aspects"]}  # the style's look would contradict the looks named
    max_phrases = next(
        (most for least, most in _ENOUGH if len(prompt_words) >= least), len(_ALL_ASPECTS) + 1
    )
    chosen: dict[str, Phrase] = {}
    for idea in ideas_of(prompt):
        text = chance.choice(vocabulary()["ideas"][idea])
        chosen["idea"] = Phrase(text, text)
        mentioned |= {"light", "detail"}  # the idea brings its own scene
    if kind != "i2v":  # the image has decided everything that does not move
        for aspect in _aspects(own["aspects"], strength):
            if aspect in mentioned or len(chosen) >= max_phrases:
                continue
            if aspect == "medium" and kind == "video":
                choices = phrase_tables["footage"].get(style, [])
            else:
                choices = _choices((own.get(aspect, {}), phrase_tables.get(aspect, {})), contexts)
            if choices:
                chosen[aspect] = Phrase(*chance.choice(choices))
    if kind in _VIDEO and "camera" not in prompt_words and (max_phrases or kind == "i2v"):
        choices = _choices((phrase_tables["motion"],), contexts)
        chosen["motion"] = Phrase(*chance.choice(choices))
    return chosen


def _words_of(style: str) -> set[str]:
    return set(vocabulary()["analysis"]["styles"].get(style, ()))


def _aspects(own: Sequence[str], strength: Strength) -> Sequence[str]:
    if strength == "light":
        return own[:_LIGHT_ASPECTS]
    if strength == "strong":
        return [*own, *(aspect for aspect in _ALL_ASPECTS if aspect not in own)]
    return own


def _choices(tables: Sequence[Mapping[str, Any]], contexts: Sequence[str]) -> Sequence[Any]:
    """Return the phrases of the first table and context that has any."""
    for table in tables:
        for context in contexts:
            if context in table:
                choices: Sequence[Any] = table[context]
                return choices
    return ()


def _instruction(prompt_words: Sequence[str], chance: random.Random) -> dict[str, Phrase]:
    editing = phrases()["editing"]
    keep = chance.choice(editing["keep"])
    added = {"keep": Phrase(keep, keep)}
    if subject_of(prompt_words) == "portrait":
        added["person"] = Phrase(editing["person"], editing["person"])
    return added


def _sound(
    prompt_words: Sequence[str], strength: Strength, chance: random.Random, *, sings: bool
) -> dict[str, Phrase]:
    sound_phrases, word_set = phrases(), set(prompt_words)
    music = sings or word_set & {*vocabulary()["analysis"]["sings"], *_genres()}
    if not music:
        about = chance.choice(sound_phrases["sound"]["about"])
        return {"sound": Phrase(about, about)}
    sets = sound_phrases["music"]
    own = next((one for one in sets if word_set & set(one["genres"])), None)
    chosen = own or next(
        (one for word in prompt_words for one in sets if word in one.get("words", ())), sets[-1]
    )
    mentioned = mentioned_aspects(prompt_words, "heard")
    order = ["genre", "instruments", "mood", "tempo", "voice", "production"]
    number = {"light": 3, "medium": 5, "strong": 6}[strength]
    added: dict[str, Phrase] = {}
    for aspect in order[:number]:
        if aspect in mentioned or (aspect == "genre" and own is not None):
            continue
        options = [chosen["genre"]] if aspect == "genre" else chosen[aspect]
        if aspect == "voice" and not _sung(prompt_words):
            options = ["instrumental"]
        text = chance.choice(options)
        added[aspect] = Phrase(text, text)
    return added


def _sung(prompt_words: Sequence[str]) -> bool:
    return bool(set(prompt_words) & set(vocabulary()["analysis"]["sung"]))


def _genres() -> set[str]:
    return {genre for one in phrases()["music"] for genre in one["genres"]}


# How it is put together.


def _fitting(
    original: str, added: Mapping[str, Phrase], model_family: Family, family: str
) -> list[str]:
    """Return the phrases' texts that still fit into the encoder's length."""
    remaining = dict(added)
    limit = model_family.limit
    if model_family.chunk:
        limit = model_family.chunk * count_tokens(original, family).chunks
    while remaining:
        texts = _texts(original, remaining, model_family)
        if count_tokens(_joined(original, texts, model_family), family).used <= limit:
            return texts
        # A video without its movement is a still; everything else is dropped first, from the end.
        remaining.pop(
            next((aspect for aspect in reversed(remaining) if aspect != "motion"), "motion")
        )
    return []


def _texts(original: str, added: Mapping[str, Phrase], model_family: Family) -> list[str]:
    if model_family.reads == "tags":
        return [phrase.tag or phrase.prose.rstrip(".") for phrase in added.values()]
    # What follows the prompt in its own sentence comes first.
    clauses = [added[aspect].prose for aspect in ("idea", "framing") if aspect in added]
    if clauses and _ends_sentence(original):
        clauses[0] = clauses[0][0].upper() + clauses[0][1:]
    clause = [", ".join(clauses) + "."] if clauses else []
    others = [p.prose for aspect, p in added.items() if aspect not in ("idea", "framing")]
    return [*clause, *others]


def _joined(original: str, texts: Sequence[str], model_family: Family) -> str:
    if not texts:
        return original
    first = original.rstrip(" ,;")
    if model_family.reads == "tags":
        return ", ".join([first.rstrip("."), *texts])
    if not _ends_sentence(original):
        first += ", " if texts[0][0].islower() else ". "
        return first + " ".join(texts)
    return " ".join([first, *texts])


def _ends_sentence(text: str) -> bool:
    return text.rstrip(" ,;\"'”’»)").endswith((".", "!", "?", "…", "。"))


def _negative(prompt: str, model_family: Family, kind: Kind, subject: str) -> str:
    if not model_family.negative or kind == "edit":
        return ""
    texts = phrases()["negative"]
    if kind == "audio":
        return str(texts["audio"])
    quoted = any(part.kind is PartKind.QUOTE for part in protected_parts(prompt))
    return ", ".join(
        filter(
            None,
            (
                texts["video" if kind in _VIDEO else "image"],
                "" if quoted or subject == "design" else texts["text"],
                texts["portrait"] if subject == "portrait" and kind == "image" else "",
            ),
        )
    )
