"""Flows around a job: queue it exactly once, poll it, cancel it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ...errors import (
    AuthenticationError,
    CircuitOpenError,
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    JobLostError,
    ServerRejectedError,
    is_silence,
)
from ...protocol.durations import NodeDurations
from ...protocol.job import (
    CancelRequested,
    CancelSent,
    PollFailed,
    PostAccepted,
    Resubmitted,
    cancel_due,
    new_job,
    poll_due,
)
from ...protocol.queue_and_history import HistoryAnswer
from ...protocol.retry import Failure, classify_status
from .. import endpoints
from ..operations import Asker, Flow
from ..response_models import Capabilities, SystemStats
from ..submission import Runnable, dropped_outputs
from ..transport.request import ApiResponse, rejection
from .job_telemetry import Telemetry
from .tracked_job import TrackedJob

logger = logging.getLogger(__name__)

# One connection may stay silent while the next one works, so a poll times out sooner than the
# server is given up. Not at once: the server's event loop blocks while it loads models.
POLL_PATIENCE_S = 60.0
_POLLS_BEFORE_GIVING_UP = 4
_LEAST_PATIENCE_S = 1.0
_MAX_POSTS = 3
_DEVICE_S = 2.0  # a progress bar may begin without the answer
LOOK_S = 30.0
"""How long a silent server is asked whether it has a job."""
_TAKE_BACK_S = 30.0  # how long to try to cancel a job that the server accepted in part
# While the circuit is open a poll costs nothing, and another client's probe may close it.
_REFUSED_S = 0.5


class JobTracking:
    """The flows around jobs, for one client.

    Args:
        asker: sends the requests.
        telemetry: records queue depths.
        is_cloud: whether the server is Comfy Cloud, whose interrupt stops all jobs of the account,
            and which assigns its own ids.
    """

    def __init__(self, asker: Asker, telemetry: Telemetry, *, is_cloud: bool) -> None:
        self._asker = asker
        self._telemetry = telemetry
        self._interrupts_one = not is_cloud
        self._keeps_our_ids = not is_cloud  # the first answer corrects this
        self._atomic_cancel: bool | None = None
        self._refused_until = 0.0

    def submit(
        self,
        job: TrackedJob,
        runnable: Runnable,
        *,
        front: bool,
        extra_data: Mapping[str, Any] | None,
        strict: bool,
        resubmit: bool,
    ) -> Flow[None]:
        """Post a job so that it is queued exactly once. Arguments as in ``queue_prompt``.

        Raises:
            InvalidWorkflowError: the server refused it, or (``strict``) would run only a part of
                it: then the job is cancelled.
            JobLostError: the server stopped instead of answering and does not have the job now,
                and ``resubmit`` is false.
            ComfyUIConnectionError: it is unknown whether the job was queued. The job is not posted
                again then: losing it is better than paying for it twice.
        """
        call = endpoints.submit(
            runnable.graph,
            prompt_id=job.prompt_id,
            client_id=job.client_id,
            front=front,
            extra_data=runnable.extra_data(extra_data),
        )
        for posts_left in reversed(range(_MAX_POSTS)):
            try:
                # Without ``resubmit`` the caller decides when to post again.
                submitted = yield from self._asker.ask(call, waits_for_room=resubmit)
            except (ComfyUIConnectionError, ServerRejectedError) as error:
                if not _may_be_queued(error):
                    raise
                if not self._keeps_our_ids:  # nothing to look for
                    raise _in_doubt(error) from error
                logger.info("The post of job %s was not answered; looking for it", job.prompt_id)
                if (yield from self.find(job, error)):
                    return
                if not posts_left:
                    raise
                if job.server_was_offline and not resubmit:
                    raise _stopped_at(job) from error
                job.apply(Resubmitted(), self._asker.clock())
            else:
                break
        if submitted.prompt_id != job.prompt_id:  # not every server accepts ours
            self._keeps_our_ids = False
            job.rename(submitted.prompt_id)
        job.apply(PostAccepted(), self._asker.clock())
        if submitted.problems:
            dropped = dropped_outputs(submitted)
            if strict:
                yield from self.cancel(job, timeout_s=_TAKE_BACK_S)
                raise dropped
            logger.warning("%s", dropped)

    def learn_device(self, durations: NodeDurations) -> Flow[None]:
        """Ask the server once what it computes on, best before the first job starts."""
        if durations.device is not None:
            return
        durations.device = ""
        try:
            stats = yield from self._asker.once(endpoints.system_stats(), patience_s=_DEVICE_S)
        except ComfyUIConnectionError:  # busy, perhaps: asked again with the next job
            durations.device = None
        except ComfyHeadlessError as error:  # some servers do not say
            logger.debug("The server does not say what it computes on: %s", error)
        else:
            note_device(stats, durations)

    def has(self, prompt_id: str, *, silence_s: float) -> Flow[bool]:
        """Check whether the server has, or has had, a job; see :meth:`find`."""
        job = TrackedJob(new_job(prompt_id, now=self._asker.clock()))
        return (yield from self.find(job, silence_s=silence_s))

    def find(
        self, job: TrackedJob, error: ComfyHeadlessError | None = None, *, silence_s: float = LOOK_S
    ) -> Flow[bool]:
        """Check whether the server has a job whose post was not answered.

        Looks twice, because the post may still be on its way.

        Args:
            job: a job that is not known to be accepted.
            error: the error of its post; raised if the server does not answer, or would refuse
                another post for the same reason.
            silence_s: seconds that the server may stay silent.
        """
        silence_s = min(silence_s, self._asker.timeout_s)
        deadline = self._asker.clock() + silence_s
        while not job.state.accepted:
            absent = job.state.may_resubmit or (error is None and job.was_stopped)
            if absent:
                if isinstance(error, ServerRejectedError):
                    raise error  # another post would fail the same way
                return False
            if job.settled or self._asker.clock() >= deadline:
                raise error or job.trouble or _not_answered(job)
            next_poll_at = yield from self.tend([job], deadline=deadline)
            if job.trouble is None:  # slow is not silent
                deadline = self._asker.clock() + silence_s
            state = job.state
            if not state.accepted and not job.settled:
                yield self._asker.until(min(next_poll_at, deadline))
        return True

    def tend(self, jobs: Sequence[TrackedJob], *, deadline: float | None = None) -> Flow[float]:
        """Send the polls and cancellations that are due for these jobs; return the next due time.

        A silent server delays the caller only briefly beyond ``deadline``.
        """
        now = self._asker.clock()
        patience_s = self._patience_s(math.inf if deadline is None else deadline - now)
        for job in jobs:
            if cancel_due(job.state) <= now:
                yield from self._stop(job, patience_s)
        due_ids = {job.prompt_id for job in jobs if poll_due(job.state, now) <= now}
        if due_ids:
            yield from self._look([job for job in jobs if not job.settled], due_ids, patience_s)
            now = self._asker.clock()
        times = [_next_due(job, now) for job in jobs if not job.settled]
        return max(min(times, default=math.inf), self._refused_until)

    def _patience_s(self, remaining_s: float) -> float:
        """How long to wait for an answer if ``remaining_s`` seconds remain."""
        whole_s = self._asker.timeout_s
        fair_s = min(whole_s / _POLLS_BEFORE_GIVING_UP, remaining_s)
        return min(max(fair_s, _LEAST_PATIENCE_S), whole_s, POLL_PATIENCE_S)

    def cancel(self, job: TrackedJob, *, timeout_s: float) -> Flow[bool]:
        """Stop a job and wait until it has stopped. False: it has ended, or still runs."""
        job.apply(CancelRequested(), self._asker.clock())
        deadline = self._asker.clock() + timeout_s
        while not job.settled and self._asker.clock() < deadline:
            next_poll_at = yield from self.tend([job], deadline=deadline)
            if not job.settled:
                yield self._asker.until(min(next_poll_at, deadline))
        return job.was_stopped

    def unqueue(self, prompt_id: str) -> Flow[bool]:
        """Remove a pending job from the queue. False: it has started, or has ended already."""
        yield from self._asker.ask(endpoints.unqueue(prompt_id))
        # In this order: a job moves from the queue to the history, never back.
        if (yield from self._asker.ask(endpoints.queue())).answer(prompt_id).place != "absent":
            return False
        return (yield from self._asker.ask(endpoints.history(prompt_id))) is None

    def _stop(self, job: TrackedJob, patience_s: float) -> Flow[None]:
        """Send one cancellation; ``cancel_due`` decides when to repeat it."""
        ask = partial(self._asker.once, patience_s=patience_s)
        try:
            if self._atomic_cancel is not False:
                cancelled = yield from ask(endpoints.cancel_job(job.prompt_id))
                self._atomic_cancel = cancelled is not None
            if not self._atomic_cancel:
                # In this order: a job moves from pending to running, never back.
                yield from ask(endpoints.unqueue(job.prompt_id))
                if self._interrupts_one:
                    yield from ask(endpoints.interrupt(job.prompt_id))
        except (ComfyUIConnectionError, ServerRejectedError) as error:
            self._unreachable([job], error)
        # After a failure as well, or the next attempt would come at once.
        job.apply(CancelSent(), self._asker.clock())

    def _look(self, jobs: Sequence[TrackedJob], due_ids: set[str], patience_s: float) -> Flow[None]:
        """Poll the queue once for all jobs, then the history of those that are not in it."""
        ask = partial(self._asker.once, patience_s=patience_s)
        try:
            if any(job.state.needs_queue for job in jobs if job.prompt_id in due_ids):
                snapshot = yield from ask(endpoints.queue())
                self._telemetry.queue_depth(len(snapshot.running) + len(snapshot.pending))
                for job in jobs:
                    answer = snapshot.answer(job.prompt_id)
                    # While the socket reports on a job, its absence here means nothing yet.
                    on_socket = answer.place == "absent" and job.state.listening
                    if job.state.needs_queue and (job.prompt_id in due_ids or not on_socket):
                        job.apply(answer, self._asker.clock())
            for job in jobs:
                left_queue = job.state.out_of_queue or not job.state.needs_queue
                if (
                    left_queue
                    and not job.settled
                    and (job.prompt_id in due_ids or not job.state.listening)
                ):
                    entry = yield from ask(endpoints.history(job.prompt_id))
                    job.apply(HistoryAnswer(entry), self._asker.clock())
        except (ComfyUIConnectionError, ServerRejectedError) as error:
            self._unreachable(jobs, error)
        else:
            for job in jobs:
                job.unreachable_since = job.trouble = None

    def _unreachable(self, jobs: Sequence[TrackedJob], error: ComfyHeadlessError) -> None:
        """Give up at once if the server requires a login, else after ``timeout_s`` of silence."""
        now = self._asker.clock()
        refused = error if isinstance(error, CircuitOpenError) else None
        if refused:
            self._refused_until = now + min(refused.retry_after_s, _REFUSED_S)
        for job in jobs:
            job.trouble = error
            job.server_was_offline |= isinstance(error, ComfyUIOfflineError)
            if job.unreachable_since is None:
                job.unreachable_since = now
            # An open circuit did not ask the server, so the next poll need not wait longer.
            if not refused or job.state.connected:
                job.apply(PollFailed(silent=is_silence(error)), now)
            hopeless = isinstance(error, ComfyUIConnectionError) and not error.retryable
            if hopeless or now - job.unreachable_since >= self._asker.timeout_s:
                job.give_up(error)

    def capabilities(self) -> Flow[Capabilities]:
        """Probe the routes of newer versions. Changes nothing on the server."""
        jobs: ApiResponse = yield endpoints.jobs(limit=1)
        cancel: ApiResponse = yield endpoints.cancel_jobs([])
        for answer in (jobs, cancel):
            if isinstance(error := rejection(answer), AuthenticationError):
                raise error  # the answer says nothing about the route
        self._atomic_cancel = cancel.status == 200
        return Capabilities(jobs_api=jobs.status == 200, atomic_cancel=self._atomic_cancel)


def _in_doubt(error: ComfyHeadlessError) -> ComfyUIConnectionError:
    return ComfyUIConnectionError(
        f"{error.message} It is unknown whether the job was queued.",
        hint="Check the server's queue before you queue it again: this server assigns its own ids, "
        "so the job cannot be looked up.",
        retryable=False,
    )


def _stopped_at(job: TrackedJob) -> JobLostError:
    return JobLostError(
        "ComfyUI stopped when it received the job, and has no trace of it.",
        prompt_id=job.prompt_id,
    )


def _not_answered(job: TrackedJob) -> ComfyUIConnectionError:
    return ComfyUIConnectionError(
        f"The server did not answer whether it has job {job.prompt_id}.",
        hint="Check that ComfyUI runs and answers, then try again.",
    )


def _next_due(job: TrackedJob, now: float) -> float:
    return min(poll_due(job.state, now), cancel_due(job.state))


def note_device(stats: SystemStats, durations: NodeDurations) -> None:
    """Note what a server computes on, for the estimates of jobs that start from now on."""
    # The demo engine, which has no PyTorch, is as fast as it was started to be.
    if stats.devices and not stats.pytorch_version.startswith("none"):
        durations.device = stats.devices[0].type


def _may_be_queued(error: ComfyHeadlessError) -> bool:
    """Whether a post that raised this error may have reached the queue."""
    if isinstance(error, ServerRejectedError):
        return classify_status(error.status, idempotent=False) is Failure.UNKNOWN
    return error.retryable and not isinstance(error, ComfyUIOfflineError | CircuitOpenError)
