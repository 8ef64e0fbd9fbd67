"""Rows of the Queue tab: running, waiting and recently finished jobs, and groups of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...jobs.queue_position import has_started, is_running
from ...storage.records import (
    GridCell,
    Job,
    JobError,
    JobGroup,
    JobStatus,
    LibraryItem,
    Phase,
    QueueView,
    Snapshot,
)
from ...workflow.prompt_arrays import without_brackets
from ..preset_catalog import PresetCatalog
from .html import Html, duration, el, icon, page_text, rough_duration
from .job_card import (
    LOOKS,
    ProgressBar,
    eta,
    iteration,
    look_of,
    place,
    preview_url,
    progress,
    queued_start,
)
from .preset_picker import picture_of
from .templates import render
from .thumbnails import thumbnail

__all__ = ["frame", "group_row", "members", "now_row", "past_row", "summary"]

_MAX_THUMBNAILS = 4


def frame() -> Html:
    """The tab before its jobs are loaded."""
    return _render("frame")


def summary(line: QueueView, *, may_pause_all: bool = False) -> Html:
    """The number of jobs, with buttons that pause the queue and cancel all waiting jobs.

    ``may_pause_all``: with one that pauses the queues of all users.
    """
    running = sum(is_running(snapshot) for _, snapshot in line.jobs)
    counts = [f"{running} running", f"{len(line.jobs) - running} waiting"] if line.jobs else []
    if line.others:
        counts.append(f"{line.others} from others")
    return _render(
        "summary",
        counts=" · ".join(counts),
        reconnecting=any(look_of(shown) is LOOKS[Phase.RECONNECTING] for _, shown in line.jobs),
        waiting=any(not has_started(*pair) for pair in line.jobs),
        paused=line.paused,
        all_paused=line.all_paused,
        may_pause_all=may_pause_all,
    )


def now_row(
    job: Job,
    snapshot: Snapshot,
    catalog: PresetCatalog,
    *,
    cell: GridCell | None = None,
    elsewhere: bool = False,
) -> Html:
    """A running or waiting job; a waiting one can be moved, changed and run next.

    ``cell`` is its place in a grid. ``elsewhere``: the job is done, its server is
    offline, and another server could run it again.
    """
    waits = not has_started(job, snapshot) and not job.cancel_requested
    running = snapshot.phase is Phase.RUNNING
    return _render(
        "current_row",
        **_common(job, snapshot, catalog),
        picture=_picture(job, snapshot, catalog),
        waits=waits,
        second_try=snapshot.server_deaths > 0,
        elsewhere=elsewhere,
        place=place(snapshot) if snapshot.phase is Phase.QUEUED and snapshot.queue_position else "",
        step=f"Step {snapshot.step} of {snapshot.steps}"
        if running and snapshot.step and snapshot.steps
        else "",
        start=queued_start(snapshot),
        iteration=iteration(snapshot),
        eta=eta(snapshot),
        cell=cell and _cell_facts(cell),
        cost=rough_duration(snapshot.run_s) if waits and snapshot.run_s else "",
        progress=None if waits else progress(snapshot),
    )


def past_row(
    job: Job, snapshot: Snapshot, catalog: PresetCatalog, *, cell: GridCell | None = None
) -> Html:
    """A job that has ended: its results, or the error with a retry button."""
    succeeded = snapshot.phase is Phase.SUCCEEDED
    failed = snapshot.phase in {Phase.FAILED, Phase.LOST}
    return _render(
        "finished_row",
        **_common(job, snapshot, catalog),
        picture=None if snapshot.items else _picture(job, snapshot, catalog),
        thumbnails=[thumbnail(item) for item in snapshot.items[:_MAX_THUMBNAILS]],
        elapsed=duration(snapshot.elapsed_s) if succeeded else "",
        finished_at=f"{job.finished_at:.0f}" if job.finished_at else "",
        error=_shortened(snapshot.error) if failed and snapshot.error else None,
        retry="" if succeeded else _retry_label(job),
        cell=cell and _cell_facts(cell),
    )


def group_row(
    group: JobGroup,
    active: Sequence[tuple[Job, Snapshot]],
    catalog: PresetCatalog,
    *,
    latest: Iterable[LibraryItem] = (),
) -> Html:
    """A folded group with its ``active`` jobs: the progress and time left of the whole.

    ``latest`` are the results of the job that ended last.
    """
    waiting = [job for job, snapshot in active if not has_started(job, snapshot)]
    started = [(job, snapshot) for job, snapshot in active if job not in waiting]
    succeeded = min(group.succeeded, group.size)
    if active:
        job, shown = (started or active)[0]
        phase, look, picture = shown.phase, look_of(shown), _picture(job, shown, catalog)
    else:
        phase = _ended_phase(group)
        preset = catalog.find(group.preset)
        look, picture = LOOKS[phase], picture_of(preset) if preset else Html("")
    return _render(
        "group_row",
        group_id=group.id,
        phase=str(phase),
        label=look.label,
        image=look.icon,
        picture=picture,
        thumbnails=[thumbnail(item) for item in [*latest][:1]] if not active else [],
        name=page_text(without_brackets(group.prompt or group.title), limit=60),
        prompt=page_text(group.prompt or "No prompt", limit=240),
        preset=catalog.title(group.preset),
        axes=[*dict.fromkeys(group.title.split(" / "))],
        done=f"{succeeded} of {group.size} done",
        failed=f"{group.failed} failed" if group.failed and succeeded < group.size else "",
        first_waiting=waiting[0].id if waiting else "",
        paused=group.paused,
        active=bool(active),
        eta=_group_eta(active),
        has_results=group.results > 0,
        progress=_group_progress(group, active) if active else None,
    )


def members(rows: Iterable[Html], *, more: bool) -> Html:
    """The jobs of an unfolded group, with a button for further ones."""
    return _render("members", rows=[*rows], more=more)


def _ended_phase(group: JobGroup) -> Phase:
    if group.succeeded >= group.size:
        return Phase.SUCCEEDED
    return Phase.FAILED if group.failed else Phase.CANCELLED


def _group_progress(group: JobGroup, active: Sequence[tuple[Job, Snapshot]]) -> ProgressBar:
    ended = group.size - len(active)  # also those that were deleted since
    percent = 100 * ended + sum(snapshot.progress for _, snapshot in active)
    percent = round(max(0.0, percent / group.size), 1)
    return ProgressBar(percent, round(percent), not percent)


def _group_eta(active: Sequence[tuple[Job, Snapshot]]) -> str:
    """The time until the last job ends, or empty if it is unknown."""
    seconds = 0.0
    for _, snapshot in active:
        if snapshot.phase is Phase.QUEUED:
            if snapshot.paused or snapshot.starts_in_s is None or snapshot.run_s is None:
                return ""
            seconds = max(seconds, snapshot.starts_in_s + snapshot.run_s)
        else:
            seconds = max(seconds, snapshot.eta_s or 0.0)
    return rough_duration(seconds) if seconds else ""


def _common(job: Job, snapshot: Snapshot, catalog: PresetCatalog) -> dict[str, object]:
    look = look_of(snapshot)
    title = catalog.title(job.preset)
    return {
        "job_id": job.id,
        "phase": str(snapshot.phase),
        "label": look.label,
        "image": look.icon,
        "name": page_text(job.prompt or title, limit=60),
        "prompt": page_text(job.prompt or "No prompt", limit=240),
        "preset": title,
    }


def _cell_facts(cell: GridCell) -> dict[str, object]:
    return {
        "number": cell.number,
        "size": cell.size,
        "labels": page_text(" · ".join(cell.labels), limit=80),
    }


def _shortened(error: JobError) -> dict[str, str]:
    return {"message": page_text(error.message), "hint": page_text(error.hint)}


def _retry_label(job: Job) -> str:
    return "Download its results again" if job.status is JobStatus.UNFETCHED else "Try again"


def _picture(job: Job, snapshot: Snapshot, catalog: PresetCatalog) -> Html:
    if (preview := preview_url(snapshot)) is not None:
        return el("img", class_="cover", src=preview, alt="")
    preset = catalog.find(job.preset)
    return picture_of(preset) if preset else el("span", icon("image"), class_="cover")


def _render(view: str, **context: object) -> Html:
    return render("queue_rows.html", view, **context)
