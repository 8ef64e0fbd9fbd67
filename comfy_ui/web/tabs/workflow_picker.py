"""The workflows that can be picked: opened lately, saved in ComfyUI, its templates, presets.

Each group has its place in the list also where it holds nothing: Gradio changes what is drawn
element by element, in their order, and a group that came in front of others would turn a workflow
into another one under the pointer that is about to press it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from ...client import Template, UserFile
from ...errors import ComfyHeadlessError, Problem, ServerRejectedError
from ...workflow.presets.preset_store import Preset
from ..components.html import Html, act, el, icon, page_text
from ..components.preset_picker import KIND_ICONS, KINDS
from ..preset_catalog import CatalogEntry
from ..services import Services

__all__ = ["SAVED_FOLDER", "WorkflowPicker", "ask", "entrance", "is_own", "source_list"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
class WorkflowPicker:
    """What ComfyUI offers of each kind: what it said, the error where that was no answer."""

    saved: Sequence[UserFile] | ComfyHeadlessError = ()
    official: Sequence[Template] | ComfyHeadlessError = ()
    packs: Mapping[str, Sequence[str]] | ComfyHeadlessError = field(default_factory=dict)
    """Names of templates by node pack."""

    @property
    def whole(self) -> bool:
        """Whether it answered every question."""
        answers = (self.saved, self.official, self.packs)
        return not any(isinstance(answer, ComfyHeadlessError) for answer in answers)


async def ask(services: Services) -> WorkflowPicker:
    """Ask ComfyUI what it offers. Takes as long as its slowest answer; raises nothing of its."""
    client = services.client
    return WorkflowPicker(
        *await asyncio.gather(
            _asked("workflows saved in ComfyUI", client.userdata(SAVED_FOLDER), []),
            _asked("official templates", services.open_workflows.templates(), []),
            _asked("templates of node packs", client.templates(), {}),
        )
    )


def source_list(services: Services, offers: WorkflowPicker, *, asking: bool = False) -> Html:
    """All of them in groups.

    ``asking``: ComfyUI is being asked now, so what it did not say last time is no trouble yet.
    """
    entries = services.catalog.entries
    saved = _answer(offers.saved, ())
    official = _answer(offers.official, ())
    packs = _answer(offers.packs, {})
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
        el(
            "div",
            el("p", "Asking ComfyUI what it has …", class_="quiet") if asking else None,
            None if asking else _troubles(_errors(offers)),
            class_="unlisted",
            role="status",
        ),
        _group("Opened lately", [_of_entry(e) for e in entries if e.opened], open=True),
        _group(
            "Saved as presets",
            [_of_entry(e) for e in entries if not e.opened and is_own(services, e.preset)],
            open=True,
        ),
        _group(
            "Saved in ComfyUI",
            [
                _Source("saved", f.path, f.path.removesuffix(".json"))
                for f in sorted(saved, key=lambda f: -(f.modified_at or 0))
                if f.path.endswith(".json") and not f.path.startswith(".")
            ],
            open=True,
        ),
        _group("Official templates", [_of_template(t) for t in official if not t.paid]),
        _group("Templates of paid services", [_of_template(t) for t in official if t.paid]),
        _group(
            "Templates of node packs",
            [
                _Source("pack", f"{pack}/{name}", name, pack)
                for pack, names in packs.items()
                for name in names
            ],
        ),
        _group(
            "Shipped presets",
            [_of_entry(e) for e in entries if not e.opened and not is_own(services, e.preset)],
        ),
        _broken(services.catalog.broken),
        class_="panel sources",
    )


def is_own(services: Services, preset: Preset) -> bool:
    """Whether it was saved here, and not shipped."""
    return (services.saved_workflows.presets / f"{preset.id}.toml").exists()


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


async def _asked(what: str, question: Awaitable[T], nothing: T) -> T | ComfyHeadlessError:
    """The server's answer, or why there is none: the other sources are there all the same."""
    try:
        return await question
    except ServerRejectedError as error:
        if error.status == 404:  # an older ComfyUI has none of this kind
            return nothing
        return _told(what, error)
    except ComfyHeadlessError as error:
        return _told(what, error)


def _told(what: str, error: ComfyHeadlessError) -> ComfyHeadlessError:
    logger.warning("The %s are not listed: %s", what, error.message)
    return error


def _answer(answer: T | ComfyHeadlessError, nothing: T) -> T:
    return nothing if isinstance(answer, ComfyHeadlessError) else answer


def _errors(offers: WorkflowPicker) -> dict[str, ComfyHeadlessError]:
    """What the page calls each source that gave no answer, and why it gave none."""
    answers = {
        "The workflows saved in ComfyUI are not listed.": offers.saved,
        "The official templates are not listed.": offers.official,
        "The templates of node packs are not listed.": offers.packs,
    }
    return {said: why for said, why in answers.items() if isinstance(why, ComfyHeadlessError)}


def _troubles(errors: Mapping[str, ComfyHeadlessError]) -> Html | None:
    """What is not in the list, why, and a button that asks again. One reason is said once."""
    if not errors:
        return None
    reasons = dict.fromkeys(page_text(f"{e.message} {e.hint}".strip()) for e in errors.values())
    return el(
        "div",
        icon("alert"),
        el(
            "div",
            [el("p", el("strong", said)) for said in errors],
            [el("p", reason) for reason in reasons],
            act("again", "Ask again", data_send="again"),
        ),
        class_="need error",
    )


def _of_entry(entry: CatalogEntry) -> _Source:
    preset = entry.preset
    return _Source("preset", preset.id, preset.title, entry.lack, preset.kind)


def _of_template(template: Template) -> _Source:
    kind = template.kind if template.kind in KINDS else ""
    return _Source("template", template.name, template.title, template.category, kind)


def _group(title: str, sources: Sequence[_Source], *, open: bool = False) -> Html:  # noqa: A002
    """A group; where it holds nothing, the stylesheet hides it and its place stays."""
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
        el("span", page_text(source.title, limit=90), translate="no"),
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
