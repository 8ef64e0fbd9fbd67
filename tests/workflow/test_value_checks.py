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
    ("given", "wanted", "fit"),
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
def test_types_fit_when_they_share_one(given: str, wanted: str, fit: bool) -> None:
    assert fits(given, wanted) is fit


def test_a_number_without_bounds_may_be_anything() -> None:
    assert kind_of(InputSpec("x", "FLOAT"), -1e300) is None
    assert kind_of(InputSpec("x", "INT", min=0), -1) == "value_smaller_than_min"
    assert kind_of(InputSpec("x", "FLOAT", max=1.5), "2") == "value_bigger_than_max"


def test_a_choice_of_several_is_looked_at_word_by_word() -> None:
    spec = InputSpec("x", "COMBO", choices=("a", "b"), options={"multiselect": True})
    assert kind_of(spec, ["a", "b"]) is None
    assert kind_of(spec, ["a", "c"]) == "value_not_in_list"
    assert kind_of(spec, "a") is None


def test_a_choice_that_is_fetched_elsewhere_is_not_judged() -> None:
    assert kind_of(InputSpec("x", "COMBO"), "anything") is None


def test_words_and_switches_take_all_values_as_the_server_does() -> None:
    for value in (5, None, {}, "x"):
        assert kind_of(InputSpec("x", "STRING"), value) is None
        assert kind_of(InputSpec("x", "BOOLEAN"), value) is None


def test_an_upload_is_known_before_the_list_is() -> None:
    spec = InputSpec("image", "COMBO", choices=("old.png",), upload="image")
    assert kind_of(spec, "new.png") == "custom_validation_failed"
    assert kind_of(spec, "new.png", uploads={"new.png"}) is None


def test_values_in_messages_are_short_and_shallow() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 10**7, {"a": "b" * 10**6}, list(range(10**6))):
        assert len(short(value)) <= 82
    assert short("a b") == "'a b'"
