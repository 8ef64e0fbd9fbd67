from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
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
from comfy_ui.workflow.wildcards import MAX_PROMPT_CHARACTERS

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
def test_expand_wildcards_same_seed_returns_same_text(template: str, seed: int) -> None:
    once, again = (expand_wildcards(template, seed=seed, wildcards=LINES) for _ in range(2))
    assert once == again
    assert once.template == template


@given(WORDS, st.integers())
def test_expand_wildcards_plain_text_is_unchanged(text: str, seed: int) -> None:
    assert expand_wildcards(text, seed=seed).text == text
    assert not has_wildcards(text)


@given(st.text(alphabet="{}|$_-1ab\\: *", max_size=40), st.integers(0, 9))
def test_expand_wildcards_any_text_expands_or_raises_validation_error(text: str, seed: int) -> None:
    try:
        expand_wildcards(text, seed=seed, wildcards=LINES)
    except ValidationError:
        return


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True), st.integers())
def test_expand_wildcards_count_chooses_different_options(options: list[str], seed: int) -> None:
    chosen = expand_wildcards(f"{{2$$+$${'|'.join(options)}}}", seed=seed).text.split("+")
    assert len(chosen) == len(set(chosen)) == min(2, len(options))
    assert set(chosen) <= set(options)


def test_expand_wildcards_count_range_uses_every_number() -> None:
    def sizes(head: str) -> set[int]:
        texts = [expand_wildcards(f"{{{head}$$a|b|c|d}}", seed=seed).text for seed in range(80)]
        return {len(text.split(", ")) for text in texts}

    assert sizes("1-3") == {1, 2, 3}
    assert sizes("-2") == {1, 2}
    assert sizes("3-") == {3, 4}
    assert sizes("3-1") == {1, 2, 3}
    assert sizes("9") == {4}


def test_expand_wildcards_weights_apply_in_groups_and_files() -> None:
    for template in ("{9::a|b}", "__w__"):
        counts = Counter(
            expand_wildcards(template, seed=n, wildcards={"w": ("9::a", "b")}).text
            for n in range(400)
        )
        assert counts["a"] > 320
        assert counts["b"] > 10


def test_expand_wildcards_choices_are_in_reading_order() -> None:
    expansion = expand_wildcards("{a|a} {x {b|b}|x {b|b}} __c__", seed=1, wildcards={"c": ("c",)})
    assert expansion.text == "a x b c"
    assert [(c.source, c.chosen) for c in expansion.choices] == [
        ("{a|a}", ("a",)),
        ("{x {b|b}|x {b|b}}", ("x b",)),
        ("{b|b}", ("b",)),
        ("__c__", ("c",)),
    ]


def test_expand_wildcards_choice_per_seed_is_stable_across_versions() -> None:
    template = "{red|green|blue|grey} {2$$a|b|c|d}"
    texts = [expand_wildcards(template, seed=seed).text for seed in range(4)]
    assert texts == ["grey d, b", "red d, c", "grey d, a", "red c, b"]


def test_expand_wildcards_repeated_file_uses_different_lines() -> None:
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
def test_expand_wildcards_other_braces_are_unchanged(text: str) -> None:
    assert expand_wildcards(text, seed=3, wildcards=LINES).text == text


def test_expand_wildcards_escaped_characters_are_literal() -> None:
    assert expand_wildcards(r"\{a\|b\} \__x_\_ {c|c} \(d\)", seed=1).text == r"{a|b} __x__ c \(d\)"


@pytest.mark.parametrize(
    ("template", "expected"),
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
def test_expand_wildcards_invalid_template_raises_with_message(
    template: str, expected: str
) -> None:
    lines = LINES | {
        "self": ("end", "again {__self__|x}"),
        "one": ("{1::__two__|0::x}",),
        "two": ("__one__",),
        "glob": ("__gl*__",),
        "bomb0": ("x" * 100,),
        **{f"bomb{n}": (f"__bomb{n - 1}__ " * 10,) for n in range(1, 10)},
    }
    with pytest.raises(ValidationError, match=expected):
        expand_wildcards(template, seed=0, wildcards=lines)


def test_wildcard_folder_reads_files_only_inside_folder(tmp_path: Path) -> None:
    folder = tmp_path / "wildcards"
    (folder / "animals").mkdir(parents=True)
    (folder / "animals" / "pets.txt").write_text("# tame\n\n cat \ndog\n", encoding="utf-8-sig")
    (tmp_path / "secret.txt").write_text("password")
    wildcards = WildcardFolder(folder)
    assert dict(wildcards) == {"animals/pets": ("cat", "dog")}
    for name in ("../secret", str(tmp_path / "secret"), "animals", "nothing"):
        with pytest.raises(KeyError):
            wildcards[name]
    assert expand_wildcards("__animals/*__", seed=1, wildcards=wildcards).text in {"cat", "dog"}
    assert list(WildcardFolder(tmp_path / "absent")) == []


# ---- values of a job ----

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


@pytest.mark.parametrize("seed", [7, "7", " 7 ", 2**64 - 1])
def test_expand_values_seed_as_number_or_text_chooses_options(seed: int | str) -> None:
    raw_values = {"prompt": TEMPLATE, "negative": "{a|b}", "seed": seed}
    values = expand_values(raw_values, SDXL, {}).values
    assert values["prompt"] == expand_wildcards(TEMPLATE, seed=int(seed)).text
    assert values["negative"] in {"a", "b"}
    assert values["seed"] == seed


@pytest.mark.parametrize("seed", [None, -1, "-1", ""])
def test_expand_values_missing_seed_is_drawn_and_kept(
    seed: int | str | None,
) -> None:
    expansion = expand_values({"prompt": TEMPLATE, "seed": seed}, SDXL, {})
    assert (
        expansion.values["prompt"] == expand_wildcards(TEMPLATE, seed=expansion.values["seed"]).text
    )
    assert expansion.templates == {"prompt": TEMPLATE}


def test_expand_values_without_seed_uses_default_seed_of_workflow() -> None:
    controls = [
        _control("text", "prompt", "a cat"),
        _control("seed", "seed", 7),
    ]
    values = expand_values({"text": TEMPLATE}, controls, {}).values
    assert values == {"text": expand_wildcards(TEMPLATE, seed=7).text}


def test_expand_values_without_wildcards_are_unchanged() -> None:
    raw_values = {"prompt": "a cat", "steps": 3, "negative": None}
    assert expand_values(raw_values, SDXL, {}) == ExpandedValues(raw_values, {})


def test_expand_values_unknown_wildcard_raises() -> None:
    with pytest.raises(ValidationError, match="__pet__"):
        expand_values({"prompt": "a __pet__"}, SDXL, {})


def _expansion_s(options: int) -> float:
    template = f"{{{options}$${'|'.join('a' * options)}}}"
    started = time.process_time()
    expand_wildcards(template, seed=1)
    return time.process_time() - started


def test_expand_wildcards_eight_times_the_options_take_about_eight_times_as_long() -> None:
    few, many = (min(_expansion_s(options) for _ in range(3)) for options in (1_200, 9_600))
    assert many < 24 * few


def test_expand_wildcards_nested_groups_take_little_longer_than_one_group() -> None:
    def least_s(depth: int) -> float:
        template = "{" * depth + "x" * 10_000 + "a|b" + "}" * depth
        times = []
        for _ in range(3):
            started = time.process_time()
            expand_wildcards(template, seed=1)
            times.append(time.process_time() - started)
        return min(times)

    assert least_s(39) < 10 * least_s(1)


def test_expand_wildcards_prompt_beyond_the_limit_raises() -> None:
    with pytest.raises(ValidationError, match="20001 characters") as caught:
        expand_wildcards("{a|b}".ljust(MAX_PROMPT_CHARACTERS + 1, "x"), seed=1)
    assert "20000" in caught.value.hint
    with pytest.raises(ValidationError, match="20001 characters"):
        expand_values({"prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, SDXL, {})


@pytest.mark.parametrize(
    "template",
    [
        "{a " * 40 + "|" + "}" * 40 + "x" * 19_000,
        "{9000$$" + "x" * 9_000 + "$$" + "|".join("a" * 5_000) + "}",
        "__long__ " * 2_000,
        "".join(f"__lo{'*' * n}ng__" for n in range(80)) * 2,
        "{2$$__long__} " * 1_400,
    ],
    ids=["nested", "joint", "long file", "patterns", "two of a long file"],
)
def test_expand_wildcards_hostile_template_ends_soon(template: str) -> None:
    lines = {"long": tuple(f"{n % 9}::line" for n in range(20_000))}
    started = time.process_time()
    with suppress(ValidationError):
        expand_wildcards(template, seed=1, wildcards=lines)
    assert time.process_time() - started < 3
