"""Deaths of servers: which job may have caused one, and what its user can do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from ...errors import JobLostError
from .active_job import ActiveJob

MAX_SERVER_DEATHS: Final = 2
"""A job is not submitted again after so many servers have died under it."""

_START_S: Final = 5.0  # an idle server begins its next job well within this time


def accuse(at_server: Sequence[ActiveJob], *, idle_since: float) -> None:
    """Set ``accused`` of the jobs that a server had when it died, in the order of its queue.

    The server ran the one that is known to have started. If none is, it may have died so soon
    after the start of the first one that no message arrived. Not if that one had waited for long
    before: then the server was busy with another program's job.

    ``idle_since``: when the last job of ours ended there, on the monotonic clock.
    """
    started = [active for active in at_server if active.started]
    accused = started or [a for a in at_server[:1] if not _waited(a, idle_since)]
    for active in at_server:
        active.accused = active in accused


def _waited(active: ActiveJob, idle_since: float) -> bool:
    if active.sent_at is None or active.server_lost_at is None:  # sent by an earlier process
        return False
    return active.server_lost_at - max(active.sent_at, idle_since) > _START_S


def death_error(values: Mapping[str, Any], *, prompt_id: str) -> JobLostError:
    """Return the error of a job that is not submitted again."""
    hint = (
        f"It may need more memory than the server has. Make it smaller (now {size}) or use a "
        "smaller model, then try again."
        if (size := job_size(values))
        else "It may need more memory than the server has. Make it smaller or use a smaller model, "
        "then try again."
    )
    return JobLostError(
        "ComfyUI stopped twice while it ran this job, so the job may be what stops it.",
        prompt_id=prompt_id,
        hint=hint,
    )


def job_size(values: Mapping[str, Any]) -> str:
    """Return the values that decide how much memory a job needs.

    >>> job_size({"width": 2048, "height": 1536, "batch": 4, "frames": 1})
    '2048 × 1536, batch 4'
    """
    facts = []
    width, height = values.get("width"), values.get("height")
    if _is_number(width) and _is_number(height):
        facts.append(f"{width:g} × {height:g}")
    for name in ("batch", "frames"):
        value = values.get(name)
        if _is_number(value) and value > 1:
            facts.append(f"{name} {value:g}")
    return ", ".join(facts)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
