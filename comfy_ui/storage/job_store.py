"""The store of jobs and grids.

:class:`JobStore` is everything that the rest of the app asks about stored jobs; nothing reads
them through a database handle beside it. :class:`.sqlite_job_store.SqliteJobStore` implements it.
Another implementation has to pass ``tests/storage/test_job_store_contract.py`` and, under a
queue, ``tests/jobs/test_queue_contract.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

from ..protocol.durations import Measurement, ShapeKey
from .records import Grid, Job, JobGroup, LibraryItem, StoredFile

StoreProblem: TypeAlias = Literal["database", "schema"]
"""Why a store cannot be used: it does not answer, or an upgrade is missing or too new."""


class JobStore(Protocol):
    """Durable jobs and grids. Each method is one transaction.

    Every method raises StorageError if the store fails; nothing has changed then.
    """

    async def problem(self) -> StoreProblem | None:
        """Return why the store cannot be used now, or None. Never raises StorageError."""

    # Jobs of users

    async def get(self, job_id: str, user_id: str) -> Job | None:
        """Return a job, or None if the user has no such job."""

    async def get_with_items(
        self, job_id: str, user_id: str
    ) -> tuple[Job, tuple[LibraryItem, ...]] | None:
        """Return a job and its results, or None if the user has no such job."""

    async def recent(self, user_id: str, limit: int, *, folded: bool = False) -> list[Job]:
        """Return the user's finished jobs, newest first; ``folded``: the newest of each group."""

    # Queue

    async def unfinished(self) -> list[Job]:
        """Return every user's unfinished and unfetched jobs, oldest first."""

    async def fair_queue_tags(self) -> tuple[float, dict[str, float]]:
        """Return the virtual time of the fair queue and the last finish tag of each user."""

    async def add(
        self, job: Job, *, replaces: str | None = None, cost_s: float | None = None
    ) -> Job:
        """Store a waiting job in place of the waiting job ``replaces``.

        Returns it with ``cost_s``; if None, it is estimated from recent jobs of its preset. If the
        job is stored already, nothing changes, and the stored job is returned.
        """

    async def save(self, job: Job) -> None:
        """Write the fields of a job that change after it was added."""

    async def save_claims(self, claims: Sequence[tuple[Job, tuple[float, float]]]) -> None:
        """Write claimed jobs, each with its start and finish tag of the fair queue."""

    async def save_ranks(self, ranks: Mapping[str, float]) -> None:
        """Write the rank of each job id."""

    async def paused(self) -> frozenset[str]:
        """Return the ids of the users whose queue is paused, among them perhaps ``EVERYONE``."""

    async def save_paused(self, user_id: str, *, paused: bool) -> None:
        """Write whether the queue of a user, or of ``EVERYONE``, is paused."""

    async def finish(self, job: Job, files: Sequence[StoredFile]) -> tuple[LibraryItem, ...]:
        """Write a finished job together with its files; return all its results."""

    async def durations(self, server: str) -> dict[ShapeKey, tuple[Measurement, ...]]:
        """Return how long the nodes of a server took, the least recently learned first."""

    async def save_durations(
        self, server: str, durations: Mapping[ShapeKey, Iterable[Measurement]], *, now: float
    ) -> None:
        """Write what was learned of some shapes of nodes, in place of what was known of them."""

    # Copies of jobs that moved to another server

    async def save_moved(self, job: Job, *, server: str, prompt_id: str, there: bool) -> None:
        """Write a job that waits again, and that it left ``server``.

        ``there``: the server may still have it as ``prompt_id``.
        """

    async def copies(self, server: str) -> dict[str, str]:
        """Return the copies that a server may still have: job ids by ``prompt_id``."""

    async def delete_copy(self, prompt_id: str) -> None:
        """Forget a copy that is gone from its server."""

    async def left_servers(self) -> list[tuple[str, str]]:
        """Return each unfinished job with each server that it left, as ``(job id, server)``."""

    # Jobs outside the queue

    async def add_imported(self, job: Job, file: StoredFile) -> bool:
        """Store a job that never ran here, with its only file, at its time of creation.

        A deleted result with the same bytes is restored instead. Returns False if the user has
        the file already.
        """

    async def has_file(self, path: str, user_id: str) -> bool:
        """Whether the user has a result with this file that is not deleted."""

    async def user_ids(self) -> list[str]:
        """Return the ids of all users with stored jobs."""

    async def delete_empty(self, user_id: str, *, keep: int) -> int:
        """Delete the user's finished jobs that left nothing, except the ``keep`` newest.

        Returns the number of deleted jobs.
        """

    # Grids

    async def add_grid(self, grid: Grid) -> None:
        """Store a grid, before its jobs are queued."""

    async def delete_grid(self, grid_id: str) -> None:
        """Delete a grid whose jobs were not queued."""

    async def grid(self, grid_id: str, user_id: str) -> Grid | None:
        """Return a grid, or None if the user has no such grid."""

    async def unfinished_grids(self) -> list[Grid]:
        """Return the grids without a contact sheet, oldest first."""

    async def grid_cells(self, grid: Grid) -> list[tuple[Job | None, LibraryItem | None]]:
        """Return the job of each cell and its first result."""

    async def finish_grid(self, grid: Grid, sheet: tuple[Job, StoredFile] | None) -> None:
        """Mark a grid as done and store its contact sheet, if there is one.

        Does nothing if the grid is done already: another app may have drawn the sheet, too.
        """

    # Groups: the jobs of a grid

    async def groups(self, group_ids: Sequence[str], user_id: str) -> list[JobGroup]:
        """Return those of the groups that are the user's and have jobs."""

    async def group_jobs(
        self, group_id: str, user_id: str, *, limit: int, offset: int = 0
    ) -> list[Job]:
        """Return a page of the jobs of a group, in the order of their submission.

        The contact sheet is not among them.
        """

    async def paused_groups(self) -> frozenset[str]:
        """Return the ids of all paused groups."""

    async def save_group_paused(self, group_id: str, *, paused: bool) -> None:
        """Write whether a group is paused."""
