"""The built-in enhancer: rules and a vocabulary of our own, no model and no network.

The original stands at the front of the result, letter for letter, so quoted text, weights,
LoRA tags, wildcards and ``BREAK`` come through. Only what the prompt does not say is added.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from .draft import EnhancedPrompt, Kind, Strength
from .families import Family, count_tokens, find_family
from .styles import Style, merge_style
from .vocabulary import said_in, subject_of, vocabulary, words

__all__ = ["built_in_styles", "draft_by_rules"]

_ALL_ASPECTS = ("light", "framing", "colour", "detail", "mood")
_LIGHT_ASPECTS = 2


def built_in_styles() -> list[str]:
    """The styles of the vocabulary."""
    return [name for name in vocabulary()["styles"] if name != "any"]


def draft_by_rules(
    prompt: str,
    *,
    style: str | Style,
    strength: Strength,
    family: str,
    kind: Kind,
    seed: int | None,
) -> EnhancedPrompt:
    """The draft. ``style`` is one of :func:`built_in_styles`, or a style with words of its own."""
    original = prompt.strip()
    # crc32, not hash(): the same draft in every process.
    chance = random.Random(zlib.crc32(original.encode()) if seed is None else seed)
    known = find_family(family)
    subject = subject_of(words(original))
    if isinstance(style, Style):
        merged = merge_style(original, style)
        negative = _negative(known, kind, subject)
        return EnhancedPrompt(
            enhanced=merged.prompt,
            negative=", ".join(filter(None, (negative, merged.negative))) if known.negative else "",
            original=prompt,
            source="rules",
            changes=tuple(part.strip(" ,.") for part in style.around if part.strip(" ,.")),
        )
    phrases = _phrases(original, style, strength=strength, kind=kind, chance=chance)
    texts = _fitting(original, phrases, known, family)
    return EnhancedPrompt(
        enhanced=_joined(original, texts, known),
        negative=_negative(known, kind, subject),
        original=prompt,
        source="rules",
        changes=tuple(texts.values()),
    )


def _phrases(
    prompt: str, style: str, *, strength: Strength, kind: Kind, chance: random.Random
) -> dict[str, str]:
    """What to add: aspect → phrase, in the order of importance."""
    known, found = vocabulary(), words(prompt)
    subject = subject_of(found)
    if kind == "audio":
        return _sound(known["sound"], found, strength, chance)
    if kind == "edit":
        keep = {"keep": chance.choice(known["editing"]["keep"])}
        return keep | ({"person": known["editing"]["person"]} if subject == "portrait" else {})
    chosen: dict[str, str] = {}
    said = said_in(found)
    if kind != "i2v":  # the picture has decided on everything that does not move
        for aspect in _aspects(known["styles"][style], strength):
            choices = _choices(known, style, aspect, subject)
            if aspect not in said and choices:
                chosen[aspect] = chance.choice(choices)
    if kind in {"video", "i2v"} and "motion" not in said:
        moves = known["motion"]
        chosen["motion"] = chance.choice(moves.get(subject, moves["other"]))
    return chosen


def _aspects(style: Mapping[str, Any], strength: Strength) -> Sequence[str]:
    own: list[str] = style["aspects"]
    if strength == "light":
        return own[:_LIGHT_ASPECTS]
    if strength == "strong":
        return [*own, *(aspect for aspect in _ALL_ASPECTS if aspect not in own)]
    return own


def _choices(known: Mapping[str, Any], style: str, aspect: str, subject: str) -> Sequence[str]:
    own = known["styles"][style].get(aspect)
    if own is None and aspect == "framing":
        own = known["framing"].get(subject, known["framing"]["other"])
    if own is None:
        own = known["by_subject"].get(aspect, {}).get(subject)
    choices: Sequence[str] = own or known["styles"]["any"].get(aspect, ())
    return choices


def _sound(
    known: Mapping[str, Any], found: Sequence[str], strength: Strength, chance: random.Random
) -> dict[str, str]:
    present = set(found)
    genre = next(
        (g for g, known_words in known["genres"].items() if present & set(known_words)), ""
    )
    own = known["by_genre"].get(genre, {})
    missing = [
        aspect for aspect, known_words in known["said"].items() if not present & set(known_words)
    ]
    number = {"light": 2, "medium": 3, "strong": len(missing)}[strength]
    order = ("instruments", "voice", "mood", "tempo", "production")
    return {
        aspect: chance.choice(own.get(aspect) or known[aspect])
        for aspect in [a for a in order if a in missing][:number]
    }


def _fitting(
    original: str, phrases: Mapping[str, str], known: Family, family: str
) -> dict[str, str]:
    """The phrases that the encoder still has room for."""
    texts = dict(phrases)
    limit = known.limit
    if known.chunk:
        limit = known.chunk * count_tokens(original, family).chunks
    while texts and count_tokens(_joined(original, texts, known), family).used > limit:
        # A video without its movement is a still; all else goes first, from the end.
        texts.pop(next((a for a in reversed(texts) if a != "motion"), "motion"))
    return texts


def _joined(original: str, texts: Mapping[str, str], known: Family) -> str:
    if not texts:
        return original
    if known.reads == "tags":
        tags = (text.rstrip(".") if "." in text else text for text in texts.values())
        return ", ".join([original.rstrip(" ,."), *tags])
    first = original.rstrip(" ,;")
    if not first.rstrip("\"'”’»)").endswith((".", "!", "?", "…")):
        first += "."
    return " ".join([first, *_sentences(texts)])


def _sentences(texts: Mapping[str, str]) -> list[str]:
    patterns = vocabulary()
    said: list[str] = []
    done: set[str] = set()
    for aspect, text in texts.items():
        if aspect in done:
            continue
        pair = next((name for name in patterns["pairs"] if aspect in name.split()), "")
        both = pair.split()
        if both and all(a in texts and a not in done for a in both):
            said.append(patterns["pairs"][pair].format(*(texts[a] for a in both)))
            done.update(both)
        else:
            pattern = patterns["sentences"].get(aspect)
            said.append(pattern.format(text) if pattern else text)
            done.add(aspect)
    return said


def _negative(known: Family, kind: Kind, subject: str) -> str:
    if not known.negative or kind in {"audio", "edit"}:
        return ""
    texts = vocabulary()["negative"]
    if kind in {"video", "i2v"}:
        return str(texts["video"])
    return ", ".join(filter(None, (texts["image"], texts.get(subject))))
