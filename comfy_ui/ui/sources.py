"""The workflows that can be picked: opened lately, saved in ComfyUI, its templates, presets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..client import Template
from ..errors import ComfyHeadlessError, Problem
from ..workflow.presets import Preset
from .backend import Backend
from .catalog import Entry
from .html import Html, el, icon, page_text
from .picker import KIND_ICONS, KINDS

__all__ = ["SAVED_FOLDER", "entrance", "is_own", "source_list"]

SAVED_FOLDER: Final = "workflows"
"""Of the user's folder in ComfyUI: where its editor saves."""

_FILES: Final = ".json,.png,.webp,.jpg,.jpeg,.avif,.mp4,.mov,.webm,.mkv,.flac,.mp3,.opus,.ogg"


@dataclass(frozen=True, slots=True)
class _Source:
    """A workflow that can be picked: ``where`` and ``name`` say how to get it."""

    where: str
    name: str
    title: str
    about: str = ""
    kind: str = ""


async def source_list(backend: Backend) -> Html:
    """All of them in groups; what ComfyUI has is asked for now."""
    await backend.catalog.look()
    catalog, client = backend.catalog, backend.client
    saved, official, packs = await asyncio.gather(
        _asked(client.userdata, SAVED_FOLDER),
        _asked(backend.desk.templates),
        _asked(client.templates),
    )
    own = [e for e in catalog.entries if not e.opened and is_own(backend, e.preset)]
    shipped = [e for e in catalog.entries if not e.opened and not is_own(backend, e.preset)]
    listed: list[Template] = official or []
    return el(
        "section",
        el("h2", "Or pick one"),
        el(
            "input",
            type="search",
            class_="filter",
            placeholder="Find a workflow",
            aria_label="Find a workflow",
            data_filter=".source",
        ),
        _group("Opened lately", [_of_entry(e) for e in catalog.entries if e.opened], open=True),
        _group("Saved as presets", [_of_entry(entry) for entry in own], open=True),
        _group(
            "Saved in ComfyUI",
            [
                _Source("saved", f.path, f.path.removesuffix(".json"))
                for f in sorted(saved or [], key=lambda f: -(f.modified_at or 0))
                if f.path.endswith(".json") and not f.path.startswith(".")
            ],
            open=True,
        ),
        _group("Official templates", [_of_template(t) for t in listed if not t.paid]),
        _group("Templates of paid services", [_of_template(t) for t in listed if t.paid]),
        _group(
            "Templates of node packs",
            [
                _Source("pack", f"{pack}/{name}", name, pack)
                for pack, names in (packs or {}).items()
                for name in names
            ],
        ),
        _group("Shipped presets", [_of_entry(entry) for entry in shipped]),
        _broken(catalog.broken),
        el("p", "ComfyUI does not answer: what it has is not listed.", class_="trouble")
        if saved is None and official is None
        else None,
        class_="panel sources",
    )


def is_own(backend: Backend, preset: Preset) -> bool:
    """Whether it was saved here, and not shipped."""
    return (backend.presets.presets / f"{preset.id}.toml").exists()


def entrance() -> Html:
    """Where a file is dropped, chosen or pasted."""
    return el(
        "section",
        el("h2", "Open a workflow"),
        el(
            "label",
            icon("input", class_="icon hero"),
            el("strong", "Drop a file here, or choose one"),
            el(
                "span",
                "ComfyUI's JSON in either format, or a picture, video or sound that carries it",
                class_="quiet",
            ),
            for_="workflow-file",
            class_="dropzone",
        ),
        el(
            "input",
            type="file",
            id="workflow-file",
            accept=_FILES,
            class_="sr",
            data_open_workflow=True,
        ),
        el(
            "details",
            el("summary", "Paste it instead"),
            el(
                "textarea",
                id="workflow-text",
                rows="5",
                aria_label="The workflow as JSON",
                placeholder='{"nodes": …}',
                spellcheck="false",
            ),
            el("button", "Open", type="button", class_="act strong", data_do="open-pasted"),
            class_="paste",
        ),
        el("p", class_="trouble", role="alert", id="workflow-trouble"),
        class_="panel entrance",
    )


async def _asked(question: Callable[..., Awaitable[Any]], *about: str) -> Any:
    """The server's answer; None when it has none: the other sources are there all the same."""
    try:
        return await question(*about)
    except ComfyHeadlessError:
        return None


def _of_entry(entry: Entry) -> _Source:
    preset = entry.preset
    return _Source("preset", preset.id, preset.title, entry.lack, preset.kind)


def _of_template(template: Template) -> _Source:
    kind = template.kind if template.kind in KINDS else ""
    return _Source("template", template.name, template.title, template.category, kind)


def _group(title: str, sources: Sequence[_Source], *, open: bool = False) -> Html | None:  # noqa: A002
    if not sources:
        return None
    return el(
        "details",
        el(
            "summary",
            el("span", title),
            el("span", len(sources), class_="count"),
            icon("arrow"),
        ),
        el("div", [_button(source) for source in sources], class_="source-list"),
        open=open,
        class_="source-group",
        data_group=title,
    )


def _button(source: _Source) -> Html:
    return el(
        "button",
        icon(KIND_ICONS.get(source.kind, "flow")),
        el("span", page_text(source.title, limit=90)),
        el("span", page_text(source.about, limit=40), class_="quiet") if source.about else None,
        type="button",
        class_="source",
        data_send="pick",
        data_where=source.where,
        data_name=source.name,
        data_title=source.title,
        data_find=f"{source.title} {source.about} {source.name}".lower(),
    )


def _broken(problems: Iterable[Problem]) -> list[Html]:
    return [
        el("p", icon("alert"), problem.message, " ", problem.hint, class_="need error")
        for problem in problems
    ]
