"""``enhance_prompt``: a richer prompt, by rules and a vocabulary of our own.

The original stands at the front of the result, letter for letter, so quoted text, weights,
LoRA tags, wildcards and ``BREAK`` come through. Only what the prompt does not say is added.
"""

from __future__ import annotations

import random
import time
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ValidationError, closest
from .vocabulary import said_in, subject_of, vocabulary, words

Kind = Literal["image", "video", "audio"]


@dataclass(frozen=True, slots=True)
class EnhancedPrompt:
    """A draft for a person to judge.

    ``negative`` is empty where the model family uses none. ``source`` names what wrote it: a
    model's name, or ``rules``. ``changes`` are the phrases that were added.
    """

    enhanced: str
    negative: str
    original: str
    source: str
    changes: tuple[str, ...] = ()
    seconds: float = 0.0


def list_styles() -> list[str]:
    """The names that ``style=`` takes."""
    return [name for name in vocabulary()["styles"] if name != "any"]


def enhance_prompt(
    prompt: str,
    *,
    style: str = "balanced",
    family: str = "",
    kind: Kind = "image",
    seed: int | None = None,
) -> EnhancedPrompt:
    """Write a richer version of ``prompt``.

    Args:
        prompt: what the person typed.
        style: one of :func:`list_styles`.
        family: model family of the preset (``SDXL``, ``Flux.1`` …): tags for those that read
            tags, sentences for all others; a negative prompt only where one is used.
        kind: what will be made; a video also gets a movement.
        seed: another seed, another draft; the same seed, the same draft. By default it follows
            from the prompt itself.

    Raises:
        ValidationError: the prompt is empty, or there is no such style.
    """
    started = time.perf_counter()
    original = prompt.strip()
    if not original:
        raise ValidationError("There is no prompt to enhance.", hint="Type a few words first.")
    known = vocabulary()
    if style not in list_styles():
        raise ValidationError(f"There is no style '{style}'.", hint=closest(style, list_styles()))
    # crc32, not hash(): the same draft in every process.
    chance = random.Random(zlib.crc32(original.encode()) if seed is None else seed)
    found = words(original)
    subject = subject_of(found)
    tags = _listed(family, known["families"]["tags"])

    added: list[str] = []
    if kind != "audio":
        said = said_in(found)
        for aspect in known["styles"][style]["aspects"]:
            phrases = _phrases(known, style, aspect, subject)
            if aspect not in said and phrases:
                phrase = chance.choice(phrases)
                added.append(phrase if tags else known["sentences"][aspect].format(phrase))
        if kind == "video" and "motion" not in said:
            moves = known["motion"]
            added.append(chance.choice(moves.get(subject, moves["other"])))

    return EnhancedPrompt(
        enhanced=_joined(original, added, tags=tags),
        negative=_negative(known, family, kind, subject),
        original=prompt,
        source="rules",
        changes=tuple(added),
        seconds=time.perf_counter() - started,
    )


def _phrases(known: dict[str, Any], style: str, aspect: str, subject: str) -> list[str]:
    own = known["styles"][style].get(aspect)
    if own is None and aspect == "framing":
        own = known["framing"].get(subject, known["framing"]["other"])
    return list(own or known["styles"]["any"].get(aspect, ()))


def _joined(original: str, added: list[str], *, tags: bool) -> str:
    if not added:
        return original
    if tags:
        return ", ".join([original.rstrip(" ,."), *added])
    end = "" if original[-1] in ".!?…\"'”" else "."
    return " ".join([original.rstrip(" ,;") + end, *added])


def _negative(known: dict[str, Any], family: str, kind: Kind, subject: str) -> str:
    if kind == "audio" or not _listed(family, known["families"]["negative"]):
        return ""
    texts = known["negative"]
    if kind == "video":
        return str(texts["video"])
    return ", ".join(filter(None, (texts["image"], texts.get(subject))))


def _listed(family: str, families: list[str]) -> bool:
    return family.casefold() in {name.casefold() for name in families}
