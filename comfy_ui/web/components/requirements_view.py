"""What a preset or workflow lacks, and how to get it: model files, node packs, values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import MissingModel, Problem
from ...models.model_folders import ModelFolders
from .html import Html, page_text
from .templates import render
from .units import size

__all__ = ["DownloadableFile", "missing_models", "needs"]


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


def needs(problems: Sequence[Problem], fetchable: DownloadableFile | None = None) -> Html:
    """All problems: the missing files as a table, then each other problem once.

    With ``fetchable``, files that can be downloaded to this machine get a button for it.
    """
    models = missing_models(problems)
    others = [p for p in problems if not isinstance(p.extra.get("model"), MissingModel)]
    distinct = {(p.message, p.hint): p for p in others}
    return render(
        "requirements_view.html",
        "needs",
        models=_table(models, fetchable) if models else None,
        problems=[_problem(problem) for problem in distinct.values()],
    )


def _problem(problem: Problem) -> dict[str, Any]:
    url, pack = problem.extra.get("url"), problem.extra.get("pack")
    node = problem.node_title if problem.kind != "missing_node" else None
    return {
        "severity": problem.severity,
        "node": page_text(node, limit=80) if node else "",
        "message": page_text(problem.message),
        "hint": page_text(problem.hint),
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
