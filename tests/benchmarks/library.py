"""``python -m tests.benchmarks.library [--rows N]``: how long a page of a large library takes.

Seeds rows (no files), then asks for pages as the Library tab does: the first one, one deep below,
each filter, searches, and each order. Prints a table of the median and the fastest of each, with
SQLite in CPU time, and with PostgreSQL, which is another process, in elapsed time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, get_args

import psycopg
from pydantic import SecretStr

from comfy_ui.library.library_service import LibraryService, open_library
from comfy_ui.library.stores import OpenStores, open_sqlite_stores
from comfy_ui.scale.choose_stores import choose_stores
from comfy_ui.scale.sqlite_import import import_sqlite
from comfy_ui.settings import Settings
from comfy_ui.storage.records import ItemSort, LibraryItem, sort_value
from comfy_ui.web.components.library_view import tiles
from tests.scale.postgres_server import new_database, postgres_server

OWNER, OTHER = "ann", "bob"
PAGE = 50
WISH_MS = 50.0
SUBJECTS = [
    "fox",
    "owl",
    "harbour",
    "forest",
    "kite",
    "whale",
    "lantern",
    "river",
    "mountain",
    "market",
]
LOOKS = [
    "red",
    "blue",
    "misty",
    "golden",
    "quiet",
    "stormy",
    "ancient",
    "tiny",
    "glowing",
    "winter",
]
PRESETS = ("z_image_turbo", "sdxl", "flux1_dev", "wan22_5b")


def seed(folder: Path, rows: int) -> None:
    """A library of ``rows`` results of ann and a tenth as many of bob, over two years."""
    rng, now = random.Random(1), time.time()
    graph = json.dumps(
        {
            str(n): {"class_type": "KSampler", "inputs": {"ckpt_name": "dream_v8.safetensors"}}
            for n in range(12)
        }
    )
    with closing(sqlite3.connect(folder / "comfy_ui.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for n in range(rows + rows // 10):
            at = now - 2 * 365 * 86400 * (1 - n / (rows * 1.1))
            user_id = OTHER if n % 11 == 10 else OWNER
            prompt = f"a {rng.choice(LOOKS)} {rng.choice(SUBJECTS)} number {n}, highly detailed"
            # The newest results are grids of 100.
            group = f"grid {n // 110}" if n > rows * 0.9 else None
            preset, job_id = rng.choice(PRESETS), str(uuid.UUID(int=rng.getrandbits(128)))
            kind = "video" if preset == "wan22_5b" else "image"
            values = json.dumps({"prompt": prompt, "seed": n, "steps": 20, "width": 1024})
            connection.execute(
                "INSERT INTO jobs (id, user_id, preset, vals, prompt, seed, graph, status, rank,"
                " work, cost_s, created_at, started_at, finished_at, group_id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'succeeded', 1, 20, 5, ?, ?, ?, ?)",
                (job_id, user_id, preset, values, prompt, str(n), graph, at - 9, at - 8, at, group),
            )
            item_id, name = int(at * 1e6), f"ComfyUI_{n:06}_.png"
            digest = f"{rng.getrandbits(256):064x}"
            connection.execute(
                "INSERT INTO items (id, job_id, source, user_id, kind, filename, media_type, path,"
                " thumbnail, width, height, size_bytes, created_at, preset, starred, rating,"
                " group_id)"
                " VALUES (?, ?, ?, ?, ?, ?, 'image/png', ?, ?, 1024, 1024, ?, ?, ?, ?, ?, ?)",
                (
                    item_id, job_id, f"9/output//{name}", user_id, kind, name,
                    f"files/{digest[:2]}/{digest}.png", f"thumbs/{digest[:2]}/{digest}.webp",
                    rng.randrange(10**6, 10**7), at, preset, int(n % 50 == 0),
                    rng.randrange(6), group,
                ),
            )  # fmt: skip
            body = f"{prompt}\n{preset}\n{name}\ndream_v8.safetensors\n\n".casefold()
            connection.execute(
                "INSERT INTO items_search (rowid, body) VALUES (?, ?)", (item_id, body)
            )
        connection.execute("COMMIT")


async def questions(library: LibraryService, rows: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What the page asks, by name."""
    deep = await _deep(library, rows)
    month, now = 30 * 86400, time.time()

    def page(**asked: Any) -> Callable[[], Awaitable[Any]]:
        async def ask() -> None:
            tiles(await library.results(OWNER, limit=PAGE, **asked))

        return ask

    return {
        "first page": page(),
        "first page, folded": page(folded=True),
        "page 1,500": page(before=deep.id),
        "videos": page(kind="video"),
        "a kind of which there is none": page(kind="audio"),
        "a preset": page(preset="sdxl"),
        "a preset, deep": page(preset="sdxl", before=deep.id),
        "starred": page(starred=True),
        "last 30 days": page(since=now - month),
        "a month a year ago": page(since=now - 13 * month, until=now - 12 * month),
        "a day before there was anything": page(until=now - 3 * 365 * 86400),
        "search: a common word": page(text="harbour"),
        "search: a common word, deep": page(text="harbour", before=deep.id),
        "search: two words": page(text="golden whale"),
        "search: one result": page(text="number 4321,"),
        "search: nothing": page(text="zebra crossing"),
        "search: every result": page(text="detailed"),
        "search: two letters": page(text="ow"),
        "search: a rare word of two letters": page(text="zq"),
        "search and filter": page(text="harbour", kind="video", starred=True),
        "search and rating": page(text="harbour stars>=5"),
        **{f"by {sort}": page(sort=sort) for sort in get_args(ItemSort)},
        **{
            f"by {sort}, deep": page(sort=sort, before=deep.id, before_value=sort_value(deep, sort))
            for sort in get_args(ItemSort)
        },
        "by rating, videos": page(sort="rating", kind="video"),
        "by largest, none": page(sort="largest", kind="audio"),
        "by largest, starred videos": page(sort="largest", kind="video", starred=True),
        "by name, a common word": page(sort="name", text="harbour"),
        "by name, every result": page(sort="name", text="detailed"),
        "by rating, one result": page(sort="rating", text="number 4321,"),
        "used presets": lambda: library.used_presets(OWNER),
        "space used": lambda: library.usage(OWNER),
        "all of bob's, who has few": lambda: library.results(OTHER, limit=PAGE),
    }


async def _deep(library: LibraryService, rows: int) -> LibraryItem:
    """The last result of page 1,500, or of the middle."""
    now = time.time()
    at = now - 2 * 365 * 86400 * min(1500 * PAGE / rows, 0.5)
    (item,) = await library.results(OWNER, limit=1, until=at)
    return item


async def measure(
    folder: Path,
    open_stores: OpenStores,
    rows: int,
    *,
    repeat: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, tuple[float, float]]:
    """Return milliseconds by question: median and fastest."""
    async with open_library(folder, open_stores=open_stores) as library:
        found = {}
        for asked, ask in (await questions(library, rows)).items():
            times = []
            for _ in range(repeat):
                began = clock()
                await ask()
                times.append((clock() - began) * 1000)
            found[asked] = (statistics.median(times), min(times))
        return found


async def compare(rows: int, *, repeat: int = 15) -> None:
    """Seed both databases and print a table of each."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        async with open_library(folder):
            pass
        began = time.perf_counter()
        seed(folder, rows)
        size = (folder / "comfy_ui.db").stat().st_size / 2**20
        print(f"{rows:,} results seeded in {time.perf_counter() - began:.0f} s, {size:.0f} MiB")
        sqlite = await measure(
            folder, open_sqlite_stores, rows, repeat=repeat, clock=time.process_time
        )
        show("SQLite", sqlite)
        stack.enter_context(postgres_server())
        async with new_database() as url:
            await import_sqlite(folder, url)
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute("VACUUM ANALYZE")
            stores = choose_stores(Settings(database=SecretStr(url)))
            show("PostgreSQL", await measure(folder, stores, rows, repeat=repeat))


def show(title: str, found: dict[str, tuple[float, float]]) -> None:
    print(f"\n{title:36}{'median':>10}{'fastest':>10}")
    for asked, (median, fastest) in found.items():
        mark = "" if median < WISH_MS else f"   over {WISH_MS:.0f} ms"
        print(f"{asked:36}{median:7.1f} ms{fastest:7.1f} ms{mark}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.library")
    parser.add_argument("--rows", type=int, default=100_000)
    asyncio.run(compare(parser.parse_args().rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
