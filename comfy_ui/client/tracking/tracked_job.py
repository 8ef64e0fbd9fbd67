"""A job that a client tracks, and its changes. No I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ComfyHeadlessError, GenerationTimeoutError, JobLostError
from ...protocol._replace import fast_replace
from ...protocol.job import Event, JobState, Run, advance
from ...protocol.messages import PreviewFrame
from ...protocol.outputs import OutputFile
from ...protocol.progress import Phase, Preview, Progress
from ...protocol.queue_and_history import HistoryAnswer
from ...workflow.graph import Graph, copied, is_api_graph
from ...workflow.prompt_of_graph import prompt_of_graph
from ..result import Result, Saved_co
from ..submission import Runnable

Observer = Callable[[JobState, JobState, float], None]
"""Called on each change of a job with the states before and after and the time. Must not block."""


class TrackedJob:
    """Holds the state of a job, for everything that tracks it."""

    def __init__(
        self,
        state: JobState,
        *,
        runnable: Runnable | None = None,
        client_id: str = "",
        on_change: Callable[[TrackedJob], None] | None = None,
    ) -> None:
        self.state = state
        self._runnable = runnable
        self.client_id = client_id
        """The clientId it was queued under; only that socket gets its messages."""
        self.unreachable_since: float | None = None
        self.trouble: ComfyHeadlessError | None = None
        """Why the last poll failed."""
        self.server_was_offline = False
        """Whether a poll has found nothing at the address."""
        self.error: Exception | None = None
        """Why tracking stopped. The job itself may continue."""
        self.taken = False
        """Whether the job can be dropped as soon as no caller waits for it."""
        self._reported_graph: Graph | None = None
        """The graph of another client's job, as the server has it."""
        self._described: tuple[Graph | None, dict[str, Any]] | None = None
        self.observers: list[Observer] = []
        self._on_change = on_change
        self._lock = threading.Lock()  # a sync client may cancel from another thread

    @property
    def prompt_id(self) -> str:
        return self.state.prompt_id

    @property
    def settled(self) -> bool:
        """Whether the job has ended, or tracking was given up."""
        return self.error is not None or self.state.final is not None

    @property
    def was_stopped(self) -> bool:
        """Whether the job certainly does not run to its end."""
        return self.state.final in (Phase.CANCELLED, Phase.LOST)

    def apply(self, event: Event, now: float) -> None:
        if self._runnable is None and isinstance(event, HistoryAnswer) and event.entry:
            graph = event.entry.graph
            self._reported_graph = graph if is_api_graph(graph) else None
        with self._lock:
            before = self.state
            after = self.state = advance(before, event, now)
        if after is before:
            return
        durations = after.run.measured.durations
        if after.final is not None and durations is not None:
            durations.learn_later(after.measurements)
        for observer in self.observers:
            observer(before, after, now)
        if self._on_change:
            self._on_change(self)

    def rename(self, prompt_id: str) -> None:
        """Take the id that the server assigned; earlier messages under it were missed."""
        with self._lock:
            self.state = fast_replace(
                self.state, prompt_id=prompt_id, listening=False, unbroken=False
            )

    def forget_preview(self) -> None:
        """Drop the preview image, which is large, when no caller watches the job."""
        with self._lock:
            if self.state.run.measured.preview is not None:
                tracker = fast_replace(self.state.tracker, preview=None)
                self.state = fast_replace(self.state, run=Run(tracker))

    def give_up(self, error: Exception) -> None:
        """Stop tracking because of an error."""
        self.error = error
        if self._on_change:
            self._on_change(self)

    def result(
        self,
        saver: Callable[[Sequence[OutputFile], Path], Saved_co],
        reader: Callable[[OutputFile], bytes],
    ) -> Result[Saved_co]:
        """The result, whose files ``saver`` and ``reader`` fetch.

        Raises the error in which the job ended, or tracking was given up.
        """
        verdict = self.state.verdict()
        if isinstance(verdict, Exception):
            raise verdict
        if verdict is None:
            raise self.error or RuntimeError("the job is not settled")
        (graph, values), self._described = self._described or self._describe(), None
        return Result(
            prompt_id=self.prompt_id,
            files=[file.readable_by(reader, self.prompt_id) for file in verdict.files],
            texts=list(verdict.texts),
            seconds=self.state.seconds(),
            cached=self.state.cached,
            _saver=saver,
            graph=graph,
            values=values,
        )

    def describe_early(self) -> None:
        """Prepare what the end of the job will need of its graph, while the server works."""
        if self._runnable is not None and self._described is None:
            self._described = self._describe()
            if self.state.plan is not None:
                _ = self.state.plan.outputs  # read on first use

    def timed_out(self, timeout_s: float, *, cancels: bool) -> GenerationTimeoutError:
        """The error for a caller whose time-out has passed, and which ``cancels`` the job."""
        ending = "was cancelled" if cancels else "continues"
        return GenerationTimeoutError(
            f"The job is not finished after {timeout_s:g} s ({self.state.phase}); it {ending}.",
            hint="Allow more with timeout=." if cancels else "",
            prompt_id=self.prompt_id,
        )

    def _describe(self) -> tuple[Graph | None, dict[str, Any]]:
        """The graph and the values of the result, which may change them."""
        graph = copied(self._runnable.graph) if self._runnable else self._reported_graph
        values = dict(self._runnable.values) if self._runnable else {}
        return graph, values or (_values_of(graph) if graph else {})


def _values_of(graph: Graph) -> dict[str, Any]:
    prompt, seed = prompt_of_graph(graph)
    return {"prompt": prompt or None, "seed": seed}


class JobChanges:
    """What has changed about a job since the last call, for ``on_progress`` and ``stream``."""

    def __init__(self, job: TrackedJob) -> None:
        self._job = job
        self._last_progress: Progress | None = None
        self._last_frame: PreviewFrame | None = None
        self._seen: set[tuple[str, str, str, str]] = set()

    def progress(self, now: float) -> Progress | None:
        """The newest progress, if anything except its times has changed."""
        progress = self._job.state.progress(now)
        timeless = replace(progress, eta=None, elapsed_s=0.0)
        if timeless == self._last_progress:
            return None
        self._last_progress = timeless
        return progress

    def preview(self) -> Preview | None:
        """The newest preview image, if it has changed."""
        frame = self._job.state.tracker.preview
        if frame is None or frame is self._last_frame:
            return None
        self._last_frame = frame
        return self._job.state.preview()

    def events(
        self, now: float, reader: Callable[[OutputFile], bytes]
    ) -> Iterator[OutputFile | Preview | Progress]:
        """All that has changed, for ``stream``; ``reader`` fetches the content of files."""
        for file in self.files():
            yield file.readable_by(reader, self._job.prompt_id)
        if preview := self.preview():
            yield preview
        if progress := self.progress(now):
            yield progress

    def files(self) -> list[OutputFile]:
        """Files that the server has reported since."""
        state = self._job.state
        if not state.executed and state.entry is None:
            return []
        new = [file for file in state.outputs().files if file.key not in self._seen]
        self._seen.update(file.key for file in new)
        return new


def no_trace(prompt_id: str) -> JobLostError:
    """The error for a job that the server does not know."""
    return JobLostError(
        "The server has no trace of the job: it was never there, or a restart forgot it.",
        prompt_id=prompt_id,
    )
