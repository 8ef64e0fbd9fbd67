"""The report on a workflow: inputs and outputs, missing requirements, and actions."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ComfyHeadlessError, MissingModel, Problem
from ...models.model_folders import ModelFolders
from ...storage.records import JobError
from ...workflow.fields.field_types import FILE_ROLES
from ...workflow.presets.preset_store import Preset
from ..open_workflows import OpenedWorkflow
from .html import Html, page_text, size
from .preset_picker import KINDS, Lamp
from .templates import render

__all__ = ["DownloadableFile", "missing_models", "needs", "nothing", "report", "trouble"]


def nothing() -> Html:
    """The report before a workflow is opened."""
    return _render("nothing")


def report(
    opened: OpenedWorkflow,
    *,
    kept: bool = False,
    runs: bool = True,
    fresh: bool = False,
    editable: bool = True,
    working: Sequence[str] = (),
    folders: ModelFolders | None = None,
    packs: Container[str] = (),
) -> Html:
    """The report on ``opened``.

    ``kept``: it is saved as a preset; ``fresh``: it was saved just now; ``editable``: its form can
    be edited. ``runs``: its form can be
    opened as it is. ``working`` are variants that would run although the preset itself does not;
    ``folders`` are those that missing files can be downloaded to, ``packs`` the node packs that can
    be added.
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
        needs=needs(
            opened.problems,
            DownloadableFile(opened.id, folders) if folders else None,
            packs=packs,
        ),
        variants=[(key, preset.variants[key].title) for key in working] if preset else [],
        has_form=preset is not None,
        runs=runs,
        saved=kept,
        paid=opened.paid,
        just_saved=fresh,
        editable=editable,
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
    main = sum(not p.advanced and not p.hidden for p in preset.params)
    more = sum(p.advanced and not p.hidden for p in preset.params)
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


def missing_models(problems: Iterable[Problem]) -> tuple[MissingModel, ...]:
    """The missing files, each once."""
    models = (problem.extra.get("model") for problem in problems)
    by_name = {model.filename: model for model in models if isinstance(model, MissingModel)}
    return (*by_name.values(),)


@dataclass(frozen=True, slots=True)
class DownloadableFile:
    """Where model files can be downloaded to, and for which preset or workflow."""

    form: str
    folders: ModelFolders


def needs(
    problems: Sequence[Problem],
    fetchable: DownloadableFile | None = None,
    *,
    packs: Container[str] = (),
) -> Html:
    """All problems: the missing files as a table, then each other problem once.

    With ``fetchable``, files that can be downloaded to this machine get a button for it, and so do
    the node packs of ``packs``.
    """
    models = missing_models(problems)
    others = [p for p in problems if not isinstance(p.extra.get("model"), MissingModel)]
    distinct = {(p.message, p.hint): p for p in others}
    return render(
        "requirements_view.html",
        "needs",
        models=_table(models, fetchable) if models else None,
        problems=[_problem(problem, packs) for problem in distinct.values()],
    )


def _problem(problem: Problem, packs: Container[str]) -> dict[str, Any]:
    url, pack = problem.extra.get("url"), problem.extra.get("pack")
    node = problem.node_title if problem.kind != "missing_node" else None
    return {
        "severity": problem.severity,
        "node": page_text(node, limit=80) if node else "",
        "message": page_text(problem.message),
        "hint": "" if pack in packs else page_text(problem.hint),
        "pack": str(pack) if pack in packs else "",
        "url": str(url) if url else "",
        "link_label": page_text(str(pack or "Download page"), limit=60),
    }


def _table(models: Sequence[MissingModel], fetchable: DownloadableFile | None) -> dict[str, Any]:
    total = sum(model.size_bytes or 0 for model in models)
    sized, licensed = any(m.size_bytes for m in models), any(m.license for m in models)
    downloadable = [m for m in models if fetchable is not None and fetchable.folders.takes(m)]
    rows = []
    for model in models:
        facts = []
        if sized:
            facts.append(size(model.size_bytes) if model.size_bytes else "unknown")
        if licensed:
            facts.append(page_text(model.license or "unknown", limit=60))
        rows.append(
            {
                "filename": model.filename,
                "filename_shown": page_text(model.filename, limit=120),
                "folder": f"models/{model.folder}" if model.folder else "models",
                "facts": facts,
                "gated": model.gated,
                "url": model.url or "",
                "fetchable": model in downloadable,
            }
        )
    return {
        "title": f"{len(models)} model file{'s' * (len(models) > 1)} missing",
        "total": size(total) if total else "",
        "list": "\n".join(_line(model) for model in models),
        "form": fetchable.form if fetchable else "",
        "downloads_all": len(downloadable) > 1,
        "columns": ["File", "Folder", *["Size"] * sized, *["License"] * licensed, ""],
        "rows": rows,
    }


def _line(model: MissingModel) -> str:
    """
    >>> _line(MissingModel("vae", "ae.safetensors", "https://x.org/ae", 335_000_000))
    'models/vae/ae.safetensors  335 MB  https://x.org/ae'
    """
    path = "/".join(part for part in ("models", model.folder, model.filename) if part)
    parts = (path, size(model.size_bytes) if model.size_bytes else "", model.url or "")
    return "  ".join(part for part in parts if part)
