"""An in-memory job store: the second implementation under the contract tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from comfy_ui.protocol.durations import Measurement, ShapeKey
from comfy_ui.storage.job_store import StoreProblem
from comfy_ui.storage.records import (
    ACTIVE,
    Grid,
    Job,
    JobGroup,
    JobStatus,
    LibraryItem,
    StoredFile,
)


class MemoryJobStore:
    """A :class:`JobStore` whose jobs live as long as the object."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._tags: dict[str, tuple[float, float]] = {}
        self._items: dict[str, list[LibraryItem]] = {}
        self._ids = count(1)
        self._copies: dict[str, tuple[str, str, bool]] = {}  # job, server and whether it is there
        self._grids: dict[str, Grid] = {}
        self._done: set[str] = set()
        self._paused: frozenset[str] = frozenset()
        self._paused_groups: frozenset[str] = frozenset()
        self._durations: dict[str, dict[ShapeKey, tuple[Measurement, ...]]] = {}

    async def problem(self) -> StoreProblem | None:
        return None

    async def get(self, job_id: str, user_id: str) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job and job.user_id == user_id else None

    async def get_with_items(
        self, job_id: str, user_id: str
    ) -> tuple[Job, tuple[LibraryItem, ...]] | None:
        job = await self.get(job_id, user_id)
        return (job, tuple(self._items.get(job_id, ()))) if job else None

    async def recent(self, user_id: str, limit: int, *, folded: bool = False) -> list[Job]:
        jobs = [j for j in self._jobs.values() if j.user_id == user_id and j.finished_at]
        jobs.sort(key=lambda job: (job.finished_at or 0.0, job.id), reverse=True)
        if folded:
            newest: dict[str, Job] = {}
            for job in jobs:
                newest.setdefault(job.group_id or job.id, job)
            jobs = [*newest.values()]
        return jobs[:limit]

    async def unfinished(self) -> list[Job]:
        statuses = {*ACTIVE, JobStatus.UNFETCHED}
        jobs = [job for job in self._jobs.values() if job.status in statuses]
        return sorted(jobs, key=lambda job: job.created_at)

    async def fair_queue_tags(self) -> tuple[float, dict[str, float]]:
        virtual = max((start for start, _ in self._tags.values()), default=0.0)
        finish: dict[str, float] = {}
        for job_id, (_, tag) in self._tags.items():
            user_id = self._jobs[job_id].user_id
            if tag > virtual:
                finish[user_id] = max(tag, finish.get(user_id, 0.0))
        return virtual, finish

    async def add(
        self, job: Job, *, replaces: str | None = None, cost_s: float | None = None
    ) -> Job:
        if job.id in self._jobs:
            return self._jobs[job.id]
        finished = [
            j
            for j in self._jobs.values()
            if j.preset == job.preset and j.status is JobStatus.SUCCEEDED and j.started_at
        ]
        seconds = sum((j.finished_at or 0.0) - (j.started_at or 0.0) for j in finished)
        work = sum(j.work for j in finished)
        pace_s = max(seconds / work, 1e-3) if work else 1.0
        job = replace(job, cost_s=job.work * pace_s if cost_s is None else cost_s)
        self._jobs[job.id] = job
        if replaces is not None:
            del self._jobs[replaces]
        return job

    async def save(self, job: Job) -> None:
        self._jobs[job.id] = job

    async def save_claims(self, claims: Sequence[tuple[Job, tuple[float, float]]]) -> None:
        for job, tags in claims:
            self._jobs[job.id] = job
            self._tags[job.id] = tags

    async def save_ranks(self, ranks: Mapping[str, float]) -> None:
        for job_id, rank in ranks.items():
            self._jobs[job_id] = replace(self._jobs[job_id], rank=rank)

    async def paused(self) -> frozenset[str]:
        return self._paused

    async def save_paused(self, user_id: str, *, paused: bool) -> None:
        self._paused = self._paused | {user_id} if paused else self._paused - {user_id}

    async def finish(self, job: Job, files: Sequence[StoredFile]) -> tuple[LibraryItem, ...]:
        self._jobs[job.id] = job
        for file in files:
            self._add_item(job, file)
        return tuple(self._items.get(job.id, ()))

    async def save_moved(self, job: Job, *, server: str, prompt_id: str, there: bool) -> None:
        self._jobs[job.id] = job
        self._copies[prompt_id] = (job.id, server, there)

    async def durations(self, server: str) -> dict[ShapeKey, tuple[Measurement, ...]]:
        return dict(self._durations.get(server, {}))

    async def save_durations(
        self, server: str, durations: Mapping[ShapeKey, Iterable[Measurement]], *, now: float
    ) -> None:
        known = self._durations.setdefault(server, {})
        for key, measurements in durations.items():
            known.pop(key, None)
            known[key] = tuple(measurements)

    async def copies(self, server: str) -> dict[str, str]:
        return {
            prompt_id: job_id
            for prompt_id, (job_id, at, there) in self._copies.items()
            if at == server and there
        }

    async def delete_copy(self, prompt_id: str) -> None:
        self._copies.pop(prompt_id, None)

    async def left_servers(self) -> list[tuple[str, str]]:
        return [
            (job_id, server)
            for job_id, server, _ in self._copies.values()
            if self._jobs[job_id].finished_at is None
        ]

    async def add_imported(self, job: Job, file: StoredFile) -> bool:
        if await self.has_file(file.path, job.user_id):
            return False
        self._jobs[job.id] = job
        self._add_item(job, file)
        return True

    async def has_file(self, path: str, user_id: str) -> bool:
        return any(
            item.path == self._folder / path and item.user_id == user_id
            for items in self._items.values()
            for item in items
        )

    async def user_ids(self) -> list[str]:
        return [*dict.fromkeys(job.user_id for job in self._jobs.values())]

    async def delete_empty(self, user_id: str, *, keep: int) -> int:
        ended = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.LOST}
        moved = {job_id for job_id, _, _ in self._copies.values()}
        virtual, _ = await self.fair_queue_tags()
        empty = [
            job
            for job in await self.recent(user_id, len(self._jobs))
            if job.status in ended
            and job.id not in moved
            and not self._items.get(job.id)
            and not (job.outputs and job.outputs.texts)
            and (job.id not in self._tags or self._tags[job.id][0] < virtual)
            and (job.id not in self._tags or self._tags[job.id][1] <= virtual)
        ]
        for job in empty[keep:]:
            del self._jobs[job.id]
            self._tags.pop(job.id, None)
        return len(empty[keep:])

    async def add_grid(self, grid: Grid) -> None:
        self._grids[grid.id] = grid

    async def delete_grid(self, grid_id: str) -> None:
        self._grids.pop(grid_id, None)

    async def grid(self, grid_id: str, user_id: str) -> Grid | None:
        grid = self._grids.get(grid_id)
        return grid if grid and grid.user_id == user_id else None

    async def unfinished_grids(self) -> list[Grid]:
        grids = [grid for grid in self._grids.values() if grid.id not in self._done]
        return sorted(grids, key=lambda grid: grid.created_at)

    async def grid_cells(self, grid: Grid) -> list[tuple[Job | None, LibraryItem | None]]:
        return [
            (await self.get(job_id, grid.user_id), next(iter(self._items.get(job_id, ())), None))
            for job_id in grid.jobs
        ]

    async def finish_grid(self, grid: Grid, sheet: tuple[Job, StoredFile] | None) -> None:
        if sheet is not None and grid.id not in self._done:
            job, file = sheet
            self._jobs[job.id] = job
            self._add_item(job, file)
        self._done.add(grid.id)

    async def groups(self, group_ids: Sequence[str], user_id: str) -> list[JobGroup]:
        groups = []
        for group_id in group_ids:
            jobs = await self.group_jobs(group_id, user_id, limit=1000)
            grid = self._grids.get(group_id)
            if grid is None or not jobs:
                continue
            ended = [job.status for job in jobs if job.finished_at]
            group = JobGroup(
                id=group_id,
                title=grid.title,
                prompt=jobs[0].prompt,
                preset=jobs[0].preset,
                size=len(grid.jobs),
                succeeded=ended.count(JobStatus.SUCCEEDED),
                failed=ended.count(JobStatus.FAILED) + ended.count(JobStatus.LOST),
                cancelled=ended.count(JobStatus.CANCELLED),
                results=sum(len(self._items.get(job.id, ())) for job in jobs),
                paused=group_id in self._paused_groups,
            )
            groups.append(group)
        return groups

    async def group_jobs(
        self, group_id: str, user_id: str, *, limit: int, offset: int = 0
    ) -> list[Job]:
        jobs = [
            job
            for job in self._jobs.values()
            if job.group_id == group_id
            and job.user_id == user_id
            and (job.prompt_id or job.status is not JobStatus.SUCCEEDED)
        ]
        jobs.sort(key=lambda job: (job.created_at, job.id))
        return jobs[offset : offset + limit]

    async def paused_groups(self) -> frozenset[str]:
        return self._paused_groups

    async def save_group_paused(self, group_id: str, *, paused: bool) -> None:
        self._paused_groups = (
            self._paused_groups | {group_id} if paused else self._paused_groups - {group_id}
        )

    def _add_item(self, job: Job, file: StoredFile) -> None:
        items = self._items.setdefault(job.id, [])
        if any(item.path == self._folder / file.path for item in items):
            return
        items.append(
            LibraryItem(
                id=next(self._ids),
                job_id=job.id,
                user_id=job.user_id,
                kind=file.kind,
                filename=file.filename,
                media_type=file.media_type,
                path=self._folder / file.path,
                thumbnail=self._folder / file.thumbnail if file.thumbnail else None,
                width=file.width,
                height=file.height,
                size_bytes=file.size_bytes,
                created_at=job.finished_at or job.created_at,
                preset=job.preset,
                prompt=job.prompt,
                seed=job.seed,
                values=job.values,
                parent_id=job.parent_id,
                group_id=job.group_id,
            )
        )
