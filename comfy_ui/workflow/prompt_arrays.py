"""Arrays in prompts: ``[[red, green]] fox`` is one job for each entry. Pure.

The syntax of Fooocus. Brackets without a comma are text. An entry may be empty: ``[[, at night]]``.
Several arrays make every combination; the same array twice is replaced alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..errors import ValidationError

__all__ = [
    "ARRAY",
    "MAX_PROMPTS",
    "PromptArray",
    "expand_array_values",
    "expand_arrays",
    "prompt_arrays",
    "without_brackets",
]

MAX_PROMPTS: Final = 64
"""The maximum number of prompts that arrays may make of one."""

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


def without_brackets(text: str) -> str:
    """Return a prompt for reading, with the entries of its arrays separated by slashes.

    >>> without_brackets("[[red, green]] fox[[, at night]], [[cat]]")
    'red / green fox / at night, [[cat]]'
    """
    for source, entries in prompt_arrays(text):
        text = text.replace(source, " / ".join(entries))
    return text


def expand_arrays(prompt: str) -> list[str]:
    """Return the prompts that the arrays of a prompt stand for; without arrays, the prompt alone.

    The first array varies fastest. Pass the prompts to :meth:`.ComfyClient.run_batch`.

    >>> expand_arrays("[[red, green]] fox at [[dawn, night]]")
    ['red fox at dawn', 'green fox at dawn', 'red fox at night', 'green fox at night']

    Raises:
        ValidationError: there are more than 64.
    """
    return [str(values["prompt"]) for values in expand_array_values({"prompt": prompt}, ["prompt"])]


def expand_array_values(values: Mapping[str, Any], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the values of each job that the arrays in the prompts ``names`` stand for.

    Raises:
        ValidationError: there are more than :data:`MAX_PROMPTS`.
    """
    arrays = [
        (name, array)
        for name in names
        if isinstance(text := values.get(name), str)
        for array in prompt_arrays(text)
    ]
    count = math.prod(len(array.entries) for _, array in arrays)
    if count > MAX_PROMPTS:
        raise ValidationError(
            f"The arrays of this prompt make {count} jobs.",
            hint=f"The limit is {MAX_PROMPTS}. Use fewer entries.",
        )
    expanded = [dict(values)]
    for name, array in reversed(arrays):
        expanded = [
            {**each, name: each[name].replace(array.source, entry)}
            for each in expanded
            for entry in array.entries
        ]
    return expanded
