"""Tags for completion while typing: lists of one's own, searched by the beginning of a word.

A list is a CSV as tag completion add-ons use it, without a header or with one: ``name,category,
count,"alias,alias"``. Only the name is required. Categories are numbers of the site that the list
comes from: in lists of Danbooru 0 is a general tag, 1 an artist, 3 a copyright, 4 a character and 5
a meta tag.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["MIN_CHARACTERS", "Tag", "TagIndex", "read_tags"]

logger = logging.getLogger(__name__)
MIN_CHARACTERS: Final = 2
_MAX_FILE_BYTES: Final = 50_000_000
_MAX_TAGS: Final = 500_000
_MAX_NAME: Final = 120
_MAX_WORDS: Final = 6  # of a name that are searched by their beginning
_MAX_ALIASES: Final = 20
_HEADERS: Final = frozenset({"name", "tag"})


class Tag(NamedTuple):
    """A tag as its list spells it. ``uses`` is how many pictures have it; 0 if unknown."""

    name: str
    category: int = 0
    uses: int = 0
    aliases: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        r"""The tag as a prompt has it: with spaces, and parentheses that are no weight.

        >>> Tag("miku_(vocaloid)").words, Tag(">_<").words
        ('miku \\(vocaloid\\)', '>_<')
        """
        if not re.search(r"[^\W_]{2}", self.name):
            return self.name
        return re.sub(r"([()])", r"\\\1", self.name.replace("_", " "))


class TagIndex:
    """Tags by the beginnings of their names, words and aliases.

    100,000 tags take about a second of CPU time to build, in steps too short to hold up other
    threads; so nothing is sorted as a whole. A search takes a millisecond or two at most.
    """

    def __init__(self, tags: Iterable[Tag] = ()) -> None:
        # The most frequent first, so that a search finds them in this order.
        self._tags = sorted(tags, key=lambda tag: -tag.uses)
        self._buckets: dict[str, list[tuple[str, Tag]]] = {}
        for tag in self._tags:
            for key in _keys(tag):
                self._buckets.setdefault(key[:MIN_CHARACTERS], []).append((key, tag))

    def __len__(self) -> int:
        return len(self._tags)

    def search(self, text: str, *, limit: int = 12) -> list[Tag]:
        """Return tags that begin with ``text`` or have a word that does, the most frequent first.

        A tag that is exactly ``text`` comes before the others. Fewer than
        :data:`MIN_CHARACTERS` characters match nothing.
        """
        start = _folded(text)
        exact: dict[str, Tag] = {}
        others: dict[str, Tag] = {}
        for key, tag in self._buckets.get(start[:MIN_CHARACTERS], ()):
            if key == start == _folded(tag.name):
                exact[tag.name] = tag
            elif len(others) < limit and key.startswith(start):
                others[tag.name] = tag
        return list({**exact, **others}.values())[:limit]


def _keys(tag: Tag) -> Iterator[str]:
    name = _folded(tag.name)
    yield name
    words = name.split(" ")
    for number in range(1, min(len(words), _MAX_WORDS)):
        yield " ".join(words[number:]).lstrip("(")
    yield from map(_folded, tag.aliases)


def _folded(text: str) -> str:
    if not re.search(r"[^\W_]", text):  # a face such as >_<
        return text
    return " ".join(text.casefold().replace("_", " ").split())


def read_tags(folder: Path) -> list[Tag]:
    """Read all ``.csv`` files of a folder; one that is unreadable or too large is logged."""
    tags: dict[str, Tag] = {}
    for path in sorted(folder.glob("*.csv")) if folder.is_dir() else ():
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                logger.warning("%s is not read: it has more than 50 MB.", path.name)
                continue
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            for tag in _tags(text):
                tags.setdefault(tag.name, tag)
                if len(tags) >= _MAX_TAGS:
                    logger.warning("Only %s tags are read.", f"{_MAX_TAGS:,}")
                    return list(tags.values())
        except (OSError, csv.Error) as error:
            logger.warning("%s cannot be read: %s", path.name, error)
    return list(tags.values())


def _tags(text: str) -> Iterator[Tag]:
    for row in csv.reader(io.StringIO(text)):
        name = row[0].strip() if row else ""
        if not name or len(name) > _MAX_NAME or name.startswith("#") or name in _HEADERS:
            continue
        category, uses = (_whole(row[at]) if len(row) > at else 0 for at in (1, 2))
        aliases = [one.strip() for one in row[3].split(",")] if len(row) > 3 else []
        yield Tag(name, category, uses, tuple(filter(None, aliases[:_MAX_ALIASES])))


def _whole(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else 0
