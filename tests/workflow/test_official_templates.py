"""Conversion and controls over the official templates."""

from __future__ import annotations

from collections import Counter
from statistics import median

import pytest

from comfy_ui.errors import MissingNodesError
from comfy_ui.workflow.controls import MAX_MAIN, apply_values, find_outputs
from comfy_ui.workflow.editor import convert_workflow
from tests.conftest import recorded_object_info
from tests.workflow import official_templates, template_survey

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def survey() -> template_survey.Survey:
    return template_survey.survey(recorded_object_info("0.33.0"))


def test_convert_workflow_templates_with_known_nodes_convert(survey):
    assert len(survey.controls) >= 522
    assert len(survey.controls) + len(survey.unknown) == len([*official_templates.templates()])


def test_convert_workflow_templates_with_unknown_nodes_list_them(survey):
    object_info = recorded_object_info("0.33.0")
    for name, editor in official_templates.templates():
        if name in survey.unknown:
            with pytest.raises(MissingNodesError) as caught:
                convert_workflow(editor, object_info)
            assert caught.value.class_types
            assert not set(caught.value.class_types) & object_info.keys()


@pytest.mark.parametrize(
    ("role", "least"),
    [
        ("prompt", 196), ("negative", 140), ("seed", 205), ("steps", 193), ("cfg", 193),
        ("model", 206), ("sampler", 200), ("image", 118), ("width", 111), ("height", 111),
        ("lora", 75), ("fps", 63), ("frames", 50), ("duration", 36),
    ],
)  # fmt: skip
def test_find_controls_templates_have_expected_roles(survey, role, least):
    assert len(survey.sampling) == 206
    assert survey.by_role[role] >= least


def test_find_controls_templates_show_prompt(survey):
    """Some templates leave it out in App mode."""
    assert survey.main["prompt"] >= 190


def test_find_controls_templates_have_short_forms(survey):
    rows = [
        sum(not control.advanced and control.role != "height" for control in controls)
        for controls in survey.controls.values()
    ]
    assert median(rows) <= MAX_MAIN
    assert sum(count > MAX_MAIN for count in rows) < len(rows) // 20  # many files, or App mode


def test_find_controls_templates_have_unique_ids_and_defaults_in_range(survey):
    for name, controls in survey.controls.items():
        ids = [control.id for control in controls]
        assert len(ids) == len(set(ids)), name
        for control in controls:
            if isinstance(control.default, int | float) and control.kind in ("int", "float"):
                assert control.min is None or control.min <= control.default, (name, control)
                assert control.max is None or control.max >= control.default, (name, control)


def test_find_controls_templates_have_distinct_labels_under_each_heading(survey):
    for name, controls in survey.controls.items():
        places = Counter((c.group, c.label.casefold()) for c in controls if not c.hidden)
        assert [place for place, count in places.items() if count > 1] == [], name


def test_find_controls_key_frames_name_the_clips_that_they_feed(survey):
    controls = survey.controls["templates-6-key-frames"]
    clips = [f"Wan 2.2 FLF2V {number}" for number in range(1, 6)]
    assert [c.label for c in controls if not c.advanced] == [
        *(f"Prompt ({clip})" for clip in clips),
        "Image (Start Frame)",
        *(f"Image (End Frame, {clip})" for clip in clips),
    ]
    advanced = [c for c in controls if c.advanced and not c.hidden]
    assert list(dict.fromkeys(c.group for c in advanced))[:5] == clips
    assert len(advanced) < 50
    assert sum(c.hidden for c in controls) > 50


def test_apply_values_templates_defaults_keep_graph(survey):
    object_info = recorded_object_info("0.33.0")
    for name, editor in official_templates.templates():
        if name in survey.controls:
            graph = convert_workflow(editor, object_info)
            controls = survey.controls[name]
            values = {control.id: control.default for control in controls if control.role != "seed"}
            assert apply_values(graph, controls, values) == graph, name
            for control in controls:
                assert all(target in graph[node]["inputs"] for node, target in control.targets)


def test_find_outputs_templates_have_outputs(survey):
    object_info = recorded_object_info("0.33.0")
    for name, editor in official_templates.templates():
        if name in survey.controls:
            assert find_outputs(convert_workflow(editor, object_info), object_info), name


def test_convert_workflow_templates_take_milliseconds(survey):
    assert median(survey.convert_ms.values()) < 5
    assert max(survey.convert_ms.values()) < 100
