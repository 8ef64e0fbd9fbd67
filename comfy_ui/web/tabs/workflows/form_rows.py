"""The editor of a form: its fields as a list, its earlier versions, and what else can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....library.preset_versions import PresetVersion
from ....protocol.object_info import NodeRegistry
from ....workflow.fields.field_types import FIELD_TYPES, FILE_ROLES, NUMBER_ROLES
from ....workflow.presets.form_edit import place_of
from ....workflow.presets.preset_store import Param, Preset, choices
from ...auth.access import LOGIN_USER
from ...components.html import Html, page_text
from ...components.preset_form import spec_of
from ...components.templates import render

__all__ = ["deleted", "form_editor"]


def form_editor(
    preset: Preset,
    *,
    library: NodeRegistry | None = None,
    versions: Sequence[PresetVersion] = (),
    saved: bool = True,
    has_editor_file: bool = False,
) -> Html:
    """The editor of ``preset``. ``saved``: it is a preset, not a workflow that was opened.

    ``has_editor_file``: it was made from a file of ComfyUI's editor, which can get the form back.
    """
    params = sorted(preset.params, key=lambda param: param.order)
    return render(
        "form_editor.html",
        "form_editor",
        id=preset.id,
        title=preset.title,
        shown_title=page_text(preset.title, limit=80),
        description=preset.description,
        rows=[_row(preset, param, library) for param in params],
        versions=[_version(version) for version in versions],
        saved=saved,
        has_cover=preset.thumbnail is not None,
        has_editor_file=has_editor_file,
    )


def deleted(preset_id: str, title: str, version: int) -> Html:
    """What stands in the place of a deleted preset: the way back."""
    return render(
        "form_editor.html",
        "deleted",
        id=preset_id,
        title=page_text(title, limit=80),
        version=version,
    )


def _row(preset: Preset, param: Param, library: NodeRegistry | None) -> Mapping[str, Any]:
    is_number = param.role in NUMBER_ROLES
    kind = FIELD_TYPES[param.role].value
    offered = choices(param, spec_of(preset, param, library))
    if kind == "bool":
        widget = "bool"
    elif param.role in FILE_ROLES or param.role == "seed":
        widget = ""
    elif offered is not None:
        widget = "choice"
    else:
        widget = "number" if is_number else "text"
    targets = ", ".join(f"{target.node}.{target.input}" for target in param.targets)
    return {
        "id": param.id,
        "label": param.label,
        "place": place_of(param),
        "group": param.group if param.group != "Main" else "",
        "help": param.help,
        "widget": widget,
        "default": _text(param.default),
        "choices": [*dict.fromkeys((*map(str, offered or ()), _text(param.default)))],
        "min": _text(param.min),
        "max": _text(param.max),
        "has_range": is_number and param.role != "seed",
        "can_hide": param.role != "prompt",
        "targets": page_text(targets, limit=120),
    }


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if value is not None else ""


def _version(version: PresetVersion) -> Mapping[str, Any]:
    login = version.saved_by.removeprefix(LOGIN_USER)
    return {
        "number": version.number,
        "saved_at": version.saved_at,
        "saved_by": page_text(login, limit=60) if login != version.saved_by else "",
        "title": page_text(version.title, limit=80),
    }
