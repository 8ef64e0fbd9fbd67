"""Groups of jobs that were submitted together: read, pause, move and cancel them as one."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import ValidationError
from ...storage.job_store import JobStore
from ...storage.records import Grid, Job, JobGroup
from ..queue import JobQueue

__all__ = ["GroupService"]


class GroupService:
    """The groups of all users: grids, several files in a field, and arrays in prompts."""

    def __init__(self, *, store: JobStore, queue: JobQueue) -> None:
        self._store = store
        self._queue = queue

    async def get(self, group_id: str, user_id: str) -> JobGroup:
        """Return a group.

        Raises:
            ValidationError: the user has no such group.
        """
        groups = await self._store.groups([group_id], user_id)
        if not groups:
            raise ValidationError(
                "There is no such group of jobs.", hint="It may belong to another user."
            )
        return groups[0]

    async def by_id(self, group_ids: Iterable[str], user_id: str) -> dict[str, JobGroup]:
        """Return those of the groups that are the user's, by id."""
        ids = [*dict.fromkeys(group_ids)]
        groups = await self._store.groups(ids, user_id) if ids else []
        return {group.id: group for group in groups}

    async def grid(self, group_id: str, user_id: str) -> Grid | None:
        """Return the grid of a group, which has the labels of its cells."""
        return await self._store.grid(group_id, user_id)

    async def jobs(
        self, group_id: str, user_id: str, *, limit: int = 1000, offset: int = 0
    ) -> list[Job]:
        """Return jobs of a group in the order of their submission, the unfinished as they are."""
        stored = await self._store.group_jobs(group_id, user_id, limit=limit, offset=offset)
        active = {job.id: job for job in await self._queue.active(user_id)}
        return [active.get(job.id, job) for job in stored]

    async def set_paused(self, group_id: str, user_id: str, *, paused: bool) -> None:
        """Pause or resume a group: the user's other jobs go on. Restarts do not resume it.

        Raises:
            ValidationError: the user has no such group.
        """
        group = await self.get(group_id, user_id)
        await self._queue.set_group_paused(group.id, paused=paused)

    async def reorder(self, group_id: str, user_id: str, *, before: str | None) -> bool:
        """Move a group's waiting jobs before another job, or to the end if ``before`` is None.

        Returns False if none of them waits any more.
        """
        ids = [job.id for job in await self._active(group_id, user_id)]
        return await self._queue.reorder(ids, user_id, before=before)

    async def cancel(self, group_id: str, user_id: str) -> int:
        """Request the end of a group's jobs; return how many were asked to end.

        Raises:
            ValidationError: the user has no such group.
        """
        group = await self.get(group_id, user_id)
        count = 0
        # From the end of the queue, so that no waiting job moves up and starts.
        for job in reversed(await self._active(group_id, user_id)):
            count += await self._queue.cancel(job.id, user_id)
        if group.paused:
            await self._queue.set_group_paused(group_id, paused=False)
        return count

    async def _active(self, group_id: str, user_id: str) -> list[Job]:
        return [job for job in await self._queue.active(user_id) if job.group_id == group_id]
