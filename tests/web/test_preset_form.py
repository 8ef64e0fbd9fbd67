from __future__ import annotations

import doctest
import re
from typing import Any

import pytest

from comfy_ui.models.model_facts import FAMILY_FOLDERS
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.web.components import preset_form
from comfy_ui.workflow.model_files import family_of
from comfy_ui.workflow.presets.preset_store import get_preset, list_presets
from tests.web.support import Page, preset

LOADERS = {
    "CheckpointLoaderSimple": "ckpt_name",
    "ImageOnlyCheckpointLoader": "ckpt_name",
    "UNETLoader": "unet_name",
}
MODELS = [
    *{model.filename for one in list_presets() for model in one.models},
    "mine.safetensors",
]

LIBRARY = NodeRegistry(
    {
        "KSampler": {
            "input": {"required": {"sampler_name": [["euler", "heun", "<b>dpm"], {}]}},
            "output": ["LATENT"],
            "name": "KSampler",
        }
    }
)


def test_form_loras_reach_the_job_and_survive_a_preset_without_slot() -> None:
    sdxl, upscaler = get_preset("sdxl"), get_preset("upscale_esrgan")
    loras = '[{"name": "ink", "strength": 0.8}]'
    assert preset_form.job_values(sdxl, {"loras": loras}) == {"loras": loras}
    carried = preset_form.carry(sdxl, {"loras": loras}, upscaler)
    assert preset_form.job_values(upscaler, carried) == {}
    page = str(preset_form.form(upscaler, carried))
    assert 'name="loras"' in page
    assert "&quot;ink&quot;" in page
    assert preset_form.carry(upscaler, preset_form.read(upscaler, carried), sdxl)["loras"] == loras


@pytest.mark.parametrize("shipped", list_presets(), ids=lambda p: p.id)
def test_form_offers_the_models_of_the_presets_family(shipped: Any) -> None:
    library = NodeRegistry(
        {
            class_type: {"input": {"required": {name: [MODELS]}}, "output": []}
            for class_type, name in LOADERS.items()
        }
    )
    files = {model.filename for model in shipped.models if model.folder in FAMILY_FOLDERS}
    page = preset_form.form(shipped, {}, library=library)
    for param in shipped.params:
        if param.role == "model" and param.default in files:
            listed = re.findall(r"<option[^>]*>([^<]*)<", str(page).split(f'name="{param.id}"')[1])
            assert param.default in listed
            assert "stable-audio-open-1.0.safetensors" not in listed or "audio" in shipped.id
            assert "mine.safetensors" in listed
    families = {family_of(name) for name in files}
    assert not family_of(shipped.family) or families <= {"", family_of(shipped.family)}


def test_preset_form_doctests_pass() -> None:
    assert doctest.testmod(preset_form).failed == 0


@pytest.mark.parametrize("shipped", list_presets(), ids=lambda p: p.id)
def test_form_has_one_labelled_field_per_param(shipped: Any) -> None:
    page = Page(preset_form.form(shipped, {}))
    named = [
        a["name"]
        for tag, a in page.elements
        if tag in {"input", "select", "textarea"} and "name" in a
    ]
    expected = {param.id for param in shipped.params if param.role != "prompt"}
    assert set(named) - {"variant"} == expected | {*preset_form.STRIPS}
    assert len(named) == len(set(named))
    labelled = {a["for"] for a in page.all("label") if "for" in a}
    for tag, attributes in page.elements:
        if tag in {"input", "select", "textarea"} and attributes.get("type") != "hidden":
            assert attributes.get("aria-label") or attributes["id"] in labelled


def test_form_leaves_hidden_params_out() -> None:
    names = [
        a.get("name")
        for _, a in Page(preset_form.form(preset(steps={"hidden": True}), {})).elements
    ]
    assert "steps" not in names
    assert "seed" in names


def test_form_carries_the_own_prompt_of_its_preset() -> None:
    (form,) = Page(preset_form.form(preset(prompt={"default": 'a "fox"'}), {})).all("form")
    assert form["data-own-prompt"] == 'a "fox"'
    (form,) = Page(preset_form.form(preset(), {})).all("form")
    assert "data-own-prompt" not in form


def test_form_field_type_depends_on_the_role() -> None:
    page = Page(preset_form.form(preset(), {}, library=LIBRARY))
    assert page.all(name="steps")[0]["type"] == "number"
    assert page.all("input", type="range", data_for="f-steps")
    assert page.all(name="seed")[0]["placeholder"] == "Random each time"
    assert page.all("select", name="sampler")
    assert page.all("input", type="file", id="f-image")[0]["accept"] == "image/*"


def test_form_values_override_defaults() -> None:
    page = Page(preset_form.form(preset(), {"steps": 20, "seed": 5}))
    assert page.all(name="steps")[0]["value"] == "20"
    assert page.all(name="seed")[0]["value"] == "5"


def test_form_seed_of_64_bits_is_shown_whole_and_carried() -> None:
    (box,) = Page(preset_form.form(preset(), {"seed": 2**64 - 1})).all(name="seed")
    assert box["value"] == "18446744073709551615"
    assert int(box["maxlength"]) == len(box["value"])
    other = preset("new", params=("prompt", "seed"))
    values = preset_form.read(preset(), {"seed": box["value"]})
    assert preset_form.carry(preset(), values, other) == {"seed": box["value"]}


@pytest.mark.parametrize("seed", [None, -1, 0, ""])
def test_form_unset_seed_is_shown_as_random(seed: Any) -> None:
    assert Page(preset_form.form(preset(), {"seed": seed})).all(name="seed")[0]["value"] == ""


def test_form_choices_from_object_info_keep_an_unknown_value() -> None:
    page = Page(preset_form.form(preset(), {"sampler": "old_one"}, library=LIBRARY))
    offered = [a["value"] for a in page.all("option")]
    assert offered == ["old_one", "euler", "heun", "<b>dpm"]


def test_form_width_and_height_are_advanced_but_shapes_are_not() -> None:
    html = preset_form.form(preset(), {})
    main, advanced = html.split('class="advanced"')
    assert 'name="width"' in advanced
    assert 'name="width"' not in main
    assert {a["data-w"] for a in Page(main).all("button", data_do="shape")} >= {"1024"}


def test_form_shapes_keep_area_and_step() -> None:
    small = preset(width={"default": 512, "step": 64}, height={"default": 512, "step": 64})
    for shape in Page(preset_form.form(small, {})).all("button", data_do="shape"):
        width, height = int(shape["data-w"] or 0), int(shape["data-h"] or 0)
        assert width % 64 == height % 64 == 0
        assert 0.75 < width * height / 512**2 < 1.25


def test_form_shapes_fill_rows_of_at_most_four() -> None:
    columns = {}
    for shipped in list_presets():
        page = Page(preset_form.form(shipped, {}))
        for group in page.all("div", class_="shapes"):
            columns[len(page.all("button", data_do="shape"))] = group["style"]
    assert {3, 4, 5, 7, 8} <= columns.keys()
    expected = {2: 2, 3: 3, 4: 4, 5: 3, 6: 3, 7: 4, 8: 4}
    assert columns == {number: f"--columns: {expected[number]}" for number in columns}


def test_read_drops_values_that_are_no_params() -> None:
    raw = {"steps": 3, "prompt": "x", "evil": 1, "cfg": None, "seed": "", "sampler": ["a"]}
    assert preset_form.read(preset(), raw) == {"steps": 3}


def test_carry_keeps_edited_values_only() -> None:
    new = preset("new", params=("prompt", "steps", "cfg", "seed"), steps={"default": 30})
    values = {"steps": 12, "cfg": 1.0, "seed": 7, "sampler": "heun"}
    assert preset_form.carry(preset(), values, new) == {"steps": 12, "seed": 7}


def test_carry_drops_values_invalid_for_the_new_preset() -> None:
    new = preset("new", steps={"default": 4, "max": 8}, sampler={"choices": ["euler"]})
    assert preset_form.carry(preset(), {"steps": 12, "sampler": "heun"}, new) == {}


def test_carry_keeps_width_and_height_together_or_neither() -> None:
    new = preset("new", height={"max": 600, "default": 512})
    assert preset_form.carry(preset(), {"width": 768, "height": 1344}, new) == {}
    assert preset_form.carry(preset(), {"width": 768, "height": 512}, preset("new")) == {
        "width": 768,
        "height": 512,
    }


def test_carry_matches_params_by_role() -> None:
    new = preset("new", params=("prompt", "steps"), steps={"id": "sampling_steps"})
    assert preset_form.carry(preset(), {"steps": 12}, new) == {"sampling_steps": 12}


def test_ratio_is_computed_from_width_and_height() -> None:
    assert preset_form.ratio(preset(), {}) == 1
    assert preset_form.ratio(preset(), {"width": 1344, "height": 768}) == 1.75
    assert preset_form.ratio(preset(), {"width": "x"}) is None
    assert preset_form.ratio(preset(params=("prompt",)), {}) is None


def test_fit_size_prefers_the_named_size_of_nearest_area() -> None:
    sizes = [
        {"label": "Wide", "width": 832, "height": 480},
        {"label": "HD", "width": 1280, "height": 720},
    ]
    named = preset(sizes=sizes)
    assert preset_form.fit_size(named, {"width": 640, "height": 640}, 16 / 9) == {
        "width": 832,
        "height": 480,
    }
    assert preset_form.fit_size(named, {}, 16 / 9) == {"width": 1280, "height": 720}


@pytest.mark.parametrize("shape", [0.5, 0.7, 4 / 3, 2.39])
def test_fit_size_without_a_named_size_keeps_area_step_and_shape(shape: float) -> None:
    size = preset_form.fit_size(preset(), {}, shape)
    assert size["width"] % 16 == size["height"] % 16 == 0
    assert size["width"] / size["height"] == pytest.approx(shape, rel=0.03)
    assert size["width"] * size["height"] == pytest.approx(1024 * 1024, rel=0.05)


def test_fit_size_keeps_a_size_of_this_shape_and_stays_within_the_limits() -> None:
    assert preset_form.fit_size(preset(), {"width": 512, "height": 512}, 1.01) == {}
    assert preset_form.fit_size(preset(), {}, 10.0) == {"width": 2048, "height": 256}
    assert preset_form.fit_size(preset(params=("image",)), {}, 1.0) == {}


def test_form_shows_frames_as_seconds_of_the_rate_field() -> None:
    page = Page(preset_form.form(get_preset("wan22_flf_14b"), {"frames": 49, "fps": 24}))
    (seconds,) = page.all("output", class_="seconds quiet")
    assert "2.0 s" in page.text
    assert (seconds["data-fps"], seconds["data-fps-field"]) == ("24", "f-fps")


def test_form_shows_frames_as_seconds_of_the_graphs_rate() -> None:
    whole = get_preset("wan22_flf_14b")
    params = tuple(param for param in whole.params if param.role != "fps")
    page = Page(preset_form.form(whole.model_copy(update={"params": params}), {}))
    (seconds,) = page.all("output", class_="seconds quiet")
    assert "5.1 s" in page.text
    assert (seconds["data-fps"], seconds.get("data-fps-field")) == ("16", None)


def test_form_size_follows_the_first_image_of_a_video() -> None:
    video = Page(preset_form.form(get_preset("wan22_flf_14b"), {}))
    assert video.all("div", class_="field size", data_follows="image")
    image = Page(preset_form.form(get_preset("sdxl_inpaint"), {}))
    assert not image.all(data_follows="image")
