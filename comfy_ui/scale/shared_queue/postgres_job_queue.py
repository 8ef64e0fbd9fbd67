"""The job queue that several processes share, in a PostgreSQL database."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ...errors import StorageError
from ...jobs import queue_rules
from ...jobs.fair_queue import FairQueueClock
from ...jobs.placement import JobEstimate, ServerOffer
from ...jobs.queue import Handover, JobReport, ReturnReason
from ...jobs.updates import last_snapshot
from ...protocol._replace import fast_replace
from ...protocol.durations import NodeDurations
from ...storage.records import (
    EVERYONE,
    Job,
    JobStatus,
    QueueCounts,
    QueueFigures,
    QueueView,
    Snapshot,
)
from ...storage.tables import jobs_table
from ...storage.uncancellable import uncancellable
from ..postgres_database import Cursor, PostgresDatabase
from ..postgres_job_store import (
    PostgresJobStore,
    add_job,
    save_group_paused,
    save_paused,
)
from .current_queue import CLEAN_S, JOBS, REFRESH_S, WORK, CurrentQueue, notify
from .progress_watch import ProgressWatch
from .queue_mirror import FORGET_S
from .worker_lease import WorkerLease
from .worker_reports import WorkerReports

logger = logging.getLogger(__name__)

_HEARTBEAT_S: Final = 8.0
_HOLD_S: Final = 15.0  # longer than a worker may take to return a job
_LEAVE_S: Final = 2.0  # how long a worker may take to claim a job that others leave to it

_NEW_CLOCK: Final = (
    "INSERT INTO queue_clock (virtual_s, finish_s) VALUES (%s, %s) ON CONFLICT DO NOTHING"
)
_SAVE_CLOCK: Final = "UPDATE queue_clock SET virtual_s = %s, finish_s = %s"
# All of the jobs or none: the clock goes with them.
_CLAIM: Final = f"""WITH free AS (
    SELECT id FROM jobs WHERE id = ANY(%(ids)s) AND status = 'waiting' FOR UPDATE SKIP LOCKED
), clock AS (
    UPDATE queue_clock SET virtual_s = %(virtual_s)s, finish_s = %(finish_s)s
    WHERE (SELECT count(*) FROM free) = cardinality(%(ids)s::text[])
)
UPDATE jobs SET status = 'claimed', server = %(worker)s, prompt_id = new.prompt_id,
    token = %(token)s, start_tag = new.start_tag, finish_tag = new.finish_tag, withdraw = false
FROM free JOIN unnest(%(ids)s::text[], %(prompt_ids)s::text[], %(start_tags)s::float8[],
    %(finish_tags)s::float8[])
    AS new (id, prompt_id, start_tag, finish_tag) USING (id)
WHERE jobs.id = free.id AND (SELECT count(*) FROM free) = cardinality(%(ids)s::text[])
RETURNING pg_notify('{JOBS}', '')"""  # noqa: S608 -- constant
_RESUME: Final = """WITH resumed AS (SELECT id, server AS previous FROM jobs WHERE id = ANY(%(ids)s)
    OR %(is_new)s AND status = 'unfetched'
        AND (server = %(worker)s OR server NOT IN (SELECT name FROM workers))
    FOR UPDATE)
UPDATE jobs SET server = %(worker)s, token = %(token)s, withdraw = false,
    status = CASE status WHEN 'unfetched' THEN 'fetching' ELSE status END,
    finished_at = NULL, error = NULL
FROM resumed WHERE jobs.id = resumed.id
    AND status IN ('claimed', 'sent', 'fetching', 'unfetched')
RETURNING jobs.*, resumed.previous"""
_RETURN: Final = """UPDATE jobs SET status = 'waiting', server = NULL, prompt_id = NULL, token = 0,
    withdraw = false, started_at = NULL, server_deaths = %s, avoids = coalesce(%s, avoids)
    WHERE id = %s"""
_ADD_COPY: Final = """INSERT INTO copies (prompt_id, job_id, server, there)
    VALUES (%s, %s, %s, %s) ON CONFLICT (prompt_id) DO UPDATE SET there = excluded.there"""


class PostgresJobQueue:
    """The :class:`~comfy_ui.jobs.queue.JobQueue` that the processes of a database share.

    Each process has a copy of the unfinished jobs (:class:`.QueueMirror`), to which the rules of
    :mod:`...jobs.queue_rules` apply as to those of the local queue. What changes the order of jobs
    is decided in a transaction that locks the clock of the fair queue and brings the copy up to
    date first. A report changes a job only while the worker's token is that of the job.

    Args:
        folder: the data folder, which the paths of results are relative to.
        follows: whether this process has pages; one that only works needs no news of other jobs.
        durations: what is learned of the servers of this process.
        lease_wait_s: how long to wait for the lock of an ending worker.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        folder: Path,
        *,
        waiting_limit: int,
        follows: bool = True,
        durations: Mapping[str, NodeDurations] = MappingProxyType({}),
        now: Callable[[], float] = time.time,
        lease_wait_s: float = 10.0,
    ) -> None:
        self._database = database
        self._store = PostgresJobStore(database, folder)
        self._waiting_limit = waiting_limit
        self._lease_wait_s = lease_wait_s
        self._leases: dict[str, WorkerLease] = {}
        self._queue = CurrentQueue(
            database,
            self._store,
            folder,
            follows=follows,
            own_workers=self._leases,
            durations=dict(durations),
            now=now,
        )
        self._unfinished = self._queue.unfinished
        self._unfinished.servers.indifferent_s = _LEAVE_S / 2
        self._mirror = self._queue.mirror
        self._reports = WorkerReports(database, self._queue, self._leases)
        self._announced: dict[str, ServerOffer] = {}  # as far as it is stored
        self._beats: dict[str, float] = {}  # by worker: when the lease was renewed
        self._left: dict[str, queue_rules.LeftJobs] = {}  # by worker
        self._claims_held = False
        self._progress = ProgressWatch(database, self._unfinished, own_workers=self._leases)

    async def open(self) -> None:
        """Read the unfinished jobs and listen for changes.

        Raises:
            StorageError: the database does not answer.
        """
        tags = await self._store.fair_queue_tags()
        await self._database.execute(_NEW_CLOCK, (tags[0], json.dumps(tags[1])))
        await self._queue.open()
        self._reports.open()
        self._progress.open()

    async def aclose(self) -> None:
        """End the followers, and give the leases back. Jobs stay at their servers."""
        await self._progress.aclose()
        await self._queue.aclose()
        await self._reports.aclose()
        self._unfinished.close()
        for lease in self._leases.values():
            await lease.release()

    # Job service

    @uncancellable
    async def submit(
        self, job: Job, *, front: bool, replaces: str | None = None, max_of_key: int | None = None
    ) -> Job:
        jobs = self._unfinished
        if replaces is not None and jobs.of_user(replaces, job.user_id):
            await self._hold(replaces, job.user_id)

        async def decide(cursor: Cursor) -> Job:
            if unfinished := jobs.of_user(job.id, job.user_id):
                return unfinished
            old = queue_rules.replaced_job(jobs, job, replaces)
            placed = queue_rules.placed_job(
                jobs,
                job,
                front=front,
                replaced=old,
                waiting_limit=self._waiting_limit,
                max_of_key=max_of_key,
            )
            cost_s = jobs.servers.learned_s(placed)
            stored = await add_job(
                cursor, placed, replaces=old.id if old is not None else None, cost_s=cost_s
            )
            if front:
                await self._request_withdrawals(
                    cursor, [ready.id for ready in jobs.ready(job.user_id)]
                )
            await notify(cursor, WORK, JOBS)
            return stored

        try:
            stored = await self._queue.change(decide)
        except BaseException:
            jobs.servers.forget(job.id)
            if replaces is not None:
                await self._release(replaces)
            raise
        self._queue.wake_workers()
        return stored

    async def _hold(self, job_id: str, user_id: str) -> None:
        """Keep a job that is to be replaced from starting, and take it back."""
        jobs = self._unfinished

        async def decide(cursor: Cursor) -> list[str]:
            await cursor.execute(
                "UPDATE jobs SET held_until = extract(epoch FROM clock_timestamp()) + %s"
                " WHERE id = %s AND user_id = %s",
                (_HOLD_S, job_id, user_id),
            )
            ready = [job.id for job in jobs.ready(user_id) if job.id == job_id]
            await self._request_withdrawals(cursor, ready)
            return ready

        await self._take_back(await self._queue.change(decide))

    async def _release(self, job_id: str) -> None:
        with suppress(StorageError):
            await self._database.execute(
                "UPDATE jobs SET held_until = NULL WHERE id = %s", (job_id,)
            )

    async def _request_withdrawals(self, cursor: Cursor, job_ids: Sequence[str]) -> None:
        if not job_ids:
            return
        await cursor.execute("UPDATE jobs SET withdraw = true WHERE id = ANY(%s)", ([*job_ids],))
        for worker in {self._unfinished.index[job_id].server or "" for job_id in job_ids}:
            await notify(cursor, WORK, worker=worker)

    async def _take_back(self, ready_ids: Sequence[str]) -> None:
        requests = [
            self._mirror.withdrawals.request(job_id)
            for job_id in ready_ids
            if job_id in self._mirror.withdrawing
        ]
        if requests:
            self._queue.wake_workers()
            await self._mirror.withdrawals.wait(requests)

    @uncancellable
    async def cancel(self, job_id: str, user_id: str) -> bool:
        jobs = self._unfinished

        async def decide(cursor: Cursor) -> Job | None:
            job = jobs.of_user(job_id, user_id)
            if job is None:
                return None
            if job.status is JobStatus.WAITING:
                job = await self._end_without_worker(cursor, job)
            else:
                await cursor.execute(
                    "UPDATE jobs SET cancel_requested = true WHERE id = %s", (job_id,)
                )
                await notify(cursor, WORK, worker=job.server or "")
            await notify(cursor, JOBS)
            return job

        job = await self._queue.change(decide)
        if job is None:
            return False
        if not job.status.active:
            jobs.ended(job)
        self._queue.wake_workers()
        return True

    async def _end_without_worker(self, cursor: Cursor, job: Job) -> Job:
        ended = fast_replace(job, status=JobStatus.CANCELLED, finished_at=self._unfinished.now())
        await cursor.execute(
            "UPDATE jobs SET status = 'cancelled', finished_at = %s, token = 0 WHERE id = %s",
            (ended.finished_at, job.id),
        )
        return ended

    @uncancellable
    async def reorder(self, job_ids: Collection[str], user_id: str, *, before: str | None) -> bool:
        jobs = self._unfinished

        async def decide(cursor: Cursor) -> queue_rules.NewOrder | None:
            order = queue_rules.reorder(jobs, job_ids, user_id, before=before)
            if order is None:
                return None
            await cursor.execute(
                "UPDATE jobs SET rank = new.rank FROM unnest(%s::text[], %s::float8[])"
                " AS new (id, rank) WHERE jobs.id = new.id",
                ([*order.ranks], [*order.ranks.values()]),
            )
            await self._request_withdrawals(cursor, order.displaced)
            await notify(cursor, JOBS)
            return order

        order = await self._queue.change(decide)
        if order is None:
            return False
        await self._take_back(order.displaced)
        return order.has_effect(jobs)

    @uncancellable
    async def set_paused(self, user_id: str, *, paused: bool) -> None:
        async def decide(cursor: Cursor) -> None:
            await save_paused(cursor, user_id, paused=paused)
            ready = self._unfinished.ready(None if user_id == EVERYONE else user_id)
            await self._apply_pause(cursor, ready if paused else [])

        await self._queue.change(decide)
        self._queue.wake_workers()

    @uncancellable
    async def set_group_paused(self, group_id: str, *, paused: bool) -> None:
        async def decide(cursor: Cursor) -> None:
            await save_group_paused(cursor, group_id, paused=paused)
            ready = [job for job in self._unfinished.ready() if job.group_id == group_id]
            await self._apply_pause(cursor, ready if paused else [])

        await self._queue.change(decide)
        self._queue.wake_workers()

    async def _apply_pause(self, cursor: Cursor, ready: Sequence[Job]) -> None:
        """Take paused jobs back from the servers' queues, and let others start."""
        await self._request_withdrawals(cursor, [job.id for job in ready])
        await notify(cursor, WORK, JOBS)

    @uncancellable
    async def retry_fetch(self, job_id: str, user_id: str) -> bool:
        async def decide(cursor: Cursor) -> bool:
            await cursor.execute(
                "UPDATE jobs SET status = 'fetching', finished_at = NULL, error = NULL, token = 0"
                " WHERE id = %s AND user_id = %s AND status = 'unfetched'",
                (job_id, user_id),
            )
            if not cursor.rowcount:
                return False
            await notify(cursor, WORK, JOBS)
            return True

        done = await self._queue.change(decide)
        self._queue.wake_workers()
        return done

    async def can_run_elsewhere(self, job_id: str, user_id: str) -> bool:
        return self._unfinished.can_run_elsewhere(job_id, user_id)

    async def active(self, user_id: str) -> list[Job]:
        return self._unfinished.in_order(user_id)

    async def unsaved(self, user_id: str) -> list[Job]:  # noqa: ARG002 -- none of any user
        """Return no jobs: a worker keeps a job until its end is stored."""
        return []

    async def estimate(self, job: Job) -> JobEstimate:
        return self._unfinished.estimate(job)

    def hold_claims(self) -> int:
        self._claims_held = True
        return sum(job.server in self._leases for job in self._unfinished.index.claimed)

    async def counts(self) -> QueueCounts:
        return self._unfinished.counts()

    def figures(self) -> QueueFigures:
        return self._unfinished.figures()

    def is_running(self) -> bool:
        parts = self._queue, self._reports, self._progress
        return all(part.is_running() for part in parts)

    def on_end(self, listener: Callable[[Job], None]) -> None:
        self._unfinished.end_listeners.append(listener)

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot | None:
        if self._unfinished.of_user(job_id, user_id):
            self._unfinished.put_position(job_id)
            return self._unfinished.updates.get(job_id)
        stored = await self._store.get_with_items(job_id, user_id)
        if stored is None or not stored[0].status.active:
            return last_snapshot(*stored) if stored else None
        await self._queue.refresh()  # another process has just added it
        return self._unfinished.updates.get(job_id)

    def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        return self._unfinished.updates.follow_to_end(
            job_id, lambda: self.snapshot(job_id, user_id)
        )

    async def follow_queue(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        views = self._unfinished.updates.follow_views(lambda: self._view(user_id))
        with self._progress.viewed_by(user_id):
            async with aclosing(views):
                async for view in views:
                    yield view

    async def job_added(self, user_id: str) -> None:
        self._unfinished.finished_counts[user_id] += 1
        self._unfinished.updates.wake()

    async def _view(self, user_id: str) -> QueueView:
        return self._unfinished.view(user_id, self._unfinished.in_order(user_id))

    # Worker

    async def _lease(self, worker: str) -> WorkerLease:
        if worker not in self._leases:
            lease = WorkerLease(self._database, worker, wait_s=self._lease_wait_s)
            await lease.acquire()
            self._leases[worker] = lease
            self._beats[worker] = time.monotonic()
        return self._leases[worker]

    async def register(self, worker: str) -> WorkerLease:
        """Get the lease of a worker, before it announces its server.

        Raises:
            StorageError: another process has it, or the database does not answer.
        """
        return await self._lease(worker)

    async def announce(self, worker: str, offer: ServerOffer) -> None:
        await self._lease(worker)
        self._unfinished.servers.update(worker, offer)
        if self._announced.get(worker) == offer:
            return
        body = {"classes": sorted(offer.classes or ()), "models": sorted(offer.models or ())}
        nodes = json.dumps(body)
        nodes_id = hashlib.sha256(nodes.encode()).hexdigest() if offer.classes is not None else None

        async def write(cursor: Cursor) -> None:
            if nodes_id is not None:
                await cursor.execute(
                    "INSERT INTO server_nodes VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    (nodes_id, nodes),
                )
            await cursor.execute(
                "UPDATE workers SET offer = %s, nodes = %s WHERE name = %s",
                (json.dumps(_without_nodes(offer)), nodes_id, worker),
            )
            await notify(cursor, WORK, JOBS)

        await self._database.run(write)
        self._announced[worker] = offer
        self._queue.wake_workers()

    async def claim(self, worker: str, *, limit: int) -> list[tuple[Job, Handover]]:
        self._queue.work.setdefault(worker, asyncio.Event())
        is_new = worker not in self._leases
        lease = await self._lease(worker)
        mirror = self._mirror
        if not is_new:  # look, before others have to wait
            await self._queue.refresh()
            limit = 0 if self._claims_held else limit
            if not mirror.resumable(worker) and not self._may_claim(worker, limit):
                return []

        async def decide(cursor: Cursor) -> list[tuple[Job, Handover]]:
            ids = mirror.resumable(worker)
            if (is_new or ids) and (resumed := await self._resume(cursor, lease, ids, is_new)):
                return resumed
            if self._claims_held:
                return []
            claims = self._choose(worker, limit)
            if not claims.jobs:
                return []
            values = {
                "ids": [job.id for job, _ in claims.jobs],
                "prompt_ids": [job.prompt_id for job, _ in claims.jobs],
                "start_tags": [start for _, (start, _) in claims.jobs],
                "finish_tags": [finish for _, (_, finish) in claims.jobs],
                "virtual_s": claims.clock.virtual_s,
                "finish_s": json.dumps({**claims.clock.finish_s}),
            }
            await cursor.execute(_CLAIM, values | {"worker": worker, "token": lease.token})
            if not cursor.rowcount:
                logger.warning("A waiting job is locked by another program.")
                return []
            return [(job, Handover.NEW) for job, _ in claims.jobs]

        claimed = await self._queue.change(decide)
        mirror.handed |= {job.id for job, _ in claimed}
        if any(handover is not Handover.NEW for _, handover in claimed):
            self._queue.wake_workers()  # this worker claims waiting jobs at once
        return claimed

    def _choose(self, worker: str, limit: int) -> queue_rules.Claims:
        return queue_rules.choose_claims(self._unfinished, worker, limit, held=self._mirror.held())

    def _may_claim(self, worker: str, limit: int) -> bool:
        if self._choose(worker, limit).jobs:
            return True
        left = self._left.setdefault(worker, queue_rules.LeftJobs(_LEAVE_S))
        return limit > 0 and left.update(
            self._unfinished, worker, held=self._mirror.held(), now=time.monotonic()
        )

    async def _save_clock(self, cursor: Cursor, clock: FairQueueClock) -> None:
        await cursor.execute(_SAVE_CLOCK, (clock.virtual_s, json.dumps({**clock.finish_s})))

    async def _resume(
        self, cursor: Cursor, lease: WorkerLease, job_ids: Sequence[str], is_new: bool
    ) -> list[tuple[Job, Handover]]:
        values = {"ids": [*job_ids], "is_new": is_new}
        await cursor.execute(_RESUME, values | {"worker": lease.name, "token": lease.token})
        resumed = []
        for row in await cursor.fetchall():
            inherited = row["previous"] != lease.name
            if inherited:
                self._unfinished.previous_servers[row["id"]] = row["previous"]
            handover = Handover.INHERITED if inherited else Handover.RESUMED
            resumed.append((jobs_table.job_of(row), handover))
        return resumed

    async def return_job(self, worker: str, job_id: str, reason: ReturnReason) -> bool:
        jobs = self._unfinished

        async def decide(cursor: Cursor) -> bool:
            old = jobs.index.get(job_id)
            if old is None or not self._reports.is_owner(worker, old) or old.cancel_requested:
                return False
            return await self._return(cursor, old, reason)

        waits = await self._queue.change(decide)
        if waits:
            logger.info("Job %s waits again: %s", job_id, reason)
            self._queue.wake_workers()
        return waits

    async def _return(self, cursor: Cursor, old: Job, reason: ReturnReason) -> bool:
        job, waits, leaves = queue_rules.return_job(self._unfinished, old, reason)
        if not waits:
            if job.server_deaths != old.server_deaths:
                await cursor.execute(
                    "UPDATE jobs SET server_deaths = %s WHERE id = %s", (job.server_deaths, job.id)
                )
            return False
        if leaves:
            values = (old.prompt_id, job.id, old.server, reason == "unreachable")
            await cursor.execute(_ADD_COPY, values)
        avoids = old.server if reason == "died" else None
        await cursor.execute(_RETURN, (job.server_deaths, avoids, job.id))
        if reason == "withdrawn":
            await self._save_clock(cursor, self._unfinished.index.clock.without(old))
        self._reports.forget(job.id)
        await cursor.execute("DELETE FROM job_progress WHERE job_id = %s", (job.id,))
        await notify(cursor, WORK, JOBS)
        return True

    async def copies(self, worker: str) -> list[str]:
        return [*await self._store.copies(worker)]

    async def copy_deleted(self, worker: str, prompt_id: str) -> None:  # noqa: ARG002 -- unique
        async def write(cursor: Cursor) -> None:
            await cursor.execute(
                "DELETE FROM copies WHERE prompt_id = %s RETURNING job_id", (prompt_id,)
            )
            if row := await cursor.fetchone():  # its row counts as changed
                await cursor.execute("UPDATE jobs SET id = id WHERE id = %s", (row["job_id"],))
                await notify(cursor, WORK)

        await self._database.run(write)

    async def heartbeat(self, worker: str) -> frozenset[str]:
        lease = await self._lease(worker)
        if time.monotonic() - self._beats[worker] > _HEARTBEAT_S:
            await lease.renew()
            self._beats[worker] = time.monotonic()
            await self.take_over()
        return frozenset(
            job.id
            for job in self._unfinished.index.claimed
            if job.cancel_requested and job.server == worker
        )

    async def take_over(self) -> None:
        """Move the jobs of silent workers, and forget those that are gone."""
        if self._mirror.abandoned():
            for job in await self._queue.change(self._move_abandoned):
                self._unfinished.ended(job)
        if forgotten := self._mirror.forgotten():
            await self._database.execute(
                "DELETE FROM workers WHERE name = ANY(%s)"
                " AND seen_at < extract(epoch FROM clock_timestamp()) - %s",
                (forgotten, FORGET_S),
            )
        await self._database.execute(
            "DELETE FROM removed_jobs WHERE removed_at < now() - make_interval(secs => %s)",
            (CLEAN_S,),
        )

    async def _move_abandoned(self, cursor: Cursor) -> list[Job]:
        """Move the jobs of silent workers; return those that end instead."""
        ended = []
        for job in self._mirror.abandoned():
            if job.cancel_requested:
                await cursor.execute(_ADD_COPY, (job.prompt_id, job.id, job.server, True))
                ended.append(await self._end_without_worker(cursor, job))
                await notify(cursor, JOBS)
            elif await self._return(cursor, job, "unreachable"):
                logger.warning("Job %s waits again: its worker is silent.", job.id)
        return ended

    async def withdrawals(self, worker: str) -> frozenset[str]:
        if not self._mirror.withdrawing:
            return frozenset()
        ready = self._unfinished.ready()
        asked = self._mirror.withdrawing
        return frozenset(job.id for job in ready if job.server == worker and job.id in asked)

    async def publish(self, worker: str, report: JobReport) -> None:
        await self._reports.publish(worker, report)

    async def wait_for_work(self, worker: str, *, timeout_s: float) -> None:
        work = self._queue.work.setdefault(worker, asyncio.Event())
        if left := self._left.get(worker):
            timeout_s = min(timeout_s, max(left.next_s(time.monotonic()), REFRESH_S))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await work.wait()
        work.clear()


def _without_nodes(offer: ServerOffer) -> dict[str, object]:
    """An offer as JSON, without the node classes and models, which are stored apart."""
    return {
        "online": offer.online,
        "foreign": offer.foreign,
        "parallel_jobs": offer.parallel_jobs,
    }
