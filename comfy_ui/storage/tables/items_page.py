"""Pages of results: which index a search reads, and the statement that reads it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..records import ItemQuery, LabelKind
from ..search_terms import SearchTerms, parse_search

__all__ = ["MAX_PAGE", "NEWEST_OF_GROUP", "flat", "order_and_cursor", "page_ids", "page_statement"]

MAX_PAGE = 500
"""Largest page of results."""
NEWEST_OF_GROUP: Final = (
    "(items.group_id IS NULL OR NOT EXISTS (SELECT 1 FROM items AS newer"
    " WHERE newer.group_id = items.group_id AND newer.deleted_at IS NULL"
    " AND newer.id > items.id))"
)
"""Whether a result is the newest one of its group, or belongs to none."""

_NAMES: Final = (
    "EXISTS (SELECT 1 FROM json_tree(jobs.graph) AS leaf WHERE leaf.type = 'text'"
    " AND leaf.key LIKE '{key}' AND instr(lower(leaf.atom), ?))"
)
"""Whether an input with such a name, such as ``lora_name``, has a value with a text in it."""
_IS_FIRST: Final = "first.user_id = ? AND first.kind = ? AND first.folded = ?"
_LABELED: Final = (
    "EXISTS (SELECT 1 FROM labels WHERE labels.user_id = ? AND labels.kind = ? AND folded = ?"
    " AND item_id = {item})"
)
_PAGE: Final = "items_page"
_JOB_INDEX: Final = "sqlite_autoindex_items_1"  # of UNIQUE (job_id, source)
_COLUMNS: Final = {
    "rating": ("rating", "DESC"),
    "largest": ("size_bytes", "DESC"),
    "preset": ("items.preset", "ASC"),
    "name": ("items.filename COLLATE NOCASE", "ASC"),
}
"""The column of each order other than that of creation. Its index is ``items_by_`` and the name."""
_TRIGRAM = 3  # letters of the shortest word that the full-text index can match
_MOST_TRIGRAMS: Final = 300  # that a shorter word may begin
_LAST: Final = "\U0010ffff"  # sorts behind every letter
_FEW: Final = 3000
"""So many results of an index are read at most, and sorted where it has another order. There are
more results than that only where a walk through all of them soon finds a page."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """An index that is read, in the order of ``item``, and the conditions with their values."""

    source: str
    item: str
    conditions: tuple[tuple[str, object], ...]

    def statement(self, select: str, tail: str, *values: object) -> tuple[str, list[object]]:
        where = " AND ".join(["deleted_at IS NULL", *(text for text, _ in self.conditions)])
        bound = flat(value for _, value in self.conditions)
        text = f"SELECT {select} FROM {self.source} WHERE {where} {tail}"  # noqa: S608 -- values are bound
        return text, [*bound, *values]


def page_ids(connection: sqlite3.Connection, query: ItemQuery) -> list[int]:
    """Return the ids of a page of results, in its order."""
    return [row[0] for row in connection.execute(*page_statement(connection, query))]


def page_statement(connection: sqlite3.Connection, query: ItemQuery) -> tuple[str, list[object]]:
    """Return the statement of the ids of a page, and its parameters.

    It reads one index: that of the text, of the rarest label, of the jobs of a seed or a group, or
    that of all results in the order of the page.
    """
    scan = _narrowest(connection, query)
    limit = max(0, min(query.limit, MAX_PAGE))
    if query.sort in {"newest", "oldest"}:
        direction = "DESC" if query.sort == "newest" else "ASC"
        return scan.statement(scan.item, f"ORDER BY {scan.item} {direction} LIMIT ?", limit)
    column, direction = _COLUMNS[query.sort]
    scan = _few(connection, scan) or _walk(query, f"items_by_{query.sort}")
    order, cursor, values = order_and_cursor(query, column, direction, mark="?")
    if cursor:
        scan = replace(scan, conditions=(*scan.conditions, (cursor, values)))
    return scan.statement("items.id", f"ORDER BY {order} LIMIT ?", limit)


def order_and_cursor(
    query: ItemQuery, column: str, direction: str, *, mark: str, value: str = ""
) -> tuple[str, str, tuple[object, ...]]:
    """Return the order of a page by a column, and the condition of what follows the last page.

    ``mark`` stands for a parameter, and ``value`` for that of the column, by default the mark. Of
    equal values, the newest comes first.
    """
    order = f"{column} {direction}, items.id DESC"
    if query.before is None or query.before_value is None:
        return order, "", ()
    beyond = "<" if direction == "DESC" else ">"
    value = value or mark
    # The first half alone is a range of the index.
    cursor = f"{column} {beyond}= {value} AND ({column} {beyond} {value} OR items.id < {mark})"
    return order, cursor, (query.before_value, query.before_value, query.before)


def _narrowest(connection: sqlite3.Connection, query: ItemQuery) -> _Scan:
    """Return the scan that reads the fewest rows."""
    terms = parse_search(query.text)
    if terms.seed is not None or query.group_id is not None:
        index = "jobs_seed" if terms.seed is not None else "jobs_group"
        source = f"jobs INDEXED BY {index} CROSS JOIN items INDEXED BY {_JOB_INDEX}"
        return _scan(query, terms, f"{source} ON items.job_id = jobs.id", "items.id")
    labels, size = _rarest_first(connection, query.user_id, terms)
    words = [*terms.words, *terms.models, *terms.loras]
    searched = bool(words or terms.without)
    if labels and not (searched and size > _FEW):
        source = "labels AS first CROSS JOIN items ON items.id = first.item_id"
        return _scan(query, terms, source, "first.item_id", first=labels[0])
    match, unmatched = _text_match(connection, words)
    if match is None:
        return _scan(query, terms, "items", "items.id", others=(("0", ()),))
    only_words = terms == SearchTerms(words=terms.words) and not query.is_filtered
    if match and (only_words or _is_rare(connection, match)):
        source = "items_search CROSS JOIN items ON items.id = items_search.rowid"
        return _scan(query, terms, source, "items_search.rowid", match=match, words=unmatched)
    return _walk(query, _PAGE)


def _walk(query: ItemQuery, index: str) -> _Scan:
    """Return the scan of all results of the user in the order of an index."""
    terms = parse_search(query.text)
    return _scan(query, terms, f"items INDEXED BY {index}", "items.id")


def _scan(
    query: ItemQuery,
    terms: SearchTerms,
    source: str,
    item: str,
    *,
    first: tuple[LabelKind, str] | None = None,
    match: str = "",
    words: Sequence[str] | None = None,
    others: Sequence[tuple[str, object]] = (),
) -> _Scan:
    """Return a scan with all conditions of a query.

    ``first`` is the label whose index it reads, and ``match`` the text that the full-text index
    has found. ``words`` are those that are left to be found in the texts; default: all.
    """
    if words is None:
        words = [*terms.words, *terms.models, *terms.loras]  # the text has models and LoRAs, too
    texts = [
        *(("instr(body, ?)", word) for word in words),
        *(("NOT instr(body, ?)", word) for word in terms.without),
    ]
    of_job = [
        *((_NAMES.format(key="%name%"), name) for name in terms.models),
        *((_NAMES.format(key="lora%"), name) for name in terms.loras),
        ("jobs.seed = ?", None if terms.seed is None else str(terms.seed)),
        ("jobs.group_id = ?", query.group_id),
    ]
    by_time = query.sort in {"newest", "oldest"}
    filters: list[tuple[str, object]] = [
        (_IS_FIRST, (query.user_id, *first) if first else None),
        ("items_search MATCH ?", match or None),
        ("items.user_id = ?", query.user_id),
        (f"{item} {'>' if query.sort == 'oldest' else '<'} ?", query.before if by_time else None),
        *(
            (_LABELED.format(item=item), (query.user_id, *label))
            for label in terms.labels
            if label != first
        ),
        *(("items.kind = ?", kind) for kind in (query.kind, terms.kind)),
        ("items.preset = ?", query.preset),
        *(("starred = ?", starred) for starred in (query.starred, terms.starred)),
        *(("items.created_at >= ?", since) for since in (query.since, terms.since)),
        *(("items.created_at < ?", until) for until in (query.until, terms.until)),
        ("rating BETWEEN ? AND ?", terms.stars),
        *(("instr(lower(items.preset), ?)", preset) for preset in terms.presets),
        (NEWEST_OF_GROUP, () if query.folded else None),
        *texts,
        *of_job,  # last, because they parse the graph of each job
        *others,
    ]
    # CROSS JOIN fixes the order of the loops. Only few jobs have the same seed or group.
    if texts and not match:
        source += " CROSS JOIN items_search ON items_search.rowid = items.id"
    if any(value is not None for _, value in of_job) and not source.startswith("jobs"):
        source += " CROSS JOIN jobs ON jobs.id = items.job_id"
    return _Scan(source, item, tuple((text, value) for text, value in filters if value is not None))


def _few(connection: sqlite3.Connection, scan: _Scan) -> _Scan | None:
    """Return a scan of the results that a scan finds, by their ids; None if these are many."""
    if scan.source.endswith(_PAGE) and len(scan.conditions) == 1:
        return None  # all results of the user
    found = connection.execute(*scan.statement(scan.item, "LIMIT ?", _FEW + 1)).fetchall()
    if len(found) > _FEW:
        return None
    ids = json.dumps([row[0] for row in found])
    return _Scan("items", "items.id", (("items.id IN (SELECT value FROM json_each(?))", ids),))


def _is_rare(connection: sqlite3.Connection, match: str) -> bool:
    """Whether few texts of all users match."""
    (count,) = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM items_search WHERE items_search MATCH ? LIMIT ?)",
        (match, _FEW + 1),
    ).fetchone()
    return bool(count <= _FEW)


def _text_match(
    connection: sqlite3.Connection, words: Iterable[str]
) -> tuple[str | None, list[str]]:
    """Return the full-text query of words, and the words that it cannot match.

    The query is None if no text has one of the words. A word of one or two letters is matched by
    the trigrams that it begins, unless these are many.
    """
    parts, unmatched = [], []
    for word in words:
        if len(word) >= _TRIGRAM:
            parts.append(_quoted(word))
        elif (trigrams := _trigrams(connection, word)) is None:
            unmatched.append(word)
        elif trigrams:
            parts.append(f"({' OR '.join(map(_quoted, trigrams))})")
        else:
            return None, []
    return " AND ".join(parts), unmatched


def _trigrams(connection: sqlite3.Connection, start: str) -> list[str] | None:
    """Return the trigrams of all texts that begin like this; None if many texts have one."""
    found, texts = [], 0
    for term, count in connection.execute(
        "SELECT term, doc FROM items_terms WHERE term >= ? AND term < ?", (start, start + _LAST)
    ):
        found.append(term)
        texts += count
        if texts > _FEW or len(found) > _MOST_TRIGRAMS:
            return None
    return found


def _rarest_first(
    connection: sqlite3.Connection, user_id: str, terms: SearchTerms
) -> tuple[list[tuple[LabelKind, str]], int]:
    """Return the labels of a search, the rarest first, and how many results that one has.

    Counts end shortly after the number of texts that are read for one page.
    """
    labels = terms.labels
    sizes = {
        label: connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM labels"
            " WHERE user_id = ? AND kind = ? AND folded = ? LIMIT ?)",
            (user_id, *label, _FEW + 1),
        ).fetchone()[0]
        for label in labels
    }
    return sorted(labels, key=sizes.__getitem__), min(sizes.values(), default=0)


def flat(values: Iterable[object]) -> Iterator[object]:
    """Yield the parameters of conditions, some of which have several, as a tuple."""
    for value in values:
        yield from value if isinstance(value, tuple) else (value,)


def _quoted(word: str) -> str:
    """Quote a word as an FTS5 string, so that nothing in it is parsed as an operator."""
    return '"' + word.replace('"', '""') + '"'
