"""The card of one job: its progress, its result or its error."""

from __future__ import annotations

import base64
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ...errors import EngineError
from ...storage.records import JobError, LibraryItem, Phase, Snapshot
from .html import Html, duration, page_text, rough_duration, safe_url
from .templates import render
from .thumbnails import file_url, thumb_url, thumbnail

__all__ = [
    "LOOKS",
    "ONE_PRESS_WAYS",
    "WAYS",
    "batch_card",
    "empty_card",
    "error_card",
    "eta",
    "iteration",
    "job_card",
    "look_of",
    "place",
    "preview_url",
    "progress",
    "queued_start",
    "result_card",
    "starts_in",
    "texts_card",
    "worth_keeping",
]


class _Look(NamedTuple):
    label: str
    icon: str


LOOKS: Final[dict[Phase, _Look]] = {
    Phase.QUEUED: _Look("Queued", "clock"),
    Phase.LOADING: _Look("Loading the model", "plug"),
    Phase.RUNNING: _Look("Drawing", "spark"),
    Phase.SAVING: _Look("Saving", "save"),
    Phase.CANCELLING: _Look("Stopping", "stop"),
    Phase.RECONNECTING: _Look("Reconnecting to ComfyUI", "again"),
    Phase.SUCCEEDED: _Look("Done", "check"),
    Phase.FAILED: _Look("Failed", "alert"),
    Phase.CANCELLED: _Look("Stopped", "stop"),
    Phase.LOST: _Look("Lost", "alert"),
}

_LEAST_KEPT_STEPS: Final = 0.3  # of all steps; before, a preview is mostly noise
_WIDE_STAGE: Final = 1.6  # width / height of the stage, about; on a phone the narrow one
_NARROW_STAGE: Final = 0.75
_PAUSED: Final = _Look("Paused", "pause")
_STARTING: Final = _Look("ComfyUI is starting", "again")
_WORKING: Final = frozenset({Phase.LOADING, Phase.RUNNING, Phase.SAVING})


def look_of(snapshot: Snapshot) -> _Look:
    """The label and icon of a job."""
    if snapshot.paused and snapshot.phase is Phase.QUEUED:
        return _PAUSED
    error = snapshot.error
    if snapshot.phase is Phase.RECONNECTING and error and error.kind == EngineError.__name__:
        return _STARTING
    return LOOKS[snapshot.phase]


def empty_card(examples: Sequence[str] = ()) -> Html:
    """The card before the first job, with up to three example prompts."""
    return _render("empty_card", examples=examples[:3])


def job_card(snapshot: Snapshot, *, ratio: float | None = None, has_results: bool = False) -> Html:
    """The card of a job that has no results yet, or ended without any.

    ``ratio`` is width / height of the output, so that the frame has its shape before the first
    preview arrives. ``has_results``: a stopped job's card has a button to the last result.
    """
    phase = snapshot.phase
    if phase in {Phase.FAILED, Phase.LOST} and snapshot.error:
        return error_card(snapshot.error, job_id=snapshot.job_id, lost=phase is Phase.LOST)
    if phase is Phase.CANCELLED and snapshot.preview is None:
        return _render("stopped_card", job_id=snapshot.job_id)
    look = look_of(snapshot)
    running = phase is Phase.RUNNING
    stopped_at = phase is Phase.CANCELLED and snapshot.step
    return _render(
        "live_card",
        phase=str(phase),
        job_id=snapshot.job_id,
        live=0 if snapshot.terminal else 1 + snapshot.others_own,
        preview=preview_url(snapshot),
        style=f"aspect-ratio: {ratio:.4f}; --ratio: {ratio:.4f}" if ratio else "",
        progress=progress(snapshot),
        label=f"Stopped at step {snapshot.step}" if stopped_at else look.label,
        keep=worth_keeping(snapshot),
        image=look.icon,
        paused=snapshot.paused,
        second_try=snapshot.server_deaths > 0,
        trouble=snapshot.error if phase in _WORKING else None,
        place=place(snapshot) if phase is Phase.QUEUED and snapshot.queue_position else "",
        step=f"Step {snapshot.step} of {snapshot.steps}"
        if running and snapshot.step and snapshot.steps
        else "",
        node_title=page_text(snapshot.node_title, limit=40)
        if running and snapshot.node_title
        else "",
        others=snapshot.others_own,
        start=queued_start(snapshot),
        iteration=iteration(snapshot),
        text=page_text(snapshot.text, limit=120) if running and snapshot.text else "",
        saving=snapshot.text if phase is Phase.SAVING and snapshot.text else "",
        eta=eta(snapshot),
        percent=None if phase in {Phase.QUEUED, Phase.CANCELLED} else int(snapshot.progress),
        has_results=has_results and snapshot.terminal,
        announcement=_announcement(snapshot),
    )


WAYS: Final = {
    "edit": ("pen", "Edit"),
    "input": ("input", "Use as input"),
    "upscale": ("grow", "Upscale"),
    "animate": ("video", "Animate"),
    "last-frame": ("input", "Use last frame"),
}
"""Icon and label of each way to continue from a result (see ``reuse_settings.ways_on``)."""

ONE_PRESS_WAYS: Final = {
    "subtle": ("vary", "Vary subtly"),
    "strong": ("vary", "Vary strongly"),
    "upscale": ("grow", "Upscale"),
    "extend": ("extend", "Extend"),
    "interpolate": ("spark", "Interpolate"),
}
"""Icon and label of what one press makes of a result (see ``one_press.one_press_ways``)."""
_BATCH_WAYS: Final = {"upscale": ("grow", "Upscale all")}


def result_card(
    items: Sequence[LibraryItem],
    *,
    index: int = 0,
    seconds: float | None = None,
    ways: Iterable[str] = (),
    one_press: Mapping[str, str] = types.MappingProxyType({}),
) -> Html:
    """The card of one result of a finished job: facts about it and actions.

    ``index`` is the result to show. ``ways`` are keys of :data:`WAYS` for which there is a preset;
    ``one_press`` are keys of :data:`ONE_PRESS_WAYS` with the title of the preset.
    """
    item, count = items[index], len(items)
    return _render(
        "result_card",
        shown=thumbnail(item),
        batch=_ids(items) if count > 1 else "",
        item=item,
        url=file_url(item),
        poster=thumb_url(item),
        phase=_ended_look(item),
        facts=_facts(item, seconds, f"{index + 1} of {count}" if count > 1 else ""),
        ways=[(way, *WAYS[way]) for way in ways if way not in one_press],
        one_press=[(way, *ONE_PRESS_WAYS[way], title) for way, title in one_press.items()],
        announcement=f"{index + 1} of {count}" if count > 1 else "Done: 1 result.",
    )


def batch_card(
    items: Sequence[LibraryItem],
    *,
    seconds: float | None = None,
    one_press: Mapping[str, str] = types.MappingProxyType({}),
) -> Html:
    """The card of a finished job with several results: all as a grid, and actions on all.

    ``one_press`` is as in :func:`result_card`.
    """
    item, count = items[0], len(items)
    ratio = item.width / item.height if item.width and item.height else 1.0
    columns, rows = _grid_shape(count, ratio, _WIDE_STAGE)
    narrow, _ = _grid_shape(count, ratio, _NARROW_STAGE)
    return _render(
        "batch_card",
        cells=[thumbnail(result) for result in items],
        item=item,
        ids=_ids(items).replace(" ", ","),
        pair=count == 2 and all(result.kind == "image" for result in items),
        all_starred=all(result.starred for result in items),
        style=f"--columns: {columns}; --rows: {rows}; --narrow-columns: {narrow};"
        f" --ratio: {ratio:.4f}",
        phase=_ended_look(item),
        facts=_facts(item, seconds, f"{count} results"),
        one_press=[
            (way, *_BATCH_WAYS[way], title)
            for way, title in one_press.items()
            if way in _BATCH_WAYS
        ],
        announcement=f"Done: {count} results.",
    )


def _ended_look(item: LibraryItem) -> _Look:
    return LOOKS[Phase.CANCELLED if item.is_preview else Phase.SUCCEEDED]


def _facts(item: LibraryItem, seconds: float | None, count: str) -> list[str]:
    facts = [duration(seconds) if seconds is not None else "", count]
    if item.is_preview:
        facts.append("Preview")
    if item.width and item.height:
        facts.append(f"{item.width} × {item.height}")
    return [fact for fact in facts if fact]


def _ids(items: Sequence[LibraryItem]) -> str:
    return " ".join(str(item.id) for item in items)


def _grid_shape(count: int, ratio: float, stage_ratio: float) -> tuple[int, int]:
    """The columns and rows with the largest cells; of equal ones those that leave no gap.

    ``ratio`` is width / height of a cell, ``stage_ratio`` of the whole.

    >>> _grid_shape(4, 1.0, 1.6), _grid_shape(3, 0.5, 1.6)
    ((2, 2), (3, 1))
    """

    def merits(columns: int) -> tuple[float, int, int]:
        rows = math.ceil(count / columns)
        return min(stage_ratio / columns / ratio, 1 / rows), count - columns * rows, columns

    columns = max(range(1, count + 1), key=merits)
    return columns, math.ceil(count / columns)


def texts_card(texts: Sequence[str], *, job_id: str) -> Html:
    """The card of a finished job with texts and no files."""
    return _render("texts_card", texts=texts, job_id=job_id)


def error_card(error: JobError, *, job_id: str | None = None, lost: bool = False) -> Html:
    """The card of an error: message, hint and folded details; a job gets a retry button."""
    return _render(
        "error_card",
        phase="lost" if lost else "failed",
        job_id=job_id,
        message=page_text(error.message),
        hint=page_text(error.hint),
        details=page_text(error.details, limit=8000),
    )


def preview_url(snapshot: Snapshot) -> str | None:
    """The newest preview as a ``data:`` URL; empty if its media type is not an image's."""
    if snapshot.preview is None:
        return None
    kind = snapshot.preview_type or "image/jpeg"
    return safe_url(f"data:{kind};base64,{base64.b64encode(snapshot.preview).decode('ascii')}")


class ProgressBar(NamedTuple):
    """A progress bar: percent done, the same for screen readers, and whether nothing moves yet."""

    percent: float
    spoken: int
    waiting: bool


def progress(snapshot: Snapshot) -> ProgressBar:
    """The progress of the whole job for the template's ``progress_bar``."""
    percent = round(snapshot.progress, 1)
    idle = snapshot.phase in {Phase.QUEUED, Phase.LOADING, Phase.RECONNECTING}
    return ProgressBar(percent, round(percent), idle and percent == 0)


def place(snapshot: Snapshot) -> str:
    """The position in the queue.

    >>> place(Snapshot(job_id="", phase=Phase.QUEUED, queue_position=2, queue_size=5, queue_own=1))
    '2 of 5, 1 yours'
    """
    place = f"{snapshot.queue_position} of {max(snapshot.queue_size, snapshot.queue_position or 0)}"
    others = snapshot.queue_size > snapshot.queue_own
    return f"{place}, {snapshot.queue_own} yours" if others and snapshot.queue_own else place


def worth_keeping(snapshot: Snapshot) -> bool:
    """Whether the last preview of a stopped job may be what the user wants: not mere noise."""
    step, steps = snapshot.step, snapshot.steps
    stopped = snapshot.phase is Phase.CANCELLED and bool(preview_url(snapshot))
    return stopped and step is not None and bool(steps) and step >= _LEAST_KEPT_STEPS * (steps or 0)


def starts_in(seconds: float) -> str:
    """When a queued job will start.

    >>> starts_in(100)
    'Starts in about 2 min'
    """
    return f"Starts in about {rough_duration(seconds)}"


def eta(snapshot: Snapshot) -> str:
    """The remaining time of a running job, or empty."""
    if snapshot.eta_s is None or snapshot.phase not in _WORKING:
        return ""
    return duration(snapshot.eta_s) if snapshot.eta_s < 60 else rough_duration(snapshot.eta_s)


def queued_start(snapshot: Snapshot) -> str:
    """When a waiting job will start, or empty."""
    waits = snapshot.phase is Phase.QUEUED and snapshot.starts_in_s
    return starts_in(snapshot.starts_in_s) if waits and snapshot.starts_in_s else ""


def iteration(snapshot: Snapshot) -> str:
    """The pass of a loop that is running, or empty."""
    if not snapshot.iterations or snapshot.phase not in _WORKING:
        return ""
    return f"Pass {snapshot.iteration} of {snapshot.iterations}"


def _announcement(snapshot: Snapshot) -> str:
    """The text for screen readers, which changes with the phase and at every quarter only."""
    label = look_of(snapshot).label
    quarter = int(snapshot.progress // 25) * 25
    return f"{label}, {quarter} percent" if snapshot.phase is Phase.RUNNING else label


def _render(view: str, **context: object) -> Html:
    return render("job_card.html", view, **context)
