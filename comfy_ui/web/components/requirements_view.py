"""What a preset or workflow lacks, with the cure of each: files, node packs, wrong values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ...errors import MissingModel, Problem
from ...models.model_folders import ModelFolders
from .html import Html, act, el, icon, join, page_text
from .units import size

__all__ = ["DownloadableFile", "missing_models", "needs"]

_COLUMNS: Final = ("File", "Folder", "Size", "Licence", "")


def missing_models(problems: Iterable[Problem]) -> tuple[MissingModel, ...]:
    """The files to get, each once."""
    found = (problem.extra.get("model") for problem in problems)
    models = {model.filename: model for model in found if isinstance(model, MissingModel)}
    return (*models.values(),)


@dataclass(frozen=True, slots=True)
class DownloadableFile:
    """That files can be fetched here: into which folders, and for which preset or workflow."""

    form: str
    folders: ModelFolders


def needs(problems: Sequence[Problem], fetchable: DownloadableFile | None = None) -> Html:
    """All problems: the files as a table that can be copied whole, then the others by kind.

    With ``fetchable`` the files that can be put on this machine's disk have a button for it.
    """
    models = missing_models(problems)
    others = [p for p in problems if not isinstance(p.extra.get("model"), MissingModel)]
    told = {(p.message, p.hint): p for p in others}  # a class that stands five times is said once
    return join(
        _models(models, fetchable) if models else None,
        [_problem(problem) for problem in told.values()],
    )


def _problem(problem: Problem) -> Html:
    url, pack = problem.extra.get("url"), problem.extra.get("pack")
    where = problem.node_title if problem.kind != "missing_node" else None
    return el(
        "div",
        icon("alert"),
        el(
            "p",
            el("strong", page_text(where, limit=80), ": ") if where else None,
            page_text(problem.message),
            " ",
            page_text(problem.hint),
        ),
        _link(str(url), str(pack or "Get it")) if url else None,
        class_=f"need {problem.severity}",
    )


def _models(models: Sequence[MissingModel], fetchable: DownloadableFile | None) -> Html:
    total = sum(model.size_bytes or 0 for model in models)
    told = {"Size": any(m.size_bytes for m in models), "Licence": any(m.license for m in models)}
    columns = [name for name in _COLUMNS if told.get(name, True)]
    several = f"{len(models)} model files" if len(models) > 1 else "1 model file"
    here = [m for m in models if fetchable is not None and fetchable.folders.takes(m)]
    return el(
        "div",
        el(
            "div",
            el("strong", f"{several} missing"),
            el("span", f"{size(total)} in all", class_="quiet") if total else None,
            el(
                "span",
                act(
                    "copy",
                    "Copy the list",
                    data_copy="\n".join(_line(model) for model in models),
                ),
                _fetch(fetchable, "Download all") if fetchable and len(here) > 1 else None,
                class_="acts",
            ),
            class_="row",
        ),
        el(
            "table",
            el("thead", el("tr", [el("th", name, scope="col") for name in columns])),
            el(
                "tbody",
                [_row(m, columns, fetchable if m in here else None) for m in models],
            ),
            class_="models",
        ),
        class_="need-models",
    )


def _fetch(fetchable: DownloadableFile, label: str, file: str | None = None) -> Html:
    return act(
        "download",
        label,
        class_="act strong",
        data_do="fetch-models",
        data_form=fetchable.form,
        data_file=file,
        aria_label=f"Download {file}" if file else None,
    )


def _line(model: MissingModel) -> str:
    """
    >>> _line(MissingModel("vae", "ae.safetensors", "https://x.org/ae", 335_000_000))
    'models/vae/ae.safetensors  335 MB  https://x.org/ae'
    """
    known = (_where(model), size(model.size_bytes) if model.size_bytes else "", model.url or "")
    return "  ".join(part for part in known if part)


def _where(model: MissingModel) -> str:
    return "/".join(part for part in ("models", model.folder, model.filename) if part)


def _row(model: MissingModel, columns: Sequence[str], fetchable: DownloadableFile | None) -> Html:
    known = {
        "Size": size(model.size_bytes) if model.size_bytes else "unknown",
        "Licence": page_text(model.license or "unknown", limit=60),
    }
    return el(
        "tr",
        el("td", el("code", page_text(model.filename, limit=120))),
        el("td", el("code", f"models/{model.folder}" if model.folder else "models")),
        [el("td", known[name]) for name in columns if name in known],
        el(
            "td",
            el(
                "span",
                el("span", "needs a login there", class_="quiet") if model.gated else None,
                _link(model.url, "Link" if fetchable else "Get it") if model.url else None,
                _fetch(fetchable, "Download", model.filename) if fetchable else None,
                class_="acts",
            ),
        ),
    )


def _link(url: str, text: str) -> Html:
    return el(
        "a",
        page_text(text, limit=60),
        href=url,
        target="_blank",
        rel="noreferrer noopener",
        class_="act strong",
    )
