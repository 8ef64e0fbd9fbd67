"""Snapshots of a job, for any order of reports."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, strategies as st

from comfy_ui.jobs.queue import JobReport
from comfy_ui.jobs.updates import first_snapshot, last_snapshot, next_snapshot
from comfy_ui.protocol.progress import Progress
from comfy_ui.storage.records import JobError, JobStatus, Phase
from tests.jobs import support

progresses = st.builds(
    Progress,
    prompt_id=st.just("p"),
    phase=st.sampled_from(Phase),
    progress=st.floats(0, 100),
    queue_position=st.none() | st.integers(1, 9),
    preview=st.none() | st.binary(min_size=1, max_size=3),
)
reports = st.builds(
    JobReport,
    job_id=st.just("j"),
    phase=st.none() | st.sampled_from(Phase),
    progress=st.none() | progresses,
)


@given(st.lists(reports), st.booleans())
def test_next_snapshot_reports_in_any_order_never_lower_progress_or_end(
    news: list[JobReport], cancelling: bool
) -> None:
    job = support.a_job(status=JobStatus.SENT, cancel_requested=cancelling)
    snapshots = [first_snapshot(job)]
    for report in news:
        snapshots.append(next_snapshot(snapshots[-1], job, report))
    assert all(a.progress <= b.progress for a, b in pairwise(snapshots))
    assert not any(snapshot.terminal for snapshot in snapshots)
    assert all(s.queue_position is None for s in snapshots if s.phase is not Phase.QUEUED)
    if cancelling:
        assert {s.phase for s in snapshots} <= {Phase.CANCELLING, Phase.RECONNECTING}


@given(st.lists(progresses, min_size=1))
def test_next_snapshot_keeps_newest_preview(news: list[Progress]) -> None:
    job = support.a_job(status=JobStatus.SENT)
    snapshot = first_snapshot(job)
    for progress in news:
        snapshot = next_snapshot(snapshot, job, JobReport(job_id=job.id, progress=progress))
    previews = [progress.preview for progress in news if progress.preview]
    assert snapshot.preview == (previews[-1] if previews else None)


def test_next_snapshot_error_is_cleared_on_recovery() -> None:
    job, away = support.a_job(status=JobStatus.SENT), JobError("Nothing answers.")
    lost = next_snapshot(
        first_snapshot(job), job, JobReport(job_id=job.id, phase=Phase.RECONNECTING, error=away)
    )
    assert (lost.phase, lost.error) == (Phase.RECONNECTING, away)
    back = next_snapshot(
        lost, job, JobReport(job_id=job.id, progress=Progress("p", phase=Phase.RUNNING))
    )
    assert (back.phase, back.error) == (Phase.RUNNING, None)


def test_last_snapshot_of_every_status_is_terminal() -> None:
    for status in JobStatus:
        job = support.a_job(status=status, started_at=10.0, finished_at=14.0)
        last = last_snapshot(job)
        assert last.terminal
        assert last.elapsed_s == 4.0
        assert (last.error is not None) == status.active


def test_last_snapshot_clock_set_back_gives_no_negative_time() -> None:
    job = support.a_job(status=JobStatus.SUCCEEDED, started_at=10.0, finished_at=4.0)
    assert last_snapshot(job).elapsed_s == 0.0
    assert last_snapshot(replace(job, finished_at=None)).elapsed_s == 0.0
