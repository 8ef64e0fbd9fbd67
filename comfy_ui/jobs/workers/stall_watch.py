"""Why a running job makes no progress, for the people who wait for it."""

from __future__ import annotations

from ...client.server_check import ServerCheck
from ...errors import is_silence
from ...health import WorkerDeathDetector
from ...storage.records import JobError

CHECK_S = 15.0
"""A job is looked at after so long without progress, and again as often."""
_HUNG_S = 600.0  # loading a large model from a slow disk takes minutes


class StallWatch:
    """Judges a job that makes no progress by checks of its server. Pure."""

    def __init__(self) -> None:
        self._worker_deaths = WorkerDeathDetector()

    def trouble(self, check: ServerCheck, *, silent_s: float, now: float) -> JobError | None:
        """Return what to tell the user, or None if the job may just be slow.

        ``silent_s``: how long the job has made no progress; ``now`` is on the monotonic clock.
        """
        if check.queue is None and not is_silence(check.error):  # the job's followers know that
            return None
        running = frozenset(check.queue.running if check.queue is not None else ())
        if self._worker_deaths.is_dead(running, at=now, log_says_so=check.worker_died):
            return JobError(
                "ComfyUI answers, but its worker has crashed over a job.",
                "Restart ComfyUI. The job then runs again on its own.",
            )
        if silent_s >= _HUNG_S:
            return JobError(
                f"No progress for {silent_s // 60:.0f} minutes.",
                "A large step can take that long. Otherwise stop the job, or restart ComfyUI.",
            )
        return None
