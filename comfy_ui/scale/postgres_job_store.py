"""The job store in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..protocol._replace import fast_replace
from ..protocol.durations import Measurement, ShapeKey
from ..storage.job_store import StoreProblem
from ..storage.records import ACTIVE, Grid, Job, JobGroup, JobStatus, LibraryItem, StoredFile
from ..storage.tables import durations_table, grids_table, items_table, jobs_table
from .postgres_database import Cursor, PostgresDatabase

_UNFINISHED: Final = sorted({*ACTIVE, JobStatus.UNFETCHED})
_ENDED: Final = sorted({*JobStatus} - {*_UNFINISHED})


def _marks(columns: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(columns))


_INSERT_JOB: Final = (
    f"INSERT INTO jobs ({', '.join(jobs_table.NEW_COLUMNS)})"  # noqa: S608 -- constant
    f" VALUES ({_marks(jobs_table.NEW_COLUMNS)}) ON CONFLICT (id) DO NOTHING"
)
_UPDATE_JOB: Final = (
    f"UPDATE jobs SET {' = %s, '.join(jobs_table.CHANGING_COLUMNS)} = %s, has_texts = %s"  # noqa: S608 -- constant
    " WHERE id = %s"
)
_INSERT_ITEM: Final = (
    f"INSERT INTO items ({', '.join(items_table.NEW_COLUMNS)}, search)"  # noqa: S608 -- constant
    f" VALUES ({_marks(items_table.NEW_COLUMNS)}, %s) ON CONFLICT (id) DO NOTHING"
)
_INSERT_GRID: Final = (
    f"INSERT INTO grids ({', '.join(grids_table.NEW_COLUMNS)})"  # noqa: S608 -- constant
    f" VALUES ({_marks(grids_table.NEW_COLUMNS)}) ON CONFLICT (id) DO NOTHING"
)
SELECT_ITEMS: Final = f"SELECT {items_table.COLUMNS} FROM items JOIN jobs ON jobs.id = job_id"  # noqa: S608 -- constant
"""The start of a statement whose rows :func:`.items_table.item_of` reads."""


class PostgresJobStore:
    """The :class:`~comfy_ui.storage.job_store.JobStore` of a database.

    ``folder`` is the data folder, which the paths of results are relative to. Every method may be
    repeated with the same outcome: if the connection breaks during a commit, it is.
    """

    def __init__(self, database: PostgresDatabase, folder: Path) -> None:
        self._database = database
        self._folder = folder

    async def get(self, job_id: str, user_id: str) -> Job | None:
        return await self._database.run(lambda cursor: _get(cursor, job_id, user_id))

    async def get_with_items(
        self, job_id: str, user_id: str
    ) -> tuple[Job, tuple[LibraryItem, ...]] | None:
        async def read(cursor: Cursor) -> tuple[Job, tuple[LibraryItem, ...]] | None:
            job = await _get(cursor, job_id, user_id)
            return None if job is None else (job, await self._items_of(cursor, job_id))

        return await self._database.run(read)

    async def recent(self, user_id: str, limit: int, *, folded: bool = False) -> list[Job]:
        condition = f" AND {jobs_table.NEWEST_OF_GROUP}" if folded else ""
        rows = await self._database.fetch(
            f"SELECT * FROM jobs WHERE user_id = %s AND finished_at IS NOT NULL{condition}"  # noqa: S608 -- constant
            " ORDER BY finished_at DESC LIMIT %s",
            (user_id, limit),
        )
        return [jobs_table.job_of(row) for row in rows]

    async def unfinished(self) -> list[Job]:
        rows = await self._database.fetch(
            "SELECT * FROM jobs WHERE status = ANY(%s) ORDER BY created_at", (_UNFINISHED,)
        )
        return [jobs_table.job_of(row) for row in rows]

    async def problem(self) -> StoreProblem | None:
        return await self._database.problem()

    async def fair_queue_tags(self) -> tuple[float, dict[str, float]]:
        async def read(cursor: Cursor) -> tuple[float, dict[str, float]]:
            await cursor.execute("SELECT coalesce(max(start_tag), 0) AS virtual FROM jobs")
            row = await cursor.fetchone()
            virtual = row["virtual"] if row else 0.0
            await cursor.execute(
                "SELECT user_id, max(finish_tag) AS tag FROM jobs WHERE finish_tag > %s"
                " GROUP BY user_id",
                (virtual,),
            )
            return virtual, {row["user_id"]: row["tag"] for row in await cursor.fetchall()}

        return await self._database.run(read)

    async def add(
        self, job: Job, *, replaces: str | None = None, cost_s: float | None = None
    ) -> Job:
        return await self._database.run(
            lambda cursor: add_job(cursor, job, replaces=replaces, cost_s=cost_s)
        )

    async def save(self, job: Job) -> None:
        await self._database.execute(_UPDATE_JOB, _update_values(job))

    async def save_claims(self, claims: Sequence[tuple[Job, tuple[float, float]]]) -> None:
        async def write(cursor: Cursor) -> None:
            for job, tags in claims:
                await cursor.execute(_UPDATE_JOB, _update_values(job))
                await cursor.execute(
                    "UPDATE jobs SET start_tag = %s, finish_tag = %s WHERE id = %s",
                    (*tags, job.id),
                )

        await self._database.run(write)

    async def save_ranks(self, ranks: Mapping[str, float]) -> None:
        await self._database.execute(
            "UPDATE jobs SET rank = new.rank FROM unnest(%s::text[], %s::float8[])"
            " AS new (id, rank) WHERE jobs.id = new.id",
            ([*ranks], [*ranks.values()]),
        )

    async def paused(self) -> frozenset[str]:
        rows = await self._database.fetch("SELECT user_id FROM pauses")
        return frozenset(row["user_id"] for row in rows)

    async def save_paused(self, user_id: str, *, paused: bool) -> None:
        await self._database.run(lambda cursor: save_paused(cursor, user_id, paused=paused))

    async def finish(self, job: Job, files: Sequence[StoredFile]) -> tuple[LibraryItem, ...]:
        async def write(cursor: Cursor) -> tuple[LibraryItem, ...]:
            await lock_items(cursor, job.user_id)
            await cursor.execute(_UPDATE_JOB, _update_values(job))
            await insert_newest(cursor, job, files)
            return await self._items_of(cursor, job.id)

        return await self._database.run(write)

    async def durations(self, server: str) -> dict[ShapeKey, tuple[Measurement, ...]]:
        rows = await self._database.fetch(
            "SELECT * FROM durations WHERE server = %s ORDER BY learned_at", (server,)
        )
        return durations_table.durations_of(rows)

    async def save_durations(
        self, server: str, durations: Mapping[ShapeKey, Iterable[Measurement]], *, now: float
    ) -> None:
        values = durations_table.new_values(server, durations, now=now)

        async def write(cursor: Cursor) -> None:
            await cursor.executemany(
                "INSERT INTO durations VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (server, class_type, models, megapixels, steps, cold) DO UPDATE"
                " SET measurements = excluded.measurements, learned_at = excluded.learned_at",
                values,
            )
            await cursor.execute(
                "DELETE FROM durations WHERE learned_at < (SELECT learned_at FROM durations"
                " ORDER BY learned_at DESC LIMIT 1 OFFSET %s)",
                (durations_table.MAX_ROWS,),
            )

        await self._database.run(write)

    async def save_moved(self, job: Job, *, server: str, prompt_id: str, there: bool) -> None:
        async def write(cursor: Cursor) -> None:
            await cursor.execute(_UPDATE_JOB, _update_values(job))
            await cursor.execute(
                "INSERT INTO copies (prompt_id, job_id, server, there) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (prompt_id) DO UPDATE SET job_id = excluded.job_id,"
                " server = excluded.server, there = excluded.there",
                (prompt_id, job.id, server, there),
            )

        await self._database.run(write)

    async def copies(self, server: str) -> dict[str, str]:
        rows = await self._database.fetch(
            "SELECT prompt_id, job_id FROM copies WHERE server = %s AND there", (server,)
        )
        return {row["prompt_id"]: row["job_id"] for row in rows}

    async def delete_copy(self, prompt_id: str) -> None:
        await self._database.execute("DELETE FROM copies WHERE prompt_id = %s", (prompt_id,))

    async def left_servers(self) -> list[tuple[str, str]]:
        rows = await self._database.fetch(
            "SELECT job_id, copies.server FROM copies JOIN jobs ON jobs.id = job_id"
            " WHERE finished_at IS NULL"
        )
        return [(row["job_id"], row["server"]) for row in rows]

    async def add_imported(self, job: Job, file: StoredFile) -> bool:
        async def write(cursor: Cursor) -> bool:
            await lock_items(cursor, job.user_id)
            await cursor.execute(
                "SELECT id, deleted_at FROM items WHERE path = %s AND user_id = %s"
                " ORDER BY deleted_at IS NOT NULL LIMIT 1",
                (file.path, job.user_id),
            )
            if row := await cursor.fetchone():
                await cursor.execute(
                    "UPDATE items SET deleted_at = NULL WHERE id = %s AND deleted_at IS NOT NULL",
                    (row["id"],),
                )
                return cursor.rowcount > 0
            # The job remains if its result was deleted for good.
            await cursor.execute(_INSERT_JOB, jobs_table.new_values(job))
            first_id = items_table.id_at(job.created_at)
            await _insert_items(cursor, job, [file], at=job.created_at, first_id=first_id)
            return True

        return await self._database.run(write)

    async def has_file(self, path: str, user_id: str) -> bool:
        rows = await self._database.fetch(
            "SELECT 1 FROM items WHERE path = %s AND user_id = %s AND deleted_at IS NULL LIMIT 1",
            (path, user_id),
        )
        return bool(rows)

    async def user_ids(self) -> list[str]:
        rows = await self._database.fetch("SELECT DISTINCT user_id FROM jobs")
        return [row["user_id"] for row in rows]

    async def delete_empty(self, user_id: str, *, keep: int) -> int:
        return await self._database.execute(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE user_id = %s"
            "  AND NOT EXISTS (SELECT 1 FROM items WHERE job_id = jobs.id)"
            "  AND status = ANY(%s) AND finished_at IS NOT NULL AND NOT has_texts"
            "  AND NOT EXISTS (SELECT 1 FROM copies WHERE job_id = jobs.id)"
            # the fair queue's clock continues from these
            "  AND coalesce(start_tag < (SELECT max(start_tag) FROM jobs), true)"
            "  AND coalesce(finish_tag <= (SELECT max(start_tag) FROM jobs), true)"
            " ORDER BY finished_at DESC OFFSET %s)",
            (user_id, _ENDED, keep),
        )

    async def add_grid(self, grid: Grid) -> None:
        await self._database.execute(_INSERT_GRID, grids_table.new_values(grid))

    async def delete_grid(self, grid_id: str) -> None:
        await self._database.execute("DELETE FROM grids WHERE id = %s", (grid_id,))

    async def grid(self, grid_id: str, user_id: str) -> Grid | None:
        rows = await self._database.fetch(
            "SELECT * FROM grids WHERE id = %s AND user_id = %s", (grid_id, user_id)
        )
        return grids_table.grid_of(rows[0]) if rows else None

    async def unfinished_grids(self) -> list[Grid]:
        rows = await self._database.fetch("SELECT * FROM grids WHERE NOT done ORDER BY created_at")
        return [grids_table.grid_of(row) for row in rows]

    async def grid_cells(self, grid: Grid) -> list[tuple[Job | None, LibraryItem | None]]:
        async def read(cursor: Cursor) -> list[tuple[Job | None, LibraryItem | None]]:
            await cursor.execute(
                "SELECT * FROM jobs WHERE id = ANY(%s) AND user_id = %s",
                ([*grid.jobs], grid.user_id),
            )
            jobs = {row["id"]: jobs_table.job_of(row) for row in await cursor.fetchall()}
            await cursor.execute(
                f"{SELECT_ITEMS} WHERE job_id = ANY(%s) AND deleted_at IS NULL ORDER BY items.id",
                ([*grid.jobs],),
            )
            # The first result has the highest id, so it is the last one here.
            items = {
                row["job_id"]: items_table.item_of(row, self._folder)
                for row in await cursor.fetchall()
            }
            return [(jobs.get(job_id), items.get(job_id)) for job_id in grid.jobs]

        return await self._database.run(read)

    async def finish_grid(self, grid: Grid, sheet: tuple[Job, StoredFile] | None) -> None:
        async def write(cursor: Cursor) -> None:
            await cursor.execute(
                "UPDATE grids SET done = true WHERE id = %s AND NOT done", (grid.id,)
            )
            if sheet is not None and cursor.rowcount:
                job, file = sheet
                await lock_items(cursor, job.user_id)
                await cursor.execute(_INSERT_JOB, jobs_table.new_values(job))
                await cursor.execute(_UPDATE_JOB, _update_values(job))
                await insert_newest(cursor, job, [file])

        await self._database.run(write)

    async def groups(self, group_ids: Sequence[str], user_id: str) -> list[JobGroup]:
        jobs_of = f"FROM jobs WHERE group_id = grids.id AND NOT {grids_table.IS_SHEET}"
        rows = await self._database.fetch(
            "SELECT grids.*, first.*, statuses.counts, files.results FROM grids"  # noqa: S608 -- constant
            f" JOIN LATERAL (SELECT prompt, preset {jobs_of} ORDER BY created_at, id LIMIT 1)"
            " AS first ON true"
            " CROSS JOIN LATERAL (SELECT json_object_agg(status, count) AS counts FROM"
            f" (SELECT status, count(*) {jobs_of} AND finished_at IS NOT NULL GROUP BY status)"
            " AS by_status) AS statuses"
            f" CROSS JOIN LATERAL (SELECT count(*) AS results FROM items WHERE job_id IN (SELECT id"
            f" {jobs_of}) AND deleted_at IS NULL) AS files"
            " WHERE grids.id = ANY(%s) AND grids.user_id = %s",
            ([*group_ids], user_id),
        )
        return [grids_table.group_of(r, r, r["counts"] or {}, r["results"]) for r in rows]

    async def group_jobs(
        self, group_id: str, user_id: str, *, limit: int, offset: int = 0
    ) -> list[Job]:
        rows = await self._database.fetch(
            f"SELECT * FROM jobs WHERE group_id = %s AND user_id = %s"  # noqa: S608 -- constant
            f" AND NOT {grids_table.IS_SHEET} ORDER BY created_at, id LIMIT %s OFFSET %s",
            (group_id, user_id, limit, offset),
        )
        return [jobs_table.job_of(row) for row in rows]

    async def paused_groups(self) -> frozenset[str]:
        rows = await self._database.fetch("SELECT group_id FROM paused_groups")
        return frozenset(row["group_id"] for row in rows)

    async def save_group_paused(self, group_id: str, *, paused: bool) -> None:
        await self._database.run(lambda cursor: save_group_paused(cursor, group_id, paused=paused))

    async def _items_of(self, cursor: Cursor, job_id: str) -> tuple[LibraryItem, ...]:
        items = await items_of_jobs(cursor, [job_id], self._folder)
        return tuple(items.get(job_id, ()))


async def add_job(cursor: Cursor, job: Job, *, replaces: str | None, cost_s: float | None) -> Job:
    """Store a waiting job, as :meth:`.JobStore.add`."""
    if cost_s is None:
        cost_s = job.work * await _seconds_per_work(cursor, job.preset)
    estimated = fast_replace(job, cost_s=cost_s)
    await cursor.execute(_INSERT_JOB, jobs_table.new_values(estimated))
    if not cursor.rowcount:
        return await _get(cursor, job.id, job.user_id) or estimated
    if replaces is not None:
        await cursor.execute("DELETE FROM jobs WHERE id = %s", (replaces,))
    return estimated


async def save_paused(cursor: Cursor, user_id: str, *, paused: bool) -> None:
    if paused:
        statement = "INSERT INTO pauses (user_id) VALUES (%s) ON CONFLICT DO NOTHING"
    else:
        statement = "DELETE FROM pauses WHERE user_id = %s"
    await cursor.execute(statement, (user_id,))


async def save_group_paused(cursor: Cursor, group_id: str, *, paused: bool) -> None:
    if paused:
        statement = "INSERT INTO paused_groups (group_id) VALUES (%s) ON CONFLICT DO NOTHING"
    else:
        statement = "DELETE FROM paused_groups WHERE group_id = %s"
    await cursor.execute(statement, (group_id,))
    # A group without a grid has no such row; those with one are shown by it.
    await cursor.execute("UPDATE grids SET paused = %s WHERE id = %s", (paused, group_id))


def _update_values(job: Job) -> tuple[object, ...]:
    has_texts = bool(job.outputs and job.outputs.texts)
    return *jobs_table.changing_values(job), has_texts, job.id


async def items_of_jobs(
    cursor: Cursor, job_ids: Sequence[str], folder: Path
) -> dict[str, list[LibraryItem]]:
    """Return the results of some jobs, by job id, in order."""
    items: dict[str, list[LibraryItem]] = {}
    await cursor.execute(
        f"{SELECT_ITEMS} WHERE job_id = ANY(%s) AND deleted_at IS NULL ORDER BY items.id DESC",
        ([*job_ids],),
    )
    for row in await cursor.fetchall():
        items.setdefault(row["job_id"], []).append(items_table.item_of(row, folder))
    return items


async def _get(cursor: Cursor, job_id: str, user_id: str) -> Job | None:
    await cursor.execute("SELECT * FROM jobs WHERE id = %s AND user_id = %s", (job_id, user_id))
    row = await cursor.fetchone()
    return jobs_table.job_of(row) if row else None


async def _seconds_per_work(cursor: Cursor, preset: str) -> float:
    """Return the recent seconds per unit of work of ``preset``, or 1 if it never ran."""
    await cursor.execute(
        "SELECT sum(finished_at - started_at) AS seconds, sum(work) AS work FROM (SELECT"
        " started_at, finished_at, work FROM jobs WHERE preset = %s AND status = 'succeeded'"
        " AND started_at IS NOT NULL ORDER BY finished_at DESC LIMIT %s) AS newest",
        (preset, jobs_table.PACE_JOBS),
    )
    row = await cursor.fetchone()
    return max(row["seconds"] / row["work"], 1e-3) if row and row["work"] else 1.0


async def lock_items(cursor: Cursor, user_id: str) -> None:
    """Let one transaction at a time add results of a user, so that their ids follow each other."""
    await cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (user_id,))


async def insert_newest(cursor: Cursor, job: Job, files: Sequence[StoredFile]) -> None:
    """Insert results that become the user's newest, even if a clock was set back."""
    if not files:
        return
    at = job.finished_at or job.created_at
    await cursor.execute(
        "SELECT coalesce(max(id), 0) + 1 AS next FROM items WHERE user_id = %s", (job.user_id,)
    )
    row = await cursor.fetchone()
    first_id = max(items_table.id_at(at), row["next"] if row else 1)
    await _insert_items(cursor, job, files, at=at, first_id=first_id)


async def _insert_items(
    cursor: Cursor, job: Job, files: Sequence[StoredFile], *, at: float, first_id: int
) -> None:
    """Insert results of ``job``, ignoring files that are stored already."""
    await cursor.execute("SELECT source FROM items WHERE job_id = %s", (job.id,))
    stored = {row["source"] for row in await cursor.fetchall()}
    item_id = first_id
    for file in reversed(files):  # pages are by descending id: the first file comes first
        if file.source in stored:
            continue
        stored.add(file.source)
        words = (job.prompt, job.preset, file.filename)
        search = items_table.search_text(job.graph, *words)
        inserted = 0
        while not inserted:  # another user's result may have the id
            values = items_table.new_values(item_id, job, file, at=at)
            await cursor.execute(_INSERT_ITEM, (*values, search))
            inserted = cursor.rowcount
            item_id += 1
