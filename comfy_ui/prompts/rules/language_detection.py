"""Detect the language of a text by the most common words of a few languages."""

from __future__ import annotations

from typing import Final

from .vocabulary import known_words, words

__all__ = ["COMMON", "EMPTY_WORDS", "is_foreign", "is_latin", "language_of"]

# Enough to detect a sentence's language, and silent about tags.
COMMON: Final = {
    name: frozenset(line.split())
    for name, line in {
        "en": "the of and with in is a an on at its from to that are by into as through under",
        "de": "der die das und mit ein eine einer einem im auf ist den dem von zu des sich über",
        "fr": "le la les des et avec un une dans est sur du au aux par pour qui sous elle",
        "es": "el los las y con una un en es del por para que se su al sobre como",
        "it": "il lo gli e con una un nel nella di del della è che sul per si come",
        "pt": "o os as e com uma um em no na do da é que por para ao se sobre",
        "nl": "de het een en met van op is dat aan bij uit naar door zijn onder",
    }.items()
}
EMPTY_WORDS: Final = frozenset[str]().union(*COMMON.values())
"""Words that carry no meaning of their own, of all these languages."""


def is_latin(text: str) -> bool:
    """Whether most letters are Latin; true for texts with hardly any letters."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum(letter < "\u0250" for letter in letters) >= len(letters) / 2


def language_of(text: str) -> str | None:
    """Return the language of a sentence that contains enough of its common words."""
    text_words = words(text)
    counts = {
        name: sum(word in common_words for word in text_words)
        for name, common_words in COMMON.items()
    }
    first, second, *_ = sorted(counts, key=lambda name: counts[name], reverse=True)
    clear = counts[first] >= 2 and counts[first] > 1.5 * counts[second]
    return first if clear else None


def is_foreign(text: str) -> bool:
    """Whether a prompt is not in English. Short prompts may not be recognized."""
    if not is_latin(text):
        return True
    text_words = words(text)
    counts = {
        name: sum(word in common_words for word in text_words)
        for name, common_words in COMMON.items()
    }
    english = counts.pop("en") + sum(word in known_words() for word in text_words)
    return max(counts.values()) > english
