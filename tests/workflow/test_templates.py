"""Conversion and controls over the official templates."""

from __future__ import annotations

from statistics import median

import pytest

from comfy_ui.errors import MissingNodesError
from comfy_ui.workflow.controls import MAX_MAIN, apply_values, find_outputs
from comfy_ui.workflow.editor import convert_workflow
from tests.conftest import recorded_object_info
from tests.workflow import official, roles


@pytest.fixture(scope="module")
def survey() -> roles.Survey:
    return roles.survey(recorded_object_info("0.33.0"))


def test_every_template_whose_nodes_the_server_has_is_converted(survey):
    assert len(survey.controls) >= 522
    assert len(survey.controls) + len(survey.unknown) == len([*official.templates()])


def test_templates_of_tomorrow_are_refused_by_the_names_of_their_nodes(survey):
    object_info = recorded_object_info("0.33.0")
    for name, editor in official.templates():
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
def test_a_role_is_found_wherever_the_template_has_it(survey, role, least):
    assert len(survey.sampling) == 206
    assert survey.found[role] >= least


def test_the_prompt_is_in_plain_sight(survey):
    """But for templates whose author's App mode leaves it out."""
    assert survey.main["prompt"] >= 190


def test_forms_are_short(survey):
    rows = [
        sum(not control.advanced and control.role != "height" for control in controls)
        for controls in survey.controls.values()
    ]
    assert median(rows) <= MAX_MAIN
    assert sum(count > MAX_MAIN for count in rows) < len(rows) // 20  # many files, or App mode


def test_ids_are_unique_and_defaults_are_in_range(survey):
    for name, controls in survey.controls.items():
        ids = [control.id for control in controls]
        assert len(ids) == len(set(ids)), name
        for control in controls:
            if isinstance(control.default, int | float) and control.kind in ("int", "float"):
                assert control.min is None or control.min <= control.default, (name, control)
                assert control.max is None or control.max >= control.default, (name, control)


def test_values_go_to_inputs_that_the_graph_has(survey):
    object_info = recorded_object_info("0.33.0")
    for name, editor in official.templates():
        if name in survey.controls:
            graph = convert_workflow(editor, object_info)
            controls = survey.controls[name]
            values = {control.id: control.default for control in controls if control.role != "seed"}
            assert apply_values(graph, controls, values) == graph, name
            for control in controls:
                assert all(target in graph[node]["inputs"] for node, target in control.targets)


def test_every_template_has_an_output_of_a_known_kind(survey):
    object_info = recorded_object_info("0.33.0")
    for name, editor in official.templates():
        if name in survey.controls:
            assert find_outputs(convert_workflow(editor, object_info), object_info), name


def test_conversion_takes_milliseconds(survey):
    assert median(survey.convert_ms.values()) < 5
    assert max(survey.convert_ms.values()) < 100
