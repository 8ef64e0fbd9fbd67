"""Lists of tags: how they are read, and what a search finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.prompts.tag_index import Tag, TagIndex, read_tags

LIST = """\
name,category,post_count,aliases
1girl,0,5000000,"1girls,sole_female"
long_hair,0,4000000,longhair
hair_ornament,0,1200000,
hair,0,50,
hatsune_miku_(vocaloid),4,90000,
>_<,0,9000
"""


@pytest.fixture
def index(tmp_path: Path) -> TagIndex:
    (tmp_path / "danbooru.csv").write_text("\ufeff" + LIST, encoding="utf-8")
    return TagIndex(read_tags(tmp_path))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1g", ["1girl"]),
        ("hair", ["hair", "long_hair", "hair_ornament"]),  # the exact one, then by frequency
        ("Long H", ["long_hair"]),
        ("long_h", ["long_hair"]),
        ("orn", ["hair_ornament"]),
        ("vocal", ["hatsune_miku_(vocaloid)"]),
        ("sole fem", ["1girl"]),
        (">_", [">_<"]),
        ("h", []),
        ("", []),
        ("name", []),
    ],
)
def test_tag_index_search_finds_beginnings_of_words_and_aliases(
    index: TagIndex, text: str, names: list[str]
) -> None:
    assert [tag.name for tag in index.search(text)] == names


def test_tag_index_search_returns_at_most_the_limit() -> None:
    index = TagIndex(Tag(f"tag{number}", uses=number) for number in range(50))
    assert [tag.uses for tag in index.search("tag", limit=3)] == [49, 48, 47]


def test_read_tags_takes_names_alone_and_skips_what_is_no_tag(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"# mine\n\nred fox\nblue,x,-3\n{'y' * 200},0,1\n")
    (tmp_path / "b.csv").write_bytes(b"caf\xff,1,2\nred fox,1,9\n")
    (tmp_path / "notes.txt").write_text("not read")
    tags = read_tags(tmp_path)
    assert tags == [Tag("red fox"), Tag("blue"), Tag("caf\ufffd", 1, 2)]
    assert read_tags(tmp_path / "missing") == []


def test_read_tags_of_a_broken_file_reads_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"' + "x" * 200_000)  # a field over the limit of csv
    (tmp_path / "b.csv").write_text("fox\n")
    assert read_tags(tmp_path) == [Tag("fox")]
