"""The stage: one card that shows a job at one moment."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ...storage.records import JobError, LibraryItem, Phase, Snapshot
from .html import Html, act, el, icon, icon_button, page_text
from .thumbnails import file_url, thumb_url
from .units import duration

__all__ = [
    "LOOKS",
    "WAYS",
    "empty_card",
    "error_card",
    "job_card",
    "meter",
    "place",
    "preview_url",
    "result_card",
]


class _Look(NamedTuple):
    word: str
    icon: str


LOOKS: Final[dict[Phase, _Look]] = {
    Phase.QUEUED: _Look("In the queue", "clock"),
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


def empty_card(examples: Sequence[str] = ()) -> Html:
    """What the stage shows before the first job: what to do, and a few prompts to start from."""
    return _card(
        "empty",
        el(
            "div",
            icon("spark", class_="icon hero"),
            el("h2", "Describe a picture, then press Generate"),
            el("p", "Or start from one of these:", class_="quiet") if examples else None,
            el(
                "div",
                [
                    el(
                        "button",
                        text,
                        type="button",
                        class_="chip",
                        data_prompt=text,
                        translate="no",
                    )
                    for text in examples[:3]
                ],
                class_="examples",
            ),
            class_="message",
        ),
    )


def job_card(snapshot: Snapshot, *, ratio: float | None = None) -> Html:
    """A job that has not ended with results.

    ``ratio`` is width / height of what is being made, so that the frame has its shape before
    the first preview.
    """
    if snapshot.phase in {Phase.FAILED, Phase.LOST} and snapshot.error:
        return error_card(snapshot.error, job_id=snapshot.job_id, lost=snapshot.phase is Phase.LOST)
    if snapshot.phase is Phase.CANCELLED and snapshot.preview is None:
        return _card("cancelled", _unseen(), job=snapshot.job_id)
    return _card(
        str(snapshot.phase),
        el("div", _frame(snapshot, ratio), class_="canvas"),
        meter(snapshot),
        _line(snapshot),
        el("div", _spoken(snapshot), class_="sr", role="status"),
        job=snapshot.job_id,
        live=0 if snapshot.terminal else 1 + snapshot.others_own,
    )


WAYS: Final = {
    "input": ("input", "Use as input"),
    "upscale": ("grow", "Upscale"),
    "animate": ("video", "Animate"),
}
"""Icon and label of each way to go on from a picture (see ``recall.GO_ON``)."""


def result_card(
    items: Sequence[LibraryItem], *, seconds: float | None = None, ways: Iterable[str] = ()
) -> Html:
    """A finished job: its first result large, what it is, and what to do with it.

    ``ways`` are those of :data:`WAYS` that there is a preset for.
    """
    first = items[0]
    told = [el("span", icon("check"), "Done", class_="phase")]
    if seconds is not None:
        told.append(el("span", duration(seconds), class_="quiet"))
    if len(items) > 1:
        told.append(el("span", f"1 of {len(items)}", class_="quiet"))
    if first.width and first.height:
        told.append(el("span", f"{first.width} × {first.height}", class_="quiet"))
    if first.seed is not None:
        told.append(el("span", f"Seed {first.seed}", class_="quiet seed"))
    return _card(
        "succeeded",
        el("div", _media(first), class_="canvas"),
        el(
            "div",
            el("div", told, class_="told"),
            _actions(first, ways),
            class_="line",
        ),
        el(
            "div", f"Done: {len(items)} result{'s' * (len(items) > 1)}.", class_="sr", role="status"
        ),
        job=first.job_id,
    )


def texts_card(texts: Sequence[str], *, job_id: str) -> Html:
    """A finished job that made words and no file."""
    return _card(
        "succeeded",
        el("div", [el("p", text, translate="no") for text in texts], class_="message texts"),
        el("div", el("span", icon("check"), "Done", class_="phase"), class_="line"),
        job=job_id,
    )


def error_card(error: JobError, *, job_id: str | None = None, lost: bool = False) -> Html:
    """What went wrong, what to do about it, and the details behind a fold; a job can be tried again
    as it was.
    """
    return _card(
        "lost" if lost else "failed",
        el(
            "div",
            icon("alert", class_="icon hero"),
            el("h2", page_text(error.message)),
            el("p", page_text(error.hint), class_="hint") if error.hint else None,
            act("again", "Try again", data_do="retry-job") if job_id else None,
            el(
                "details",
                el("summary", "Details"),
                el("pre", page_text(error.details, limit=8000)),
            )
            if error.details.strip()
            else None,
            class_="message",
            role="alert",
        ),
        job=job_id,
    )


def _unseen() -> Html:
    """A job that was stopped, and of which nothing is to be seen."""
    return el(
        "div",
        icon("stop", class_="icon hero"),
        el("h2", "Stopped"),
        el("p", "Nothing was made of this job. The settings are as you left them.", class_="quiet"),
        class_="message",
        role="status",
    )


def preview_url(snapshot: Snapshot) -> str | None:
    """The newest preview, in itself an address."""
    if snapshot.preview is None:
        return None
    kind = snapshot.preview_type or "image/jpeg"
    return f"data:{kind};base64,{base64.b64encode(snapshot.preview).decode('ascii')}"


def _card(phase: str, *parts: object, job: str | None = None, live: int = 0) -> Html:
    """Draw the card; ``live`` is the number of unfinished jobs (see ``live_preview.js``)."""
    return el(
        "section",
        parts,
        class_=f"stage {phase}",
        data_phase=phase,
        data_job=job,
        data_live=str(live) if live else None,
    )


def _frame(snapshot: Snapshot, ratio: float | None) -> Html:
    style = f"aspect-ratio: {ratio:.4f}; --ratio: {ratio:.4f}" if ratio else None
    if preview := preview_url(snapshot):
        return el(
            "img",
            class_="frame preview",
            src=preview,
            alt="Preview of the picture being made",
            style=style,
        )
    return el("div", el("div", class_="shimmer"), class_="frame blank", style=style)


def meter(snapshot: Snapshot) -> Html:
    """How far the whole job is, as a bar."""
    percent = round(snapshot.progress, 1)
    moving = snapshot.phase in {Phase.QUEUED, Phase.LOADING, Phase.RECONNECTING}
    return el(
        "div",
        el("div", class_="fill", style=f"width: {percent}%"),
        class_="meter waiting" if moving and percent == 0 else "meter",
        role="progressbar",
        aria_label="Progress of the whole job",
        aria_valuemin="0",
        aria_valuemax="100",
        aria_valuenow=str(round(percent)),
    )


def _line(snapshot: Snapshot) -> Html:
    look = LOOKS[snapshot.phase]
    told: list[Html] = [el("span", icon(look.icon), look.word, class_="phase")]
    if snapshot.phase is Phase.QUEUED and snapshot.queue_position:
        told.append(el("span", place(snapshot), class_="quiet place"))
    elif snapshot.phase is Phase.RUNNING and snapshot.step and snapshot.steps:
        told.append(el("span", f"Step {snapshot.step} of {snapshot.steps}", class_="quiet step"))
    elif snapshot.node_title and snapshot.phase is Phase.RUNNING:
        told.append(
            el("span", page_text(snapshot.node_title, limit=40), class_="quiet", translate="no")
        )
    right: list[Html] = []
    if snapshot.others_own:
        right.append(el("span", f"{snapshot.others_own} more waiting", class_="quiet"))
    if snapshot.eta_s is not None and snapshot.phase is Phase.RUNNING:
        right.append(el("span", f"{duration(snapshot.eta_s)} left", class_="quiet eta"))
    if snapshot.phase not in {Phase.QUEUED, Phase.CANCELLED}:
        right.append(el("span", f"{int(snapshot.progress)}%", class_="percent"))
    return el(
        "div", el("div", told, class_="told"), el("div", right, class_="told right"), class_="line"
    )


def place(snapshot: Snapshot) -> str:
    """Where it stands in the queue.

    >>> place(Snapshot(job_id="", phase=Phase.QUEUED, queue_position=2, queue_size=5, queue_own=1))
    '2 of 5, 1 yours'
    """
    place = f"{snapshot.queue_position} of {max(snapshot.queue_size, snapshot.queue_position or 0)}"
    others = snapshot.queue_size > snapshot.queue_own
    return f"{place}, {snapshot.queue_own} yours" if others and snapshot.queue_own else place


def _spoken(snapshot: Snapshot) -> str:
    """What a screen reader says: it changes with the phase and at every quarter, not each step."""
    word = LOOKS[snapshot.phase].word
    quarter = int(snapshot.progress // 25) * 25
    return f"{word}, {quarter} percent" if snapshot.phase is Phase.RUNNING else word


def _media(item: LibraryItem) -> Html:
    label = page_text(item.prompt or item.filename, limit=120)
    match item.kind:
        case "image":
            return el(
                "img",
                class_="frame final",
                src=file_url(item),
                alt=label,
                data_zoom=str(item.id),
                translate="no",
            )
        case "video":
            return el(
                "video",
                class_="frame final",
                src=file_url(item),
                poster=thumb_url(item),
                controls=True,
                loop=True,
                autoplay=True,
                muted=True,
                playsinline=True,
                aria_label=label,
            )
        case "audio":
            return el(
                "div",
                icon("sound", class_="icon hero"),
                el("p", label, class_="quiet"),
                el("audio", src=file_url(item), controls=True, aria_label=label),
                class_="message",
            )
        case _:
            return el(
                "div", icon("save", class_="icon hero"), el("p", item.filename), class_="message"
            )


def _actions(item: LibraryItem, ways: Iterable[str]) -> Html:
    return el(
        "div",
        _recall(item, "all", "Reuse all", "again"),
        _recall(item, "seed", "Seed", "dice") if item.seed is not None else None,
        _recall(item, "prompt", "Prompt", "prompt") if item.prompt else None,
        [_recall(item, way, WAYS[way][1], WAYS[way][0]) for way in ways],
        _keep(item, "star-result", "star", "Star", aria_pressed=str(item.starred).lower()),
        _keep(item, "compare-result", "compare", "Compare") if item.kind == "image" else None,
        _keep(item, "delete-result", "bin", "Delete"),
        el(
            "a",
            icon("download"),
            "Download",
            class_="act strong",
            href=f"{file_url(item)}?download",
            download=item.filename,
            title=f"{item.filename}, as ComfyUI wrote it",
        ),
        class_="acts",
    )


def _keep(item: LibraryItem, do: str, image: str, label: str, **more: object) -> Html:
    return icon_button(image, label, class_="act only", data_do=do, data_item=str(item.id), **more)


def _recall(item: LibraryItem, what: str, label: str, image: str) -> Html:
    return act(image, label, data_send="recall", data_item=str(item.id), data_what=what)
