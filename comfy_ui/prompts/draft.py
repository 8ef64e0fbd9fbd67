"""The draft of an enhanced prompt, and its differences from the original."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

__all__ = ["Difference", "EnhancedPrompt", "Kind", "Strength", "differences"]

Kind = Literal["image", "edit", "video", "i2v", "audio"]
"""What the prompt is for: an image, a change to one, a video, a video from an image, audio."""

Strength = Literal["light", "medium", "strong"]


@dataclass(frozen=True, slots=True)
class EnhancedPrompt:
    """A draft of an enhanced prompt, for the user to accept or discard.

    ``negative`` is empty if the model family uses none, ``lyrics`` if it does not sing. ``source``
    is the model's name or ``rules``. ``reason`` explains why the rules wrote the draft although
    there is a model, or why nothing was added. ``changes`` are the added phrases.
    """

    enhanced: str
    negative: str
    original: str
    source: str
    changes: tuple[str, ...] = ()
    seconds: float = 0.0
    lyrics: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A run of text that is in both prompts, only in the new one, or only in the old one."""

    kind: Literal["same", "added", "removed"]
    text: str


_EXACT_PIECES = 1_200
_PIECE = re.compile(r"\s+|[\w'’-]+|[^\w\s]")


def differences(original: str, enhanced: str) -> tuple[Difference, ...]:
    """Compare ``original`` and ``enhanced`` word by word, ignoring case.

    The runs that are not "removed" make up ``enhanced`` again.

    >>> [(d.kind, d.text) for d in differences("a cat", "a black cat")]
    [('same', 'a '), ('added', 'black '), ('same', 'cat')]
    """
    old, new = _PIECE.findall(original), _PIECE.findall(enhanced)
    runs: list[Difference] = []
    folded = [piece.casefold() for piece in old], [piece.casefold() for piece in new]
    # Exact for prompts of usual length; hostile text of thousands of words would take seconds.
    hasty = len(old) + len(new) > _EXACT_PIECES
    for tag, a, b, c, d in SequenceMatcher(None, *folded, autojunk=hasty).get_opcodes():
        if tag == "equal":
            runs.append(Difference("same", "".join(new[c:d])))
            continue
        if a < b:
            runs.append(Difference("removed", "".join(old[a:b])))
        if c < d:
            runs.append(Difference("added", "".join(new[c:d])))
    return tuple(runs)
