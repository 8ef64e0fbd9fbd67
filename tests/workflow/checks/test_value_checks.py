"""comfy_ui/workflow/checks/value_checks.py"""

from __future__ import annotations

from typing import Any

import pytest

from comfy_ui.protocol.object_info import InputSpec
from comfy_ui.workflow.checks.value_checks import fits, short, value_fault


def kind_of(spec: InputSpec, value: Any, **options: Any) -> str | None:
    fault = value_fault(spec, value, **options)
    return fault.kind if fault else None


@pytest.mark.parametrize(
    ("output_type", "input_type", "fit"),
    [
        ("MODEL", "MODEL", True),
        ("CLIP", "MODEL", False),
        ("*", "MODEL", True),
        ("MODEL", "*", True),
        ("INT", "FLOAT,INT", True),
        ("IMAGE, MASK", "MASK", True),
        ("INT", "FLOAT", False),
        ("STRING", "COMBO", False),
        ("COMFY_MATCHTYPE_V3", "IMAGE", True),
        ("IMAGE", "IMAGE,MASK", True),
    ],
)
def test_fits_types_with_common_member_is_true(
    output_type: str, input_type: str, fit: bool
) -> None:
    assert fits(output_type, input_type) is fit


def test_value_fault_number_respects_only_declared_bounds() -> None:
    assert kind_of(InputSpec("x", "FLOAT"), -1e300) is None
    assert kind_of(InputSpec("x", "INT", min=0), -1) == "value_smaller_than_min"
    assert kind_of(InputSpec("x", "FLOAT", max=1.5), "2") == "value_bigger_than_max"


def test_value_fault_multiselect_checks_each_choice() -> None:
    spec = InputSpec("x", "COMBO", choices=("a", "b"), options={"multiselect": True})
    assert kind_of(spec, ["a", "b"]) is None
    assert kind_of(spec, ["a", "c"]) == "value_not_in_list"
    assert kind_of(spec, "a") is None


def test_value_fault_remote_choice_is_not_checked() -> None:
    assert kind_of(InputSpec("x", "COMBO"), "anything") is None


def test_value_fault_string_and_boolean_accept_any_value() -> None:
    for value in (5, None, {}, "x"):
        assert kind_of(InputSpec("x", "STRING"), value) is None
        assert kind_of(InputSpec("x", "BOOLEAN"), value) is None


def test_value_fault_upload_outside_choices_is_accepted() -> None:
    spec = InputSpec("image", "COMBO", choices=("old.png",), upload="image")
    assert kind_of(spec, "new.png") == "custom_validation_failed"
    assert kind_of(spec, "new.png", uploads={"new.png"}) is None


def test_short_limits_length_and_depth() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 10**7, {"a": "b" * 10**6}, list(range(10**6))):
        assert len(short(value)) <= 82
    assert short("a b") == "'a b'"
