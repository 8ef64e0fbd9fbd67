"""Views of the Library tab: its frame, the tiles, and the details of one result."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias, get_args

from ...errors import ValidationError
from ...storage.records import TEMPLATES, ItemSort, Job, JobGroup, Label, LabelKind, LibraryItem
from ...workflow.fields.field_types import FILE_ROLES
from ...workflow.loras.lora_values import active_loras, parse_loras
from ...workflow.model_files import model_files
from ...workflow.presets.preset_store import Preset
from ...workflow.prompt_arrays import without_brackets
from ..preset_catalog import PresetCatalog
from ..tabs.create.reuse_settings import ways_on
from .html import Html, duration, el, number, page_text, size
from .job_card import ONE_PRESS_WAYS, WAYS
from .templates import render
from .thumbnails import Thumbnail, file_url, thumbnail

__all__ = ["comparison", "detail", "frame", "group_head", "tiles"]

_Fact: TypeAlias = str | list[str]

_KINDS: Final = {
    "": "All kinds",
    "image": "Images",
    "video": "Videos",
    "audio": "Audio",
    "3d": "3D",
    "text": "Texts",
}
_PERIODS: Final = {
    "": "Any time",
    "1": "Today",
    "7": "Last 7 days",
    "30": "Last 30 days",
    "days": "From … to …",
}
_ORDERS: Final[Mapping[ItemSort, str]] = {
    "newest": "Newest first",
    "oldest": "Oldest first",
    "rating": "Best rated first",
    "largest": "Largest first",
    "preset": "By preset",
    "name": "By file name",
}
# Roles that the detail view shows separately, or not at all.
_SHOWN_ELSEWHERE: Final = frozenset(
    {"prompt", "negative", "seed", "width", "height", "model", *FILE_ROLES}
)


def frame() -> Html:
    """The tab before its results are loaded. The page's script shows the import to admins."""
    return _render("frame", kinds=_KINDS, periods=_PERIODS, orders=_ORDERS)


class _Tile(NamedTuple):
    thumbnail: Thumbnail
    name: str
    starred: bool
    rating: int
    at: str
    group: JobGroup | None


def tiles(
    items: Iterable[LibraryItem], groups: Mapping[str, JobGroup] = MappingProxyType({})
) -> Html:
    """One tile per result, in order; the page, which knows the time zone, groups them by day.

    The day of a deleted result is that of its deletion. A result of one of the ``groups`` is the
    cover of the group, if the group has more results.
    """
    return _render(
        "tiles",
        tiles=[
            _Tile(
                thumbnail(item),
                page_text(item.prompt or item.filename, limit=60),
                item.starred,
                item.rating,
                f"{item.deleted_at or item.created_at:.0f}",
                group if (group := groups.get(item.group_id or "")) and group.results > 1 else None,
            )
            for item in items
        ],
    )


def group_head(group: JobGroup) -> Html:
    """The heading of a group that was opened."""
    return _render(
        "group_head",
        group_id=group.id,
        prompt=page_text(without_brackets(group.prompt or group.title), limit=240),
        count=f"{group.results} results",
        axes=[*dict.fromkeys(group.title.split(" / "))],
    )


def detail(
    item: LibraryItem,
    job: Job,
    catalog: PresetCatalog,
    *,
    parent: LibraryItem | None = None,
    children: Iterable[LibraryItem] = (),
    labels: Iterable[Label] = (),
    one_press: Mapping[str, str] = MappingProxyType({}),
    may_be_cover: bool = False,
) -> Html:
    """The panel beside an enlarged result: its prompt, facts, actions, and its relatives.

    ``one_press`` is as in :func:`.job_card.result_card`. ``may_be_cover``: the user may make it
    the cover of its preset.
    """
    preset = catalog.find(item.preset)
    texts = [
        *([("Prompt", item.prompt)] if item.prompt else []),
        *([("Negative prompt", negative)] if (negative := _negative(item, preset)) else []),
        *(("Prompt template", text) for text in _templates(item)),
    ]
    return _render(
        "detail",
        item=item,
        texts=[(label, page_text(text, limit=4000), text) for label, text in texts],
        ways=[
            (way, *WAYS[way], entry.preset.title) for way, entry in ways_on(item, catalog).items()
        ],
        one_press=[(way, *ONE_PRESS_WAYS[way], title) for way, title in one_press.items()],
        facts=_facts(item, job, preset),
        may_be_cover=may_be_cover,
        url=file_url(item),
        size=size(item.size_bytes),
        labels=_by_kind(labels),
        relatives=[
            (label, [thumbnail(relative) for relative in relatives])
            for label, relatives in (
                ("Made from", [parent] if parent else []),
                ("Made from this", [*children]),
            )
            if relatives
        ],
    )


def _by_kind(labels: Iterable[Label]) -> dict[LabelKind, list[str]]:
    by_kind: dict[LabelKind, list[str]] = {kind: [] for kind in get_args(LabelKind)}
    for label in labels:
        by_kind[label.kind].append(label.name)
    return by_kind


class _SettingDifference(NamedTuple):
    """A setting with its two values, each in parts that differ from the other value or not."""

    label: str
    pair: tuple[list[_ComparedWords], list[_ComparedWords]]


class _ComparedWords(NamedTuple):
    text: str
    differs: bool


def comparison(
    first: tuple[LibraryItem, Job], second: tuple[LibraryItem, Job], catalog: PresetCatalog
) -> Html:
    """What is different between the settings of two results."""
    settings = [_settings(item, job, catalog) for item, job in (first, second)]
    labels = list(dict.fromkeys([*settings[0], *settings[1]]))
    differences, same = [], []
    for label in labels:
        one, other = (found.get(label, "") for found in settings)
        if one == other:
            same += [label] if one else []
        else:
            differences.append(_SettingDifference(label, _word_diff(one, other)))
    return _render("comparison", differences=differences, same=same)


def _settings(item: LibraryItem, job: Job, catalog: PresetCatalog) -> dict[str, str]:
    preset = catalog.find(item.preset)
    return {
        "Prompt": item.prompt,
        "Negative prompt": _negative(item, preset),
        **{
            label: value if isinstance(value, str) else ", ".join(value)
            for label, value in _generation_facts(item, job, preset)
        },
    }


def _word_diff(one: str, other: str) -> tuple[list[_ComparedWords], list[_ComparedWords]]:
    """Both texts in parts, with the words marked that the other one lacks.

    >>> _word_diff("a red fox", "a blue fox")[0][1]
    _ComparedWords(text='red', differs=True)
    """
    words = one.split(), other.split()
    parts: tuple[list[_ComparedWords], list[_ComparedWords]] = ([], [])
    matcher = difflib.SequenceMatcher(a=words[0], b=words[1], autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        for side, (low, high) in enumerate(((start, end), (other_start, other_end))):
            if high > low:
                text = page_text(" ".join(words[side][low:high]), limit=4000)
                parts[side].append(_ComparedWords(text, tag != "equal"))
    return parts


def _templates(item: LibraryItem) -> list[str]:
    """The prompts before wildcards were expanded."""
    templates = item.values.get(TEMPLATES)  # a control of a workflow may have this name as well
    return [str(text) for text in templates.values()] if isinstance(templates, Mapping) else []


def _loras(item: LibraryItem) -> list[str]:
    """The loaded LoRAs with their weights."""
    try:
        loras = active_loras(parse_loras(item.values.get("loras")))
    except ValidationError:  # a control of a workflow may have this name as well
        return []
    return [f"{lora['name']} × {number(lora['strength'])}" for lora in loras]


def _negative(item: LibraryItem, preset: Preset | None) -> str:
    param = preset.by_role("negative") if preset else None
    return str(item.values.get(param.id) or "") if param else ""


def _facts(item: LibraryItem, job: Job, preset: Preset | None) -> list[tuple[str, _Fact]]:
    """Everything that the viewer lists."""
    facts = _generation_facts(item, job, preset)
    if job.started_at and job.finished_at:
        facts.append(("Duration", duration(job.finished_at - job.started_at)))
    facts.append(("Created", el("time", "", data_at=f"{item.created_at:.0f}")))
    facts.append(("File", f"{item.filename}, {size(item.size_bytes)}"))
    return facts


def _generation_facts(
    item: LibraryItem, job: Job, preset: Preset | None
) -> list[tuple[str, _Fact]]:
    """What the result was generated with, without its prompts."""
    facts: list[tuple[str, _Fact]] = [("Preset", preset.title if preset else item.preset)]
    if item.is_preview:
        facts.append(("Kind", "Preview of a stopped job"))
    if item.width and item.height:
        facts.append(("Size", f"{item.width} × {item.height}"))
    if item.seed is not None:
        facts.append(("Seed", str(item.seed)))
    facts += [
        (param.label, number(item.values[param.id]))
        for param in (preset.params if preset else ())
        if param.role not in _SHOWN_ELSEWHERE and item.values.get(param.id) not in {None, ""}
    ]
    if loras := _loras(item):
        facts.append(("LoRAs", loras))
    if models := model_files(job.graph):
        facts.append(("Models", list(models)))
    return facts


def _render(view: str, **context: object) -> Html:
    return render("library_view.html", view, **context)
