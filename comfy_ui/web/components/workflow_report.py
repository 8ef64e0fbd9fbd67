"""The report on a workflow: its inputs and outputs, what it lacks, and what to do with it."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ComfyHeadlessError
from ...models.model_folders import ModelFolders
from ...storage.records import JobError
from ...workflow.fields.field_types import FILE_ROLES
from ...workflow.presets.preset_store import Preset
from ..open_workflows import OpenedWorkflow
from .html import Html, page_text
from .preset_picker import KINDS, Lamp
from .requirements_view import DownloadableFile, missing_models, needs
from .templates import render

__all__ = ["nothing", "report", "trouble"]


def nothing() -> Html:
    """The report before a workflow is opened."""
    return _render("nothing")


def report(
    opened: OpenedWorkflow,
    *,
    kept: bool = False,
    runs: bool = True,
    fresh: bool = False,
    working: Sequence[str] = (),
    folders: ModelFolders | None = None,
) -> Html:
    """The report on ``opened``.

    ``kept``: it is saved as a preset; ``fresh``: it was saved just now. ``runs``: its form can be
    opened as it is. ``working`` are variants that would run although the preset itself does not;
    ``folders`` are those that missing files can be downloaded to.
    """
    preset = opened.preset
    lamp = _state(opened)
    return _render(
        "report",
        id=opened.id,
        title=opened.title,
        shown_title=page_text(opened.title, limit=120),
        lamp_color=lamp.color,
        state=lamp.text,
        description=preset.description if preset else "",
        facts=_facts(preset) if preset else [],
        needs=needs(opened.problems, DownloadableFile(opened.id, folders) if folders else None),
        variants=[(key, preset.variants[key].title) for key in working] if preset else [],
        has_form=preset is not None,
        runs=runs,
        saved=kept,
        just_saved=fresh,
    )


def _state(opened: OpenedWorkflow) -> Lamp:
    if not opened.errors:
        return Lamp("good", "Ready")
    files = len(missing_models(opened.errors))
    nodes = len({p.class_type for p in opened.errors if p.kind == "missing_node"})
    lacks = [
        f"{count} {noun}{'s' * (count > 1)} missing"
        for count, noun in ((nodes, "node"), (files, "model"))
        if count
    ]
    return Lamp("bad", ", ".join(lacks) or "Cannot run here")


def _facts(preset: Preset) -> list[tuple[str, str]]:
    inputs = [p.label for p in preset.params if p.role == "prompt"]
    inputs += [p.label for p in preset.params if p.role in FILE_ROLES and not p.optional]
    main = sum(not p.advanced for p in preset.params)
    more = len(preset.params) - main
    facts = [
        ("Output", ", ".join(dict.fromkeys(KINDS[output.kind] for output in preset.outputs))),
        ("Inputs", page_text(", ".join(inputs), limit=200) or "nothing: it is ready to run"),
        (
            "Form",
            f"{main} field{'s' * (main != 1)}" + (f" and {more} under Advanced" if more else ""),
        ),
        (
            "License",
            f"{page_text(preset.license, limit=80)} (of its models)" if preset.license else "",
        ),
    ]
    return [(name, value) for name, value in facts if value]


def trouble(error: ComfyHeadlessError) -> Html:
    """Why a workflow could not be opened."""
    record = JobError.of(error)
    return _render("trouble", message=page_text(record.message), hint=page_text(record.hint))


def _render(view: str, **context: object) -> Html:
    return render("workflow_report.html", view, **context)
