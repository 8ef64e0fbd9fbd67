"""The words of the built-in rules, read once from ``vocabulary.toml``, and looking them up."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

# What is not prose: LoRA tags, wildcards, and the words that ComfyUI's and A1111's encoders obey.
_MACHINE = re.compile(r"<[^<>]*>|__[^\s_][^\s]*?__|\bembedding:\S+|\bBREAK\b|\bAND\b")
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")


@cache
def vocabulary() -> dict[str, Any]:
    """The parsed file."""
    text = files(__package__).joinpath("vocabulary.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def words(prompt: str) -> list[str]:
    """The words of a prompt in lower case, without tags and wildcards.

    >>> words("A Cat, <lora:fur:0.8> in (soft:1.2) light")
    ['a', 'cat', 'in', 'soft', '1', '2', 'light']
    """
    return [word.lower() for word in _WORD.findall(_MACHINE.sub(" ", prompt))]


def subject_of(prompt_words: Iterable[str]) -> str:
    """What a prompt is about: the group whose word comes first, or ``other``."""
    groups = subject_groups()
    found = (groups.get(word) or groups.get(_singular(word)) for word in prompt_words)
    return next((group for group in found if group), "other")


def subject_words(prompt_words: Iterable[str]) -> tuple[str, ...]:
    """The words that name what is shown, each once."""
    groups = subject_groups()
    return tuple(dict.fromkeys(w for w in prompt_words if w in groups or _singular(w) in groups))


@cache
def subject_groups() -> dict[str, str]:
    """Word → group. A word that two groups have belongs to the first."""
    groups: dict[str, str] = {}
    for group, known in vocabulary()["subjects"].items():
        for word in known:
            groups.setdefault(word, group)
    return groups


def _singular(word: str) -> str:
    if word.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    return word.removesuffix("s")


def said_in(prompt_words: Iterable[str]) -> set[str]:
    """The aspects (light, colour, framing …) that a prompt speaks of already."""
    present = set(prompt_words)
    return {aspect for aspect, known in vocabulary()["said"].items() if present & set(known)}
