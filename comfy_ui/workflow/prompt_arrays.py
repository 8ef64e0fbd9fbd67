"""Arrays in prompts: ``[[red, green]] fox`` is one job for each entry. Pure.

The syntax of Fooocus. Brackets without a comma are text. An entry may be empty: ``[[, at night]]``.
Several arrays make every combination; the same array twice is replaced alike.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["ARRAY", "PromptArray", "prompt_arrays"]

ARRAY: Final = r"\[\[[^\[\],]*+(?:,[^\[\],]*+)++\]\]"
"""An array as a regular expression without groups; linear, because nothing in it is tried twice."""

_ARRAY: Final = re.compile(ARRAY)


class PromptArray(NamedTuple):
    """An array as the prompt has it, and its entries."""

    source: str
    entries: tuple[str, ...]


def prompt_arrays(text: str) -> list[PromptArray]:
    """Find the different arrays of a prompt, in order.

    >>> prompt_arrays("[[red, green]] fox, [[cat]]")
    [PromptArray(source='[[red, green]]', entries=('red', 'green'))]
    """
    sources = dict.fromkeys(match[0] for match in _ARRAY.finditer(text))
    return [
        PromptArray(source, tuple(entry.strip() for entry in source[2:-2].split(",")))
        for source in sources
    ]
