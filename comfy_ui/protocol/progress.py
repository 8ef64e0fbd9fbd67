"""One percentage and a remaining time for a whole graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a job stands. The last four are final."""

    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    SAVING = "saving"
    CANCELLING = "cancelling"
    RECONNECTING = "reconnecting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.LOST})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, at one moment.

    ``progress`` is 0–100 for the whole graph and never falls. ``node`` and ``node_title`` name the
    node at work, ``step`` of ``steps`` is its own count (None for nodes without one).
    ``queue_position`` is 1 for the job that runs next, None when it is not waiting or not known.
    ``eta`` is seconds to the end, None until two steps allow a guess. ``preview`` is the newest
    picture of the work, encoded as ``preview_type`` says. ``elapsed_s`` counts from the start of
    the run, 0 before it.
    """

    prompt_id: str
    phase: Phase = Phase.QUEUED
    progress: float = 0.0
    node: str | None = None
    node_title: str | None = None
    step: int | None = None
    steps: int | None = None
    queue_position: int | None = None
    queue_size: int | None = None
    eta: float | None = None
    elapsed_s: float = 0.0
    preview: bytes | None = None
    preview_type: str | None = None
