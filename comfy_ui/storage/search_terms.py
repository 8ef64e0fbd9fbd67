"""The language of the Library's search box, parsed. Pure.

``harbor "at dawn" -fog model:flux lora:ink preset:sdxl seed:7 kind:video is:starred stars>=4
tag:sea in:"summer show" after:2026-11`` means: all words and the phrase, without the word, and the
filters. What is no filter with a usable value is a word, so nothing that users type is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, get_args

from ..protocol.outputs import Kind
from .records import LabelKind

__all__ = ["SearchTerms", "parse_search"]

_TERM: Final = re.compile(
    r'(?P<minus>-?)(?:(?P<key>[a-z]+):)?(?:"(?P<phrase>[^"]+)"?|(?P<word>\S+))'
)
_STARS: Final = re.compile("stars(:|=|>=|<=|>|<)([0-5])")
_DATE: Final = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")
_MAX_SEED: Final = 2**64


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """What a result must have. Words and names are case-folded.

    Each is a part of what it matches, but for tags and collections, whose whole names they are.
    ``stars`` are the least and the largest rating. ``since`` and ``until`` are seconds since the
    epoch; ``until`` is the first time too late.
    """

    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    seed: int | None = None
    kind: str | None = None
    starred: bool | None = None
    stars: tuple[int, int] | None = None
    tags: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None

    @property
    def labels(self) -> list[tuple[LabelKind, str]]:
        """The tags and collections, by kind."""
        tags: list[tuple[LabelKind, str]] = [("tag", name) for name in self.tags]
        return [*tags, *(("collection", name) for name in self.collections)]


def parse_search(text: str) -> SearchTerms:
    """Parse the text of the search box.

    Dates are in this machine's time zone, and may be a year, a month or a day.

    >>> parse_search('Harbor "at dawn" -fog lora:ink seed:7 16:9')  # doctest: +ELLIPSIS
    SearchTerms(words=('harbor', 'at dawn', '16:9'), without=('fog',), ..., seed=7, ...)
    """
    terms = SearchTerms()
    for match in _TERM.finditer(text.casefold()):
        key, value = match["key"], match["phrase"] or match["word"]
        stars = _STARS.fullmatch(match[0])
        filtered: SearchTerms | None = None
        if stars:
            filtered = replace(terms, stars=_rating(stars[1], int(stars[2])))
        elif key and not match["minus"]:
            filtered = _with_filter(terms, key, value)
        if filtered is not None:
            terms = filtered
        elif match["minus"] and not key:
            terms = replace(terms, without=(*terms.without, value))
        else:
            whole = value if match["phrase"] and not key else match[0].replace('"', "")
            terms = replace(terms, words=(*terms.words, *([whole] if whole else [])))
    return terms


def _with_filter(terms: SearchTerms, key: str, value: str) -> SearchTerms | None:
    """Return the terms with one filter more; None if it is none."""
    match key, value:
        case "model", _:
            return replace(terms, models=(*terms.models, value))
        case "lora", _:
            return replace(terms, loras=(*terms.loras, value))
        case "tag", _:
            return replace(terms, tags=(*terms.tags, value))
        case "in", _:
            return replace(terms, collections=(*terms.collections, value))
        case "preset", _:
            return replace(terms, presets=(*terms.presets, value))
        case "seed", _ if value.isascii() and value.isdecimal() and int(value[:21]) < _MAX_SEED:
            return replace(terms, seed=int(value))
        case "kind", _ if value in get_args(Kind):
            return replace(terms, kind=value)
        case "is", "starred":
            return replace(terms, starred=True)
        case (("after" | "since"), _) if span := _span(value):
            return replace(terms, since=span[0])
        case "before", _ if span := _span(value):
            return replace(terms, until=span[0])
        case "on", _ if span := _span(value):
            return replace(terms, since=span[0], until=span[1])
    return None


def _rating(comparison: str, stars: int) -> tuple[int, int]:
    """Return the least and the largest rating.

    >>> _rating(">=", 4), _rating("<", 3)
    ((4, 5), (0, 2))
    """
    match comparison:
        case ">=":
            return stars, 5
        case ">":
            return stars + 1, 5
        case "<=":
            return 0, stars
        case "<":
            return 0, stars - 1
        case _:
            return stars, stars


def _span(text: str) -> tuple[float, float] | None:
    """Return the beginning and the end of a year, a month or a day; None if it is no date."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day = (int(part) if part else None for part in match.groups())
    try:
        start = datetime(year or 1, month or 1, day or 1)  # noqa: DTZ001 -- local time is meant
        if day is not None:
            end = start + timedelta(days=1)
        elif month is not None:
            end = (start + timedelta(days=32)).replace(day=1)
        else:
            end = start.replace(year=start.year + 1)
        return start.timestamp(), end.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
