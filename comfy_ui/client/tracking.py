"""A job from its post to its end: queued once, followed by polling, stopped for certain."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial

from ..errors import (
    AuthenticationError,
    CircuitOpenError,
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    ServerRejectedError,
)
from ..protocol.job import (
    Accepted,
    CancelRequested,
    CancelSent,
    PollFailed,
    Submitted as PostedAgain,
    cancel_due,
    new_job,
    poll_due,
)
from ..protocol.queue_and_history import HistoryAnswer
from ..protocol.retry import Failure, classify_status
from . import endpoints
from .job_telemetry import Telemetry
from .operations import Asker, Flow
from .response_models import Capabilities
from .submission import SubmissionResult, dropped_outputs
from .tracked_job import TrackedJob
from .transport.request import ApiRequest, ApiResponse, rejection

logger = logging.getLogger(__name__)

# A connection may go silent for ever, and the next one work: so a poll is given up sooner than the
# server, for which there are several. Not at once, as its event loop stands still while it loads.
POLL_PATIENCE_S = 60.0
_POLLS_BEFORE_GIVING_UP = 4
_LEAST_PATIENCE_S = 1.0
_MAX_POSTS = 3
LOOK_S = 30.0
"""How long a silent server is asked for a job of which nobody knows whether it got there."""
_TAKE_BACK_S = 30.0  # how long to see a job off that was not wanted
# While the circuit is open, to be asked costs nothing; another client's probe may close it.
_REFUSED_S = 0.5


class JobTracking:
    """The flows around jobs, of one client.

    ``is_cloud``: the server is Comfy Cloud, whose interrupt stops all jobs of its user, and which
    gives jobs ids of its own.
    """

    def __init__(self, asker: Asker, telemetry: Telemetry, *, is_cloud: bool) -> None:
        self._asker = asker
        self._telemetry = telemetry
        self._interrupts_one = not is_cloud
        self._keeps_our_ids = not is_cloud  # others tell by their first answer
        self._atomic_cancel: bool | None = None
        self._refused_until = 0.0

    def submit(
        self, job: TrackedJob, call: ApiRequest[SubmissionResult], *, strict: bool
    ) -> Flow[None]:
        """Post a job so that it is queued once.

        Raises:
            InvalidWorkflowError: the server refused it, or (``strict``) would run only a part of
                it: then it is taken out of the queue again.
            ComfyUIConnectionError: whether it was queued could not be found out. It is not posted
                again then: lost once is better than paid for twice.
        """
        for posts_left in reversed(range(_MAX_POSTS)):
            try:
                submitted = yield from self._asker.ask(call)
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
                job.apply(PostedAgain(), self._asker.clock())
            else:
                break
        if submitted.prompt_id != job.prompt_id:  # not every server takes ours
            self._keeps_our_ids = False
            job.rename(submitted.prompt_id)
        job.apply(Accepted(), self._asker.clock())
        if submitted.problems:
            dropped = dropped_outputs(submitted)
            if strict:
                yield from self.cancel(job, timeout_s=_TAKE_BACK_S)
                raise dropped
            logger.warning("%s", dropped)

    def has(self, prompt_id: str, *, silence_s: float) -> Flow[bool]:
        """Whether the server has, or has had, a job; see :meth:`find`."""
        job = TrackedJob(new_job(prompt_id, now=self._asker.clock()))
        return (yield from self.find(job, silence_s=silence_s))

    def find(
        self, job: TrackedJob, error: ComfyHeadlessError | None = None, *, silence_s: float = LOOK_S
    ) -> Flow[bool]:
        """Whether the server has a job of which nobody knows whether it got there.

        It is looked for a second time: its post may still be on the way.

        Args:
            job: one that is not known to be accepted.
            error: what its post ended in; raised if it cannot be found out, or is bound to come
                again.
            silence_s: how long the server may leave the question unanswered.
        """
        silence_s = min(silence_s, self._asker.timeout_s)
        deadline = self._asker.clock() + silence_s
        while not job.state.accepted:
            absent = job.state.may_resubmit or (error is None and job.was_stopped)
            if absent:
                if isinstance(error, ServerRejectedError):
                    raise error  # its own failure, which would come again
                return False
            if job.settled or self._asker.clock() >= deadline:
                raise error or job.trouble or _not_found_out(job)
            due = yield from self.tend([job], deadline=deadline)
            if job.trouble is None:  # slow is not silent
                deadline = self._asker.clock() + silence_s
            state = job.state
            if not state.accepted and not job.settled:
                yield self._asker.until(min(due, deadline))
        return True

    def tend(self, jobs: Sequence[TrackedJob], *, deadline: float | None = None) -> Flow[float]:
        """Do what is due for these jobs: tell the server to stop, or look. Gives the next time.

        Who has a ``deadline`` is not kept waiting for long after it by a server that is silent.
        """
        now = self._asker.clock()
        patience_s = self._patience_s(math.inf if deadline is None else deadline - now)
        for job in jobs:
            if cancel_due(job.state) <= now:
                yield from self._stop(job, patience_s)
        due = {job.prompt_id for job in jobs if poll_due(job.state, now) <= now}
        if due:
            yield from self._look([job for job in jobs if not job.settled], due, patience_s)
            now = self._asker.clock()
        times = [_next_due(job, now) for job in jobs if not job.settled]
        return max(min(times, default=math.inf), self._refused_until)

    def _patience_s(self, left_s: float) -> float:
        """How long to wait for a sign of an answer, with so much time left."""
        whole_s = self._asker.timeout_s
        fair_s = min(whole_s / _POLLS_BEFORE_GIVING_UP, left_s)
        return min(max(fair_s, _LEAST_PATIENCE_S), whole_s, POLL_PATIENCE_S)

    def cancel(self, job: TrackedJob, *, timeout_s: float) -> Flow[bool]:
        """Stop a job, and see to it. False: it has ended, or still goes on."""
        job.apply(CancelRequested(), self._asker.clock())
        deadline = self._asker.clock() + timeout_s
        while not job.settled and self._asker.clock() < deadline:
            due = yield from self.tend([job], deadline=deadline)
            if not job.settled:
                yield self._asker.until(min(due, deadline))
        return job.was_stopped

    def _stop(self, job: TrackedJob, patience_s: float) -> Flow[None]:
        """Tell the server once; ``cancel_due`` says when to tell it again."""
        ask = partial(self._asker.once, patience_s=patience_s)
        try:
            if self._atomic_cancel is not False:
                answered = yield from ask(endpoints.cancel_job(job.prompt_id))
                self._atomic_cancel = answered is not None
            if not self._atomic_cancel:
                # In this order: meanwhile it may move from pending to running, never back.
                yield from ask(endpoints.unqueue(job.prompt_id))
                if self._interrupts_one:
                    yield from ask(endpoints.interrupt(job.prompt_id))
        except (ComfyUIConnectionError, ServerRejectedError) as error:
            self._unreachable([job], error)
        # After a failure too: the next attempt is not to come at once.
        job.apply(CancelSent(), self._asker.clock())

    def _look(self, jobs: Sequence[TrackedJob], due: set[str], patience_s: float) -> Flow[None]:
        """The queue, once for all jobs, then the history of those that are not in it."""
        ask = partial(self._asker.once, patience_s=patience_s)
        try:
            if any(job.state.needs_queue for job in jobs if job.prompt_id in due):
                snapshot = yield from ask(endpoints.queue())
                self._telemetry.queue_depth(len(snapshot.running) + len(snapshot.pending))
                for job in jobs:
                    answer = snapshot.answer(job.prompt_id)
                    # While its socket tells of a job, its absence is not yet to be doubted.
                    told = answer.place == "absent" and job.state.listening
                    if job.state.needs_queue and (job.prompt_id in due or not told):
                        job.apply(answer, self._asker.clock())
            for job in jobs:
                gone = job.state.out_of_queue or not job.state.needs_queue
                if gone and not job.settled and (job.prompt_id in due or not job.state.listening):
                    entry = yield from ask(endpoints.history(job.prompt_id))
                    job.apply(HistoryAnswer(entry), self._asker.clock())
        except (ComfyUIConnectionError, ServerRejectedError) as error:
            self._unreachable(jobs, error)
        else:
            for job in jobs:
                job.unreachable_since = job.trouble = None

    def _unreachable(self, jobs: Sequence[TrackedJob], error: ComfyHeadlessError) -> None:
        """A server that is away mostly comes back; one that wants a login does not."""
        now = self._asker.clock()
        refused = error if isinstance(error, CircuitOpenError) else None
        if refused:
            self._refused_until = now + min(refused.retry_after_s, _REFUSED_S)
        for job in jobs:
            job.trouble = error
            if job.unreachable_since is None:
                job.unreachable_since = now
            if not refused or job.state.connected:  # not asked, so no slower the next time
                job.apply(PollFailed(), now)
            hopeless = isinstance(error, ComfyUIConnectionError) and not error.retryable
            if hopeless or now - job.unreachable_since >= self._asker.timeout_s:
                job.give_up(error)

    def capabilities(self) -> Flow[Capabilities]:
        """Probed by route, not by version. Changes nothing at the server."""
        jobs: ApiResponse = yield endpoints.jobs(limit=1)
        cancel: ApiResponse = yield endpoints.cancel_jobs([])
        for answer in (jobs, cancel):
            if isinstance(error := rejection(answer), AuthenticationError):
                raise error  # which says nothing about the route
        self._atomic_cancel = cancel.status == 200
        return Capabilities(jobs_api=jobs.status == 200, atomic_cancel=self._atomic_cancel)


def _in_doubt(error: ComfyHeadlessError) -> ComfyUIConnectionError:
    return ComfyUIConnectionError(
        f"{error.message} Whether the job was queued is not known.",
        hint="Look at the server's queue before you queue it again: this server gives jobs ids of "
        "its own, so it cannot be looked for.",
        retryable=False,
    )


def _not_found_out(job: TrackedJob) -> ComfyUIConnectionError:
    return ComfyUIConnectionError(
        f"Whether the server has job {job.prompt_id} could not be found out.",
        hint="Check that ComfyUI runs and answers, then try again.",
    )


def _next_due(job: TrackedJob, now: float) -> float:
    return min(poll_due(job.state, now), cancel_due(job.state))


def _may_be_queued(error: ComfyHeadlessError) -> bool:
    """Whether a post that ended in this error may have reached the queue."""
    if isinstance(error, ServerRejectedError):
        return classify_status(error.status, idempotent=False) is Failure.UNKNOWN
    return error.retryable and not isinstance(error, ComfyUIOfflineError | CircuitOpenError)
