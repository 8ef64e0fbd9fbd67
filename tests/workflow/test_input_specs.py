"""comfy_ui/workflow/checks/input_specs.py"""

from __future__ import annotations

from typing import Any

from comfy_ui.protocol.object_info import read_node
from comfy_ui.workflow.checks.input_specs import declared_inputs
from tests.conftest import recorded_object_info


def declared(class_type: str, **given: Any) -> dict[str, Any]:
    spec = read_node(class_type, recorded_object_info("0.33.0")[class_type])
    return declared_inputs(spec, {name.replace("__", "."): value for name, value in given.items()})


def test_plain_inputs_stay_as_they_are() -> None:
    assert list(declared("SaveImage")) == ["images", "filename_prefix"]


def test_a_chosen_option_brings_its_inputs_level_by_level() -> None:
    assert "format.codec" not in declared("SaveVideo")
    assert declared("SaveVideo", format="mp4")["format.codec"].type == "COMBO"
    deep = declared(
        "SaveVideo",
        format="mp4",
        format__codec="h264",
        **{"format.codec.encoding": "re-encode"},
    )
    assert deep["format.codec.encoding.crf"].max == 51
    assert not deep["format.codec.encoding"].required


def test_a_linked_or_unknown_choice_brings_nothing() -> None:
    assert "format.codec" not in declared("SaveVideo", format=["1", 0])
    assert "format.codec" not in declared("SaveVideo", format="nope")


def test_growing_inputs_are_those_given_and_those_due() -> None:
    found = declared("BatchImagesNode", images__image7=["1", 0], images__other=["1", 0])
    assert [*found] == ["images.image0", "images.image7"]
    assert (found["images.image0"].required, found["images.image7"].required) == (True, False)
    assert found["images.image0"].type == "IMAGE"


def test_growing_inputs_by_name() -> None:
    found = declared("ComfyMathExpression", values__c=5)
    assert {"values.a", "values.c"} <= set(found)
    assert "values.b" not in found


def test_a_matched_type_becomes_what_it_allows() -> None:
    assert declared("ResizeImageMaskNode")["input"].type == "IMAGE,MASK"


def test_broken_declarations_are_no_inputs() -> None:
    raw = {
        "input": {
            "required": {
                "a": ["COMFY_DYNAMICCOMBO_V3", {"options": [5, {"key": "x", "inputs": 5}]}],
                "b": ["COMFY_AUTOGROW_V3", {"template": {"input": [], "max": "many"}}],
                "c": ["COMFY_AUTOGROW_V3", {}],
                "d": ["COMFY_MATCHTYPE_V3", {"template": None}],
            }
        }
    }
    found = declared_inputs(read_node("X", raw), {"a": "x"})
    assert [*found] == ["a", "d"]
    assert found["d"].type == "*"


def test_a_choice_that_contains_itself_ends() -> None:
    options: list[Any] = []
    declaration = ["COMFY_DYNAMICCOMBO_V3", {"options": options}]
    options.append({"key": "x", "inputs": {"required": {"a": declaration}}})
    given = {".".join(["a"] * n): "x" for n in range(1, 100)}
    assert (
        len(declared_inputs(read_node("X", {"input": {"required": {"a": declaration}}}), given))
        < 20
    )
