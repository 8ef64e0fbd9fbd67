"""Wildcards: one prompt for many variations, in the syntax of dynamic prompts.

::

    {red|blue|green}        one of them
    {3::red|blue}           weights: red three times as often
    {2$$red|blue|green}     two different ones, joined with ", "
    {1-3$$ and $$a|b|c}     one to three, joined with " and "; {-2$$…} is 1-2, {2-$$…} at least 2
    __color__               a line of the file color.txt;  __animals/*__ of any file in a folder
    {2$$__color__}          two different lines

Everything nests. ``\\{``, ``\\|``, ``\\}`` and ``\\_`` are literal characters. Braces without ``|``
or ``$$`` are kept, and so is a prompt that is JSON as a whole, as some models expect JSON.

The library ``dynamicprompts`` (MIT), which defined this syntax, is not used: its last release is
0.31.0 of March 2024, and in tests in 2026 it kept a missing wildcard in the prompt, raised
RecursionError for a file that names itself and a parser error for an open brace, treated ``#`` and
the text after it as a comment, and turned the prompt ``{"json": "a|b"}`` into ``b"``. Its variables
(``${x=…}``), samplers and YAML files are not supported here.
"""

from __future__ import annotations

import json
import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from ..errors import ValidationError, closest
from .fields.numbers import MAX_SEED, random_seed

__all__ = [
    "MAX_PROMPT_CHARACTERS",
    "PROMPT_ROLES",
    "WILDCARD",
    "ExpandedValues",
    "Expansion",
    "WildcardChoice",
    "WildcardFolder",
    "check_prompt_length",
    "expand_values",
    "expand_wildcards",
    "has_wildcards",
]

WILDCARD = r"__(?!_)((?:[\w*][\w\-/*. ]{0,100}?)?[\w*])__"
"""A wildcard as a regular expression; the group is its name."""

MAX_PROMPT_CHARACTERS: Final = 20_000
"""The maximum length of a prompt before its wildcards are expanded."""

_NAME = re.compile(WILDCARD)
_COUNT = re.compile(r"\s*(?:(\d{1,6})|(\d{0,6})-(\d{0,6}))\s*\$\$")
_WEIGHT = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)::")
_ESCAPED = re.compile(r"\\[{}|_]")
_TOKEN = re.compile(rf"\\[{{}}|_]|[{{}}|]|{WILDCARD}")
_MAX_DEPTH = 40
_MAX_STEPS = 2_000
_MAX_WORK = 2_000_000  # characters read, options and lines; half a second
_MAX_CHARACTERS = 50_000
_MAX_LISTED = 10_000  # options; removing one from a longer list takes longer than from a tree
_MAX_FILE_BYTES = 5_000_000
PROMPT_ROLES = ("prompt", "negative")
_SEED_DIGITS = len(str(MAX_SEED))


@dataclass(frozen=True, slots=True)
class WildcardChoice:
    """The choice for one group or wildcard: its text, and the chosen options."""

    source: str
    chosen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expansion:
    """A prompt before (``template``) and after (``text``) expansion, with choices in text order."""

    text: str
    template: str
    seed: int
    choices: tuple[WildcardChoice, ...] = ()


class WildcardFolder(Mapping[str, tuple[str, ...]]):
    """The ``.txt`` files below ``folder``: name (path without the ending) → lines.

    Empty lines and lines that begin with ``#`` are ignored. A file is read on access and has at
    most 5 MB; a missing folder has no wildcards.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> tuple[str, ...]:
        path = self._folder / f"{name}.txt"
        # Names come from users' prompts, so a path must not leave the folder.
        if ".." in path.parts or not path.resolve().is_relative_to(self._folder.resolve()):
            raise KeyError(name)
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                raise ValidationError(f"The wildcard file {path.name} is larger than 5 MB.")
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            raise KeyError(name) from error
        lines = (line.strip() for line in text.splitlines())
        return tuple(line for line in lines if line and not line.startswith("#"))

    def __iter__(self) -> Iterator[str]:
        for path in sorted(self._folder.rglob("*.txt")):
            yield path.relative_to(self._folder).with_suffix("").as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def has_wildcards(text: str) -> bool:
    """Whether :func:`expand_wildcards` may change ``text``.

    >>> has_wildcards("a {red|blue} cat"), has_wildcards("a cat {as it is}")
    (True, False)
    """
    if _is_json(text):
        return False
    return bool(_NAME.search(text) or _ESCAPED.search(text)) or (
        "{" in text and ("|" in text or "$$" in text)
    )


def check_prompt_length(text: str) -> None:
    """Refuse a prompt that is longer than :data:`MAX_PROMPT_CHARACTERS`.

    Raises:
        ValidationError: it is too long.
    """
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise ValidationError(
            f"The prompt has {len(text)} characters.",
            hint=f"Shorten it to {MAX_PROMPT_CHARACTERS} characters.",
        )


def expand_wildcards(
    text: str, *, seed: int, wildcards: Mapping[str, Sequence[str]] | None = None
) -> Expansion:
    """Replace every group and wildcard in ``text``; the same seed gives the same choices.

    Args:
        text: the prompt.
        seed: any integer; normally that of the job.
        wildcards: the lines of each name, for instance a :class:`WildcardFolder`.

    Raises:
        ValidationError: a wildcard does not exist, has no lines or contains itself, a group's brace
            is not closed, or the text or the result is too long.

    >>> expand_wildcards("a {red|red} cat", seed=1).text
    'a red cat'
    """
    check_prompt_length(text)
    if not has_wildcards(text):
        return Expansion(text, text, seed)
    run = _Run(random.Random(seed), wildcards or {})
    return Expansion(run.expand(text), text, seed, tuple(run.choices))


class Settable(Protocol):
    """A settable value: a preset's param or a workflow's control."""

    @property
    def id(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def default(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class ExpandedValues:
    """A job's values after expansion, and the texts before it by name."""

    values: dict[str, Any]
    templates: dict[str, str]


def expand_values(
    values: Mapping[str, Any],
    settables: Iterable[Settable],
    wildcards: Mapping[str, Sequence[str]],
    *,
    rng: random.Random | None = None,
) -> ExpandedValues:
    """Expand the wildcards in the prompts of one job with the job's seed.

    A random seed is drawn here from ``rng``, so the result has the seed of the choices.

    Raises:
        ValidationError: as :func:`expand_wildcards`.
    """
    of = list(settables)
    names = [one.id for one in of if one.role in PROMPT_ROLES]
    texts = {name: text for name in names if isinstance(text := values.get(name), str)}
    for text in texts.values():
        check_prompt_length(text)
    templates = {name: text for name, text in texts.items() if has_wildcards(text)}
    if not templates:
        return ExpandedValues(dict(values), {})
    seed_of = next((one for one in of if one.role == "seed"), None)
    seed_value = values.get(seed_of.id) if seed_of else None
    if seed_of and seed_value is None:
        seed_value = seed_of.default
    seed_text = "" if seed_value is None else str(seed_value).strip()
    drawn: dict[str, Any] = {}
    if seed_text.isdecimal() and len(seed_text) <= _SEED_DIGITS:
        seed = int(seed_text)
    else:
        seed = random_seed(rng)
        if seed_of and seed_text in {"", "-1"}:  # resolve_values refuses anything else
            drawn[seed_of.id] = seed
    chosen = {
        name: expand_wildcards(text, seed=seed, wildcards=wildcards).text
        for name, text in templates.items()
    }
    return ExpandedValues({**values, **drawn, **chosen}, templates)


class _Template:
    """A text and its tokens, found in one pass: escapes, braces, bars and wildcards."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [*_TOKEN.finditer(text)]
        self._closings: dict[int, int] = {}  # from opening braces, all by index
        self._bars: dict[int, list[int]] = {}
        unclosed: list[int] = []
        for index, token in enumerate(self.tokens):
            kind = token[0]
            if kind == "{":
                unclosed.append(index)
                self._bars[index] = []
            elif kind == "}" and unclosed:
                self._closings[unclosed.pop()] = index
            elif kind == "|" and unclosed:
                self._bars[unclosed[-1]].append(index)

    @property
    def span(self) -> _Span:
        return _Span(self, 0, len(self.text), range(len(self.tokens)))

    def closing(self, opening: int) -> int:
        """Return the index of the brace that closes a group."""
        closing = self._closings.get(opening)
        if closing is None:
            start = self.tokens[opening].start()
            raise ValidationError(
                f'Missing "}}" in: {self.text[start : start + 30]}',
                hint="Add the brace, or write \\{ for a plain brace.",
            )
        return closing

    def options(self, opening: int, start: int) -> list[_Span]:
        """Return the options of a group, the first of which begins at ``start``."""
        spans = []
        before = opening
        for index in (*self._bars[opening], self._closings[opening]):
            end = self.tokens[index].start()
            spans.append(_Span(self, start, end, range(before + 1, index)))
            start, before = end + 1, index
        return spans


class _Span(NamedTuple):
    """A part of a text that contains whole groups only.

    The first of its tokens may lie before its start.
    """

    template: _Template
    start: int
    end: int
    tokens: range


class _Options:
    """The options of a group or the lines of a wildcard, with their weights."""

    def __init__(self, weighted: Sequence[tuple[int, str | _Span]]) -> None:
        self._texts = [text for _, text in weighted]
        self._weights = [weight for weight, _ in weighted]
        if not any(self._weights):
            self._weights = [1] * len(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    @cached_property
    def _cumulative(self) -> list[int]:
        return list(accumulate(self._weights))

    def draw(self, chance: random.Random, count: int) -> Iterator[str | _Span]:
        """Draw ``count`` different options, each when it is asked for.

        Only ``Random.random()`` has the same sequence for a seed in all Python versions;
        ``choices`` and ``sample`` do not.
        """
        if count == 1:
            reached = int(chance.random() * self._cumulative[-1])
            yield self._texts[bisect_right(self._cumulative, reached)]
            return
        if len(self._texts) <= _MAX_LISTED and len(set(self._weights)) == 1:
            weight, texts = self._weights[0], [*self._texts]
            for _ in range(count):
                yield texts.pop(int(chance.random() * (weight * len(texts))) // weight)
            return
        remaining = _Remaining(self._weights)
        for _ in range(count):
            yield self._texts[remaining.take(chance.random())]


@dataclass(frozen=True, slots=True)
class _File:
    """The weighted lines of a wildcard file, and the wildcards in them."""

    lines: list[tuple[int, str]]
    inner: set[str]


class _Remaining:
    """Weights to draw from without replacement, in logarithmic time: a Fenwick tree."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = list(weights)
        self._drawn = [False] * len(weights)
        self._fill()

    def _fill(self) -> None:
        self._total = sum(self._weights)
        self._sums = [0, *self._weights]
        for index in range(1, len(self._sums)):
            parent = index + (index & -index)
            if parent < len(self._sums):
                self._sums[parent] += self._sums[index]

    def take(self, number: float) -> int:
        """Return and remove the index of the weight that ``number`` (0 to 1) falls into."""
        if not self._total:  # only options with the weight 0 remain
            self._weights = [0 if drawn else 1 for drawn in self._drawn]
            self._fill()
        reached, index = int(number * self._total), 0
        step = 1 << (len(self._sums) - 1).bit_length()
        while step := step >> 1:
            if index + step < len(self._sums) and self._sums[index + step] <= reached:
                index += step
                reached -= self._sums[index]
        self._drawn[index] = True
        weight, self._weights[index] = self._weights[index], 0
        self._total -= weight
        at = index + 1
        while at < len(self._sums):
            self._sums[at] -= weight
            at += at & -at
        return index


class _Run:
    """One expansion: random numbers, wildcard lines, and the choices so far."""

    def __init__(self, chance: random.Random, wildcards: Mapping[str, Sequence[str]]) -> None:
        self._chance = chance
        self._wildcards = wildcards
        self._files: dict[str, _File] = {}
        self._lines: dict[str, tuple[_Options, set[str]]] = {}  # with the wildcards in them
        self._sound: set[str] = set()  # names that do not contain themselves
        self._steps = 0
        self._work = 0
        self.choices: list[WildcardChoice] = []

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._wildcards)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MAX_WORK:
            raise ValidationError(
                "The wildcards of this prompt take too long.", hint="Use fewer of them."
            )

    def expand(self, text: str | _Span, depth: int = 0) -> str:
        if depth > _MAX_DEPTH:
            raise ValidationError(f"Wildcards are nested deeper than {_MAX_DEPTH} levels.")
        template, at, end, tokens = _Template(text).span if isinstance(text, str) else text
        self._spend(end - at)
        parts: list[str] = []
        index, after = tokens.start, tokens.stop
        while index < after:
            token = template.tokens[index]
            index += 1
            if token.start() < at:  # in the text between the options of a group
                continue
            parts.append(template.text[at : token.start()])
            if token[0] == "{":
                closing = template.closing(index - 1)
                parts.append(self._group(template, index - 1, closing, depth))
                token, index = template.tokens[closing], closing + 1
            elif token[0].startswith("\\"):
                parts.append(token[0][1])
            elif token[1]:
                parts.append(self._pick(token[0], self._options(token[1]), (1, 1), "", depth))
            else:  # a bar or closing brace outside of groups
                parts.append(token[0])
            at = token.end()
        parts.append(template.text[at:end])
        return _joined("", parts)

    def _group(self, template: _Template, opening: int, closing: int, depth: int) -> str:
        text = template.text
        start, end = template.tokens[opening].start(), template.tokens[closing].start()
        count = _COUNT.match(text, start + 1, end)
        first, joint = start + 1, ", "
        if count:
            first = count.end()
            before, mark, _ = text[first:end].partition("$$")
            if mark and "|" not in before and "{" not in before:
                joint, first = before, first + len(before) + len(mark)
        spans = template.options(opening, first)
        if count is None and len(spans) == 1:
            return f"{{{self.expand(spans[0], depth + 1)}}}"
        only = text[first:end].strip() if len(spans) == 1 else ""
        # Not fullmatch, which would match two adjacent wildcards as one name.
        lone = _NAME.match(only)
        if lone and lone.end() == len(only):
            options = self._options(lone[1])
        else:
            options = _Options([_weighed_span(span) for span in spans])
        bounds = _bounds(count, len(options))
        return self._pick(text[start : end + 1], options, bounds, joint, depth)

    def _pick(
        self, source: str, options: _Options, bounds: tuple[int, int], joint: str, depth: int
    ) -> str:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise ValidationError(f"The prompt has more than {_MAX_STEPS} choices to make.")
        low, high = bounds
        index = len(self.choices)
        self.choices.append(WildcardChoice(source, ()))  # listed before the nested choices
        number = low if low == high else low + int(self._chance.random() * (high - low + 1))
        self._spend(len(options) if number > 1 else 1)
        chosen = tuple(
            self.expand(option, depth + 1) for option in options.draw(self._chance, number)
        )
        self.choices[index] = WildcardChoice(source, chosen)
        return _joined(joint, chosen)

    def _options(self, pattern: str) -> _Options:
        """Return the lines of a wildcard, or of all that match a pattern with ``*``."""
        lines = self._read(pattern, ())
        if not lines:
            raise ValidationError(f"The wildcard '__{pattern}__' has no lines.")
        return lines

    def _read(self, pattern: str, above: tuple[str, ...]) -> _Options:
        """Return the lines of a wildcard after checking that no choice refers back to it."""
        if pattern in above:
            way = " → ".join((*above[above.index(pattern) :], pattern))
            raise ValidationError(
                f"The wildcard '__{pattern}__' contains itself: {way}.",
                hint="Remove one of these from its file.",
            )
        if pattern not in self._lines:
            names = (
                [name for name in self._names if fnmatchcase(name, pattern)]
                if "*" in pattern
                else [pattern]
            )
            try:
                files = [self._file(name) for name in names]
            except KeyError as error:
                raise ValidationError(
                    f"There is no wildcard '__{pattern}__'.",
                    hint=closest(pattern, self._names)
                    or "Put a text file of that name into the wildcards folder.",
                ) from error
            self._spend(sum(len(file.lines) for file in files))
            self._lines[pattern] = (
                _Options([line for file in files for line in file.lines]),
                {name for file in files for name in file.inner},
            )
        options, inner_names = self._lines[pattern]
        if pattern not in self._sound:
            if len(above) > _MAX_DEPTH:
                raise ValidationError(f"Wildcards are nested deeper than {_MAX_DEPTH} levels.")
            for inner in sorted(inner_names):
                self._read(inner, (*above, pattern))
            self._sound.add(pattern)
        return options

    def _file(self, name: str) -> _File:
        if name not in self._files:
            lines = self._wildcards[name]
            self._spend(len(lines))
            self._files[name] = _File(
                [_weighed(line) for line in lines],
                {inner for line in lines if "__" in line for inner in _NAME.findall(line)},
            )
        return self._files[name]


def _joined(joint: str, parts: Sequence[str]) -> str:
    size = sum(map(len, parts)) + len(joint) * max(len(parts) - 1, 0)
    if size > _MAX_CHARACTERS:
        raise ValidationError(f"The prompt grows beyond {_MAX_CHARACTERS} characters.")
    return joint.join(parts)


def _bounds(count: re.Match[str] | None, available: int) -> tuple[int, int]:
    if count is None:
        return 1, 1
    exact, low, high = count.groups()
    if exact is not None:
        low = high = exact
    least = min(int(low or 1), available)
    most = min(int(high), available) if high else available
    return min(least, most), max(least, most)


def _weighed(line: str) -> tuple[int, str]:
    weight, start = _weight(line, 0, len(line))
    return weight, line[start:]


def _weighed_span(span: _Span) -> tuple[int, _Span]:
    weight, start = _weight(span.template.text, span.start, span.end)
    return weight, _Span(span.template, start, span.end, span.tokens)


def _weight(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the weight in billionths, so that sums are exact, and where the text begins."""
    weight = _WEIGHT.match(text, start, end)
    return (round(float(weight[1]) * 1e9), weight.end()) if weight else (10**9, start)


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
