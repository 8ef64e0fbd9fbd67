"""A grid of variations: params of a preset, each over several values. Pure.

An axis is written as a list, ``8, 12, 20``, or for numbers as a range:
``20-40 (+10)`` in steps of ten, ``1-5`` in steps of one, ``0.2-1 [5]`` five evenly spaced numbers.
A value with a comma is quoted. For the prompt, the other entries replace the first one in it:
``red, blue, green``. The axis ``prompts`` has a whole prompt in each line.
"""

from __future__ import annotations

import csv
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from ..errors import ValidationError
from .fields.field_types import (
    FIELD_TYPES,
    FILE_ROLES,
    INTEGER_ROLES,
    MODEL_ROLES,
    NUMBER_ROLES,
)
from .fields.numbers import random_seed
from .loras.lora_values import parse_loras
from .presets.schema import Param, Preset
from .prompt_arrays import prompt_arrays
from .wildcards import MAX_PROMPT_CHARACTERS, PROMPT_ROLES, check_prompt_length

__all__ = [
    "MAX_CELLS",
    "ParamAxis",
    "array_axes",
    "expand",
    "file_axes",
    "first_files",
    "read_axis",
]

MAX_CELLS: Final = 64
"""The maximum number of jobs of one grid."""

_NUMBER: Final = r"[-+]?(?:\d{1,20}\.?\d{0,20}|\.\d{1,16})"
_RANGE: Final = re.compile(
    rf"({_NUMBER})\s*[-–]\s*({_NUMBER})(?:\s*\(\s*([-+]?[\d.]+)\s*\)|\s*\[\s*(\d{{1,4}})\s*\])?"
)
_RANDOM: Final = "-1"
_LORAS: Final = "loras"
_PROMPTS: Final = "prompts"
_NO_LORA: Final = "none"
_PROMPT_LINES: Final = "Enter one prompt per line."


@dataclass(frozen=True, slots=True)
class ParamAxis:
    """One axis of a grid: the param that varies, its values, and their labels.

    ``name`` is the id of a param, or ``variant``. If the axis ``replaces`` some words of a prompt,
    its values are what they are replaced by.
    """

    name: str
    label: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    replaces: str = ""


def read_axis(
    preset: Preset, name: str, text: str, *, rng: random.Random | None = None
) -> ParamAxis:
    """Parse the text of an axis for one param of ``preset``, in the syntax above.

    >>> from .presets.preset_store import get_preset
    >>> read_axis(get_preset("sdxl"), "steps", "20-40 (+10)").values
    (20, 30, 40)

    Args:
        rng: draws the seeds of an axis ``-1, -1, -1``.

    Raises:
        ValidationError: the param does not exist or cannot vary, a number is invalid, or there are
            no values or more than :data:`MAX_CELLS`.
    """
    if name == _LORAS and preset.lora_slots:
        return _lora_axis(text)
    if name == "variant" and preset.variants:
        titles = {"": "Standard"} | {key: variant.title for key, variant in preset.variants.items()}
        variants = _few("Variant", _entries(text), "Separate them by commas.")
        values = tuple(next((k for k, t in titles.items() if v in {k, t}), v) for v in variants)
        return ParamAxis(name, "Variant", values, tuple(titles.get(v, v) for v in values))
    param = preset.param(name)
    if param is None and name == _PROMPTS and (prompt := preset.by_role("prompt")):
        return _prompt_axis(prompt, text)
    if param is None or not FIELD_TYPES[param.role].in_grid:
        raise ValidationError(f"A grid cannot vary '{name}' here.", hint="Choose another field.")
    entries: list[Any] = []
    entries += _numbers(param, text) if param.role in NUMBER_ROLES else _entries(text)
    _few(param.label, entries, FIELD_TYPES[param.role].grid_example)
    if param.role == "seed":
        entries = [random_seed(rng) if entry == -1 else entry for entry in entries]
    if param.role == "prompt" and len(entries) < 2:
        raise ValidationError(
            "Enter the words to replace, then their replacements.",
            hint=FIELD_TYPES[param.role].grid_example,
        )
    return ParamAxis(
        name,
        param.label,
        tuple(entries),
        tuple(_value_label(param, entry) for entry in entries),
        replaces=str(entries[0]) if param.role == "prompt" else "",
    )


def _prompt_axis(param: Param, text: str) -> ParamAxis:
    """Return an axis over whole prompts, one to a line."""
    prompts = _few(param.label, [*filter(None, map(str.strip, text.splitlines()))], _PROMPT_LINES)
    for prompt in prompts:
        check_prompt_length(prompt)
    return ParamAxis(param.id, param.label, tuple(prompts), tuple(prompts))


def _lora_axis(text: str) -> ParamAxis:
    """Return an axis over LoRAs, each with a weight if it is not 1; "none" is none of them."""
    label = FIELD_TYPES[_LORAS].usual["label"]
    entries = _few(label, _entries(text), "For example: none, ink:0.8")
    loras = tuple(
        None if entry.casefold() == _NO_LORA else parse_loras(entry)[0] for entry in entries
    )
    labels = (PurePosixPath(entry.replace("\\", "/")).name for entry in entries)
    return ParamAxis(
        _LORAS, label, loras, tuple(name.removesuffix(".safetensors") for name in labels)
    )


def file_axes(preset: Preset, values: Mapping[str, Any]) -> list[ParamAxis]:
    """Return an axis for each file field of ``values`` with several files.

    The page writes one file to a line: its upload's name and, after a tab, its own name.
    """
    axes = []
    for param in preset.params:
        lines = _file_lines(param, values)
        if len(lines) > 1:
            files = [line.partition("\t") for line in lines]
            labels = tuple(own or name for name, _, own in files)
            axes.append(ParamAxis(param.id, param.label, tuple(f[0] for f in files), labels))
    return axes


def first_files(preset: Preset, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the first file of each file field alone, without its own name."""
    firsts = {
        param.id: lines[0].partition("\t")[0]
        for param in preset.params
        if (lines := _file_lines(param, values))
    }
    return {**values, **firsts}


def _file_lines(param: Param, values: Mapping[str, Any]) -> list[str]:
    value = values.get(param.id)
    return value.splitlines() if param.role in FILE_ROLES and isinstance(value, str) else []


def array_axes(preset: Preset, values: Mapping[str, Any]) -> list[ParamAxis]:
    """Return an axis for each array in the prompts of ``values``."""
    return [
        ParamAxis(param.id, param.label, array.entries, array.entries, replaces=array.source)
        for param in preset.params
        if param.role in PROMPT_ROLES
        for array in prompt_arrays(str(values.get(param.id) or ""))
    ]


def expand(
    preset: Preset,
    values: Mapping[str, Any],
    axes: Sequence[ParamAxis],
    *,
    rng: random.Random | None = None,
) -> list[dict[str, Any]]:
    """Return the values of every cell, row by row; the first axis is horizontal.

    All cells share one seed, drawn here if ``values`` have none, unless an axis varies it:
    different seeds would hide the effect of the axes.

    Raises:
        ValidationError: too many cells, the same param twice, a prompt that is too long, or one
            that does not contain the words to replace.
    """
    across, *others = axes
    names = [axis.name for axis in axes if not axis.replaces]
    if repeated := next((axis for axis in axes if names.count(axis.name) > 1), None):
        raise ValidationError(f"Both sides vary '{repeated.label}'.", hint="Choose another field.")
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_CELLS:
        raise ValidationError(
            f"That would be {count} jobs.", hint=f"The limit is {MAX_CELLS}. Use fewer values."
        )
    start = dict(values)
    prompt = preset.by_role("prompt")
    if prompt is not None:
        check_prompt_length(str(start.get(prompt.id) or ""))
    seed = preset.by_role("seed")
    if seed is not None and str(start.get(seed.id) or _RANDOM).strip() == _RANDOM:
        start[seed.id] = random_seed(rng)
    rows = [start]
    for axis in others:
        rows = [_put(row, axis, index) for row in rows for index in _indices(axis)]
    return [_put(row, across, index) for row in rows for index in _indices(across)]


def _few(label: str, entries: list[Any], example: str) -> list[Any]:
    if not entries:
        raise ValidationError(f"'{label}' has no values yet.", hint=example)
    if len(entries) > MAX_CELLS:
        raise ValidationError(
            f"'{label}' has {len(entries)} values.", hint=f"A grid has at most {MAX_CELLS} jobs."
        )
    return entries


def _indices(axis: ParamAxis) -> range:
    return range(len(axis.values))


def _put(values: Mapping[str, Any], axis: ParamAxis, index: int) -> dict[str, Any]:
    if axis.name == _LORAS:
        compared = {lora["name"] for lora in axis.values if lora}
        others = [lora for lora in parse_loras(values.get(_LORAS)) if lora["name"] not in compared]
        return {**values, _LORAS: [*others, *filter(None, [axis.values[index]])]}
    if not axis.replaces:
        return {**values, axis.name: axis.values[index]}
    prompt, words = str(values.get(axis.name) or ""), axis.replaces
    if words not in prompt:
        raise ValidationError(
            f"The prompt does not contain '{words}'.",
            hint="The other entries replace the first one in the prompt.",
        )
    replacement = axis.values[index]
    size = len(prompt) + prompt.count(words) * (len(replacement) - len(words))
    if size > MAX_PROMPT_CHARACTERS:
        raise ValidationError(
            f"With '{replacement[:40]}' the prompt would have {size} characters.",
            hint=f"The limit is {MAX_PROMPT_CHARACTERS}. Use longer words to replace.",
        )
    return {**values, axis.name: prompt.replace(words, replacement)}


def _entries(text: str) -> list[str]:
    """Split a list into its non-empty entries. Line breaks separate entries as commas do.

    >>> _entries('red, "pink, almost white", blue')
    ['red', 'pink, almost white', 'blue']
    """
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    return [entry.strip() for row in rows for entry in row if entry.strip()]


def _numbers(param: Param, text: str) -> Iterator[int | float]:
    for entry in _entries(text):
        range_match = _RANGE.fullmatch(entry)
        yield from _range(param, range_match) if range_match else [_number(param, entry)]


def _range(param: Param, match: re.Match[str]) -> Iterator[int | float]:
    is_integer = param.role in INTEGER_ROLES
    first, last = (_number(param, match[n]) for n in (1, 2))
    if match[4]:
        steps = max(int(match[4]) - 1, 1)
        step = (last - first) / steps
    else:
        step = abs(_number(param, match[3])) if match[3] else 1
        if not step:
            raise ValidationError(
                "The step of a range cannot be 0.", hint=FIELD_TYPES[param.role].grid_example
            )
        step = step if last >= first else -step
        steps = int((last - first) / step + 1e-9)
    if steps >= MAX_CELLS:
        raise ValidationError(
            f"'{param.label}' has {steps + 1} values.",
            hint=f"A grid has at most {MAX_CELLS} jobs.",
        )
    for n in range(steps + 1):
        number = first + n * step
        yield round(number) if is_integer else round(number, 6)


def _number(param: Param, entry: str) -> int | float:
    try:
        return int(entry) if param.role in INTEGER_ROLES else float(entry)
    except ValueError:
        kind = "a whole number" if param.role in INTEGER_ROLES else "a number"
        raise ValidationError(
            f"'{param.label}' takes {kind}, not '{entry[:40]}'.",
            hint=FIELD_TYPES[param.role].grid_example,
        ) from None


def _value_label(param: Param, entry: Any) -> str:
    if isinstance(entry, float):
        return f"{entry:g}"
    if param.role in MODEL_ROLES:
        return PurePosixPath(str(entry).replace("\\", "/")).stem
    return str(entry)
