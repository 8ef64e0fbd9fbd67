"""comfy_ui/workflow/fields/param_values.py"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.workflow.fields.field_types import FILE_ROLES
from comfy_ui.workflow.fields.param_values import (
    QUALITIES,
    choices,
    limits,
    resolve_values,
    rounding_notices,
)
from comfy_ui.workflow.presets.preset_store import get_preset, list_presets
from tests.conftest import recorded_object_info

SDXL = get_preset("sdxl")
WAN = get_preset("wan21_t2v_1_3b")


def resolve(preset_id: str = "sdxl", /, **values: Any) -> dict[str, Any]:
    return resolve_values(get_preset(preset_id), {"seed": 1, **values})


def error_for(preset_id: str = "sdxl", /, **values: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        resolve(preset_id, **values)
    return caught.value


def test_resolve_values_without_values_uses_defaults() -> None:
    values = resolve()
    assert values["steps"] == 25
    assert values["width"] == values["height"] == 1024
    assert values["prompt"] == ""


@pytest.mark.parametrize("seed", [None, -1, "-1", ""])
def test_resolve_values_missing_seed_draws_javascript_safe_seed(seed: Any) -> None:
    values = resolve_values(SDXL, {"seed": seed}, rng=random.Random(1))
    assert values == resolve_values(SDXL, {"seed": seed}, rng=random.Random(1))
    assert 0 <= values["seed"] < 2**53
    assert values["seed"] != resolve_values(SDXL, {"seed": seed})["seed"]


@pytest.mark.parametrize("seed", [0, 7, 2**53 - 1, 2**53 + 1, 2**63 + 1, 2**64 - 1])
def test_resolve_values_explicit_seed_is_kept_exactly(seed: int) -> None:
    assert resolve(seed=seed)["seed"] == seed
    assert resolve(seed=f" {seed} ")["seed"] == seed


def test_resolve_values_seed_above_64_bits_hint_has_exact_range() -> None:
    error = error_for(seed=2**64)
    assert error.message == "'Seed' cannot be 18446744073709551616."
    assert error.hint == "Choose a value from 0 to 18446744073709551615."


def test_resolve_values_unknown_name_suggests_closest() -> None:
    error = error_for(stpes=3)
    assert "'stpes'" in error.message
    assert "'steps'" in error.hint


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"steps": 0}, "'Steps' cannot be 0"),
        ({"steps": 2.5}, "a whole number"),
        ({"steps": "many"}, "a whole number"),
        ({"steps": True}, "a whole number"),
        ({"cfg": float("nan")}, "a number"),
        ({"cfg": [1]}, "a number"),
        ({"prompt": 5}, "takes text"),
        ({"prompt": ["1", 0]}, "takes text"),
        ({"seed": -2}, "cannot be -2"),
        ({"seed": 2**64}, "cannot be"),
        ({"seed": 1.5}, "a whole number"),
        ({"seed": "9" * 5000}, "a whole number"),
        ({"quality": "best"}, "no quality 'best'"),
        ({"variant": "fast"}, "no variant 'fast'"),
        ({"size": "Sqare"}, "no size 'Sqare'"),
        ({"size": "0x512"}, "no size"),
        ({"size": "9000x512"}, "'Width' cannot be 9000"),
        ({"loras": [{"strength": 1}]}, "A LoRA must have the form"),
        ({"loras": [{"name": "a", "strength": 99}]}, "The strength of 'a'"),
        ({"loras": [{"name": "a", "strength": 10**400}]}, "The strength of 'a'"),
    ],
)
def test_resolve_values_invalid_value_raises_with_message(
    values: dict[str, Any], expected: str
) -> None:
    assert expected in error_for(**values).message


def test_resolve_values_out_of_range_hint_has_range() -> None:
    assert error_for(steps=1000).hint == "Choose a value from 1 to 100."


def test_resolve_values_long_value_is_shortened_in_message() -> None:
    assert len(error_for(steps="x" * 100_000).message) < 200
    assert len(error_for(variant="x" * 100_000).message) < 300
    assert len(error_for(size="x" * 100_000).message) < 300


def test_resolve_values_size_accepts_label_or_numbers_below_width() -> None:
    assert (resolve(size="Portrait")["width"], resolve(size="Portrait")["height"]) == (832, 1216)
    assert resolve(size="640 × 768")["height"] == 768
    assert resolve(size="Portrait", width=512)["width"] == 512


def test_resolve_values_size_is_rounded_to_model_step() -> None:
    assert resolve(width=1000)["width"] == 1008
    assert resolve(width="999")["width"] == 992


@pytest.mark.parametrize(
    ("values", "notices"),
    [
        ({"width": 1000}, ["Width 1000 becomes 1008, a multiple of 16."]),
        ({"width": "999"}, ["Width 999 becomes 992, a multiple of 16."]),
        ({"size": "1000x1000", "height": 512}, ["Width 1000 becomes 1008, a multiple of 16."]),
        ({"width": 1024, "height": None, "size": "Portrait", "steps": 7}, []),
        ({"width": "wide", "height": 10**6, "size": "no such"}, []),
    ],
)
def test_rounding_notices_name_rounded_sizes_only(
    values: dict[str, Any], notices: list[str]
) -> None:
    assert rounding_notices(SDXL, values) == notices


def test_rounding_notices_name_rounded_frames() -> None:
    assert rounding_notices(WAN, {"frames": 80}) == ["Frames 80 becomes 81, of the form 4n+1."]
    assert rounding_notices(WAN, {"frames": 81}) == []


@pytest.mark.parametrize(
    ("frames", "snapped"), [(1, 1), (2, 1), (4, 5), (33, 33), (80, 81), (257, 257), (256, 257)]
)
def test_resolve_values_frames_snap_to_model_rule(frames: int, snapped: int) -> None:
    assert resolve_values(WAN, {"frames": frames})["frames"] == snapped


def test_resolve_values_snapped_frames_stay_in_range() -> None:
    mochi = get_preset("mochi")
    for frames in range(7, 164):
        snapped = resolve_values(mochi, {"frames": frames})["frames"]
        assert 7 <= snapped <= 163
        assert snapped % 6 == 1
        assert abs(snapped - frames) <= 3 + (frames > 163 - 3) * 3


def test_resolve_values_quality_has_documented_size_steps_and_cfg() -> None:
    documented = {
        "draft": (512, 512, 12, 6),
        "fast": (768, 768, 20, 7),
        "quality": (1024, 1024, 30, 7.5),
        "hd": (1024, 1024, 40, 7.5),
        "portrait": (768, 1152, 30, 7),
        "landscape": (1152, 768, 30, 7),
        "cinematic": (1536, 640, 35, 7.5),
        "square": (1024, 1024, 25, 7),
    }
    for name, expected_values in documented.items():
        actual = resolve(quality=name)
        assert (
            actual["width"],
            actual["height"],
            actual["steps"],
            actual["cfg"],
        ) == expected_values, name
    assert set(documented) == set(QUALITIES)


def test_resolve_values_quality_keeps_steps_of_distilled_model() -> None:
    values = resolve("z_image_turbo", quality="hd")
    assert (values["steps"], values["cfg"]) == (8, 1)
    assert resolve("qwen_image_2512", variant="4step", quality="draft")["steps"] == 4


def test_resolve_values_every_quality_fits_every_image_preset() -> None:
    for preset in list_presets(kind="image"):
        files = {p.id: "a.png" for p in preset.params if p.role in FILE_ROLES}
        for quality in QUALITIES:
            resolve_values(preset, {**files, "quality": quality})


def test_resolve_values_quality_for_video_preset_raises() -> None:
    assert "makes video" in error_for("wan21_t2v_1_3b", quality="hd").message


def test_resolve_values_variant_defaults_yield_to_explicit_values() -> None:
    values = resolve("qwen_image_2512", variant="4step")
    assert (values["steps"], values["cfg"], values["variant"]) == (4, 1, "4step")
    assert resolve("qwen_image_2512", variant="4step", steps=6)["steps"] == 6


def test_resolve_values_missing_file_message_has_label() -> None:
    assert error_for("sdxl_img2img").message == 'Choose a file for "Image".'


def test_resolve_values_missing_optional_file_is_none() -> None:
    assert resolve("wan22_5b")["image"] is None
    assert resolve("wan22_5b", image="")["image"] is None


def test_resolve_values_unknown_choice_suggests_closest_of_server() -> None:
    info = recorded_object_info("0.33.0")
    with pytest.raises(ValidationError) as caught:
        resolve_values(SDXL, {"sampler": "eulr"}, object_info=info)
    assert caught.value.hint == "Did you mean 'euler'?"
    assert resolve_values(SDXL, {"sampler": "euler"}, object_info=info)["sampler"] == "euler"


def object_info_with(*files: str) -> dict[str, Any]:
    return {
        "CheckpointLoaderSimple": {
            "input": {"required": {"ckpt_name": [list(files), {}]}},
            "output": ["MODEL", "CLIP", "VAE"],
        },
        "LoraLoader": {"input": {"required": {"lora_name": [["sub/glow.safetensors"], {}]}}},
    }


def test_resolve_values_model_name_matches_subfolder() -> None:
    values = resolve_values(
        SDXL, {"model": "cat.safetensors"}, object_info=object_info_with("x\\cat.safetensors")
    )
    assert values["model"] == "x\\cat.safetensors"


def test_resolve_values_required_model_falls_back_to_similar_file() -> None:
    model = {"model": "sd_xl_base_1.0.safetensors"}
    resolved_values = resolve_values(
        SDXL, model, object_info=object_info_with("other.ckpt", "sd_xl_base_1.0_0.9vae.safetensors")
    )
    assert resolved_values["model"] == "sd_xl_base_1.0_0.9vae.safetensors"
    # preset_problems reports a missing file, with its URL.
    assert resolve_values(SDXL, model, object_info=object_info_with())["model"] == model["model"]


def test_resolve_values_unknown_model_raises() -> None:
    with pytest.raises(ValidationError, match="'Checkpoint' cannot be"):
        resolve_values(SDXL, {"model": "catt.ckpt"}, object_info=object_info_with("cat.ckpt"))


def test_resolve_values_lora_name_matches_subfolder() -> None:
    info = object_info_with("a.ckpt")
    values = resolve_values(SDXL, {"loras": [{"name": "glow.safetensors"}]}, object_info=info)
    assert values["loras"] == [{"name": "sub/glow.safetensors", "strength": 1.0}]
    with pytest.raises(ValidationError, match=r"no LoRA 'blow\.safetensors'"):
        resolve_values(SDXL, {"loras": [{"name": "blow.safetensors"}]}, object_info=info)


def test_resolve_values_loras_without_slot_raise() -> None:
    assert (
        "takes no LoRAs"
        in error_for("upscale_esrgan", image="a.png", loras=[{"name": "a"}], seed=None).message
    )


def test_limits_and_choices_of_server_only_narrow() -> None:
    steps = SDXL.param("steps")
    assert steps is not None
    assert limits(steps) == (1, 100)
    from comfy_ui.protocol.object_info import InputSpec

    assert limits(steps, InputSpec("steps", "INT", min=5, max=10_000)) == (5, 100)
    sampler = SDXL.param("sampler")
    assert sampler is not None
    narrowed = sampler.model_copy(update={"choices": ("euler", "mine")})
    assert choices(narrowed, InputSpec("s", "COMBO", choices=("euler", "heun"))) == ("euler",)
    assert choices(narrowed) == ("euler", "mine")


@given(
    st.dictionaries(
        st.sampled_from(
            ["steps", "cfg", "width", "seed", "prompt", "size", "quality", "loras", "model", "x"]
        ),
        st.none()
        | st.integers()
        | st.floats()
        | st.text(max_size=20)
        | st.lists(st.integers(), max_size=2),
    )
)
def test_resolve_values_any_input_resolves_or_raises_validation_error(
    values: dict[str, Any],
) -> None:
    try:
        resolved_values = resolve_values(SDXL, values)
    except ValidationError:
        return
    assert resolve_values(SDXL, resolved_values) == resolved_values
    assert isinstance(resolved_values["seed"], int)


def test_resolve_values_side_to_extend_is_snapped_and_the_others_are_zero() -> None:
    files = {"image": "a.png"}
    values = resolve("sdxl_outpaint", **files, top=101)
    sides = {name: values[name] for name in ("left", "top", "right", "bottom")}
    assert sides == {"left": 0, "top": 104, "right": 0, "bottom": 0}
    assert resolve("sdxl_outpaint", **values | {"seed": 1}) == values
    assert rounding_notices(get_preset("sdxl_outpaint"), {"top": 101}) == [
        "Extend top 101 becomes 104, a multiple of 8."
    ]
    assert resolve("sdxl_outpaint", **files)["left"] > 0


def test_resolve_values_outpaint_without_sides_is_an_error() -> None:
    error = error_for("sdxl_outpaint", image="a.png", left=0)
    assert error.message == "Choose how far to extend the image."
