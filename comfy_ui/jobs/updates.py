"""The newest snapshot of every live job, and those who wait for the next one.

In memory only. A follower holds no queue: it is told that something changed and takes what is
newest then, so one that is slow or dead costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any, Final

from ..storage.records import Snapshot

MIN_INTERVAL_S: Final = 1 / 12
"""Least time between two snapshots for one follower; the last one does not wait."""


class _Topic:
    __slots__ = ("changed", "followers", "over", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.changed = asyncio.Event()  # replaced at each change: set once, seen by all
        self.over = asyncio.Event()  # nothing comes any more
        self.followers = 0

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class JobUpdates:
    """Snapshots by job id. A job is on the board from its first snapshot to its last."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._versions = count(1)
        self._news = asyncio.Event()  # replaced at each change, as a topic's

    def get(self, job_id: str) -> Snapshot | None:
        topic = self._topics.get(job_id)
        return topic.snapshot if topic else None

    def followed(self) -> list[str]:
        """The jobs that somebody follows now."""
        return [job_id for job_id, topic in self._topics.items() if topic.followers]

    @property
    def news(self) -> asyncio.Event:
        """Set at the next change of any job, once: take it, look, then wait for it."""
        return self._news

    def wake(self) -> None:
        """Set :attr:`news`."""
        self._news.set()
        self._news = asyncio.Event()

    def put(self, snapshot: Snapshot, **changes: Any) -> None:
        """Replace the job's snapshot by this one, with ``changes`` of its fields.

        A terminal one is delivered and then forgotten.
        """
        snapshot = replace(snapshot, version=next(self._versions), **changes)
        topic = self._topics.get(snapshot.job_id)
        if topic is None:
            topic = self._topics[snapshot.job_id] = _Topic(snapshot)
        topic.snapshot = snapshot
        if snapshot.terminal:
            del self._topics[snapshot.job_id]
            topic.over.set()
        topic.wake()
        self.wake()

    async def follow(self, job_id: str) -> AsyncGenerator[Snapshot, None]:
        """Snapshots from the present one on; ends after the terminal one, or with the board."""
        topic = self._topics.get(job_id)
        if topic is None:
            return
        topic.followers += 1
        try:
            seen = 0
            while True:
                changed, snapshot = topic.changed, topic.snapshot
                if snapshot.version != seen:
                    seen = snapshot.version
                    yield snapshot
                    if snapshot.terminal:
                        return
                    with suppress(TimeoutError):
                        await asyncio.wait_for(topic.over.wait(), MIN_INTERVAL_S)
                elif topic.over.is_set():
                    return
                else:
                    await changed.wait()
        finally:
            topic.followers -= 1

    def close(self) -> None:
        """End all followers without a terminal snapshot: the jobs go on elsewhere."""
        for topic in self._topics.values():
            topic.over.set()
            topic.wake()
        self._topics.clear()
        self.wake()
