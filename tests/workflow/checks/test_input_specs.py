"""comfy_ui/workflow/checks/input_specs.py"""

from __future__ import annotations

from typing import Any

from comfy_ui.protocol.object_info import read_node
from comfy_ui.workflow.checks.input_specs import declared_inputs
from tests.conftest import recorded_object_info


def declared(class_type: str, **set_values: Any) -> dict[str, Any]:
    spec = read_node(class_type, recorded_object_info("0.33.0")[class_type])
    return declared_inputs(
        spec, {name.replace("__", "."): value for name, value in set_values.items()}
    )


def test_declared_inputs_plain_inputs_are_unchanged() -> None:
    assert list(declared("SaveImage")) == ["images", "filename_prefix"]


def test_declared_inputs_selected_option_adds_nested_inputs() -> None:
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


def test_declared_inputs_linked_or_unknown_option_adds_nothing() -> None:
    assert "format.codec" not in declared("SaveVideo", format=["1", 0])
    assert "format.codec" not in declared("SaveVideo", format="nope")


def test_declared_inputs_autogrow_has_set_and_required_inputs() -> None:
    specs = declared("BatchImagesNode", images__image7=["1", 0], images__other=["1", 0])
    assert [*specs] == ["images.image0", "images.image7"]
    assert (specs["images.image0"].required, specs["images.image7"].required) == (True, False)
    assert specs["images.image0"].type == "IMAGE"


def test_declared_inputs_autogrow_by_name_has_set_names() -> None:
    specs = declared("ComfyMathExpression", values__c=5)
    assert {"values.a", "values.c"} <= set(specs)
    assert "values.b" not in specs


def test_declared_inputs_matchtype_becomes_allowed_types() -> None:
    assert declared("ResizeImageMaskNode")["input"].type == "IMAGE,MASK"


def test_declared_inputs_invalid_declarations_are_skipped() -> None:
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
    specs = declared_inputs(read_node("X", raw), {"a": "x"})
    assert [*specs] == ["a", "d"]
    assert specs["d"].type == "*"


def test_declared_inputs_recursive_option_terminates() -> None:
    options: list[Any] = []
    declaration = ["COMFY_DYNAMICCOMBO_V3", {"options": options}]
    options.append({"key": "x", "inputs": {"required": {"a": declaration}}})
    set_values = {".".join(["a"] * n): "x" for n in range(1, 100)}
    assert (
        len(
            declared_inputs(read_node("X", {"input": {"required": {"a": declaration}}}), set_values)
        )
        < 20
    )
