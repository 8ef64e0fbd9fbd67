from __future__ import annotations

import json
import time
from typing import Any

import pytest

from comfy_ui.web.http.body_limit import json_problem


def problem(value: Any, *, items: int = 1000, depth: int = 8) -> str | None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return json_problem(body, items=items, depth=depth)


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not JSON",
        {"prompt": '[[[[[[[[[[ {a|b} " \\ , , , ' * 200},
        {"prompt": "Infinity and 1e999 and " + "9" * 500},
        {"seed": 2**64, "cfg": 3.4e38, "fraction": 0.1},
        b'{"is_changed": [NaN], "long": 0.1000000000000000055511151231257827021181583404541}',
        nested(8),
        list(range(999)),
        {"picture": "data:image/png;base64," + "0" * 100_000},
    ],
)
def test_json_problem_of_reasonable_bodies_is_none(value: Any) -> None:
    assert problem(value) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nested(9), "nested"),
        (b"[" * 500, "nested"),
        (b'{"a":' * 500, "nested"),
        (list(range(2000)), "values"),
        ([""] * 50_000, "values"),
        (b"[" * 100_000, "values"),
        (b'{"seed": 1e400}', "too large"),
        (b'{"seed": 1.0E+0999}', "too large"),
        (b'{"seed": -Infinity}', "too large"),
        (b'{"seed": ' + b"1" * 5000 + b"}", "too large"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ('{"a": 1}'.encode("utf-32"), "UTF-8"),
        # A backslash before a closing quote does not hide what follows.
        (rb'["\\", ' + b"[" * 20 + b"]" * 20 + b"]", "nested"),
    ],
)
def test_json_problem_of_expensive_bodies_is_a_sentence(value: Any, reason: str) -> None:
    sentence = problem(value)
    assert sentence is not None
    assert reason in sentence
    assert sentence.endswith((".", "UTF-8."))


def test_json_problem_of_any_body_takes_milliseconds() -> None:
    size = 2 * 2**20
    bodies = [
        (piece * (size // len(piece)))
        for piece in (b"[", b"[]", b"[{}]", b'"', b'""', b'"",', rb'"\\",', b"1", b"e1", b"I")
    ]
    for body in bodies:
        began = time.perf_counter()
        problem(body, items=100_000, depth=64)
        assert time.perf_counter() - began < 0.5, body[:10]
