"""comfy_ui/workflow/a1111_parameters.py"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies as st

from comfy_ui.workflow.a1111_parameters import parse_parameters, sampler_and_scheduler
from tests.workflow.media import A1111


def test_parse_parameters_complete_text_returns_all_values() -> None:
    assert parse_parameters(A1111) == {
        "prompt": "a cat, on a mat\nsecond line",
        "negative": "blurry, bad",
        "loras": [{"name": "fluffy", "strength": 0.7}],
        "steps": 20,
        "cfg": 7.5,
        "seed": 42,
        "sampler": "dpmpp_2m",
        "scheduler": "karras",
        "width": 512,
        "height": 768,
        "strength": 0.4,
        "model": "dreamy",
    }


def test_parse_parameters_without_negative_or_schedule_omits_them() -> None:
    text = "a dog\nSteps: 8, Sampler: Euler a, CFG scale: 1, Seed: 3, Size: 64x64"
    values = parse_parameters(text)
    assert "negative" not in values
    assert (values["prompt"], values["sampler"]) == ("a dog", "euler_ancestral")
    assert "scheduler" not in values


def test_parse_parameters_empty_prompt_and_crlf_are_read() -> None:
    assert parse_parameters("Steps: 8, Seed: 3") == {"prompt": "", "steps": 8, "seed": 3}
    assert parse_parameters("a\r\nSteps: 8")["prompt"] == "a"


def test_parse_parameters_prompt_containing_steps_is_kept() -> None:
    values = parse_parameters("three\nSteps: of stone\nNegative prompt: x\nSteps: 9, Seed: 1")
    assert values["prompt"] == "three\nSteps: of stone"
    assert values["steps"] == 9


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DPM++ 2M Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ SDE", ("dpmpp_sde", None)),
        ("DPM++ 2S a Karras", ("dpmpp_2s_ancestral", "karras")),
        ("DPM2 a", ("dpm_2_ancestral", None)),
        ("DPM adaptive", ("dpm_adaptive", None)),
        ("Euler", ("euler", None)),
        ("UniPC", ("uni_pc", None)),
        ("LCM", ("lcm", None)),
        ("DDIM", ("ddim", None)),
    ],
)
def test_sampler_and_scheduler_returns_comfyui_names(
    name: str, expected: tuple[str, str | None]
) -> None:
    assert sampler_and_scheduler(name) == expected


def test_parse_parameters_other_text_returns_nothing() -> None:
    assert parse_parameters("a photo I like") == {}
    assert parse_parameters("") == {}


@given(st.text())
def test_parse_parameters_any_text_does_not_raise(text: str) -> None:
    parse_parameters(text)
    parse_parameters(text + "\nSteps: " + text)


def test_parse_parameters_two_lora_weights_are_text_encoder_then_model() -> None:
    values = parse_parameters("a cat <lora:ink:0.2:0.9:lbw=X>\nSteps: 20")
    assert values["loras"] == [{"name": "ink", "strength": 0.9, "strength_clip": 0.2}]


@pytest.mark.parametrize("part", ["a", ",", '"', ":", "<lora:", "Steps:", " a:", '"\\'])
def test_parse_parameters_megabyte_of_text_is_fast(part: str) -> None:
    started = time.perf_counter()
    parse_parameters("x\nSteps: 1, " + part * (10**6 // len(part)))
    parse_parameters(part * (10**6 // len(part)) + "\nSteps: 1")
    assert time.perf_counter() - started < 5
