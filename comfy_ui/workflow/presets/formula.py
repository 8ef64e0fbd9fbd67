"""Evaluate formulas in presets: ``x/2``, ``round(x/2)``, ``x*fps+1``.

Uses Python's parser with an allow list of node types; no code is executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ...errors import ValidationError

__all__ = ["Formula", "parse"]

Number = int | float
_Node = Callable[[Mapping[str, Number]], Number]

_MAX_LENGTH: Final = 200  # bounds the nesting of brackets
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Number, Number], Number]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Final[Mapping[str, tuple[int, Callable[..., Number]]]] = {
    "round": (1, lambda x: math.floor(x + 0.5)),  # 2.5 → 3, as expected of a step count
    "floor": (1, math.floor),
    "ceil": (1, math.ceil),
    "min": (2, min),
    "max": (2, max),
}


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula. ``names`` are the values that it uses."""

    text: str
    names: frozenset[str]
    _compute: _Node

    def __call__(self, values: Mapping[str, Number]) -> Number:
        """Compute the formula.

        Raises:
            ValidationError: it divides by zero, or the result is not a finite number.
        """
        try:
            result = self._compute(values)
        except (ZeroDivisionError, OverflowError) as error:
            raise ValidationError(f"The formula '{self.text}' has no value: {error}.") from error
        if not math.isfinite(result):
            raise ValidationError(f"The formula '{self.text}' has no finite value.")
        return result


def parse(text: str) -> Formula:
    """Read a formula.

    >>> parse("round(x/2) + 1")({"x": 7})
    5

    Raises:
        ValidationError: the text is longer than 200 characters or not a formula.
    """
    if len(text) > _MAX_LENGTH:
        raise _error(text, f"it is longer than {_MAX_LENGTH} characters")
    if not text.isascii() or not text.isprintable():
        raise _error(text, "it has characters other than ASCII")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _error(text, getattr(error, "msg", None) or "it cannot be parsed") from error
    names: set[str] = set()
    compute = _compiled(tree, text, names)
    return Formula(text, frozenset(names), compute)


def _compiled(node: ast.expr, text: str, names: set[str]) -> _Node:
    """Compile the expression to a function; raise ValidationError for any other node type."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(
            number, bool
        ) and math.isfinite(number):
            return lambda _: number
        case ast.Name(id=name):
            names.add(name)
            return lambda values: values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compiled(operand, text, names)
            return lambda values: -inner(values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            apply = _OPERATORS[type(op)]
            first, second = (_compiled(side, text, names) for side in (left, right))
            return lambda values: apply(first(values), second(values))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
            name in _FUNCTIONS and len(arguments) == _FUNCTIONS[name][0]
        ):
            function = _FUNCTIONS[name][1]
            parts = [_compiled(argument, text, names) for argument in arguments]
            return lambda values: function(*(part(values) for part in parts))
    raise _error(text, f"'{ast.unparse(node)}' is not allowed")


def _error(text: str, reason: str) -> ValidationError:
    return ValidationError(
        f"'{text[:_MAX_LENGTH]}' is not a formula: {reason}.",
        hint="Allowed: numbers, x, ids of parameters, + - * / // %, brackets, "
        + ", ".join(sorted(_FUNCTIONS))
        + ".",
    )
