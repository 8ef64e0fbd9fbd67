"""Grid axes: text input becomes the values of each cell."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.workflow.grid_axes import (
    MAX_CELLS,
    array_axes,
    expand,
    file_axes,
    first_files,
    read_axis,
)
from comfy_ui.workflow.presets.preset_store import get_preset
from comfy_ui.workflow.wildcards import MAX_PROMPT_CHARACTERS

SDXL = get_preset("sdxl")


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("steps", "8, 12,20", (8, 12, 20)),
        ("steps", "20-40 (+10)", (20, 30, 40)),
        ("steps", "20-41 (10)", (20, 30, 40)),
        ("steps", "3-1", (3, 2, 1)),
        ("steps", "1-3, 10", (1, 2, 3, 10)),
        ("steps", "10-20 [3]", (10, 15, 20)),
        ("cfg", "1, 3.5", (1.0, 3.5)),
        ("cfg", "0.2-1 (+0.2)", (0.2, 0.4, 0.6, 0.8, 1.0)),
        ("cfg", "1-2 [5]", (1.0, 1.25, 1.5, 1.75, 2.0)),
        ("cfg", "5 – 4 (+0.5)", (5.0, 4.5, 4.0)),
        ("sampler", 'euler, "dpmpp_2m"\nheun', ("euler", "dpmpp_2m", "heun")),
        ("prompt", 'red, "pink, almost white"', ("red", "pink, almost white")),
        ("prompts", "a red fox, at night\n\n a cat \n", ("a red fox, at night", "a cat")),
        ("seed", "18446744073709551615, 1", (2**64 - 1, 1)),
        ("seed", "18446744073709551613-18446744073709551615", (2**64 - 3, 2**64 - 2, 2**64 - 1)),
    ],
)
def test_read_axis_list_or_range_returns_values(
    name: str, text: str, values: tuple[object, ...]
) -> None:
    assert read_axis(SDXL, name, text).values == values


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("steps", "", "no values yet"),
        ("steps", " , ", "no values yet"),
        ("steps", "eight", "a whole number, not 'eight'"),
        ("steps", "1.5", "a whole number"),
        ("cfg", "1-2 (+0)", "cannot be 0"),
        ("cfg", "1-2 (+1.2.3)", "takes a number"),
        ("steps", "1-9999", "9999 values"),
        ("steps", "1-2 [9999]", "9999 values"),
        ("prompt", "red", "words to replace"),
        ("prompts", " \n", "no values yet"),
        ("prompts", "a cat\n" + "x" * (MAX_PROMPT_CHARACTERS + 1), "characters"),
        ("nothing", "1, 2", "cannot vary"),
    ],
)
def test_read_axis_invalid_text_raises_with_hint(name: str, text: str, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected) as caught:
        read_axis(SDXL, name, text)
    assert caught.value.hint


def test_expand_cells_go_row_by_row_with_same_seed() -> None:
    axes = [read_axis(SDXL, "steps", "8, 12"), read_axis(SDXL, "cfg", "1-3")]
    cells = expand(SDXL, {"prompt": "a cat"}, axes, rng=random.Random(4))
    assert [(cell["cfg"], cell["steps"]) for cell in cells] == [
        (1, 8), (1, 12), (2, 8), (2, 12), (3, 8), (3, 12),
    ]  # fmt: skip
    assert len({cell["seed"] for cell in cells}) == 1
    assert expand(SDXL, {"seed": 7}, axes[:1])[0]["seed"] == 7


def test_expand_drawn_seeds_repeat_in_each_row() -> None:
    seeds = read_axis(SDXL, "seed", "-1, -1, 5", rng=random.Random(1))
    cells = expand(SDXL, {}, [seeds, read_axis(SDXL, "steps", "8, 9")])
    assert [cell["seed"] for cell in cells] == [*seeds.values, *seeds.values]
    assert len(set(seeds.values)) == 3
    assert -1 not in seeds.values


def test_expand_prompt_words_are_replaced_on_both_axes() -> None:
    axes = [read_axis(SDXL, "prompt", "red, blue"), read_axis(SDXL, "prompt", "cat, dog")]
    cells = expand(SDXL, {"prompt": "a red cat"}, axes)
    assert [cell["prompt"] for cell in cells] == [
        "a red cat", "a blue cat", "a red dog", "a blue dog",
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="does not contain 'red'"):
        expand(SDXL, {"prompt": "a grey cat"}, axes)


def test_expand_prompt_that_outgrows_the_limit_raises_before_it_is_written() -> None:
    letters = read_axis(SDXL, "prompt", "a, " + "b" * 3_900)
    with pytest.raises(ValidationError, match="would have 39000000 characters"):
        expand(SDXL, {"prompt": "a" * 10_000}, [letters])
    with pytest.raises(ValidationError, match="20001 characters"):
        expand(SDXL, {"prompt": "a" * 20_001}, [read_axis(SDXL, "steps", "1-3")])


def test_expand_same_parameter_twice_or_too_many_cells_raises() -> None:
    steps = read_axis(SDXL, "steps", "1-9")
    with pytest.raises(ValidationError, match="Both sides"):
        expand(SDXL, {}, [steps, steps])
    with pytest.raises(ValidationError, match="81 jobs"):
        expand(SDXL, {}, [steps, read_axis(SDXL, "cfg", "1-9")])


def test_expand_prompts_replace_the_whole_prompt_of_the_form() -> None:
    axes = [read_axis(SDXL, "prompts", "a fox, red\na cat"), read_axis(SDXL, "steps", "8, 12")]
    cells = expand(SDXL, {"prompt": "a harbor"}, axes)
    assert [(cell["prompt"], cell["steps"]) for cell in cells] == [
        ("a fox, red", 8), ("a cat", 8), ("a fox, red", 12), ("a cat", 12),
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="does not contain"):
        expand(SDXL, {"prompt": "a harbor"}, [axes[0], read_axis(SDXL, "prompt", "red, blue")])


def test_read_axis_variants_use_titles_of_form() -> None:
    preset = get_preset("flux2_klein_4b")
    assert preset.variants
    name, variant = next(iter(preset.variants.items()))
    axis = read_axis(preset, "variant", f"Standard, {variant.title}")
    assert axis.values == ("", name)
    assert axis.labels == ("Standard", variant.title)


def test_read_axis_model_labels_omit_folder_and_extension() -> None:
    assert read_axis(SDXL, "model", "xl/one.safetensors").labels == ("one",)


@given(st.text(max_size=60), st.sampled_from(["steps", "cfg", "seed", "sampler", "prompt"]))
def test_read_axis_any_text_returns_axis_or_validation_error(text: str, name: str) -> None:
    try:
        axis = read_axis(SDXL, name, text)
    except ValidationError:
        return
    assert 0 < len(axis.values) == len(axis.labels) <= MAX_CELLS


def test_array_axes_make_every_combination_of_both_prompts() -> None:
    preset = get_preset("sdxl")
    values = {
        "prompt": "[[red, green]] fox, [[red, green]] sky",
        "negative": "[[, blurry]]",
        "seed": 7,
    }
    axes = array_axes(preset, values)
    cells = expand(preset, values, axes)
    assert [(cell["prompt"], cell["negative"]) for cell in cells] == [
        ("red fox, red sky", ""),
        ("green fox, green sky", ""),
        ("red fox, red sky", "blurry"),
        ("green fox, green sky", "blurry"),
    ]
    assert {cell["seed"] for cell in cells} == {7}


def test_array_axes_of_brackets_without_a_comma_are_none() -> None:
    assert array_axes(SDXL, {"prompt": "[[fox]], [a, b], [[]]"}) == []


def test_expand_of_three_axes_has_the_first_across() -> None:
    preset = get_preset("sdxl")
    values = {"prompt": "[[a, b]] [[c, d]]", "seed": 7}
    cells = expand(
        preset, values, [read_axis(preset, "steps", "1, 2"), *array_axes(preset, values)]
    )
    assert [(cell["prompt"], cell["steps"]) for cell in cells[:4]] == [
        ("a c", 1),
        ("a c", 2),
        ("a d", 1),
        ("a d", 2),
    ]
    assert len(cells) == 8


def test_file_axes_have_a_cell_for_each_file_of_a_field() -> None:
    preset = get_preset("sdxl_img2img")
    values = {"image": "ui-a.png\tsea.jpg\nui-b.png", "prompt": "a bay", "seed": 7}
    (axis,) = file_axes(preset, values)
    assert axis.labels == ("sea.jpg", "ui-b.png")
    cells = expand(preset, values, [axis])
    assert [cell["image"] for cell in cells] == ["ui-a.png", "ui-b.png"]
    assert first_files(preset, values) == {**values, "image": "ui-a.png"}
    assert file_axes(preset, {"image": "ui-a.png"}) == []


def test_read_axis_loras_are_compared_with_the_others_of_the_form() -> None:
    axis = read_axis(SDXL, "loras", "none, ink:0.6, style/glow.safetensors")
    assert axis.labels == ("none", "ink:0.6", "glow")
    values = {"loras": [{"name": "ink", "strength": 1.0}, {"name": "grain", "strength": 0.3}]}
    cells = expand(SDXL, {**values, "seed": 7}, [axis])
    assert [[(one["name"], one["strength"]) for one in cell["loras"]] for cell in cells] == [
        [("grain", 0.3)],
        [("grain", 0.3), ("ink", 0.6)],
        [("grain", 0.3), ("style/glow.safetensors", 1.0)],
    ]
    with pytest.raises(ValidationError, match="cannot vary"):
        read_axis(get_preset("upscale_esrgan"), "loras", "ink")
