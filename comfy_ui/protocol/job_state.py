"""The state of one job and the events that change it. The rules are in :mod:`.job`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from comfy_ui.errors import (
    GenerationCancelledError,
    GenerationError,
    GenerationFailedError,
    JobLostError,
    OutOfMemoryError,
)

from ._replace import fast_replace
from .durations import Measurement, NodeDurations, ShapeKey
from .graph_cost import GraphCost
from .messages import ExecutionError, ExecutionSuccess, Message
from .outputs import SOCKET_FOLDER, OutputFile, Outputs, collect_outputs
from .progress import Phase, Preview, Progress, Tracker
from .queue_and_history import Ending, HistoryAnswer, HistoryEntry, QueueAnswer

_DISK_FULL_HINT = "The disk of the ComfyUI server is full. Free some space there, then try again."
_MAX_UNREAD: Final = 32
RESUBMIT_AFTER_S = 2.0  # a request whose answer was lost may still be on its way to the server


@dataclass(frozen=True, slots=True)
class Resubmitted:
    """The job is about to be posted again, because its first post was lost."""


@dataclass(frozen=True, slots=True)
class PostAccepted:
    """The server answered the post with 200."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A caller requested a cancellation. Holds until the end."""


@dataclass(frozen=True, slots=True)
class CancelSent:
    """The server answered a cancellation, with 200 for any job."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The socket was closed or given up. ``silent``: only because the server sent nothing."""

    silent: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionRegained:
    """A socket is open again. ``listening``: under the clientId that the job was queued with.

    A fresh clientId is the safe choice; the job's messages are then lost, and it is polled.
    """

    listening: bool = False


@dataclass(frozen=True, slots=True)
class PollFailed:
    """The server did not answer, or its answer could not be read.

    ``silent``: it accepted the connection and then sent nothing.
    """

    silent: bool = False


Event = (
    Message
    | QueueAnswer
    | HistoryAnswer
    | Resubmitted
    | PostAccepted
    | CancelRequested
    | CancelSent
    | ConnectionLost
    | ConnectionRegained
    | PollFailed
)


class Run(NamedTuple):
    """The measured run of a job, and the messages since then, each with its time.

    None stands for the end of the run. Messages are measured when the tracker is asked for: the
    result of a job should not wait for estimates of which no caller has need.
    """

    measured: Tracker
    unread: tuple[tuple[Message | None, float], ...] = ()

    def read(self, *, success: bool = False) -> Tracker:
        """Measure the messages. ``success``: how the run ended, if it did."""
        messages = [(message, now) for message, now in self.unread if message is not None]
        if self.unread and self.unread[-1][0] is None:
            ended_at = self.unread[-1][1]
            return self.measured.end(ended_at, success=success, messages=messages)
        return self.measured.hear_all(messages)

    def later(self, message: Message | None, now: float) -> Run:
        """The run after a message, or its end."""
        measured, unread = self
        if len(unread) >= _MAX_UNREAD:
            measured, unread = self.read(), ()
        return Run(measured, (*unread, (message, now)))


@dataclass(frozen=True)
class JobState:
    """The state of a job. Create it with :func:`new_job` and change it with :func:`advance`.

    ``final`` is None until the job ends. ``phase`` is what to show.
    """

    prompt_id: str
    created_at: float
    run: Run
    accepted: bool = False
    listening: bool = False
    unbroken: bool = False
    connected: bool = True
    running: bool = False
    # The tracker has these two as well, but a result must not wait for it.
    started_at: float | None = None
    from_cache: frozenset[str] = frozenset()
    queue_position: int | None = None
    queue_size: int | None = None
    queue_remaining: int | None = None
    position_is_old: bool = False

    heard_at: float | None = None  # the last message of this job on the current socket
    polled_at: float | None = None
    failed_polls: int = 0
    urgent_since: float = 0.0  # polls slow down from here
    out_of_queue: bool = False
    absent_since: float | None = None
    absences: int = 0

    cancel_requested_at: float | None = None
    cancel_sent_at: float | None = None

    executed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sent: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)  # images, by node
    over_at: float | None = None
    final: Phase | None = None
    final_at: float | None = None
    ending: Ending | None = None
    entry: HistoryEntry | None = None

    @property
    def tracker(self) -> Tracker:
        """The measured run."""
        if self.run.unread:
            tracker = self.run.read(success=self.final is Phase.SUCCEEDED)
            object.__setattr__(self, "run", Run(tracker))
        return self.run.measured

    @property
    def plan(self) -> GraphCost | None:
        """The graph of the run; None if it is unknown."""
        return self.run.measured.plan

    @property
    def phase(self) -> Phase:
        """The phase to show now."""
        if self.final is not None:
            return self.final
        if self.cancel_requested_at is not None:
            return Phase.CANCELLING
        if not self.connected:
            return Phase.RECONNECTING
        return self.tracker.phase if self.running else Phase.QUEUED

    @property
    def needs_queue(self) -> bool:
        """Whether a poll has to read the queue before the history.

        Not after a message that the job is over, unless the history does not confirm it.
        """
        return self.over_at is None or self.absences > 0

    @property
    def may_resubmit(self) -> bool:
        """Whether the post was lost, so that posting again does not run the job twice.

        True only if the server had no trace of the job for ``RESUBMIT_AFTER_S``. Nothing is posted
        automatically.
        """
        return (
            self.final is None
            and not self.accepted
            and self.absences > 1
            and self.polled_at is not None
            and self.absent_since is not None
            and self.polled_at - self.absent_since >= RESUBMIT_AFTER_S
        )

    @property
    def cached(self) -> bool:
        """Whether every output came from the server's cache, with the files of an earlier run."""
        outputs = self.plan.outputs if self.plan else frozenset()
        return bool(outputs) and outputs <= self.from_cache

    def progress(self, now: float) -> Progress:
        """The progress to show now."""
        tracker, preview = self.tracker, self.tracker.preview
        started_at = tracker.started_at
        end = now if self.final_at is None else self.final_at
        working = self.final is None and self.running
        value = tracker.value_at(now) if working else tracker.value
        iteration, iterations = tracker.iteration or (None, None)
        return Progress(
            prompt_id=self.prompt_id,
            phase=self.phase,
            progress=round(value * 100, 1),
            node=tracker.node,
            node_title=tracker.title(tracker.node),
            step=tracker.step,
            steps=tracker.steps,
            queue_position=None if self.running else self.queue_position,
            queue_size=None if self.running else self.queue_size,
            eta=tracker.eta_s(now) if working else None,
            elapsed_s=0.0 if started_at is None else end - started_at,
            preview=preview.image if preview else None,
            preview_type=preview.media_type if preview else None,
            iteration=iteration,
            iterations=iterations,
            text=tracker.text,
        )

    def preview(self) -> Preview | None:
        """The newest preview image."""
        tracker, frame = self.tracker, self.tracker.preview
        if frame is None:
            return None
        node = frame.display_node or frame.node or tracker.node
        return Preview(
            self.prompt_id,
            frame.image,
            frame.media_type,
            node=node,
            node_title=tracker.title(node),
        )

    def measurements(self) -> dict[ShapeKey, Measurement]:
        """The durations of the nodes that have ended, for :meth:`.NodeDurations.learn`."""
        return self.tracker.measurements()

    def seconds(self) -> float | None:
        """How long the run took, by the server's clock if it reported; None before the end."""
        if self.entry is not None and self.entry.seconds is not None:
            return self.entry.seconds
        if self.final_at is None or self.started_at is None:
            return None
        return self.final_at - self.started_at

    def outputs(self, *, include_temp: bool = False) -> Outputs:
        """The outputs so far, even if the job failed later."""
        per_node: Mapping[str, Any] = self.executed
        if self.entry is not None:
            per_node = {**self.executed, **self.entry.outputs}
        if self.sent:
            per_node = {**per_node, **{node: self._listed(node) for node in self.sent}}
        order = [*per_node]
        if len(order) > 1:
            rank = {id_: i for i, id_ in enumerate(self.plan.classes if self.plan else ())}
            # An inner node such as 2.0.0.1 is ordered like the node that created it.
            order.sort(key=lambda id_: rank.get(id_, rank.get(id_.partition(".")[0], len(rank))))
        return collect_outputs(per_node, order=order, include_temp=include_temp)

    def sent_since(self, before: JobState) -> Iterator[tuple[OutputFile, bytes]]:
        """Images received over the socket since ``before``, named as in ``outputs``."""
        for node, pictures in self.sent.items():
            old = len(before.sent.get(node, ()))
            if len(pictures) > old:
                files = collect_outputs({node: self._listed(node)}).files
                yield from zip(files[old:], pictures[old:], strict=True)

    def _listed(self, node: str) -> dict[str, list[dict[str, str]]]:
        """The images that a node sent, in the form of saved ones."""
        return {
            "images": [
                {
                    "filename": f"{node}_{number:05}_.png",
                    "subfolder": self.prompt_id,
                    "type": SOCKET_FOLDER,
                }
                for number in range(1, len(self.sent[node]) + 1)
            ]
        }

    def verdict(self, *, include_temp: bool = False) -> Outputs | GenerationError | None:
        """The outputs, or the error to raise instead; None before the end."""
        match self.final:
            case None:
                return None
            case Phase.SUCCEEDED:
                return self.outputs(include_temp=include_temp)
            case Phase.CANCELLED:
                return self._cancelled()
            case Phase.FAILED:
                return self._failed()
        return self._lost()

    def _cancelled(self) -> GenerationCancelledError:
        if self.cancel_requested_at is not None:
            return GenerationCancelledError("The job was cancelled.", prompt_id=self.prompt_id)
        return GenerationCancelledError(
            "The job was interrupted at the server.", prompt_id=self.prompt_id
        )

    def _failed(self) -> GenerationFailedError:
        error = self.ending
        if not isinstance(error, ExecutionError):
            error = ExecutionError(self.prompt_id)
        title = self.tracker.title(error.node_id) or error.node_type
        message = error.exception_message.strip() or error.exception_type
        kind = OutOfMemoryError if is_out_of_memory(error) else GenerationFailedError
        return kind(
            f"{title or 'ComfyUI'}: {message or 'the run failed without a message.'}",
            prompt_id=self.prompt_id,
            node_id=error.node_id,
            node_type=error.node_type,
            node_title=title,
            exception_type=error.exception_type,
            traceback=error.traceback,
            hint=_DISK_FULL_HINT if is_disk_full(error) else "",
        )

    def _lost(self) -> JobLostError:
        if isinstance(self.ending, ExecutionSuccess):
            return JobLostError(
                "ComfyUI finished the job, but no longer lists its outputs.",
                prompt_id=self.prompt_id,
                finished=True,
                hint="Check ComfyUI's output folder, or queue it again.",
            )
        if not self.accepted:
            return JobLostError(
                "The server's answer to the job was lost, and it has no trace of it.",
                prompt_id=self.prompt_id,
            )
        return JobLostError(
            "ComfyUI restarted or deleted this job, so nothing was saved.",
            prompt_id=self.prompt_id,
        )


def new_job(
    prompt_id: str,
    *,
    now: float,
    graph: Mapping[str, Any] | None = None,
    output_nodes: Collection[str] | None = None,
    listening: bool = False,
    accepted: bool = False,
    durations: NodeDurations | None = None,
) -> JobState:
    """A job about to be posted, or one that another client has posted.

    Args:
        prompt_id: the id it is posted under.
        now: seconds of a clock that never goes back; the same one in all calls.
        graph: the posted graph, for titles and the percentage; by default taken from the queue.
        output_nodes: ids that the run is restricted to (``partial_execution_targets``).
        listening: whether a socket is open under the clientId of the post. Otherwise, and for
            another client's job, it is tracked by polling.
        accepted: whether the server is known to have the job.
        durations: what earlier runs on the server took.
    """
    plan = None if graph is None else GraphCost(graph, output_nodes=output_nodes)
    return fast_replace(
        _UNKNOWN_JOB,
        prompt_id=prompt_id,
        created_at=now,
        run=Run(fast_replace(_NO_RUN, plan=plan, durations=durations)),
        accepted=accepted,
        listening=listening,
        unbroken=listening,
        urgent_since=now,
    )


# To set fifty fields one by one takes as long as to send a request.
_NO_RUN: Final = Tracker()
_UNKNOWN_JOB: Final = JobState("", 0.0, Run(_NO_RUN))


def is_out_of_memory(error: ExecutionError) -> bool:
    """Whether a node ran out of memory, by the exceptions of PyTorch and Python."""
    kind, message = error.exception_type or "", error.exception_message.lower()
    return (
        "OutOfMemory" in kind
        or kind.rpartition(".")[2] == "MemoryError"
        or "out of memory" in message
        or "allocation on device" in message
        or "not enough memory" in message
    )


def is_disk_full(error: ExecutionError) -> bool:
    """Whether a node could not write a file for lack of space, by the messages of the systems."""
    message = error.exception_message.lower()
    return "no space left on device" in message or "not enough space on the disk" in message
