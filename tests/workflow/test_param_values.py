"""comfy_ui/workflow/fields/param_values.py"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.workflow.fields.field_types import FILE_ROLES, MAX_SEED
from comfy_ui.workflow.fields.param_values import QUALITIES, choices, limits, resolve_values
from comfy_ui.workflow.presets.preset_store import get_preset, list_presets
from tests.conftest import recorded_object_info

SDXL = get_preset("sdxl")
WAN = get_preset("wan21_t2v_1_3b")


def resolved(preset_id: str = "sdxl", /, **values: Any) -> dict[str, Any]:
    return resolve_values(get_preset(preset_id), {"seed": 1, **values})


def refusal(preset_id: str = "sdxl", /, **values: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        resolved(preset_id, **values)
    return caught.value


def test_without_values_the_defaults_hold() -> None:
    values = resolved()
    assert values["steps"] == 25
    assert values["width"] == values["height"] == 1024
    assert values["prompt"] == ""


@pytest.mark.parametrize("seed", [None, -1, "-1", ""])
def test_no_seed_means_a_random_one_that_javascript_can_hold(seed: Any) -> None:
    values = resolve_values(SDXL, {"seed": seed}, rng=random.Random(1))
    assert values == resolve_values(SDXL, {"seed": seed}, rng=random.Random(1))
    assert 0 <= values["seed"] <= MAX_SEED < 2**53
    assert values["seed"] != resolve_values(SDXL, {"seed": seed})["seed"]


def test_a_given_seed_stays() -> None:
    assert resolved(seed=MAX_SEED)["seed"] == MAX_SEED
    assert resolved(seed="7")["seed"] == 7


def test_an_unknown_value_names_the_closest() -> None:
    error = refusal(stpes=3)
    assert "'stpes'" in error.message
    assert "'steps'" in error.hint


@pytest.mark.parametrize(
    ("values", "told"),
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
        ({"seed": 2**53}, "cannot be"),
        ({"seed": "9" * 5000}, "a whole number"),
        ({"quality": "best"}, "no quality 'best'"),
        ({"variant": "fast"}, "no variant 'fast'"),
        ({"size": "Sqare"}, "no size 'Sqare'"),
        ({"size": "0x512"}, "no size"),
        ({"size": "9000x512"}, "'Width' cannot be 9000"),
        ({"loras": [{"strength": 1}]}, "A LoRA is given as"),
        ({"loras": [{"name": "a", "strength": 99}]}, "The strength of 'a'"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(values: dict[str, Any], told: str) -> None:
    assert told in refusal(**values).message


def test_the_range_is_in_the_hint() -> None:
    assert refusal(steps=1000).hint == "It goes from 1 to 100."


def test_a_message_never_carries_a_whole_novel() -> None:
    assert len(refusal(steps="x" * 100_000).message) < 200
    assert len(refusal(variant="x" * 100_000).message) < 300
    assert len(refusal(size="x" * 100_000).message) < 300


def test_a_size_is_a_label_or_two_numbers_and_single_values_win() -> None:
    assert (resolved(size="Portrait")["width"], resolved(size="Portrait")["height"]) == (832, 1216)
    assert resolved(size="640 × 768")["height"] == 768
    assert resolved(size="Portrait", width=512)["width"] == 512


def test_sizes_are_rounded_to_the_models_step() -> None:
    assert resolved(width=1000)["width"] == 1008
    assert resolved(width="999")["width"] == 992


@pytest.mark.parametrize(
    ("asked", "made"), [(1, 1), (2, 1), (4, 5), (33, 33), (80, 81), (257, 257), (256, 257)]
)
def test_numbers_of_frames_follow_the_models_rule(asked: int, made: int) -> None:
    assert resolve_values(WAN, {"frames": asked})["frames"] == made


def test_snapping_frames_never_leaves_the_range() -> None:
    mochi = get_preset("mochi")
    for asked in range(7, 164):
        made = resolve_values(mochi, {"frames": asked})["frames"]
        assert 7 <= made <= 163
        assert made % 6 == 1
        assert abs(made - asked) <= 3 + (asked > 163 - 3) * 3


def test_the_documented_sizes_and_steps_of_the_qualities() -> None:
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
    for name, wanted in documented.items():
        got = resolved(quality=name)
        assert (got["width"], got["height"], got["steps"], got["cfg"]) == wanted, name
    assert set(documented) == set(QUALITIES)


def test_a_quality_leaves_the_steps_of_a_distilled_model_alone() -> None:
    values = resolved("z_image_turbo", quality="hd")
    assert (values["steps"], values["cfg"]) == (8, 1)
    assert resolved("qwen_image_2512", variant="4step", quality="draft")["steps"] == 4


def test_every_quality_applies_to_every_picture_preset() -> None:
    for preset in list_presets(kind="image"):
        files = {p.id: "a.png" for p in preset.params if p.role in FILE_ROLES}
        for quality in QUALITIES:
            resolve_values(preset, {**files, "quality": quality})


def test_a_quality_is_refused_for_what_is_no_picture() -> None:
    assert "makes video" in refusal("wan21_t2v_1_3b", quality="hd").message


def test_a_variant_brings_its_defaults_and_single_values_win() -> None:
    values = resolved("qwen_image_2512", variant="4step")
    assert (values["steps"], values["cfg"], values["variant"]) == (4, 1, "4step")
    assert resolved("qwen_image_2512", variant="4step", steps=6)["steps"] == 6


def test_a_file_is_asked_for_by_its_label() -> None:
    assert refusal("sdxl_img2img").message == 'Choose a file for "Picture".'


def test_an_optional_file_may_be_missing() -> None:
    assert resolved("wan22_5b")["image"] is None
    assert resolved("wan22_5b", image="")["image"] is None


def test_choices_come_from_the_server_with_the_closest_as_hint() -> None:
    info = recorded_object_info("0.33.0")
    with pytest.raises(ValidationError) as caught:
        resolve_values(SDXL, {"sampler": "eulr"}, object_info=info)
    assert caught.value.hint == "Did you mean 'euler'?"
    assert resolve_values(SDXL, {"sampler": "euler"}, object_info=info)["sampler"] == "euler"


def loader(*files: str) -> dict[str, Any]:
    return {
        "CheckpointLoaderSimple": {
            "input": {"required": {"ckpt_name": [list(files), {}]}},
            "output": ["MODEL", "CLIP", "VAE"],
        },
        "LoraLoader": {"input": {"required": {"lora_name": [["sub/glow.safetensors"], {}]}}},
    }


def test_a_models_name_is_found_in_a_subfolder() -> None:
    values = resolve_values(
        SDXL, {"model": "cat.safetensors"}, object_info=loader("x\\cat.safetensors")
    )
    assert values["model"] == "x\\cat.safetensors"


def test_the_required_model_gives_way_to_a_similar_one() -> None:
    given = {"model": "sd_xl_base_1.0.safetensors"}
    found = resolve_values(
        SDXL, given, object_info=loader("other.ckpt", "sd_xl_base_1.0_0.9vae.safetensors")
    )
    assert found["model"] == "sd_xl_base_1.0_0.9vae.safetensors"
    # That it is not there at all is for the check to say, with the address.
    assert resolve_values(SDXL, given, object_info=loader())["model"] == given["model"]


def test_any_other_model_must_be_there() -> None:
    with pytest.raises(ValidationError, match="'Checkpoint' cannot be"):
        resolve_values(SDXL, {"model": "catt.ckpt"}, object_info=loader("cat.ckpt"))


def test_a_lora_is_found_by_its_name() -> None:
    info = loader("a.ckpt")
    values = resolve_values(SDXL, {"loras": [{"name": "glow.safetensors"}]}, object_info=info)
    assert values["loras"] == [{"name": "sub/glow.safetensors", "strength": 1.0}]
    with pytest.raises(ValidationError, match=r"no LoRA 'blow\.safetensors'"):
        resolve_values(SDXL, {"loras": [{"name": "blow.safetensors"}]}, object_info=info)


def test_loras_are_refused_where_there_is_no_slot() -> None:
    assert (
        "takes no LoRAs"
        in refusal("upscale_esrgan", image="a.png", loras=[{"name": "a"}], seed=None).message
    )


def test_the_server_narrows_a_range_and_never_widens_it() -> None:
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
def test_any_values_give_concrete_ones_or_an_error_of_ours(values: dict[str, Any]) -> None:
    try:
        found = resolve_values(SDXL, values)
    except ValidationError:
        return
    assert resolve_values(SDXL, found) == found
    assert isinstance(found["seed"], int)
