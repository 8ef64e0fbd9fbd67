"""The forms of the value ``loras``, and which file a name means."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.workflow.loras.lora_values import (
    MAX_LORAS,
    active_loras,
    merge_loras,
    parse_loras,
    resolve_lora,
)

FILES = ["style/Ink.safetensors", "glow.safetensors", "a/twin.safetensors", "b\\twin.safetensors"]


@pytest.mark.parametrize(
    ("value", "loras"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("ink", [{"name": "ink", "strength": 1.0}]),
        ("ink:0.8", [{"name": "ink", "strength": 0.8}]),
        ("ink:off", [{"name": "ink", "strength": 0.0}]),
        ("ink:.8:-1", [{"name": "ink", "strength": 0.8, "strength_clip": -1.0}]),
        (("ink", 0.8), [{"name": "ink", "strength": 0.8}]),
        ([("ink", 0.8), ("glow", 1, 0)], [
            {"name": "ink", "strength": 0.8},
            {"name": "glow", "strength": 1.0, "strength_clip": 0.0},
        ]),
        (["ink", "glow:2"], [{"name": "ink", "strength": 1.0}, {"name": "glow", "strength": 2.0}]),
        ('[["ink", 0.5]]', [{"name": "ink", "strength": 0.5}]),
        ({"name": "a:b", "enabled": False}, [{"name": "a:b", "strength": 1.0, "enabled": False}]),
    ],
)  # fmt: skip
def test_parse_loras_accepts_every_form(value: Any, loras: list[dict[str, Any]]) -> None:
    assert parse_loras(value) == loras
    assert parse_loras(loras) == loras


@pytest.mark.parametrize(
    "value",
    [5, [5], [[]], [["a", "b"]], [{"name": ""}], "[broken", [{"name": "a", "x": 1}], "a:1.2.3",
     [("a", True)], [("a", 21)], [("a", 10**400)], [("a", float("nan"))], ["x"] * (MAX_LORAS + 1)],
)  # fmt: skip
def test_parse_loras_other_form_raises(value: Any) -> None:
    with pytest.raises(ValidationError):
        parse_loras(value)


_PART = st.none() | st.integers() | st.floats() | st.text(max_size=8)


@settings(max_examples=60)
@given(_PART | st.lists(_PART | st.lists(_PART, max_size=4), max_size=3))
def test_parse_loras_any_value_parses_or_raises_validation_error(value: Any) -> None:
    try:
        loras = parse_loras(value)
    except ValidationError:
        return
    assert parse_loras(loras) == loras


def test_active_loras_leave_out_weight_zero_and_disabled_ones() -> None:
    loras = parse_loras([("a", 0), ("b", 0, 0.5), {"name": "c", "enabled": False}, "d"])
    assert [lora["name"] for lora in active_loras(loras)] == ["b", "d"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("style/Ink.safetensors", "style/Ink.safetensors"),
        ("style\\Ink", "style/Ink.safetensors"),
        ("Ink.safetensors", "style/Ink.safetensors"),
        ("ink", "style/Ink.safetensors"),
        ("GLOW.SAFETENSORS", "glow.safetensors"),
        ("elsewhere/glow.sft", "glow.safetensors"),
        ("b/twin", "b\\twin.safetensors"),
    ],
)
def test_resolve_lora_finds_the_file_that_a_name_means(name: str, file: str) -> None:
    assert resolve_lora(name, FILES) == file


def test_resolve_lora_unknown_name_raises_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="no LoRA 'glwo'") as caught:
        resolve_lora("glwo", FILES)
    assert caught.value.hint == "Did you mean 'glow'?"
    with pytest.raises(ValidationError, match="no LoRA 'ink'") as caught:
        resolve_lora("ink", [])
    assert "models/loras" in caught.value.hint


def test_resolve_lora_ambiguous_name_raises_with_the_candidates() -> None:
    with pytest.raises(ValidationError, match="several") as caught:
        resolve_lora("twin", FILES)
    assert "a/twin" in caught.value.hint


def test_merge_loras_tag_replaces_the_weight_of_the_same_file() -> None:
    tags = [{"name": "INK", "strength": 0.2}, {"name": "b/twin", "strength": 1}]
    merged = merge_loras([("style/Ink", 1), ("glow", 0.5)], tags, FILES)
    assert [(lora["name"], lora["strength"]) for lora in merged] == [
        ("style/Ink.safetensors", 0.2),
        ("glow.safetensors", 0.5),
        ("b\\twin.safetensors", 1.0),
    ]


def test_merge_loras_disabled_file_that_the_server_lacks_is_kept() -> None:
    off = {"name": "gone", "strength": 1.0, "enabled": False}
    assert merge_loras([off], [], FILES) == [off]
