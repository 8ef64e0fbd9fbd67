"""A copy of the shared queue in memory, for one process: read what has changed, then apply it.

The tables decide. :meth:`QueueMirror.read` is a part of the transaction that changes the queue, so
what follows from the copy cannot be out of date there.

Each row has the number of the transaction that changed it last (``changed_in``). A read asks for
the rows of all transactions that were not finished at the read before, so no change is missed, in
whatever order transactions are committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from psycopg.rows import DictRow

from ...jobs import queue_rules
from ...jobs.fair_queue import FairQueueClock
from ...jobs.placement import ServerOffer
from ...jobs.queue import JobReport
from ...jobs.unfinished_jobs import UnfinishedJobs
from ...jobs.updates import last_snapshot
from ...jobs.withdrawals import Withdrawals
from ...protocol._replace import fast_replace
from ...protocol.progress import Phase
from ...storage.records import ACTIVE, Job, JobStatus, LibraryItem
from ...storage.tables import jobs_table
from ..postgres_database import Cursor
from ..postgres_job_store import items_of_jobs
from .lease_clock import LEASE_S, LeaseClock

FORGET_S: Final = 86400.0
"""A worker that was not heard of for so long is gone; its files cannot be downloaded any more."""
_RECENT_S: Final = 60.0

# Rows of a restored backup may have numbers from the future.
_IS_CHANGED: Final = """(changed_in >= %(since)s::xid8
    AND changed_in < pg_snapshot_xmax(pg_current_snapshot())
    OR changed_in = pg_current_xact_id_if_assigned())"""
# All workers if one has changed, else NULL: it is the largest value, and most reads come at once.
_STATE: Final = f"""SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS since,
    extract(epoch FROM clock_timestamp())::float8 AS now,
    extract(epoch FROM pg_postmaster_start_time())::float8 AS up_since, virtual_s, finish_s,
    ARRAY(SELECT user_id FROM pauses) AS paused,
    ARRAY(SELECT group_id FROM paused_groups) AS paused_groups,
    ARRAY(SELECT id FROM removed_jobs WHERE {_IS_CHANGED}) AS removed,
    (SELECT json_agg(json_build_array(name, token, seen_at, offer, nodes)) FROM workers
        WHERE EXISTS (SELECT FROM workers WHERE {_IS_CHANGED})) AS workers
    FROM queue_clock"""  # noqa: S608 -- constant
_QUEUE_COLUMNS: Final = """token, withdraw, held_until, avoids, changed_in::text AS changed_in,
    ARRAY(SELECT copies.server FROM copies WHERE job_id = jobs.id) AS left_servers"""
# Whole rows only of jobs that are probably new.
_CHANGED_JOBS: Final = f"""SELECT {_QUEUE_COLUMNS}, id, user_id,
    {", ".join(jobs_table.CHANGING_COLUMNS)}, {
    ", ".join(
        f"CASE WHEN status = 'waiting' THEN {name} END AS {name}"
        for name in jobs_table.NEW_COLUMNS
        if name not in ("id", "user_id", *jobs_table.CHANGING_COLUMNS)
    )
} FROM jobs WHERE {_IS_CHANGED}"""  # noqa: S608 -- constant
# One statement, since most reads return no job: a round trip costs more than the rows.
_CHANGES: Final = f"""SELECT state.*, changed.* FROM ({_STATE}) AS state
    LEFT JOIN ({_CHANGED_JOBS}) AS changed ON true"""  # noqa: S608 -- constant
_NEW_JOBS: Final = f"SELECT jobs.*, {_QUEUE_COLUMNS} FROM jobs WHERE id = ANY(%s)"  # noqa: S608 -- constant
_ALL_JOBS: Final = (
    f"SELECT jobs.*, {_QUEUE_COLUMNS} FROM jobs"  # noqa: S608 -- constant
    " WHERE status IN ('waiting', 'claimed', 'sent', 'fetching') ORDER BY created_at"
)
_LAST_JOBS: Final = """SELECT workers.name, last.* FROM workers CROSS JOIN LATERAL
    (SELECT * FROM jobs WHERE server = workers.name AND start_tag IS NOT NULL
    ORDER BY start_tag DESC LIMIT 1) AS last"""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What has changed since the last read. ``new``: the whole rows of jobs unknown so far."""

    state: DictRow
    jobs: Sequence[DictRow]
    new: Mapping[str, Job] = field(default_factory=dict)
    removed: Sequence[str] = ()
    items: Mapping[str, Sequence[LibraryItem]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as the table knows it: ``seen_at`` is by the database's clock."""

    token: int
    seen_at: float
    offer: ServerOffer | None


class QueueMirror:
    """The copy, as :class:`.UnfinishedJobs` and what the shared queue knows beside them.

    Attributes:
        jobs: the unfinished jobs.
        withdrawals: requests of this process to take jobs back.
        tokens: by job, the token of the worker that may publish it.
        held_until: waiting jobs that are about to be replaced, until when.
        withdrawing: jobs that their worker is asked to return.
        workers: all workers by name.
        handed: the jobs that the workers of this process have.
        unsaved: reported jobs that are newer than their rows.
    """

    def __init__(
        self, jobs: UnfinishedJobs, folder: Path, *, own_workers: Mapping[str, Any]
    ) -> None:
        self.jobs = jobs
        self.withdrawals = Withdrawals()
        self.tokens: dict[str, int] = {}
        self.held_until: dict[str, float] = {}
        self.withdrawing: set[str] = set()
        self.workers: dict[str, WorkerRow] = {}
        self.handed: set[str] = set()
        self.unsaved: dict[str, Job] = {}
        self._clock = LeaseClock()
        self._folder = folder
        self._own_workers = own_workers
        self._since = "0"
        self._seen: dict[str, str] = {}  # rows that a next read may return again
        self._nodes: dict[str, tuple[frozenset[str], frozenset[str]]] = {}  # by their id

    # Read

    async def load(self, cursor: Cursor) -> Changes:
        """Read all unfinished jobs."""
        await cursor.execute(_STATE, {"since": "0"})
        (state,) = await cursor.fetchall()
        state["workers"] = state["workers"] or []
        await self._read_nodes(cursor, state)
        await cursor.execute(_ALL_JOBS)
        rows = await cursor.fetchall()
        known = {row["id"] for row in rows}
        missing = [job_id for job_id in self.jobs.index if job_id not in known]
        if missing:
            await cursor.execute(_NEW_JOBS, (missing,))
            rows += await cursor.fetchall()
        return Changes(
            state=state,
            jobs=rows,
            new={row["id"]: jobs_table.job_of(row) for row in rows if row["status"] in ACTIVE},
            removed=[*{*missing}.difference(row["id"] for row in rows)],
            items=await items_of_jobs(cursor, missing, self._folder) if missing else {},
        )

    async def read(self, cursor: Cursor) -> Changes:
        """Read what has changed, also in the cursor's own transaction."""
        await cursor.execute(_CHANGES, {"since": self._since})
        rows = await cursor.fetchall()
        state = rows[0]
        await self._read_nodes(cursor, state)
        rows = [r for r in rows if r["id"] and self._seen.get(r["id"]) != r["changed_in"]]
        known = self.jobs.index
        new = [row for row in rows if row["status"] in ACTIVE and row["id"] not in known]
        claimed = [row["id"] for row in new if row["status"] != JobStatus.WAITING]
        if claimed:
            await cursor.execute(_NEW_JOBS, (claimed,))
            new = [row for row in new if row["status"] == JobStatus.WAITING]
            new += await cursor.fetchall()
        ended = [r["id"] for r in rows if r["status"] not in ACTIVE and r["id"] in known]
        return Changes(
            state=state,
            jobs=rows,
            new={row["id"]: jobs_table.job_of(row) for row in new},
            removed=state["removed"],
            items=await items_of_jobs(cursor, ended, self._folder) if ended else {},
        )

    async def read_loaded(self, cursor: Cursor) -> None:
        """Read which models each server has loaded: those of its last job."""
        await cursor.execute(_LAST_JOBS)
        for row in await cursor.fetchall():
            self.jobs.servers.assign(row["name"], jobs_table.job_of(row))
            self.jobs.servers.forget(row["id"])

    async def _read_nodes(self, cursor: Cursor, state: DictRow) -> None:
        """Read the nodes of servers that this process does not know yet."""
        nodes = {worker[-1] for worker in state["workers"] or () if worker[-1]}
        if unknown := nodes.difference(self._nodes):
            await cursor.execute("SELECT * FROM server_nodes WHERE id = ANY(%s)", ([*unknown],))
            for row in await cursor.fetchall():
                body = json.loads(row["body"])
                self._nodes[row["id"]] = frozenset(body["classes"]), frozenset(body["models"])

    # Apply

    def apply(self, changes: Changes) -> None:
        """Bring the copy up to date, and the followers of jobs."""
        jobs, state = self.jobs, changes.state
        self._clock.read(
            state["now"],
            started_at=state["up_since"],
            heard_at=max((seen_at for _, _, seen_at, *_ in state["workers"] or ()), default=0.0),
        )
        for job_id in changes.removed:
            self._apply_removal(job_id)
        claimed = [job for row in changes.jobs if (job := self._apply_job(row, changes))]
        self._apply_claims(claimed, state)
        if state["workers"] is not None:
            self._apply_workers(state["workers"])
        self._apply_leases()
        paused, groups = frozenset(state["paused"]), frozenset(state["paused_groups"])
        moved = bool(changes.jobs or changes.removed)
        if (paused, groups) != (jobs.index.paused, jobs.index.paused_groups):
            jobs.index.paused, jobs.index.paused_groups = paused, groups
            moved = True
        self._seen |= {row["id"]: row["changed_in"] for row in changes.jobs}
        since = int(state["since"])
        self._seen = {job_id: xid for job_id, xid in self._seen.items() if int(xid) >= since}
        self._since = state["since"]
        if moved:
            jobs.updates.wake()
            jobs.put_positions()

    def _apply_removal(self, job_id: str) -> None:
        if job_id not in self.jobs.index:
            return
        self._forget(job_id)
        job = self.jobs.remove(job_id)
        job = fast_replace(job, status=JobStatus.CANCELLED, finished_at=self.jobs.now())
        self.jobs.updates.put(last_snapshot(job))

    def _apply_job(self, row: DictRow, changes: Changes) -> Job | None:
        """Apply one row; return the job if it was claimed just now."""
        jobs, job_id = self.jobs, row["id"]
        old = jobs.index.get(job_id)
        job = changes.new.get(job_id) if old is None else jobs_table.changed_job(old, row)
        if row["status"] not in ACTIVE:
            self._apply_end(row, job if old is not None else None, changes)
            return None
        if job is None:  # ended between two statements
            return None
        if job.status is JobStatus.WAITING or row["token"] != self.tokens.get(job_id, row["token"]):
            self.handed.discard(job_id)
            self.unsaved.pop(job_id, None)
        if unsaved := self.unsaved.get(job_id):
            job = fast_replace(
                unsaved, cancel_requested=job.cancel_requested, server_deaths=job.server_deaths
            )
        self.tokens[job_id] = row["token"]
        self.held_until[job_id] = row["held_until"] or 0.0
        (self.withdrawing.add if row["withdraw"] else self.withdrawing.discard)(job_id)
        jobs.servers.exclude_only(row["left_servers"], job_id)
        if row["avoids"]:
            jobs.servers.avoid(row["avoids"], job_id)
        if job.status is JobStatus.WAITING or not row["withdraw"]:
            self.withdrawals.close(job_id, withdrawn=job.status is JobStatus.WAITING)
        newly_claimed = job.status is JobStatus.CLAIMED and (
            old is None or old.status is JobStatus.WAITING
        )
        if newly_claimed and old is not None:
            return job
        jobs.index[job_id] = job
        if newly_claimed and job.server:
            jobs.servers.assign(job.server, job)
        self._put_snapshot(old, job)
        return None

    def _put_snapshot(self, old: Job | None, job: Job) -> None:
        moved = old is None or (old.status, old.server) != (job.status, job.server)
        if job.status is JobStatus.FETCHING and old is not None and moved:
            self.jobs.put_report(job, JobReport(job_id=job.id, phase=Phase.SAVING))
        elif moved and not (job.status is JobStatus.SENT and old is not None):
            self._put_first_snapshot(job)
        elif old is not None and job.cancel_requested and not old.cancel_requested:
            self.jobs.put_report(job, JobReport(job_id=job.id, phase=Phase.CANCELLING))
        elif (
            old is not None
            and job.started_at
            and not old.started_at
            and not self.unsaved.get(job.id)
        ):
            self.jobs.put_report(job, JobReport(job_id=job.id, phase=Phase.RUNNING))

    def _put_first_snapshot(self, job: Job) -> None:
        self.jobs.put_first_snapshot(job)
        if job.started_at and job.status in (JobStatus.CLAIMED, JobStatus.SENT):
            # It was claimed and began between two reads.
            self.jobs.put_report(job, JobReport(job_id=job.id, phase=Phase.RUNNING))

    def _apply_end(self, row: DictRow, job: Job | None, changes: Changes) -> None:
        if job is None:  # not of the queue, as an imported result
            if (row["finished_at"] or 0.0) > self._clock.now - _RECENT_S:
                self.jobs.finished_counts[row["user_id"]] += 1
                self.jobs.updates.wake()
            return
        self._forget(job.id)
        del self.jobs.index[job.id]
        self.jobs.servers.forget(job.id)
        self.withdrawals.close(job.id, withdrawn=False)
        self.jobs.finished_counts[job.user_id] += 1
        items = tuple(changes.items.get(job.id, ()))
        self.jobs.updates.put(queue_rules.end_snapshot(job, items, self.jobs.updates.get(job.id)))

    def _apply_claims(self, claimed: Sequence[Job], state: DictRow) -> None:
        """Apply claims and the clock that follows, keeping the order of the others if possible."""
        index = self.jobs.index
        clock = FairQueueClock(state["virtual_s"], json.loads(state["finish_s"]))
        if claimed:
            by_id = {job.id: job for job in claimed}
            first = [job.id for job in index.queue[: len(claimed)]]
            ids = first if by_id.keys() == {*first} else [*by_id]
            index.claim([by_id[job_id] for job_id in ids], clock)
            for job in claimed:
                if job.server:
                    self.jobs.servers.assign(job.server, job)
                self._put_first_snapshot(job)
        elif clock != index.clock:
            index.clock = clock

    def _apply_workers(self, rows: Sequence[tuple[str, int, float, str | None, str]]) -> None:
        for gone in self.workers.keys() - {name for name, *_ in rows}:
            self.jobs.servers.remove(gone)
            del self.workers[gone]
        for name, token, seen_at, announced, nodes in rows:
            offer = None
            if announced:
                classes, models = self._nodes.get(nodes, (None, None))
                offer = ServerOffer(**json.loads(announced), classes=classes, models=models)
            self.workers[name] = WorkerRow(token, seen_at, offer)

    def _apply_leases(self) -> None:
        """Offer the servers of other workers to jobs, as long as their leases last."""
        for name, worker in self.workers.items():
            if worker.offer is not None and name not in self._own_workers:
                online = worker.offer.online and not self._is_silent(worker)
                self.jobs.servers.update(name, replace(worker.offer, online=online))

    def _forget(self, job_id: str) -> None:
        self.tokens.pop(job_id, None)
        self.held_until.pop(job_id, None)
        self.withdrawing.discard(job_id)
        self.handed.discard(job_id)
        self.unsaved.pop(job_id, None)

    # Questions

    def held(self) -> set[str]:
        """Return the waiting jobs that are about to be replaced."""
        return {job_id for job_id, until in self.held_until.items() if until > self._clock.now}

    def resumable(self, worker: str) -> list[str]:
        """Return the jobs that a worker has to resume: its own, and those of workers that are gone.

        Among them those of a claim whose answer was lost.
        """
        return [
            job.id
            for job in self.jobs.index.claimed
            if (job.server == worker or job.server not in self.workers)
            and job.id not in self.handed
        ]

    def abandoned(self) -> list[Job]:
        """Return the jobs whose workers are silent, and which the server may run or has queued."""
        return [
            job
            for job in self.jobs.index.claimed
            if job.status in (JobStatus.CLAIMED, JobStatus.SENT)
            and job.server is not None
            and job.server not in self._own_workers
            and (worker := self.workers.get(job.server)) is not None
            and self._is_silent(worker)
        ]

    def forgotten(self) -> list[str]:
        """Return the workers that are gone."""
        return [
            name
            for name, worker in self.workers.items()
            if self._clock.silence_s(worker.seen_at) > FORGET_S
        ]

    def _is_silent(self, worker: WorkerRow) -> bool:
        """Whether the lease of a worker has ended."""
        return self._clock.silence_s(worker.seen_at) > LEASE_S
