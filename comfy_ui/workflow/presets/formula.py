"""The small formulas of presets: ``x/2``, ``round(x/2)``, ``x*fps+1``.

A parser for numbers, names, ``+ - * / // %``, brackets, and the functions below. Nothing is
evaluated as Python.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...errors import ValidationError

Number = int | float
_Node = Callable[[Mapping[str, Number]], Number]

_MAX_LENGTH = 200  # also bounds how deep brackets can nest
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|(//|[-+*/%(),]))")
_SUMS: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": operator.add,
    "-": operator.sub,
}
_PRODUCTS: Mapping[str, Callable[[Number, Number], Number]] = {
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_FUNCTIONS: Mapping[str, tuple[int, Callable[..., Number]]] = {
    "round": (1, lambda x: math.floor(x + 0.5)),  # 2.5 → 3: what people expect of a step count
    "floor": (1, math.floor),
    "ceil": (1, math.ceil),
    "min": (2, min),
    "max": (2, max),
}


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula. ``names`` are the values that it needs."""

    text: str
    names: frozenset[str]
    _tree: _Node

    def __call__(self, values: Mapping[str, Number]) -> Number:
        """The formula's value.

        Raises:
            ValidationError: it divides by zero, or the result is not a finite number.
        """
        try:
            result = self._tree(values)
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
        ValidationError: it is longer than 200 characters or not in the grammar.
    """
    return _Parser(text).formula()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self.tokens = self._tokens()
        self.at = 0

    def formula(self) -> Formula:
        tree = self._sum()
        if self.at < len(self.tokens):
            raise self._error(f"'{self.tokens[self.at]}' was not expected")
        return Formula(self.text, frozenset(self.names), tree)

    def _tokens(self) -> list[str]:
        if len(self.text) > _MAX_LENGTH:
            raise self._error(f"it is longer than {_MAX_LENGTH} characters")
        text, found, at = self.text.rstrip(), [], 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._error(f"'{text[at:].strip()[0]}' was not expected")
            found.append(match.group().strip())
            at = match.end()
        return found

    def _error(self, why: str) -> ValidationError:
        return ValidationError(
            f"'{self.text[:_MAX_LENGTH]}' is not a formula: {why}.",
            hint="Allowed: numbers, x, ids of parameters, + - * / // %, brackets, "
            + ", ".join(sorted(_FUNCTIONS))
            + ".",
        )

    def _next(self) -> str:
        token = self.tokens[self.at] if self.at < len(self.tokens) else ""
        self.at += 1
        return token

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _expect(self, token: str) -> None:
        found = self._next()
        if found != token:
            raise self._error(f"'{token}' is missing")

    def _sum(self) -> _Node:
        return self._chain(_SUMS, self._product)

    def _product(self) -> _Node:
        return self._chain(_PRODUCTS, self._factor)

    def _chain(
        self, operators: Mapping[str, Callable[[Number, Number], Number]], part: Callable[[], _Node]
    ) -> _Node:
        left = part()
        while self._peek() in operators:
            left = _binary(operators[self._next()], left, part())
        return left

    def _factor(self) -> _Node:
        token = self._next()
        if token == "-":  # noqa: S105 -- a token of a formula
            inner = self._factor()
            return lambda values: -inner(values)
        if token == "(":  # noqa: S105
            inner = self._sum()
            self._expect(")")
            return inner
        if token[:1].isdigit():
            number = float(token) if "." in token else int(token)
            return lambda _: number
        if token in _FUNCTIONS and self._peek() == "(":
            return self._call(token)
        if token.isidentifier():
            self.names.add(token)
            return lambda values: values[token]
        raise self._error(f"'{token}' was not expected" if token else "it ends too early")

    def _call(self, name: str) -> _Node:
        count, function = _FUNCTIONS[name]
        self._expect("(")
        arguments = [self._sum()]
        for _ in range(count - 1):
            self._expect(",")
            arguments.append(self._sum())
        self._expect(")")
        return lambda values: function(*(argument(values) for argument in arguments))


def _binary(apply: Callable[[Number, Number], Number], left: _Node, right: _Node) -> _Node:
    return lambda values: apply(left(values), right(values))
