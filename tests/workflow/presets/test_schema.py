"""comfy_ui/workflow/presets/schema.py and comfy_ui/workflow/fields/field_types.py"""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from comfy_ui.workflow.fields.field_types import (
    FIELD_TYPES,
    FILE_ROLES,
    INTEGER_ROLES,
    NUMBER_ROLES,
)
from comfy_ui.workflow.presets.schema import Param, ParamTarget, Preset
from tests.workflow.presets.support import small_graph


def preset(**changes: Any) -> Preset:
    data: dict[str, Any] = {
        "id": "mine",
        "graph": small_graph(),
        "title": "Mine",
        "description": "Mine.",
        "task": "t2i",
        "family": "None",
        "params": {"width": {"targets": ["1.width"]}},
        "outputs": [{"node": "2", "kind": "image"}],
    }
    return Preset.model_validate({**data, **changes})


def fault(**changes: Any) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        preset(**changes)
    return str(caught.value)


def test_param_target_short_form_is_parsed() -> None:
    assert ParamTarget.model_validate("75:3.format.codec") == ParamTarget(
        node="75:3", input="format.codec"
    )


def test_param_defaults_follow_role() -> None:
    (width,) = preset().params
    assert (width.id, width.role, width.label) == ("width", "width", "Width")
    assert (width.min, width.max, width.step) == (256, 2048, 16)
    own = preset(
        params={"width": {"targets": ["1.width"], "label": "Breadth", "max": 64, "min": 8}}
    )
    assert (own.params[0].label, own.params[0].max) == ("Breadth", 64)


def test_field_types_role_sets_do_not_overlap() -> None:
    roles = set(FIELD_TYPES)
    assert INTEGER_ROLES < NUMBER_ROLES < roles
    assert roles > FILE_ROLES
    assert not FILE_ROLES & NUMBER_ROLES
    assert {entry.role for entry in FIELD_TYPES.values()} == roles


def test_preset_is_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        preset().title = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"params": {"width": {"targets": []}}}, "'width' has no targets"),
        ({"params": {"wide": {"targets": ["1.width"]}}}, "role"),
        (
            {
                "params": {
                    "width": {"targets": [{"node": "1", "input": "width", "transform": "x*fps"}]}
                }
            },
            "uses 'fps', not a numeric parameter",
        ),
        (
            {
                "params": {
                    "width": {"targets": [{"node": "1", "input": "width", "transform": "x!"}]}
                }
            },
            "is not a formula",
        ),
        (
            {
                "params": {
                    "prompt": {"targets": [{"node": "1", "input": "width", "transform": "x"}]}
                }
            },
            "a transform needs a number",
        ),
        (
            {"params": {"frames": {"label": "F", "targets": ["1.width"], "frame_rule": "n+1"}}},
            "4n+1",
        ),
        (
            {"params": {"frames": {"label": "F", "targets": ["1.width"], "frame_rule": "0n+1"}}},
            "4n+1",
        ),
        ({"outputs": []}, "outputs"),
        ({"id": "../x"}, "id"),
        ({"lora_slots": [{"model": ["9", 0]}]}, "LoRA slot names node '9'"),
        ({"variants": {"a": {"title": "A", "defaults": {"stp": 1}}}}, "sets 'stp'"),
        ({"variants": {"a": {"title": "A", "patch": {"7": {}}}}}, "without a class_type"),
        ({"variants": {"a": {"title": "A", "remove": ["7"]}}}, "removes node '7'"),
        (
            {"variants": {"a": {"title": "A", "outputs": [{"node": "7", "kind": "image"}]}}},
            "has node '7' as output",
        ),
        ({"profiles": {"p": {"title": "P", "values": {"variant": "b"}}}}, "the variant 'b'"),
        ({"profiles": {"p": {"title": "P", "values": {"hight": 5}}}}, "sets 'hight'"),
        ({"models": [{"folder": "x", "filename": "y", "url": "http://a/b"}]}, "url"),
        ({"models": [{"folder": "x", "filename": "y", "sha256": "abc"}]}, "sha256"),
        ({"graph": {"nodes": []}}, "graph"),
    ],
)
def test_preset_invalid_data_raises_with_message(changes: dict[str, Any], expected: str) -> None:
    assert expected in fault(**changes)


def test_preset_duplicate_param_ids_raise() -> None:
    param = Param.model_validate({"id": "width", "targets": ["1.width"]})
    assert "two parameters have the id 'width'" in fault(params=[param, param])
