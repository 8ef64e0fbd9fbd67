"""What a workflow makes, asks for and lacks, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ComfyHeadlessError
from ...models.model_folders import ModelFolders
from ...storage.records import JobError
from ...workflow.fields.roles import FILE_ROLES
from ...workflow.presets.preset_store import Preset
from ..open_workflows import OpenedWorkflow
from .html import Html, act, el, icon, page_text
from .preset_picker import KINDS
from .requirements_view import DownloadableFile, missing_models, needs

__all__ = ["nothing", "report", "trouble"]


def nothing() -> Html:
    """Before anything was opened."""
    return el(
        "section",
        el(
            "div",
            icon("flow", class_="icon hero"),
            el("h2", "Any workflow becomes a form"),
            el(
                "p",
                "Open or pick one. You see what it needs and whether your ComfyUI has it; then "
                "you fill in the form under Create.",
                class_="quiet",
            ),
            class_="message",
        ),
        class_="panel opened",
    )


def report(
    opened: OpenedWorkflow,
    *,
    kept: bool = False,
    runs: bool = True,
    fresh: bool = False,
    working: Sequence[str] = (),
    folders: ModelFolders | None = None,
) -> Html:
    """What a workflow makes, asks for and lacks, and what can be done with it.

    ``kept``: it is a preset; ``fresh``: since just now. ``runs``: its form can be opened as it is.
    ``working`` are the variants that would run although the preset itself does not, ``folders``
    those that missing files can be put into.
    """
    preset = opened.preset
    return el(
        "section",
        el(
            "header",
            el("h2", page_text(opened.title, limit=120), translate="no"),
            _state(opened),
        ),
        el("p", preset.description, class_="quiet", translate="no")
        if preset and preset.description
        else None,
        el("dl", _facts(preset)) if preset else None,
        needs(opened.problems, DownloadableFile(opened.id, folders) if folders else None),
        _working(opened, working),
        _acts(opened, kept=kept) if preset and runs else None,
        _saving(opened) if preset and not kept else None,
        _kept(opened) if fresh else None,
        class_="panel opened",
        data_opened=opened.id,
    )


def _state(opened: OpenedWorkflow) -> Html:
    if not opened.errors:
        return el("span", el("i", class_="lamp good"), "Ready", class_="state")
    files = len(missing_models(opened.errors))
    nodes = len({p.class_type for p in opened.errors if p.kind == "missing_node"})
    lacks = [
        f"{count} {what}{'s' * (count > 1)} missing"
        for count, what in ((nodes, "node"), (files, "model"))
        if count
    ]
    return el(
        "span", el("i", class_="lamp bad"), ", ".join(lacks) or "Cannot run here", class_="state"
    )


def _facts(preset: Preset) -> list[Html]:
    given = [p.label for p in preset.params if p.role == "prompt"]
    given += [p.label for p in preset.params if p.role in FILE_ROLES and not p.optional]
    main = sum(not p.advanced for p in preset.params)
    more = len(preset.params) - main
    makes = dict.fromkeys(KINDS[output.kind] for output in preset.outputs)
    facts = {
        "Makes": ", ".join(makes),
        "You give": page_text(", ".join(given), limit=200) or "nothing: it can run as it is",
        "Form": f"{main} field{'s' * (main != 1)}"
        + (f" and {more} under Advanced" if more else ""),
        "Licence": f"{page_text(preset.license, limit=80)} (of its models)"
        if preset.license
        else "",
    }
    return [el("div", el("dt", name), el("dd", told)) for name, told in facts.items() if told]


def _working(opened: OpenedWorkflow, variants: Sequence[str]) -> Html | None:
    """The variants that would work now, where the preset itself does not."""
    if not variants or opened.preset is None:
        return None
    titles = {key: opened.preset.variants[key].title for key in variants}
    return el(
        "div",
        icon("check"),
        el("p", "This works now:"),
        [_use(opened.id, title, variant=key, class_="act strong") for key, title in titles.items()],
        class_="need works",
    )


def _acts(opened: OpenedWorkflow, *, kept: bool) -> Html:
    return el(
        "div",
        _use(opened.id, "Open the form", class_="act primary"),
        act(
            "copy",
            "Copy its link",
            data_do="copy-link",
            data_preset=opened.id,
            title="An address that opens this form",
        )
        if kept
        else None,
        class_="acts",
    )


def _use(name: str, label: str, *, class_: str, variant: str | None = None) -> Html:
    return act(
        "spark", label, class_=class_, data_do="use-workflow", data_id=name, data_variant=variant
    )


def _saving(opened: OpenedWorkflow) -> Html:
    return el(
        "div",
        el("label", "Keep it for everybody who uses this page", for_="preset-title"),
        el(
            "div",
            el(
                "input",
                type="text",
                id="preset-title",
                value=opened.title,
                maxlength="80",
                autocomplete="off",
            ),
            act("save", "Save as preset", data_do="save-preset", data_id=opened.id),
            class_="row",
        ),
        class_="saving field",
    )


def _kept(opened: OpenedWorkflow) -> Html:
    return el(
        "div",
        icon("check"),
        el("p", f"Saved. It stands among the presets as '{opened.title}'."),
        class_="notice good",
        role="status",
    )


def trouble(error: ComfyHeadlessError) -> Html:
    """Why it could not be opened."""
    told = JobError.of(error)
    return el(
        "section",
        el(
            "div",
            icon("alert", class_="icon hero"),
            el("h2", page_text(told.message)),
            el("p", page_text(told.hint), class_="hint") if told.hint else None,
            class_="message",
            role="alert",
        ),
        class_="panel opened failed",
    )
