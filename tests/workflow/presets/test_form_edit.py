from __future__ import annotations

import doctest
from typing import Any

import pydantic
import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.controls import find_controls
from comfy_ui.workflow.editor import convert_workflow
from comfy_ui.workflow.editor.app_mode import with_app_mode
from comfy_ui.workflow.presets import form_edit
from comfy_ui.workflow.presets.form_edit import FormEdit, edited, place_of
from comfy_ui.workflow.presets.preset_from_workflow import preset_from_workflow
from comfy_ui.workflow.presets.preset_store import Preset, get_preset
from tests.conftest import recorded_object_info
from tests.workflow.editor.editor_files import SERVER, text_to_image
from tests.workflow.official_templates import templates


def sd15(*fields: dict[str, Any], **changes: Any) -> Preset:
    edit = {"title": "Mine", "fields": fields, **changes}
    return edited(get_preset("sd15"), FormEdit.model_validate(edit))


def test_form_edit_doctests_pass() -> None:
    assert doctest.testmod(form_edit).failed == 0


def test_edited_renames_orders_hides_and_changes_fields() -> None:
    preset = sd15(
        {"id": "steps", "label": " Quality  steps ", "place": "main", "default": "30", "max": 60},
        {"id": "prompt", "label": "Idea", "help": "What to draw"},
        {"id": "cfg", "label": "CFG", "place": "hidden", "default": 7},
        {"id": "sampler", "label": "Sampler", "place": "advanced", "group": "Expert"},
        description="  For everybody ",
    )
    steps, cfg, sampler = (preset.param(key) for key in ("steps", "cfg", "sampler"))
    assert steps
    assert cfg
    assert sampler
    assert (preset.title, preset.description) == ("Mine", "For everybody")
    assert (steps.label, steps.default, steps.max, steps.advanced) == (
        "Quality steps",
        30,
        60,
        False,
    )
    assert [place_of(param) for param in (steps, cfg, sampler)] == ["main", "hidden", "advanced"]
    assert sampler.group == "Expert"
    by_order = sorted(preset.params, key=lambda param: param.order)
    assert [param.id for param in by_order][:3] == ["steps", "prompt", "cfg"]
    assert preset.graph == get_preset("sd15").graph


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"id": "nope", "label": "x"}, "no field 'nope'"),
        ({"id": "steps", "label": " "}, "needs a name"),
        ({"id": "prompt", "label": "Prompt", "place": "hidden"}, "cannot be hidden"),
        ({"id": "steps", "label": "Steps", "default": "many"}, "not a number"),
        ({"id": "steps", "label": "Steps", "default": 99, "max": 60}, "outside its range"),
        ({"id": "steps", "label": "Steps", "default": 9, "min": 9, "max": 5}, "above max"),
    ],
)
def test_edited_unusable_field_raises(field: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        sd15(field)


def test_edited_title_and_file_are_required() -> None:
    with pytest.raises(ValidationError, match="Give it a name"):
        sd15(title=" ")
    image = {"id": "image", "label": "Image", "place": "hidden"}
    with pytest.raises(ValidationError, match="needs a file"):
        edited(
            get_preset("sdxl_img2img"), FormEdit.model_validate({"title": "x", "fields": [image]})
        )
    with pytest.raises(pydantic.ValidationError):
        FormEdit.model_validate({"title": "x", "fields": [{"id": "a", "label": "b", "graph": {}}]})


def test_with_app_mode_gives_the_form_back_to_the_editor() -> None:
    editor = text_to_image().json
    preset = preset_from_workflow(
        convert_workflow(editor, SERVER), SERVER, title="x", editor=editor
    )
    fields = [
        {"id": key, "label": key, "place": place, "default": preset.param(key).default}  # type: ignore[union-attr]
        for key, place in (("steps", "main"), ("prompt", "main"), ("seed", "hidden"))
    ]
    others = [
        {"id": p.id, "label": p.label, "place": "advanced", "default": p.default}
        for p in preset.params
        if p.id not in ("steps", "prompt", "seed")
    ]
    form = edited(preset, FormEdit.model_validate({"title": "x", "fields": [*fields, *others]}))
    file = with_app_mode(editor, form, SERVER)
    assert file["extra"]["linearData"] == {"inputs": [[5, "steps"], [2, "text"]], "outputs": [7]}
    shown = [
        c.id for c in find_controls(convert_workflow(file, SERVER), SERVER, file) if not c.advanced
    ]
    assert shown == ["steps", "prompt"]


@pytest.mark.parametrize(
    "name",
    ["templates-6-key-frames", "video_ltx2_3_i2v", "image_krea2_turbo_int8_image_style_reference"],
)
def test_with_app_mode_official_templates_show_the_same_fields(name: str) -> None:
    registry, editor = NodeRegistry(recorded_object_info("0.33.0")), dict(templates())[name]
    graph = convert_workflow(editor, registry)
    preset = preset_from_workflow(graph, registry, title="x", editor=editor)
    file = with_app_mode(editor, preset, registry)
    shown = {
        control.targets[0]
        for control in find_controls(graph, registry, file)
        if not control.advanced
    }
    main = [p for p in preset.params if place_of(p) == "main"]
    assert shown == {(p.targets[0].node, p.targets[0].input) for p in main}
