"""The list of workflows to open: recently opened, saved in ComfyUI, templates, presets.

Every group keeps its place in the list even if it is empty: Gradio updates the list element by
element, in order, and an inserted group would exchange workflows under the pointer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from ....client import Template, UserFile
from ....errors import ComfyHeadlessError, ServerRejectedError
from ....workflow.presets.preset_store import Preset
from ...components.html import Html, page_text
from ...components.preset_picker import KIND_ICONS, KINDS
from ...components.templates import render
from ...preset_catalog import CatalogEntry
from ...services import Services

__all__ = ["SAVED_FOLDER", "WorkflowPicker", "ask", "entrance", "is_own", "source_list"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

SAVED_FOLDER: Final = "workflows"
"""Of the user's folder in ComfyUI: where its editor saves."""

_FILES: Final = ".json,.png,.webp,.jpg,.jpeg,.avif,.mp4,.mov,.webm,.mkv,.flac,.mp3,.opus,.ogg"


@dataclass(frozen=True, slots=True)
class _Source:
    """A workflow to open: ``where`` and ``name`` locate it."""

    where: str
    name: str
    title: str
    about: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowPicker:
    """What ComfyUI offers of each kind: its response, or the error."""

    saved: Sequence[UserFile] | ComfyHeadlessError = ()
    official: Sequence[Template] | ComfyHeadlessError = ()
    packs: Mapping[str, Sequence[str]] | ComfyHeadlessError = field(default_factory=dict)
    """Names of templates by node pack."""

    @property
    def whole(self) -> bool:
        """Whether every request succeeded."""
        answers = (self.saved, self.official, self.packs)
        return not any(isinstance(answer, ComfyHeadlessError) for answer in answers)


async def ask(services: Services) -> WorkflowPicker:
    """Request what ComfyUI offers. Takes as long as its slowest response; never raises."""
    client = services.client
    return WorkflowPicker(
        *await asyncio.gather(
            _asked("workflows saved in ComfyUI", client.userdata(SAVED_FOLDER), []),
            _asked("official templates", services.open_workflows.templates(), []),
            _asked("templates of node packs", client.templates(), {}),
        )
    )


def source_list(services: Services, offers: WorkflowPicker, *, asking: bool = False) -> Html:
    """Render all groups.

    ``asking``: a request is running, so the errors of the last one are not shown.
    """
    entries = services.catalog.entries
    saved = _answer(offers.saved, ())
    official = _answer(offers.official, ())
    packs = _answer(offers.packs, {})
    errors = {} if asking else _errors(offers)
    groups: list[tuple[str, list[_Source], bool]] = [  # title, sources, open at first
        ("Recently opened", [_of_entry(e) for e in entries if e.opened], True),
        (
            "Saved presets",
            [_of_entry(e) for e in entries if not e.opened and is_own(services, e.preset)],
            True,
        ),
        (
            "Saved in ComfyUI",
            [
                _Source("saved", f.path, f.path.removesuffix(".json").removesuffix(".workflow"))
                for f in sorted(saved, key=lambda f: -(f.modified_at or 0))
                if f.path.endswith(".json") and not f.path.startswith(".")
            ],
            True,
        ),
        ("Official templates", [_of_template(t) for t in official if not t.paid], False),
        ("Templates of paid services", [_of_template(t) for t in official if t.paid], False),
        (
            "Templates of node packs",
            [
                _Source("pack", f"{pack}/{name}", name, pack)
                for pack, names in packs.items()
                for name in names
            ],
            False,
        ),
        (
            "Shipped presets",
            [_of_entry(e) for e in entries if not e.opened and not is_own(services, e.preset)],
            False,
        ),
    ]
    return render(
        "workflow_picker.html",
        "source_list",
        asking=asking,
        failures=[*errors],
        reasons=[
            *dict.fromkeys(page_text(f"{e.message} {e.hint}".strip()) for e in errors.values())
        ],
        groups=[
            (title, [_button(source) for source in sources], is_open)
            for title, sources, is_open in groups
        ],
        broken=services.catalog.broken,
    )


def is_own(services: Services, preset: Preset) -> bool:
    """Whether it was saved here rather than shipped."""
    return services.saved_workflows.is_own(preset.id)


def entrance() -> Html:
    """Render the area to drop, choose or paste a file."""
    return render("workflow_picker.html", "entrance", file_types=_FILES)


async def _asked(what: str, question: Awaitable[T], nothing: T) -> T | ComfyHeadlessError:
    """Return the server's response, or its error: the other sources are still shown."""
    try:
        return await question
    except ServerRejectedError as error:
        if error.status == 404:  # older versions of ComfyUI have none of this kind
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
    """Return the page's name of each failed source, with the reason."""
    answers = {
        "The workflows saved in ComfyUI are not listed.": offers.saved,
        "The official templates are not listed.": offers.official,
        "The templates of node packs are not listed.": offers.packs,
    }
    return {source: why for source, why in answers.items() if isinstance(why, ComfyHeadlessError)}


def _of_entry(entry: CatalogEntry) -> _Source:
    preset = entry.preset
    return _Source("preset", preset.id, preset.title, entry.lack, preset.kind)


def _of_template(template: Template) -> _Source:
    kind = template.kind if template.kind in KINDS else ""
    return _Source("template", template.name, template.title, template.category, kind)


def _button(source: _Source) -> dict[str, str]:
    return {
        "where": source.where,
        "name": source.name,
        "title": source.title,
        "title_shown": page_text(source.title, limit=90),
        "about_shown": page_text(source.about, limit=40),
        "search_text": f"{source.title} {source.about} {source.name}".lower(),
        "icon": KIND_ICONS.get(source.kind, "flow"),
    }
