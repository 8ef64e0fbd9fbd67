from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import Style, enhance_prompt, load_styles, merge_style, read_styles

FOOOCUS = json.dumps(
    [
        {"name": "sai-neon", "prompt": "neon {prompt} . glow", "negative_prompt": "day"},
        {"name": "empty"},
        "nonsense",
        {"name": "only negative", "negative_prompt": "blur"},
    ]
)
A1111 = (
    '\ufeffname,prompt,negative_prompt\nInk,"ink, on paper",photo\n"Long, name",x {prompt} y,\n,,\n'
)


def test_fooocus_json_is_read() -> None:
    first, second = read_styles(FOOOCUS, "sdxl_styles.json")
    assert first == Style("sai-neon", "neon {prompt} . glow", "day")
    assert second == Style("only negative", "", "blur")


def test_a1111_csv_is_read_with_commas_and_a_byte_order_mark() -> None:
    ink, long = read_styles(A1111.encode(), "styles.csv")
    assert ink == Style("Ink", "ink, on paper", "photo")
    assert long == Style("Long, name", "x {prompt} y", "")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("[1, 2]", "x.json"),
        ("{", "x.json"),
        ("a,b\n1,2\n", "x.csv"),
        ("x = 1", "x.toml"),
        ("", "x.csv"),
    ],
)
def test_what_holds_no_styles_is_an_error(content: str, name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        read_styles(content, name)


def test_words_go_where_the_style_wants_them() -> None:
    style = Style("s", "photo of {prompt}, grain", "blur")
    merged = merge_style("a cat, ", style, negative="dog,")
    assert (merged.prompt, merged.negative) == ("photo of a cat, grain", "dog, blur")
    assert merge_style("a cat.", Style("s", "grain")).prompt == "a cat, grain"
    assert merge_style("a cat", Style("s", "", "x")).prompt == "a cat"


def test_every_shipped_style_has_a_place_for_the_prompt_and_a_negative() -> None:
    styles = load_styles().styles
    assert len(styles) >= 16
    for style in styles.values():
        assert style.prompt.count("{prompt}") == 1, style.name
        assert style.negative, style.name


def test_a_folder_adds_styles_and_tells_about_bad_files(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(A1111, encoding="utf-8")
    (tmp_path / "fooocus.json").write_text(FOOOCUS)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "notes.txt").write_text("not mine")
    found = load_styles(tmp_path)
    assert {"Ink", "sai-neon", "film noir"} <= set(found.styles)
    assert [problem.message[:11] for problem in found.problems] == ["broken.json"]
    assert load_styles(tmp_path / "absent").styles == load_styles().styles


def test_enhancing_takes_a_style_of_ones_own_and_one_of_the_library() -> None:
    draft = enhance_prompt(
        'a cat "HI"', style=Style("mine", "ink of {prompt}, paper"), model="rules"
    )
    assert draft.enhanced == 'ink of a cat "HI", paper'
    assert draft.changes == ("ink of", "paper")
    noir = enhance_prompt("a cat", style="film noir", family="SDXL", model="rules")
    assert "film noir" in noir.enhanced
    assert "cheerful" in noir.negative
