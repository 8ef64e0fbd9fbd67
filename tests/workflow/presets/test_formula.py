"""comfy_ui/workflow/presets/formula.py"""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.workflow.presets.formula import parse


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("x/2", {"x": 7}, 3.5),
        ("round(x/2)", {"x": 5}, 3),
        ("x*fps+1", {"x": 5, "fps": 16}, 81),
        ("2 + 3 * 4", {}, 14),
        ("(2 + 3) * 4", {}, 20),
        ("10 - 2 - 3", {}, 5),
        ("-x + 1", {"x": 3}, -2),
        ("7 // 2 % 2", {}, 1),
        ("max(1, round(x*0.6))", {"x": 1}, 1),
        ("min(x, ceil(1.2)) + floor(1.9)", {"x": 9}, 3),
    ],
)
def test_parse_formula_computes_result(text: str, values: dict[str, float], result: float) -> None:
    assert parse(text)(values) == result


def test_parse_formula_names_lists_variables() -> None:
    assert parse("round(x*fps) + 1").names == {"x", "fps"}


@pytest.mark.parametrize(
    "text",
    [
        "", "x +", "(x", "x)", "x y", "round(x, 2)", "min(x)", "__import__('os')", "x.real",
        "x[0]", "lambda: 1", "1e9999", "x" * 201, "((((", "'a'", "x ** 2", "x = 1", "max(1,2", "²",
    ],
)  # fmt: skip
def test_parse_invalid_formula_raises(text: str) -> None:
    with pytest.raises(ValidationError, match="not a formula"):
        parse(text)


@pytest.mark.parametrize("text", ["1/0", "x//0", "x%0", "1/(x-x)"])
def test_formula_division_by_zero_raises_validation_error(text: str) -> None:
    with pytest.raises(ValidationError, match="no value"):
        parse(text)({"x": 4})


@given(st.text(alphabet="0123456789.x+-*/%(), roundmi", max_size=60))
def test_parse_any_text_returns_formula_or_validation_error(text: str) -> None:
    try:
        result = parse(text)(dict.fromkeys(parse(text).names, 3))
    except ValidationError:
        return
    assert isinstance(result, int | float)
