"""A new field type is one entry in the registry and one widget; a new preset is two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.web.components import field_widgets, preset_form
from comfy_ui.web.components.field_widgets import FieldContext
from comfy_ui.web.components.html import Html, el
from comfy_ui.web.tabs.create.grid_request import grid
from comfy_ui.workflow.checks.allow_list import check_allowed
from comfy_ui.workflow.fields.field_types import FIELD_TYPES, FieldType
from comfy_ui.workflow.prepare import prepare
from comfy_ui.workflow.presets.preset_store import Preset, load_presets
from tests.web.support import Page

GRAPH = {
    "1": {"class_type": "Tint", "inputs": {"color": "#ffffff"}},
    "2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "tint", "images": ["1", 0]}},
}
SIDECAR = """
title = "Tint"
description = "One color."
task = "t2i"
family = "None"
outputs = [{ node = "2", kind = "image" }]

[params.color]
targets = ["1.color"]
default = "#336699"
"""


def _parse_color(label: str, value: Any) -> str:
    text = str(value).lower()
    if len(text) != 7 or text[0] != "#" or not set(text[1:]) <= set("0123456789abcdef"):
        raise ValidationError(f"'{label}' is not a color.")
    return text


def _color_widget(context: FieldContext) -> Html:
    box = el("input", type="color", id=context.key, name=context.param.id, value=context.value)
    return context.wrap(context.label(), box)


@pytest.fixture
def tint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Preset:
    """The field type "color", and a preset that uses it."""
    color = FieldType("color", "text", "color", usual={"label": "Color"}, parse=_parse_color)
    monkeypatch.setitem(FIELD_TYPES, "color", color)
    monkeypatch.setitem(field_widgets.WIDGETS, "color", _color_widget)
    (tmp_path / "tint.json").write_text(json.dumps(GRAPH))
    (tmp_path / "tint.toml").write_text(SIDECAR)
    return load_presets([tmp_path])["tint"]


def test_form_draws_a_new_field_type_with_its_widget(tint: Preset) -> None:
    (box,) = Page(preset_form.form(tint, {})).all(name="color")
    assert (box["type"], box["value"]) == ("color", "#336699")


def test_prepare_parses_and_checks_a_new_field_type(tint: Preset) -> None:
    presets = load_presets()
    prepared = prepare(tint, {"color": "#ABCDEF"}, presets=presets, guest_uploads=frozenset())
    assert prepared.graph["1"]["inputs"]["color"] == "#abcdef"
    with pytest.raises(ValidationError, match="'Color' is not a color"):
        prepare(tint, {"color": "red"}, presets=presets)


def test_allow_list_checks_a_new_field_type(tint: Preset) -> None:
    def with_color(color: object) -> dict[str, Any]:
        return {**GRAPH, "1": {"class_type": "Tint", "inputs": {"color": color}}}

    assert check_allowed(with_color("#abcdef"), tint) == []
    assert check_allowed(with_color("red"), tint) != []


def test_grid_varies_a_new_field_type(tint: Preset) -> None:
    cells = grid(tint, {}, [("color", "#000000, #ffffff")])
    assert [cell["color"] for cell in cells.cells] == ["#000000", "#ffffff"]
    assert cells.across.label == "Color"


def test_field_types_every_widget_exists() -> None:
    assert {entry.widget for entry in FIELD_TYPES.values()} <= {*field_widgets.WIDGETS}


def test_load_presets_needs_two_files_and_an_optional_cover(tmp_path: Path) -> None:
    text = SIDECAR.replace("[params.color]", "[params.prompt]")
    (tmp_path / "mine.json").write_text(json.dumps(GRAPH))
    assert "mine" not in load_presets([tmp_path])
    (tmp_path / "mine.toml").write_text(text)
    assert load_presets([tmp_path])["mine"].thumbnail is None
    (tmp_path / "mine.webp").write_bytes(b"RIFF")
    preset = load_presets([tmp_path])["mine"]
    assert preset.thumbnail == tmp_path / "mine.webp"
    prepared = prepare(preset, {"prompt": "#112233"}, presets=load_presets())
    assert prepared.graph["1"]["inputs"]["color"] == "#112233"
