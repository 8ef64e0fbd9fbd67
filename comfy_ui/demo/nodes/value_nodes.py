"""Value nodes: numbers, texts, choices, logic."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..node_types import LoadedModel
from .node_base import Context, NodeError, UnableModelError, node


@node(
    "PrimitiveString",
    "PrimitiveStringMultiline",
    "PrimitiveInt",
    "PrimitiveFloat",
    "PrimitiveBoolean",
)
def primitive(_context: Context, *, value: Any) -> tuple[Any]:
    return (value,)


@node("SeedNode")
def seed(_context: Context, *, seed: int) -> tuple[int]:
    return (seed,)


@node("StringConcatenate")
def concatenate(
    _context: Context, *, string_a: str, string_b: str, delimiter: str = ""
) -> tuple[str]:
    return (f"{string_a}{delimiter}{string_b}",)


@node("StringSubstring")
def substring(_context: Context, *, string: str, start: int, end: int) -> tuple[str]:
    return (string[start:end],)


@node("StringLength")
def length(_context: Context, *, string: str) -> tuple[int]:
    return (len(string),)


@node("CaseConverter")
def case(_context: Context, *, string: str, mode: str) -> tuple[str]:
    change: Mapping[str, Callable[[str], str]] = {
        "UPPERCASE": str.upper,
        "lowercase": str.lower,
        "Capitalize": str.capitalize,
        "Title Case": str.title,
    }
    return (change[mode](string),)


@node("StringTrim")
def trim(_context: Context, *, string: str, mode: str) -> tuple[str]:
    return ({"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}[mode](string),)


@node("StringReplace")
def replace_text(_context: Context, *, string: str, find: str, replace: str) -> tuple[str]:
    return (string.replace(find, replace),)


@node("StringContains")
def contains(
    _context: Context, *, string: str, substring: str, case_sensitive: bool = True
) -> tuple[bool]:
    if not case_sensitive:
        string, substring = string.casefold(), substring.casefold()
    return (substring in string,)


@node("StringCompare")
def compare(
    _context: Context, *, string_a: str, string_b: str, mode: str, case_sensitive: bool = True
) -> tuple[bool]:
    if not case_sensitive:
        string_a, string_b = string_a.casefold(), string_b.casefold()
    match mode:
        case "Starts With":
            return (string_a.startswith(string_b),)
        case "Ends With":
            return (string_a.endswith(string_b),)
    return (string_a == string_b,)


def _selected_branch(inputs: dict[str, Any]) -> set[str]:
    if "switch" not in inputs:
        return {"switch"}
    return {"on_true" if inputs["switch"] else "on_false"}


@node("ComfySwitchNode", lazy=_selected_branch)
def switch(
    _context: Context, *, switch: bool, on_false: Any = None, on_true: Any = None
) -> tuple[Any]:
    """Return the chosen branch; the other one does not run."""
    return (on_true if switch else on_false,)


@node("ComfyNotNode")
def negate(_context: Context, *, value: Any) -> tuple[bool]:
    return (not value,)


@node("ComfyAndNode")
def every(_context: Context, *, more: dict[str, Any]) -> tuple[bool]:
    return (all(more.values()),)


@node("ComfyOrNode")
def some(_context: Context, *, more: dict[str, Any]) -> tuple[bool]:
    return (any(more.values()),)


@node("ComfyNumberConvert")
def convert(_context: Context, *, value: Any) -> tuple[float, int]:
    try:
        number = float(value)
    except ValueError as error:
        raise NodeError(f"'{value}' is not a number.") from error
    return number, int(number)


@node("ResolutionSelector")
def resolution(
    _context: Context, *, aspect_ratio: str, megapixels: float, multiple: int = 8
) -> tuple[int, int]:
    """Return width and height with about this many megapixels."""
    across, down = (float(n) for n in aspect_ratio.split(" ", maxsplit=1)[0].split(":"))
    unit = math.sqrt(megapixels * 1024 * 1024 / (across * down))
    width, height = (max(1, round(n * unit / multiple)) * multiple for n in (across, down))
    return width, height


@node("ComfyMathExpression")
def calculate(
    _context: Context, *, expression: str, more: dict[str, Any] | None = None
) -> tuple[float, int, bool]:
    names = {key.rpartition(".")[2]: value for key, value in (more or {}).items()}
    try:
        result = _evaluate(ast.parse(expression, mode="eval").body, names)
    except (SyntaxError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise NodeError(f"'{expression}' cannot be computed: {error}.") from error
    return float(result), int(result), bool(result)


_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "int": int,
    "float": float,
}


def _evaluate(part: ast.expr, names: Mapping[str, Any]) -> Any:
    """Evaluate arithmetic only: no attributes, and only the listed calls."""
    match part:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return names[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_evaluate(left, names), _evaluate(right, names))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, names)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_evaluate(left, names), _evaluate(right, names))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _evaluate(body if _evaluate(test, names) else other, names)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_evaluate(arg, names) for arg in args))
    raise SyntaxError(f"{type(part).__name__} is not allowed")


@node("StartLoop", test_only=True)
def start_loop(
    context: Context,
    *,
    mode: str = "simple",
    more: dict[str, Any] | None = None,
    initial_iteration_value: Any = None,
) -> tuple[Any, ...]:
    """Return the outputs for the nodes of the first pass; the executor runs the passes."""
    passes = loop_passes(mode, more or {})
    context.text(f"Iteration 0 / {len(passes)}")
    first = passes[0] if passes else 0
    return first, True, len(passes) == 1, None, initial_iteration_value


@node("EndLoop", test_only=True)
def end_loop(_context: Context, *, output_value: Any = None, **_: Any) -> tuple[Any]:
    """Return the value of the last pass."""
    return (output_value,)


def loop_passes(mode: str, options: Mapping[str, Any]) -> range:
    """Return the index of each pass of a loop."""
    if mode == "For":
        first, last = options["mode.start_iteration_index"], options["mode.max_iteration"]
        return range(first, last, options["mode.step"])
    return range(options["mode.num_iterations"])


@node("DemoSleep", test_only=True)
def sleep(
    context: Context, *, image: Any, seconds: float, steps: int, blocking: bool = False, **_: Any
) -> tuple[Any]:
    """Sleep, in interruptible steps or in one that is not."""
    if blocking:
        time.sleep(seconds)
        return (image,)
    for step in range(steps):
        context.sleep(seconds / steps)
        context.step(step + 1, steps)
    return (image,)


@node("DemoPartner", test_only=True)
def call_partner(context: Context, *, image: Any) -> tuple[Any]:
    """Stand for a partner node: without a Comfy API key it fails, as ComfyUI's do."""
    if not context.partner_key:
        raise NodeError("Unauthorized: Please login first to use this node.")
    return (image,)


@node("DemoRaise", test_only=True)
def fail(_context: Context, *, image: Any, message: str) -> tuple[Any]:
    del image
    raise NodeError(message)


@node("DemoText", test_only=True)
def text(context: Context, *, image: Any, text: str) -> tuple[Any]:
    context.text(text)
    return (image,)


@node("TextGenerate", test_only=True)
def generate_text(
    context: Context,
    *,
    clip: LoadedModel,
    prompt: str,
    max_length: int,
    image: Any = None,
    **_: Any,
) -> tuple[str]:
    """Answer a question for a prompt or a description, in words instead of tokens."""
    if not re.search("qwen|gemma", clip.name):
        raise UnableModelError(f"{clip.name} has no attribute 'generate'")
    context.pace()
    answer = context.written_text
    if answer is None and image is not None:
        height, width = image.shape[1:3]
        answer = json.dumps({"prompt": f"a photograph of {width} by {height} dots"})
    if answer is None:
        question = re.findall(r'\{"prompt": ("(?:[^"\\]|\\.)*")\}', prompt)
        subject = json.loads(question[-1]) if question else "a picture"
        answer = json.dumps({"prompt": f"{subject}, in soft light at dawn", "negative": "haze"})
    return ("".join(re.findall(r"\s*\S+", answer)[:max_length]),)
