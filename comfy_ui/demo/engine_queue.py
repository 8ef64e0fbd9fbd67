"""The queue of jobs and the history of finished ones, in memory as in ComfyUI."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_HISTORY = 10_000

# number, prompt_id, prompt, extra_data, output node ids: what /queue and /history show of a job.
QueueItem = tuple[float, str, dict[str, Any], Any, list[str]]


@dataclass(slots=True)
class HistoryRecord:
    """One finished job."""

    item: QueueItem
    outputs: dict[str, Any]
    meta: dict[str, Any]
    status: dict[str, Any]
    visible_at: float = 0.0
    started_ms: int = 0
    ended_ms: int = 0

    def public(self) -> dict[str, Any]:
        return {
            "prompt": list(self.item),
            "outputs": self.outputs,
            "status": self.status,
            "meta": self.meta,
        }

    @property
    def interrupted(self) -> bool:
        return any(name == "execution_interrupted" for name, _ in self.status["messages"])


@dataclass(slots=True)
class Running:
    item: QueueItem
    started_ms: int
    interrupted: bool = False
    partner_key: str = ""  # kept apart from what clients can read


@dataclass(frozen=True, slots=True)
class SavedQueue:
    """The contents of a queue that survive a restart."""

    items: list[QueueItem]
    history: OrderedDict[str, HistoryRecord]
    counter: int


@dataclass(slots=True)
class PromptQueue:
    """A heap of pending jobs, at most one running, and the history. Thread-safe.

    A job is always in exactly one of the three.
    """

    on_change: Callable[[], None]
    _pending: list[QueueItem] = field(default_factory=list)
    _running: Running | None = None
    _history: OrderedDict[str, HistoryRecord] = field(default_factory=OrderedDict)
    _counter: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False
    _free: bool = False

    # -- adding and taking jobs

    def number(self, *, front: bool) -> float:
        with self._changed:
            number = -self._counter if front else self._counter
            self._counter += 1
        return number

    def put(self, item: QueueItem) -> None:
        """Add a job. Raises TypeError if number and id equal another's but prompts differ."""
        with self._changed:
            try:
                heapq.heappush(self._pending, item)
            except (
                TypeError
            ):  # dicts are not ordered; the push has already appended the job, as in ComfyUI
                self._pending = [other for other in self._pending if other is not item]
                heapq.heapify(self._pending)
                raise
            self._changed.notify()
        self.on_change()

    def take(self) -> Running | None:
        """Move the next job from pending to running; None once the queue is closed."""
        with self._changed:
            while not self._pending and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            running = Running(heapq.heappop(self._pending), _now_ms())
            self._running = running
        self.on_change()
        return running

    def done(self, entry: HistoryRecord) -> None:
        """Move the running job to the history."""
        entry.ended_ms = _now_ms()
        with self._changed:
            self._running = None
            while len(self._history) >= MAX_HISTORY:
                self._history.popitem(last=False)
            self._history[entry.item[1]] = entry
        self.on_change()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            if self._running is not None:
                self._running.interrupted = True
            self._changed.notify_all()

    # -- reading

    def remaining(self) -> int:
        with self._changed:
            return len(self._pending) + (self._running is not None)

    def snapshot(self) -> tuple[list[QueueItem], list[QueueItem]]:
        """Return running and pending jobs, the latter in heap order."""
        with self._changed:
            return ([self._running.item] if self._running else []), list(self._pending)

    def running(self) -> Running | None:
        with self._changed:
            return self._running

    def history(self, now: float) -> dict[str, HistoryRecord]:
        """Return finished jobs that are visible at ``now`` (monotonic seconds), oldest first."""
        with self._changed:
            return {key: e for key, e in self._history.items() if e.visible_at <= now}

    # -- removing and interrupting

    def delete(self, prompt_ids: Iterable[str]) -> list[str]:
        """Remove pending jobs and return the ids that were removed."""
        ids = set(prompt_ids)
        with self._changed:
            deleted = [item[1] for item in self._pending if item[1] in ids]
            if deleted:
                self._pending = [item for item in self._pending if item[1] not in ids]
                heapq.heapify(self._pending)
        if deleted:
            self.on_change()
        return deleted

    def clear(self) -> None:
        with self._changed:
            self._pending.clear()
        self.on_change()

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Flag the running job for interruption, if it is the given one (or any if None)."""
        with self._changed:
            running = self._running
            if running is None or (prompt_id is not None and running.item[1] != prompt_id):
                return False
            running.interrupted = True
            return True

    def cancel(self, prompt_id: str) -> bool:
        """Remove a job if it is pending or flag it if it is running, atomically."""
        with self._changed:
            cancelled = self.interrupt(prompt_id) or bool(self._remove(prompt_id))
        if cancelled:
            self.on_change()
        return cancelled

    def _remove(self, prompt_id: str) -> int:
        before = len(self._pending)
        self._pending = [item for item in self._pending if item[1] != prompt_id]
        heapq.heapify(self._pending)
        return before - len(self._pending)

    def forget(self, prompt_ids: Iterable[str]) -> None:
        with self._changed:
            for prompt_id in prompt_ids:
                self._history.pop(prompt_id, None)

    def forget_all(self) -> None:
        with self._changed:
            self._history.clear()

    # -- restarts

    def saved(self) -> SavedQueue:
        """Return all contents, with the running job among the pending ones."""
        with self._changed:
            running = [self._running.item] if self._running else []
            return SavedQueue([*running, *self._pending], OrderedDict(self._history), self._counter)

    def restore(self, saved: SavedQueue, *, queue: bool, history: bool) -> None:
        with self._changed:
            if queue:
                self._pending += saved.items
                heapq.heapify(self._pending)
                self._counter = max(self._counter, saved.counter)
            if history:
                self._history = OrderedDict(saved.history)
            self._changed.notify()


def _now_ms() -> int:
    return int(time.time() * 1000)
