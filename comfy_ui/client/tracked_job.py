"""A job that a client follows, and what is new about it. No I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ComfyHeadlessError, GenerationTimeoutError, JobLostError
from ..protocol._replace import fast_replace
from ..protocol.job import Event, JobState, advance
from ..protocol.outputs import OutputFile
from ..protocol.progress import Phase, Progress
from .result import Result, Saved_co

Observer = Callable[[JobState, JobState, float], None]
"""Told of each change of a job: the state before, after, and the time. Must return at once."""


class TrackedJob:
    """Holds the one state of a job, for all who follow it."""

    def __init__(
        self,
        state: JobState,
        *,
        client_id: str = "",
        on_change: Callable[[TrackedJob], None] | None = None,
    ) -> None:
        self.state = state
        self.client_id = client_id
        """Under which it was queued; only that socket tells of it."""
        self.unreachable_since: float | None = None
        self.trouble: ComfyHeadlessError | None = None
        """Why the last look at it failed."""
        self.error: Exception | None = None
        """Why following was given up. The job itself may go on."""
        self.taken = False
        """Whether nobody will ask for it any more who does not wait for it now."""
        self.observers: list[Observer] = []
        self._on_change = on_change
        self._lock = threading.Lock()  # a sync client may cancel from another thread

    @property
    def prompt_id(self) -> str:
        return self.state.prompt_id

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.error is not None or self.state.final is not None

    @property
    def was_stopped(self) -> bool:
        """Whether it is certain that it does not run to its end."""
        return self.state.final in (Phase.CANCELLED, Phase.LOST)

    def apply(self, event: Event, now: float) -> None:
        with self._lock:
            before = self.state
            after = self.state = advance(before, event, now)
        if after is before:
            return
        for observer in self.observers:
            observer(before, after, now)
        self._changed()

    def rename(self, prompt_id: str) -> None:
        """The server gave it an id of its own. What it said under that before went by unheard."""
        with self._lock:
            self.state = fast_replace(
                self.state, prompt_id=prompt_id, listening=False, unbroken=False
            )

    def forget_preview(self) -> None:
        """It is large, and nobody looks on."""
        with self._lock:
            tracker = fast_replace(self.state.tracker, preview=None)
            self.state = fast_replace(self.state, tracker=tracker)

    def give_up(self, error: Exception) -> None:
        self.error = error
        self._changed()

    def result(self, saver: Callable[[Sequence[OutputFile], Path], Saved_co]) -> Result[Saved_co]:
        """What it gave. Raises the error in which it ended, or for which it was given up."""
        verdict = self.state.verdict()
        if isinstance(verdict, Exception):
            raise verdict
        if verdict is None:
            raise self.error or RuntimeError("the job is not settled")
        return Result(
            prompt_id=self.prompt_id,
            files=list(verdict.files),
            texts=list(verdict.texts),
            seconds=self.state.seconds(),
            cached=self.state.cached,
            _saver=saver,
        )

    def timed_out(self, timeout_s: float) -> GenerationTimeoutError:
        return GenerationTimeoutError(
            f"The job is not finished after {timeout_s:g} s ({self.state.phase}); it goes on.",
            prompt_id=self.prompt_id,
        )

    def _changed(self) -> None:
        if self._on_change:
            self._on_change(self)


class JobChanges:
    """What is new about a job since it was last asked: for ``on_progress`` and ``stream``."""

    def __init__(self, job: TrackedJob) -> None:
        self._job = job
        self._shown: Progress | None = None
        self._seen: set[tuple[str, str, str, str]] = set()

    def progress(self, now: float) -> Progress | None:
        """The newest progress, if anything but its times has changed."""
        progress = self._job.state.progress(now)
        timeless = replace(progress, eta=None, elapsed_s=0.0)
        if timeless == self._shown:
            return None
        self._shown = timeless
        return progress

    def files(self) -> list[OutputFile]:
        """Files that have been named since."""
        state = self._job.state
        if not state.executed and state.entry is None:
            return []
        new = [file for file in state.outputs().files if file.key not in self._seen]
        self._seen.update(file.key for file in new)
        return new


def no_trace(prompt_id: str) -> JobLostError:
    return JobLostError(
        "The server has no trace of the job: it was never there, or a restart forgot it.",
        prompt_id=prompt_id,
    )
