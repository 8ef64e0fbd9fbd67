"""What the Library tab is made of: its frame, a tile for each result, and all about one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...storage.records import TEMPLATES, Job, LibraryItem
from ...workflow.checks.requirements import model_files
from ...workflow.fields.roles import FILE_ROLES
from ...workflow.presets.preset_store import Preset
from ..preset_catalog import PresetCatalog
from ..tabs.create.reuse_settings import ways_on
from . import units
from .html import Html, act, el, icon, icon_button, page_text
from .job_card import WAYS
from .thumbnails import file_url, thumb

__all__ = ["detail", "frame", "tiles"]

_KINDS: Final = {
    "": "All kinds",
    "image": "Pictures",
    "video": "Videos",
    "audio": "Sounds",
    "3d": "3D",
    "text": "Texts",
}
_WHENS: Final = {
    "": "Any time",
    "1": "Today",
    "7": "Last 7 days",
    "30": "Last 30 days",
    "days": "From … to …",
}
# Roles that have a line of their own in the detail view, or none.
_TOLD: Final = frozenset({"prompt", "negative", "seed", "width", "height", "model", *FILE_ROLES})


def frame(*, imports: bool = False) -> Html:
    """The tab before anything is loaded: search, an empty shelf, what to do with a selection.

    ``imports``: folders of this machine may be brought in.
    """
    return el(
        "div",
        _search(),
        el(
            "div",
            el("span", class_="kept quiet"),
            el("span", class_="importing quiet", role="status"),
            act("input", el("span", "Import a folder"), data_do="import-folder")
            if imports
            else None,
            class_="stock",
        ),
        el("div", class_="days", aria_live="off"),
        _nothing(),
        el("div", class_="more", aria_hidden="true"),
        _selection(),
        class_="library",
    )


def tiles(items: Iterable[LibraryItem]) -> Html:
    """One tile a result, in order. The page puts them under their days: it knows the time zone."""
    return Html("".join(_tile(item) for item in items))


def _tile(item: LibraryItem) -> Html:
    name = page_text(item.prompt or item.filename, limit=60)
    return el(
        "li",
        thumb(item, tabindex="-1"),
        el(
            "button",
            icon("check"),
            type="button",
            class_="pick",
            role="checkbox",
            aria_checked="false",
            aria_label=f"Select: {name}",
            tabindex="-1",
            data_do="pick",
        ),
        el(
            "button",
            icon("star"),
            type="button",
            class_="mark-star",
            aria_pressed="true" if item.starred else "false",
            aria_label=f"Star: {name}",
            tabindex="-1",
            data_do="star",
        ),
        class_="tile",
        data_item=str(item.id),
        data_at=f"{item.created_at:.0f}",
    )


def _search() -> Html:
    return el(
        "form",
        el(
            "div",
            icon("search"),
            el(
                "input",
                type="search",
                name="text",
                placeholder="Find by prompt, model or file name",
                aria_label="Find by prompt, model or file name",
                autocomplete="off",
                maxlength="500",
            ),
            class_="seek",
        ),
        el(
            "div",
            _select("kind", "Kind", _KINDS),
            _select("preset", "Preset", {"": "All presets"}),
            _select("when", "Time", _WHENS),
            el(
                "div",
                el("input", type="date", name="from", aria_label="From this day"),
                el("span", "–", aria_hidden="true"),
                el("input", type="date", name="to", aria_label="To this day"),
                class_="days-range",
                hidden=True,
            ),
            el(
                "label",
                el("input", type="checkbox", name="starred"),
                icon("star"),
                el("span", "Starred"),
                class_="toggle",
            ),
            class_="filters",
        ),
        act("pick", "Select", aria_pressed="false", data_do="picking"),
        class_="find",
        role="search",
        aria_label="Library",
    )


def _select(name: str, label: str, options: Mapping[str, str]) -> Html:
    return el(
        "div",
        el(
            "select",
            [el("option", text, value=value) for value, text in options.items()],
            name=name,
            aria_label=label,
        ),
        icon("arrow"),
        class_="select",
    )


def _nothing() -> Html:
    """Both reasons why the shelf may be empty; the page shows the one that holds."""
    return el(
        "div",
        el(
            "div",
            icon("image", class_="icon hero"),
            el("h2", "Everything you make will be here"),
            el(
                "p",
                "With its prompt, seed and settings, to be found again and to go on from.",
                class_="quiet",
            ),
            act("spark", "Make something", class_="act strong", data_do="to-create"),
            class_="message never",
        ),
        el(
            "div",
            icon("search", class_="icon hero"),
            el("h2", "Nothing found"),
            el("p", "No result fits all that you ask for.", class_="quiet"),
            act("close", "Show everything", class_="act strong", data_do="clear-search"),
            class_="message unfound",
        ),
        class_="nothing",
        role="status",
    )


def _selection() -> Html:
    return el(
        "div",
        el("span", class_="picked", role="status"),
        act("compare", "Compare", data_do="compare-picked"),
        act("star", "Star", data_do="star-picked"),
        act("download", "Download", data_do="zip-picked"),
        act("bin", "Delete", data_do="delete-picked", class_="act danger"),
        icon_button("close", "End the selection (Esc)", data_do="unpick"),
        class_="selection",
        role="toolbar",
        aria_label="What to do with the selection",
        hidden=True,
    )


# All about one result


def detail(item: LibraryItem, job: Job, catalog: PresetCatalog) -> Html:
    """The panel beside a result shown large: what it is, how it was made, what to do with it."""
    preset = catalog.find(item.preset)
    return el(
        "div",
        _words("Prompt", item.prompt) if item.prompt else None,
        _words("Without", _negative(item, preset)) if _negative(item, preset) else None,
        [_words("Chosen from", text) for text in _templates(item)],
        el("div", _recalls(item), class_="acts", role="group", aria_label="Use its settings"),
        el("div", _ways(item, catalog), class_="acts", role="group", aria_label="Go on from it"),
        el("div", _keeps(item), class_="acts", role="group", aria_label="Keep or drop it"),
        el(
            "dl",
            [
                el("div", el("dt", k), el("dd", v, translate="no"))
                for k, v in _facts(item, job, preset)
            ],
        ),
        class_="detail",
    )


def _templates(item: LibraryItem) -> list[str]:
    """Its prompts as they were before wildcards were chosen."""
    kept = item.values.get(TEMPLATES)  # a control of a workflow may have this name as well
    return [str(text) for text in kept.values()] if isinstance(kept, Mapping) else []


def _words(label: str, text: str) -> Html:
    return el(
        "div",
        el("h2", label),
        el("p", page_text(text, limit=4000), translate="no"),
        icon_button("copy", f"Copy: {label}", title="Copy", data_copy=text),
        class_="words-of",
    )


def _recalls(item: LibraryItem) -> list[Html | None]:
    return [
        _key("recall", "again", "Reuse all", "A", what="all"),
        _key("recall", "spark", "Remix", "R", what="remix", title="All but the seed"),
        _key("recall", "prompt", "Prompt", "P", what="prompt") if item.prompt else None,
        _key("recall", "dice", "Seed", "S", what="seed") if item.seed is not None else None,
    ]


def _ways(item: LibraryItem, catalog: PresetCatalog) -> list[Html]:
    if item.kind != "image":
        return []
    return [
        act(*WAYS[way], data_do="recall", data_what=way, title=f"With {entry.preset.title}")
        for way, entry in ways_on(item, catalog).items()
    ] + [
        act(
            "prompt",
            "Describe",
            class_="act describes",  # shown where a model sees, see prompt_tools.js
            data_do="describe-shown",
            title="A prompt from what is seen",
        )
    ]


def _keeps(item: LibraryItem) -> list[Html | None]:
    return [
        _key(
            "star-shown",
            "star",
            "Star",
            ".",
            aria_pressed="true" if item.starred else "false",
        ),
        act("compare", "Compare", data_do="compare-shown", title="With another picture")
        if item.kind == "image"
        else None,
        el(
            "a",
            icon("download"),
            el("span", "Download"),
            class_="act strong",
            href=f"{file_url(item)}?download",
            download=item.filename,
            title=f"{item.filename}, {units.size(item.size_bytes)}, as ComfyUI wrote it",
        ),
        _key("delete-shown", "bin", "Delete", "Delete", class_="act danger"),
    ]


def _key(
    do: str, image: str, label: str, key: str, *, what: str | None = None, **more: Any
) -> Html:
    told = more.pop("title", label)
    return act(
        image,
        label,
        data_do=do,
        data_what=what,
        title=f"{told} ({key})",
        aria_keyshortcuts=key,
        **more,
    )


def _negative(item: LibraryItem, preset: Preset | None) -> str:
    param = preset.by_role("negative") if preset else None
    return str(item.values.get(param.id) or "") if param else ""


def _facts(item: LibraryItem, job: Job, preset: Preset | None) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("Preset", preset.title if preset else item.preset)]
    if item.width and item.height:
        facts.append(("Size", f"{item.width} × {item.height}"))
    if item.seed is not None:
        facts.append(("Seed", str(item.seed)))
    facts += [
        (param.label, units.number(item.values[param.id]))
        for param in (preset.params if preset else ())
        if param.role not in _TOLD and item.values.get(param.id) not in {None, ""}
    ]
    models = model_files(job.graph)
    if models:
        facts.append(("Models", [el("div", name) for name in models]))
    if job.started_at and job.finished_at:
        facts.append(("Took", units.duration(job.finished_at - job.started_at)))
    facts.append(("Made", el("time", "", data_at=f"{item.created_at:.0f}")))
    facts.append(("File", f"{item.filename}, {units.size(item.size_bytes)}"))
    return facts
