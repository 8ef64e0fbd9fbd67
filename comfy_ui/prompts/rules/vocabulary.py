"""The built-in rules' words and phrases, read from ``vocabulary.toml`` and ``phrases.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

# Not prose: LoRA tags, wildcards, and the keywords of ComfyUI's and A1111's encoders.
_MACHINE = re.compile(r"<[^<>]*>|__[^\s_][^\s]*?__|\bembedding:\S+|\bBREAK\b|\bAND\b")
_PLACES = {"landscape", "city", "interior"}
# Rooms with a light of their own, and what makes a figure no person.
_LIT = {"stage", "windowless"}
_DECIDE_FIRST = ("machine", "stage", "windowless")
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")


@cache
def vocabulary() -> dict[str, Any]:
    """Return the words that the rules understand."""
    return _read("vocabulary.toml")


@cache
def phrases() -> dict[str, Any]:
    """Return the phrases that the rules write."""
    return _read("phrases.toml")


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def words(prompt: str) -> list[str]:
    """Return a prompt's words in lower case, without tags and wildcards.

    >>> words("A Cat, <lora:fur:0.8> in (soft:1.2) light")
    ['a', 'cat', 'in', 'soft', '1', '2', 'light']
    """
    return [word.lower() for word in _WORD.findall(without_machine_text(prompt))]


def without_machine_text(prompt: str) -> str:
    """Return a prompt without LoRA tags, wildcards and keywords of encoders."""
    return _MACHINE.sub(" ", prompt)


def subject_of(prompt_words: Iterable[str]) -> str:
    """Return the group of the prompt's first subject word, or ``other``."""
    groups = subject_groups()
    groups_of_words = (groups.get(word) or groups.get(singular(word)) for word in prompt_words)
    return next((group for group in groups_of_words if group), "other")


def subject_words(prompt_words: Iterable[str]) -> tuple[str, ...]:
    """Return the words that name subjects, each once."""
    groups = subject_groups()
    return tuple(dict.fromkeys(w for w in prompt_words if w in groups or singular(w) in groups))


@cache
def subject_groups() -> dict[str, str]:
    """Map words to groups; a word in two groups belongs to the first."""
    groups: dict[str, str] = {}
    for group, group_words in vocabulary()["subjects"].items():
        for word in group_words:
            groups.setdefault(word, group)
    return groups


def singular(word: str) -> str:
    """Return a word without the ending of a plural, or of a verb after "she"."""
    if word.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    return word if word.endswith("ss") else word.removesuffix("s")


def mentioned_aspects(
    prompt_words: Iterable[str], of: Literal["said", "heard"] = "said"
) -> set[str]:
    """Return the aspects (light, color, framing …) that a prompt already mentions.

    ``heard`` selects the aspects of sound (tempo, instruments …) instead.
    """
    present = set(prompt_words)
    return {
        aspect for aspect, aspect_words in vocabulary()[of].items() if present & set(aspect_words)
    }


def contexts_of(prompt_words: Sequence[str]) -> list[str]:
    """Return what phrases may depend on: matching contexts, then the subject, then ``any``."""
    subject = subject_of(prompt_words)
    if subject == "design":
        return [subject, "any"]  # drawings have no weather
    present = {form for word in prompt_words for form in (word, singular(word))}
    contexts = [
        name
        for name, context_words in vocabulary()["contexts"].items()
        if present & set(context_words)
    ]
    groups = subject_groups()
    around = {groups.get(word) or groups.get(singular(word)) for word in prompt_words}
    moves = present & set(vocabulary()["said"]["motion"])
    if subject == "portrait" and "portrait" not in prompt_words and (moves or around & _PLACES):
        contexts.insert(0, "scene")
    if moves:
        contexts.insert(0, "lively")
    if subject != "interior" and "interior" in around and not _LIT & {*contexts}:
        contexts.insert(0, "ceiling" if "public" in contexts else "indoors")
    # These decide before the scene around them.
    first = [name for name in _DECIDE_FIRST if name in contexts]
    contexts = [*first, *(name for name in contexts if name not in first)]
    return [*contexts, subject, "any"]


@cache
def context_words() -> dict[str, frozenset[str]]:
    """Map words to the contexts that they create."""
    contexts = vocabulary()["contexts"]
    return {
        word: frozenset(name for name, listed in contexts.items() if word in listed)
        for word in {word for listed in contexts.values() for word in listed}
    }


@cache
def known_words() -> frozenset[str]:
    """Return all words that the rules understand."""
    tables = vocabulary()
    lists = [*tables["subjects"].values(), *tables["said"].values(), *tables["contexts"].values()]
    return frozenset([*tables["ideas"], *(word for one in lists for word in one)])
