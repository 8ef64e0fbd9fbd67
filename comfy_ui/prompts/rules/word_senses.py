"""The words of a prompt that mean what the vocabulary says.

The vocabulary knows words, not meanings: "mouse" is an animal in it, and "waves" are water. A word
is left out if the words around it show another meaning or leave it in doubt:

- a verb: "she waves", "watch the sunset"
- the first noun of two, which only describes the second: "fish tank", "road bike"
- a likeness or a material: "a teddy bear", "a statue of a lion"
- negated: "a beach without people"
- a word with several common meanings and no word nearby that decides: "a seal of approval"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from .vocabulary import (
    context_words,
    singular,
    subject_groups,
    vocabulary,
    without_machine_text,
    words,
)

__all__ = ["clear_words", "ideas_of"]

_BREAK: Final = re.compile(r"[.,;:!?()\[\]{}|/\n…—–]+")
_PLACES: Final = frozenset({"landscape", "city", "interior"})
_LIVING: Final = frozenset({"animal", "portrait", "vehicle"})
_NOT_NOUNS: Final = ("ing", "ed", "ly")


def clear_words(prompt: str) -> list[str]:
    """Return the prompt's words in order, without those whose meaning is in doubt.

    >>> clear_words("she waves from a fish tank")
    ['she', 'from', 'a', 'tank']
    """
    parts = [words(part) for part in _BREAK.split(without_machine_text(prompt))]
    kept = [(part, place) for part in parts for place in range(len(part)) if _is_clear(part, place)]
    present = [part[place] for part, place in kept]
    clear = [word for word in present if _is_decided(word, present)]
    if any(group not in (None, "portrait", "design") for group in map(_group, clear)):
        clear = [word for word in clear if word not in _senses("forms")]
    return clear


def ideas_of(prompt: str) -> list[str]:
    """Return the abstract idea that a prompt is about, as a list of at most one word.

    >>> ideas_of("the loneliness of a clerk"), ideas_of("a memory card"), ideas_of("I love you")
    (['loneliness'], [], [])
    """
    first = [word for word in words(prompt) if word not in _senses("determiners")][:2]
    if not first or first[0] not in vocabulary()["ideas"]:
        return []
    return first[:1] if len(first) == 1 or first[1] in _senses("function") else []


def _is_clear(part: Sequence[str], place: int) -> bool:
    word = part[place]
    if _group(word) is None and not _contexts(word):
        return True
    before = part[place - 1] if place else ""
    after = part[place + 1] if place + 1 < len(part) else ""
    return not (
        _is_negated(part, place)
        or _is_verb(part, place)
        or f"{before} {singular(word)}" in _senses("idioms")
        or (before in _senses("materials") and _group(word) in _LIVING)
        or (_group(word) in _LIVING and _is_likeness(part, place))
        or (after == "of" and word in _senses("before_of"))
        or _describes_next(part, place)
    )


def _is_negated(part: Sequence[str], place: int) -> bool:
    for word in reversed(part[:place]):
        if word in _senses("negations"):
            return True
        if word in _senses("prepositions"):
            return False
    return False


def _is_likeness(part: Sequence[str], place: int) -> bool:
    """Whether the word is what a statue, toy or tattoo shows."""
    start = place
    while start and part[start - 1] not in _senses("prepositions"):
        start -= 1
    return (
        start > 1 and part[start - 1] == "of" and singular(part[start - 2]) in _senses("likenesses")
    )


def _is_verb(part: Sequence[str], place: int) -> bool:
    word = part[place]
    before = part[place - 1] if place else ""
    if word in _senses("pronouns"):
        return False
    if before in _senses("pronouns") or before in _senses("modals"):
        return True
    if singular(word) not in _senses("verbs"):
        return False
    if place == 0 and len(part) > 1:  # an instruction
        objects = _senses("determiners") | _senses("objects")
        return part[1] in objects or (len(part) > 2 and part[2] in _senses("objects"))
    return before == "to" or (word.endswith("s") and _group(before) == "portrait")


def _describes_next(part: Sequence[str], place: int) -> bool:
    """Whether the word is the first noun of a compound, such as "fish" in "fish tank"."""
    if place + 1 == len(part):
        return False
    word, after = part[place], part[place + 1]
    if word in _senses("adjectives") or word in _senses("pronouns") or "drawn" in _contexts(word):
        return False
    if after in _senses("forms") or not _is_noun(part, place + 1):
        return False
    both = (_group(word), _group(after))
    return not (set(both) <= _PLACES or both == ("portrait", "portrait"))


def _is_noun(part: Sequence[str], place: int) -> bool:
    word, before = part[place], part[place - 1]
    if _is_verb(part, place):
        return False
    if _group(word) is not None:
        return True
    if word in vocabulary()["said"]["colour"]:
        return _group(before) in ("food", "plant")  # "lemon yellow", "rose gold"
    if word in _senses("function") or word in _senses("postpositive") or word in _said():
        return False
    if word.endswith(_NOT_NOUNS) or word[0].isdigit():
        return False
    if _is_plural(before):
        return False  # "two cats sleep"
    if word.endswith("s") and singular(word) != word:  # "a fox leaps", but "fox ears"
        return not any(one in _senses("determiners") for one in part[max(0, place - 3) : place - 1])
    return True


def _is_plural(word: str) -> bool:
    one = singular(word)
    return (one != word and one in subject_groups()) or word in ("people", "children")


def _is_decided(word: str, present: Sequence[str]) -> bool:
    """Whether another word shows that a word with several meanings has the vocabulary's."""
    doubtful: dict[str, list[str]] = vocabulary()["senses"]["doubtful"]
    cues = doubtful.get(word) or doubtful.get(singular(word))
    if cues is None:
        return True
    return any(
        other in cues
        or singular(other) in cues
        or (_group(other) in cues and singular(other) not in doubtful and other not in doubtful)
        for other in present
        if singular(other) != singular(word)
    )


def _group(word: str) -> str | None:
    groups = subject_groups()
    return groups.get(word) or groups.get(singular(word))


def _contexts(word: str) -> frozenset[str]:
    contexts = context_words()
    return contexts.get(word) or contexts.get(singular(word)) or frozenset()


@cache
def _senses(name: str) -> frozenset[str]:
    senses: dict[str, Any] = vocabulary()["senses"]
    listed = set(senses[name])
    if name == "function":
        for other in ("prepositions", "determiners", "pronouns", "modals", "objects", "negations"):
            listed |= set(senses[other])
    return frozenset(listed)


@cache
def _said() -> frozenset[str]:
    return frozenset(word for aspect in vocabulary()["said"].values() for word in aspect)
