"""Rows of the Queue tab: what runs, what waits, what became of the last ones."""

from __future__ import annotations

from collections.abc import Sequence

from ...jobs.grids.grids_table import GridCell
from ...storage.records import Job, JobStatus, LibraryItem, Phase, QueueView, Snapshot
from ..preset_catalog import PresetCatalog
from . import units
from .html import Html, act, el, icon, icon_button, page_text
from .job_card import LOOKS, meter, place, preview_url
from .preset_picker import picture_of
from .thumbnails import thumb

__all__ = ["frame", "now_row", "past_row", "summary"]

_BAD = frozenset({Phase.FAILED, Phase.LOST})


def frame() -> Html:
    """The tab before anything is known."""
    return el(
        "div",
        el("div", class_="summary"),
        el("ul", class_="line-now", aria_label="Running and waiting"),
        el(
            "div",
            icon("clock", class_="icon hero"),
            el("h2", "Nothing is waiting"),
            el(
                "p",
                "Jobs stand here until they are done. You may press Generate again while one runs.",
                class_="quiet",
            ),
            class_="message",
        ),
        el("h3", "Lately"),
        el("ul", class_="line-past", aria_label="Finished lately"),
        el("p", class_="sr said", role="status"),
        class_="queue loading-first",
    )


def summary(line: QueueView) -> Html:
    """How many there are, and one button for all that wait."""
    waiting = any(job.status is JobStatus.WAITING for job, _ in line.jobs)
    queued = sum(snapshot.phase is Phase.QUEUED for _, snapshot in line.jobs)
    told = [f"{len(line.jobs) - queued} running", f"{queued} waiting"] if line.jobs else []
    if line.others:
        told.append(f"{line.others} of other people")
    return el(
        "div",
        el("h2", "Queue"),
        el("span", " · ".join(told), class_="quiet"),
        act("close", "Cancel all that wait", class_="act danger", data_do="clear-queue")
        if waiting
        else None,
        class_="row",
    )


def now_row(
    job: Job,
    snapshot: Snapshot,
    catalog: PresetCatalog,
    *,
    cell: GridCell | None = None,
    elsewhere: bool = False,
) -> Html:
    """A job that runs or waits. One that waits can be moved, changed and put first.

    ``cell``: its place in a grid. ``elsewhere``: see :meth:`.Studio.elsewhere`.
    """
    waits = job.status is JobStatus.WAITING
    name = page_text(job.prompt or catalog.title(job.preset), limit=60)
    return el(
        "li",
        el(
            "button",
            icon("grip"),
            type="button",
            class_="tool grip",
            aria_label=f"Move: {name}. Drag it, or press arrow up or down",
            title="Drag, or arrow keys",
        )
        if waits
        else el("span", class_="grip none"),
        _picture(job, snapshot, catalog),
        el(
            "div",
            _said(job),
            _facts(job, snapshot, catalog, cell, elsewhere=elsewhere),
            meter(snapshot) if not waits else None,
            class_="words",
        ),
        el(
            "div",
            _tool("edit-job", "pen", "Change it before it starts", name) if waits else None,
            _tool("first-job", "first", "Run it before my others", name) if waits else None,
            _tool("retry-job", "again", "Run it again at another server", name)
            if elsewhere
            else None,
            _tool("cancel-job", "close", "Cancel", name),
            class_="tools",
        ),
        class_=f"job {snapshot.phase}{' waits' if waits else ''}",
        data_job=job.id,
    )


def past_row(job: Job, snapshot: Snapshot, catalog: PresetCatalog) -> Html:
    """A job that is over: its results, or why there are none and how to try again."""
    look = LOOKS[snapshot.phase]
    name = page_text(job.prompt or catalog.title(job.preset), limit=60)
    error = snapshot.error if snapshot.phase in _BAD else None
    return el(
        "li",
        _results(snapshot.items) or _picture(job, snapshot, catalog),
        el(
            "div",
            _said(job),
            el(
                "div",
                el("span", icon(look.icon), look.word, class_="phase"),
                el("span", catalog.title(job.preset), translate="no"),
                el("span", units.duration(snapshot.elapsed_s))
                if snapshot.phase is Phase.SUCCEEDED
                else None,
                el("time", "", data_at=f"{job.finished_at:.0f}") if job.finished_at else None,
                class_="facts",
            ),
            el(
                "p",
                el("span", page_text(error.message), translate="no"),  # mostly ComfyUI's words
                " ",
                el("span", page_text(error.hint)),
                class_="trouble",
            )
            if error
            else None,
            class_="words",
        ),
        el(
            "div",
            _tool("retry-job", "again", _again(job), name)
            if snapshot.phase is not Phase.SUCCEEDED
            else None,
            _tool("reuse-job", "prompt", "Use its settings", name),
            class_="tools",
        ),
        class_=f"job past {snapshot.phase}",
        data_job=job.id,
    )


def _again(job: Job) -> str:
    return "Fetch its results again" if job.status is JobStatus.UNFETCHED else "Try again"


def _facts(
    job: Job, snapshot: Snapshot, catalog: PresetCatalog, cell: GridCell | None, *, elsewhere: bool
) -> Html:
    look = LOOKS[snapshot.phase]
    told = [el("span", icon(look.icon), look.word, class_="phase")]
    if snapshot.phase is Phase.QUEUED and snapshot.queue_position:
        told.append(el("span", place(snapshot), class_="place"))
    elif snapshot.phase is Phase.RUNNING:
        if snapshot.step and snapshot.steps:
            told.append(el("span", f"Step {snapshot.step} of {snapshot.steps}"))
        if snapshot.eta_s is not None:
            told.append(el("span", f"{units.duration(snapshot.eta_s)} left"))
    if elsewhere:
        told.append(el("span", "Made; fetched when its server is back"))
    if cell:
        told.append(el("span", f"Grid {cell.number} of {cell.size}"))
        told.append(el("span", page_text(" · ".join(cell.labels), limit=80), translate="no"))
    told.append(el("span", catalog.title(job.preset), translate="no"))
    if job.status is JobStatus.WAITING and job.cost_s > 1:
        told.append(el("span", f"about {units.duration(job.cost_s)}"))
    return el("div", told, class_="facts")


def _picture(job: Job, snapshot: Snapshot, catalog: PresetCatalog) -> Html:
    if preview := preview_url(snapshot):
        return el("img", class_="cover", src=preview, alt="")
    preset = catalog.find(job.preset)
    return picture_of(preset) if preset else el("span", icon("image"), class_="cover")


def _results(items: Sequence[LibraryItem]) -> Html | None:
    if not items:
        return None
    return el("div", [thumb(item) for item in items[:4]], class_="made")


def _said(job: Job) -> Html:
    words = page_text(job.prompt or "No prompt", limit=240)
    return el("p", words, class_="said-by", translate="no")


def _tool(do: str, image: str, label: str, name: str) -> Html:
    """``name`` tells a screen reader which job it is about."""
    return icon_button(image, f"{label}: {name}", title=label, data_do=do)
