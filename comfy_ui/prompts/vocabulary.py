"""The words of the built-in rules, read once from ``vocabulary.toml``, and looking them up."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

# What is not prose: LoRA tags, wildcards, and the words that ComfyUI's and A1111's encoders obey.
_MACHINE = re.compile(r"<[^<>]*>|__[^\s_][^\s]*?__|\bBREAK\b|\bAND\b")
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
    group_of = {word: group for group, known in vocabulary()["subjects"].items() for word in known}
    return next((group_of[word] for word in prompt_words if word in group_of), "other")


def said_in(prompt_words: Iterable[str]) -> set[str]:
    """The aspects (light, colour, framing …) that a prompt speaks of already."""
    present = set(prompt_words)
    return {aspect for aspect, known in vocabulary()["said"].items() if present & set(known)}
