"""What a person is told of a job, as pure functions from news to snapshot."""

from __future__ import annotations

from dataclasses import replace

from ..errors import StorageError
from ..protocol.progress import Phase
from ..storage.records import Job, JobError, JobStatus, LibraryItem, Snapshot
from .queue import JobReport

_LIVE_PHASES = frozenset({Phase.QUEUED, Phase.LOADING, Phase.RUNNING, Phase.SAVING})


def first_snapshot(job: Job) -> Snapshot:
    """What is known of a job before any news of it."""
    phase = Phase.CANCELLING if job.cancel_requested else job.status.phase
    return Snapshot(job_id=job.id, phase=phase)


def next_snapshot(old: Snapshot, job: Job, report: JobReport) -> Snapshot:
    """The snapshot after ``old``. The percentage never falls, and a stop stays in sight."""
    progress = report.progress
    phase = report.phase or (progress.phase if progress else old.phase)
    if phase.is_final:  # the client's verdict; it is ours once files and rows are written
        phase = Phase.SAVING if phase is Phase.SUCCEEDED else old.phase
    if job.cancel_requested and phase in _LIVE_PHASES:
        phase = Phase.CANCELLING
    new = replace(old, phase=phase, error=report.error)
    if progress is not None:
        new = replace(
            new,
            progress=max(old.progress, progress.progress),
            step=progress.step,
            steps=progress.steps,
            node_title=progress.node_title,
            queue_position=progress.queue_position,
            eta_s=progress.eta,
            elapsed_s=progress.elapsed_s,
            preview=progress.preview or old.preview,
            preview_type=progress.preview_type if progress.preview else old.preview_type,
        )
    if phase is not Phase.QUEUED:
        new = replace(new, queue_position=None, queue_size=0, queue_own=0)
    return new


def last_snapshot(job: Job, made: tuple[LibraryItem, ...] = ()) -> Snapshot:
    """The terminal snapshot of a job that nobody has in hand any more."""
    error = job.error
    if job.status.active:
        job = replace(job, status=JobStatus.UNFETCHED)
        error = JobError.of(StorageError("The end of this job could not be written down."))
    began = job.started_at or job.created_at
    return Snapshot(
        job_id=job.id,
        phase=job.status.phase,
        progress=100.0 if job.status is JobStatus.SUCCEEDED else 0.0,
        elapsed_s=max(0.0, job.finished_at - began) if job.finished_at else 0.0,
        error=error,
        items=made,
        texts=job.outputs.texts if job.outputs else (),
    )
