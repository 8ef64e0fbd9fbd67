"""Numbers of fields: exact integers up to the 64 bits of a seed, and random seeds."""

from __future__ import annotations

import math
import random
from typing import Any, Final

__all__ = ["MAX_SEED", "format_number", "parse_number", "random_seed"]

MAX_SEED: Final = 2**64 - 1
"""The largest seed that ComfyUI accepts."""

_RANDOM_SEEDS: Final = 2**53  # below it, JavaScript and so ComfyUI's editor is exact


def parse_number(value: Any, *, whole: bool) -> int | float:
    """Convert a number or its text; an integer stays exact beyond 2**53.

    >>> parse_number("9007199254740993", whole=True), parse_number("0.5", whole=False)
    (9007199254740993, 0.5)

    Raises:
        ValueError: not a finite number, or not a whole one although ``whole`` is set.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, OverflowError) as error:
        raise ValueError("not a number") from error
    if not math.isfinite(number):
        raise ValueError("not finite")
    if not whole:
        return number
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    if not number.is_integer():
        raise ValueError("not whole")
    return int(number)


def format_number(number: float) -> str:
    """Format a number for a message: integers exactly, others with six digits.

    >>> format_number(2**64 - 1), format_number(0.30000000000000004), format_number(20.0)
    ('18446744073709551615', '0.3', '20')
    """
    return str(number) if isinstance(number, int) else f"{number:g}"


def random_seed(rng: random.Random | None = None) -> int:
    """Draw a seed below 2**53, which survives JavaScript and JSON unchanged."""
    return (rng or random).randrange(_RANDOM_SEEDS)
