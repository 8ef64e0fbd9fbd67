"""The table of results: pages, filters and text search, and their speed."""

from __future__ import annotations

import random
import sqlite3
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.storage import database_schema
from comfy_ui.storage.records import ItemQuery, StoredFile
from comfy_ui.storage.tables import items_page, items_table, jobs_table
from tests.jobs import support

ROWS = 100_000


def _file(source: str = "s", **fields: Any) -> StoredFile:
    file = StoredFile(
        source=source,
        kind="image",
        filename="a.png",
        media_type="image/png",
        path=f"files/aa/{source}.png",
        thumbnail=None,
        width=1,
        height=1,
        size_bytes=1,
    )
    return replace(file, **fields)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    database_schema.create_or_check(connection)
    yield connection
    connection.close()


def _add(
    connection: sqlite3.Connection,
    *files: StoredFile,
    user_id: str = "ann",
    prompt: str = "",
    preset: str = "p",
    now: float = 0.0,
) -> list[int]:
    job = support.a_job(user_id, prompt=prompt, preset=preset)
    jobs_table.insert(connection, job)
    items_table.insert(connection, job, files, now=now)
    return [item.id for item in items_table.for_job(connection, job.id, Path())]


def _ids(connection: sqlite3.Connection, **query: Any) -> list[int]:
    items = items_table.page(connection, ItemQuery(**{"user_id": "ann"} | query), Path())
    return [item.id for item in items]


def test_page_before_cursor_returns_every_result_once_newest_first(
    connection: sqlite3.Connection,
) -> None:
    ids = [id_ for n in range(23) for id_ in _add(connection, _file(f"s{n}"))]
    seen: list[int] = []
    while page := _ids(connection, limit=5, before=seen[-1] if seen else None):
        seen += page
    assert seen == ids[::-1]


@pytest.mark.parametrize("query", [{"group_id": "g"}, {"text": "seed:7"}])
def test_page_of_a_group_or_a_seed_reads_the_results_of_its_jobs_alone(
    connection: sqlite3.Connection, query: dict[str, Any]
) -> None:
    statement = items_page.page_statement(connection, ItemQuery(user_id="ann", **query))
    plan = [
        row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])
    ]
    assert any("SEARCH items USING INDEX" in step and "job_id=?" in step for step in plan), plan


def test_page_limit_is_bounded(connection: sqlite3.Connection) -> None:
    _add(connection, *(_file(f"s{n}") for n in range(items_table.MAX_PAGE + 1)))
    assert len(_ids(connection, limit=10**6)) == items_table.MAX_PAGE
    assert _ids(connection, limit=-1) == []


def test_insert_same_source_twice_keeps_one_row(connection: sqlite3.Connection) -> None:
    job = support.a_job()
    jobs_table.insert(connection, job)
    for _ in range(2):
        items_table.insert(connection, job, [_file("1"), _file("2")], now=1.0)
    assert len(items_table.for_job(connection, job.id, Path())) == 2
    assert len(_ids(connection)) == 2


def test_page_filters_work_alone_and_together(connection: sqlite3.Connection) -> None:
    (fox,) = _add(connection, _file(), prompt="a red fox", now=10.0)
    (clip,) = _add(connection, _file(kind="video"), prompt="a red car", preset="wan", now=20.0)
    assert items_table.star(connection, clip, "ann", starred=True)
    assert _ids(connection, kind="video") == [clip]
    assert _ids(connection, preset="p") == [fox]
    assert _ids(connection, starred=True) == [clip]
    assert _ids(connection, starred=False) == [fox]
    assert _ids(connection, since=20.0) == [clip]
    assert _ids(connection, until=20.0) == [fox]
    assert _ids(connection, text="red") == [clip, fox]
    assert _ids(connection, text="red", kind="image") == [fox]
    assert _ids(connection, text="red", before=clip) == [fox]
    assert _ids(connection, text="wan") == [clip]


@pytest.mark.parametrize(
    "text",
    [
        "FOX",
        "red fox",
        "fox red",
        "ox",
        "o",
        "狐",
        "赤い狐",
        "ÜBER",
        '"fox',
        "fox%",
        "no-such",
        "NOT fox",
    ],
)
def test_page_text_search_matches_any_case_order_and_script(
    connection: sqlite3.Connection, text: str
) -> None:
    prompt = 'A Red Fox, über den Bach; 赤い狐 "fox fox%'
    (item_id,) = _add(connection, _file(), prompt=prompt)
    expected = all(word in f"{prompt}\np\na.png".casefold() for word in text.casefold().split())
    assert _ids(connection, text=text) == ([item_id] if expected else [])


def test_items_of_another_user_are_hidden_and_unchanged(connection: sqlite3.Connection) -> None:
    (mine,) = _add(connection, _file(), prompt="secret words")
    assert _ids(connection, user_id="bob") == []
    assert _ids(connection, user_id="bob", text="secret") == []
    assert items_table.select(connection, [mine], "bob", Path()) == []
    assert not items_table.star(connection, mine, "bob", starred=True)
    assert items_table.set_deleted(connection, [mine], "bob", 1.0) == []
    assert _ids(connection) == [mine]


def test_set_deleted_hides_result_until_restored(connection: sqlite3.Connection) -> None:
    one, two = _add(connection, _file("1"), _file("2"), prompt="fox")
    assert items_table.set_deleted(connection, [one, 999], "ann", 5.0) == [one]
    assert _ids(connection) == _ids(connection, text="fox") == [two]
    assert items_table.set_deleted(connection, [one, two], "ann", None) == [one]
    assert _ids(connection) == [one, two]


def test_purge_removes_long_deleted_results_and_keeps_shared_files(
    connection: sqlite3.Connection,
) -> None:
    shared = _file("1", path="files/aa/shared.png")
    (one,) = _add(connection, shared, prompt="fox")
    (two,) = _add(connection, shared, prompt="fox")
    (old,) = _add(connection, _file("2"))
    (new,) = _add(connection, _file("3"))
    items_table.set_deleted(connection, [one, old], "ann", 5.0)
    items_table.set_deleted(connection, [new], "ann", 50.0)
    assert items_table.purge(connection, 10.0, 0.0) == ["files/aa/2.png"]
    assert items_table.set_deleted(connection, [one, old, new], "ann", None) == [new]
    assert _ids(connection, text="fox") == [two]


def test_page_with_filters_in_the_text_has_only_what_matches(
    connection: sqlite3.Connection,
) -> None:
    def add(prompt: str, seed: int, **inputs: str) -> int:
        graph = {"1": {"class_type": "Loader", "inputs": inputs}}
        job = support.a_job("ann", prompt=prompt, seed=seed, preset="p_sdxl", graph=graph)
        jobs_table.insert(connection, job)
        items_table.insert(connection, job, [_file(str(seed))], now=1000.0)
        return items_table.for_job(connection, job.id, Path())[0].id

    flux = add("a harbor at dawn", 1, ckpt_name="FLUX_dev.safetensors")
    ink = add("a flux of time at a harbor", 2, lora_name="Ink Wash.safetensors")
    plain = add("dawn", 3)
    assert _ids(connection, text="model:flux") == [flux]
    assert _ids(connection, text="flux") == [ink, flux]
    assert _ids(connection, text='lora:"ink wash" harbor') == [ink]
    assert _ids(connection, text="harbor -dawn") == [ink]
    assert _ids(connection, text="-harbor") == [plain]
    assert _ids(connection, text='"at dawn" -an') == [flux]
    assert _ids(connection, text="seed:3") == [plain]
    assert _ids(connection, text="seed:3 harbor") == []
    assert _ids(connection, text="preset:SDXL kind:image seed:1 -ink") == [flux]
    assert _ids(connection, text="is:starred") == []
    assert _ids(connection, text="before:1970") == _ids(connection, text="kind:video") == []
    assert _ids(connection, text="after:1969", user_id="bob") == []


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path_factory.mktemp("big") / "big.db", isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")  # for the inserts alone
    connection.execute("BEGIN")
    database_schema.create_or_check(connection)
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in indexes:  # made of all rows at once, they take a third of the time
        connection.execute(f"DROP INDEX {name}")
    rng = random.Random(1)
    words = [f"{rng.getrandbits(24):x}" for _ in range(2000)]
    chosen = iter(rng.choices(words, k=4 * ROWS))
    prompts = [" ".join(four) for four in zip(chosen, chosen, chosen, chosen, strict=True)]
    prompts[77] = "the only zebra ~q"
    connection.executemany(
        "INSERT INTO jobs (id, user_id, preset, vals, prompt, graph, status, rank, work, cost_s,"
        " created_at) VALUES (?, ?, 'p', '{}', ?, '{}', 'succeeded', 0, 1, 1, ?)",
        [(str(n), "ann" if n % 10 else "bob", prompts[n], n) for n in range(ROWS)],
    )
    connection.executemany(
        "INSERT INTO items (id, job_id, source, user_id, kind, filename, media_type, path,"
        " size_bytes, created_at, preset, group_id) VALUES (?, ?, 's', ?, 'image', ?, 'image/png',"
        " 'files/aa/a.png', ?, ?, 'p', ?)",
        [
            (
                n + 1,
                str(n),
                "ann" if n % 10 else "bob",
                f"{n * 7919 % ROWS}.png",
                n * 7919 % ROWS,
                n,
                f"g{n // 100}" if n % 20_000 > 10_000 else None,
            )
            for n in range(ROWS)
        ],
    )
    connection.executemany(
        "INSERT INTO items_search (rowid, body) VALUES (?, ?)",
        [(n + 1, f"every {prompt}\n\n") for n, prompt in enumerate(prompts)],
    )
    connection.executemany(
        "INSERT INTO labels (user_id, kind, folded, name, item_id) VALUES ('ann', 'tag', ?, ?, ?)",
        [("rare", "rare", 12), *(("half", "half", n) for n in range(2, ROWS, 2))],
    )
    for _, create in indexes:
        connection.execute(create)
    connection.execute("COMMIT")
    connection.execute("PRAGMA cache_size = -2000")
    yield connection
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"before": ROWS // 2},
        {"before": 60},
        {"user_id": "bob", "before": ROWS // 2},
        {"kind": "video"},
        {"starred": True},
        {"preset": "none"},
        {"until": 100.0},
        {"text": "zebra"},
        {"text": "every"},
        {"text": "every", "before": ROWS // 2},
        {"text": "nowhere"},
        {"text": "every -zebra after:1969"},
        {"text": "-zebra"},
        {"text": "tag:rare"},
        {"text": "tag:half tag:rare"},
        {"text": "tag:none every"},
        {"text": "stars>=4"},
        {"text": "~q"},
        {"text": "every ~"},
        {"text": "e"},
        {"text": "every", "kind": "video", "starred": True},
        {"folded": True},
        {"sort": "oldest", "text": "every"},
        {"sort": "rating"},
        {"sort": "rating", "text": "zebra"},
        {"sort": "rating", "text": "every"},
        {"sort": "preset", "before": 50, "before_value": "p"},
        {"sort": "name", "kind": "image"},
        {"sort": "name", "kind": "video"},
        {"sort": "largest", "text": "tag:half every"},
        {"sort": "largest", "before": ROWS // 2, "before_value": ROWS // 2},
    ],
    ids=str,
)
def test_page_among_100_000_results_uses_index_and_takes_under_50_ms(
    big: sqlite3.Connection, query: dict[str, Any]
) -> None:
    item_query = ItemQuery(**{"user_id": "ann"} | query)
    statement, parameters = items_page.page_statement(big, item_query)
    plan = [r["detail"] for r in big.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    indexes = ("items_page", "items_by_", "VIRTUAL TABLE INDEX", "first USING COVERING INDEX")
    assert any(index in plan[0] for index in (*indexes, "INTEGER PRIMARY KEY")), plan
    if item_query.sort == "newest":
        assert not any("TEMP B-TREE" in step for step in plan), plan
    took = []
    for _ in range(5):
        began = time.process_time()
        items_table.page(big, item_query, Path())
        took.append(time.process_time() - began)
    assert statistics.median(took) < 0.050, took


@pytest.mark.slow
def test_presets_of_100_000_results_use_index_and_take_under_50_ms(
    big: sqlite3.Connection,
) -> None:
    took = []
    for _ in range(5):
        began = time.process_time()
        assert items_table.presets(big, "ann")
        took.append(time.process_time() - began)
    assert statistics.median(took) < 0.050, took


def test_items_of_a_job_are_listed_in_the_order_of_its_files(
    connection: sqlite3.Connection,
) -> None:
    older = _add(connection, _file("1"), _file("2"), _file("3"), now=10.0)
    newer = _add(connection, _file("4"), _file("5"), now=20.0)
    page = items_table.page(connection, ItemQuery(user_id="ann"), Path())
    assert [item.id for item in page] == [*newer, *older]
    assert [item.path.stem for item in page] == [*"45123"]
