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


def test_read_styles_fooocus_json() -> None:
    first, second = read_styles(FOOOCUS, "sdxl_styles.json")
    assert first == Style("sai-neon", "neon {prompt} . glow", "day")
    assert second == Style("only negative", "", "blur")


def test_read_styles_a1111_csv_with_commas_and_byte_order_mark() -> None:
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
def test_read_styles_without_styles_raises(content: str, name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        read_styles(content, name)


def test_merge_style_inserts_prompt_at_placeholder() -> None:
    style = Style("s", "photo of {prompt}, grain", "blur")
    merged = merge_style("a cat, ", style, negative="dog,")
    assert (merged.prompt, merged.negative) == ("photo of a cat, grain", "dog, blur")
    assert merge_style("a cat.", Style("s", "grain")).prompt == "a cat, grain"
    assert merge_style("a cat", Style("s", "", "x")).prompt == "a cat"


def test_load_styles_shipped_styles_have_placeholder_and_negative() -> None:
    styles = load_styles().styles
    assert len(styles) >= 16
    for style in styles.values():
        assert style.prompt.count("{prompt}") == 1, style.name
        assert style.negative, style.name


def test_load_styles_folder_adds_styles_and_reports_bad_files(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(A1111, encoding="utf-8")
    (tmp_path / "fooocus.json").write_text(FOOOCUS)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "notes.txt").write_text("not mine")
    library = load_styles(tmp_path)
    assert {"Ink", "sai-neon", "film noir"} <= set(library.styles)
    assert [problem.message[:11] for problem in library.problems] == ["broken.json"]
    assert load_styles(tmp_path / "absent").styles == load_styles().styles


def test_enhance_prompt_accepts_style_object_and_style_name() -> None:
    draft = enhance_prompt(
        'a cat "HI"', style=Style("mine", "ink of {prompt}, paper"), model="rules"
    )
    assert draft.enhanced == 'ink of a cat "HI", paper'
    assert draft.changes == ("ink of", "paper")
    noir = enhance_prompt("a cat", style="film noir", family="SDXL", model="rules")
    assert "film noir" in noir.enhanced
    assert "cheerful" in noir.negative
