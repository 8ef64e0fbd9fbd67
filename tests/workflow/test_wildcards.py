from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import (
    ExpandedValues,
    WildcardFolder,
    expand_values,
    expand_wildcards,
    has_wildcards,
)
from comfy_ui.workflow import Control, get_preset
from comfy_ui.workflow.controls.control import ControlTarget
from comfy_ui.workflow.fields.field_types import Role

WORDS = st.text(alphabet="abcdefgh ,.", max_size=8)
LINES = {"colour": ("red", "{dark|pale} blue"), "hair_style": ("short", "long"), "a/x": ("1",)}


def _texts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    options = st.lists(inner, min_size=1, max_size=4).map("|".join)
    head = st.sampled_from(["", "2$$", "1-3$$", "-2$$", "2-$$ and $$", "0.5::"])
    return st.one_of(
        st.builds("{{{}{}}}".format, head, options),
        st.lists(inner, max_size=3).map("".join),
        st.sampled_from(["__colour__", "__hair_style__", "__a/*__"]),
    )


TEMPLATES = st.recursive(WORDS, _texts, max_leaves=20)


@given(TEMPLATES, st.integers())
@example("{2$$__colour____colour__}", 0)
def test_the_same_seed_gives_the_same_text(template: str, seed: int) -> None:
    once, again = (expand_wildcards(template, seed=seed, wildcards=LINES) for _ in range(2))
    assert once == again
    assert once.template == template


@given(WORDS, st.integers())
def test_text_without_wildcards_stays_as_it_is(text: str, seed: int) -> None:
    assert expand_wildcards(text, seed=seed).text == text
    assert not has_wildcards(text)


@given(st.text(alphabet="{}|$_-1ab\\: *", max_size=40), st.integers(0, 9))
def test_any_text_is_expanded_or_told_what_is_wrong(text: str, seed: int) -> None:
    try:
        expand_wildcards(text, seed=seed, wildcards=LINES)
    except ValidationError:
        return


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True), st.integers())
def test_a_count_takes_so_many_different_ones(options: list[str], seed: int) -> None:
    found = expand_wildcards(f"{{2$$+$${'|'.join(options)}}}", seed=seed).text.split("+")
    assert len(found) == len(set(found)) == min(2, len(options))
    assert set(found) <= set(options)


def test_ranges_take_every_number_in_them() -> None:
    def sizes(head: str) -> set[int]:
        texts = [expand_wildcards(f"{{{head}$$a|b|c|d}}", seed=seed).text for seed in range(80)]
        return {len(text.split(", ")) for text in texts}

    assert sizes("1-3") == {1, 2, 3}
    assert sizes("-2") == {1, 2}
    assert sizes("3-") == {3, 4}
    assert sizes("3-1") == {1, 2, 3}
    assert sizes("9") == {4}


def test_weights_count_in_groups_and_in_files() -> None:
    for template in ("{9::a|b}", "__w__"):
        found = Counter(
            expand_wildcards(template, seed=n, wildcards={"w": ("9::a", "b")}).text
            for n in range(400)
        )
        assert found["a"] > 320
        assert found["b"] > 10


def test_what_was_chosen_is_told_in_the_order_of_reading() -> None:
    found = expand_wildcards("{a|a} {x {b|b}|x {b|b}} __c__", seed=1, wildcards={"c": ("c",)})
    assert found.text == "a x b c"
    assert [(c.source, c.chosen) for c in found.choices] == [
        ("{a|a}", ("a",)),
        ("{x {b|b}|x {b|b}}", ("x b",)),
        ("{b|b}", ("b",)),
        ("__c__", ("c",)),
    ]


def test_the_choice_for_a_seed_is_the_same_for_ever() -> None:
    template = "{red|green|blue|grey} {2$$a|b|c|d}"
    texts = [expand_wildcards(template, seed=seed).text for seed in range(4)]
    assert texts == ["grey d, b", "red d, c", "grey d, a", "red c, b"]


def test_two_lines_of_one_file_are_different() -> None:
    lines = {"c": ("red", "blue")}
    for seed in range(20):
        text = expand_wildcards("{2$$ and $$__c__}", seed=seed, wildcards=lines).text
        assert sorted(text.split(" and ")) == ["blue", "red"]


@pytest.mark.parametrize(
    "text",
    [
        "a {cat}",
        '{"scene": "a|b", "colours": ["red", "blue"]}',
        "smile :-{ and frown",
        "under_score and ___ lines",
    ],
)
def test_what_is_no_wildcard_is_left_alone(text: str) -> None:
    assert expand_wildcards(text, seed=3, wildcards=LINES).text == text


def test_escaped_signs_are_plain() -> None:
    assert expand_wildcards(r"\{a\|b\} \__x_\_ {c|c} \(d\)", seed=1).text == r"{a|b} __x__ c \(d\)"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("__color__", "Did you mean 'colour'"),
        ("__none/*__", "no lines"),
        ("{a|b", 'Missing "}" in'),
        ("__self__", "contains itself: self → self"),
        ("__one__", "contains itself: one → two → one"),
        ("__glob__", "contains itself"),
        ("{" * 60 + "a|b" + "}" * 60, "nested deeper"),
        ("__bomb9__", "more than|grows beyond"),
    ],
)
def test_what_cannot_be_expanded_is_told(template: str, told: str) -> None:
    lines = LINES | {
        "self": ("end", "again {__self__|x}"),
        "one": ("{1::__two__|0::x}",),
        "two": ("__one__",),
        "glob": ("__gl*__",),
        "bomb0": ("x" * 100,),
        **{f"bomb{n}": (f"__bomb{n - 1}__ " * 10,) for n in range(1, 10)},
    }
    with pytest.raises(ValidationError, match=told):
        expand_wildcards(template, seed=0, wildcards=lines)


def test_files_are_read_from_a_folder_and_from_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "wildcards"
    (folder / "animals").mkdir(parents=True)
    (folder / "animals" / "pets.txt").write_text("# tame\n\n cat \ndog\n", encoding="utf-8-sig")
    (tmp_path / "secret.txt").write_text("password")
    found = WildcardFolder(folder)
    assert dict(found) == {"animals/pets": ("cat", "dog")}
    for name in ("../secret", str(tmp_path / "secret"), "animals", "nothing"):
        with pytest.raises(KeyError):
            found[name]
    assert expand_wildcards("__animals/*__", seed=1, wildcards=found).text in {"cat", "dog"}
    assert list(WildcardFolder(tmp_path / "absent")) == []


# The values of a job

SDXL = get_preset("sdxl").params
TEMPLATE = "a {red|blue|green|white} {fox|owl|cat|dog}"


def _control(name: str, role: Role, default: object) -> Control:
    return Control(
        id=name,
        kind="text",
        role=role,
        label=name,
        targets=(ControlTarget("1", name),),
        default=default,
    )


@pytest.mark.parametrize("seed", [7, "7", " 7 "])
def test_the_seed_of_the_job_chooses_also_as_text_from_the_form(seed: int | str) -> None:
    given = {"prompt": TEMPLATE, "negative": "{a|b}", "seed": seed}
    values = expand_values(given, SDXL, {}).values
    assert values["prompt"] == expand_wildcards(TEMPLATE, seed=7).text
    assert values["negative"] in {"a", "b"}
    assert values["seed"] == seed


@pytest.mark.parametrize("seed", [None, -1, "-1", ""])
def test_a_random_seed_is_drawn_here_and_kept_so_that_the_result_can_be_repeated(
    seed: int | str | None,
) -> None:
    found = expand_values({"prompt": TEMPLATE, "seed": seed}, SDXL, {})
    assert found.values["prompt"] == expand_wildcards(TEMPLATE, seed=found.values["seed"]).text
    assert found.templates == {"prompt": TEMPLATE}


def test_a_seed_that_stands_in_a_workflow_chooses_where_none_is_given() -> None:
    controls = [
        _control("text", "prompt", "a cat"),
        _control("seed", "seed", 7),
    ]
    values = expand_values({"text": TEMPLATE}, controls, {}).values
    assert values == {"text": expand_wildcards(TEMPLATE, seed=7).text}


def test_values_without_wildcards_stay_as_they_are() -> None:
    given = {"prompt": "a cat", "steps": 3, "negative": None}
    assert expand_values(given, SDXL, {}) == ExpandedValues(given, {})


def test_a_wildcard_that_is_not_there_is_told() -> None:
    with pytest.raises(ValidationError, match="__pet__"):
        expand_values({"prompt": "a __pet__"}, SDXL, {})
