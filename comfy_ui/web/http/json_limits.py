"""Refuse JSON that is expensive or dangerous to parse, before anything parses it. Pure.

Python's parser holds the event loop for seconds on a body of a few MB with many values, raises
RecursionError on deep ones, and turns large numbers into infinity. All steps here are single
calls of functions written in C, linear in the size of the body.
"""

from __future__ import annotations

from typing import Final

__all__ = ["json_problem"]

_NESTING: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(set(range(256)) - set(b"[]{}"))
_NUMBERS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE: Final = (b"0" * 100, b"e000")
"""100 digits, or an exponent of three, once every digit is a 0."""


def json_problem(body: bytes, *, items: int, depth: int) -> str | None:
    """Return the reason to refuse a JSON body, as a sentence; None if it can be parsed safely.

    The body may still be invalid JSON.

    Args:
        body: the body, as UTF-8.
        items: values in all arrays and objects.
        depth: arrays and objects inside each other.

    >>> json_problem(b'{"a": [1, 2]}', items=9, depth=2)
    >>> json_problem(b'{"a": [[1, 2]]}', items=9, depth=2)
    'The JSON is nested more than 2 levels deep.'
    """
    if b"\0" in body:  # UTF-16 and UTF-32, which Python's parser accepts
        return "The JSON must be UTF-8."
    few = _items(body) <= items and body.count(b"[") + body.count(b"{") <= depth
    if few and not _has_huge_number(body):
        return None
    if body.count(b'"') > 4 * items + 4:  # a key and a value have two each
        return f"The JSON has more than {items:,} values."
    syntax = _without_strings(body)
    if _items(syntax) > items:
        return f"The JSON has more than {items:,} values."
    brackets = syntax.translate(_NESTING, _OTHERS)
    for _ in range(depth):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        return f"The JSON is nested more than {depth} levels deep."
    if _has_huge_number(syntax):
        return "A number in the JSON is too large."
    return None


def _items(text: bytes) -> int:
    """Return at least the number of values: each follows a comma or an opening bracket."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _has_huge_number(text: bytes) -> bool:
    numbers = text.translate(_NUMBERS, b"+")
    return b"Infinity" in text or any(huge in numbers for huge in _HUGE)


def _without_strings(body: bytes) -> bytes:
    # Escaped backslashes first, so that each \" that is left is a quote inside a string.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b" ".join(plain.split(b'"')[::2])
