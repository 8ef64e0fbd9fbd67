from __future__ import annotations

import inspect

import pytest

from comfy_ui import errors


def _classes() -> list[type[errors.ComfyHeadlessError]]:
    return [
        c
        for _, c in inspect.getmembers(errors, inspect.isclass)
        if issubclass(c, errors.ComfyHeadlessError)
    ]


def _depth(cls: type) -> int:
    return len([c for c in cls.__mro__ if issubclass(c, errors.ComfyHeadlessError)])


@pytest.mark.parametrize("cls", _classes(), ids=lambda c: c.__name__)
def test_every_error_stands_in_the_drawn_tree_below_its_parent(cls: type) -> None:
    lines = (errors.__doc__ or "").splitlines()
    mine = next((n for n, line in enumerate(lines) if f" {cls.__name__} " in f"{line} "), None)
    assert mine is not None, f"{cls.__name__} is not drawn"
    if cls is not errors.ComfyHeadlessError:
        parent = cls.__mro__[1].__name__
        above = [line for line in lines[:mine] if f" {parent} " in f"{line} "]
        assert above, f"{parent} is not drawn above {cls.__name__}"


@pytest.mark.parametrize("cls", _classes(), ids=lambda c: c.__name__)
def test_every_error_has_message_hint_and_retryable(cls) -> None:
    extra = {"feature": "x"} if cls is errors.MissingFeatureError else {}
    extra |= {"status": 500} if cls is errors.ServerRejectedError else {}
    error = cls("It broke.", hint="Mend it.", **extra)
    assert (error.message, error.hint) == ("It broke.", "Mend it.")
    assert isinstance(error.retryable, bool)
    assert str(error) == "It broke. Mend it."


def test_a_problem_reads_as_a_sentence_with_its_node() -> None:
    problem = errors.Problem(
        "value_bigger_than_max",
        "steps is 20000; at most 10000.",
        hint="Choose a smaller number.",
        node="7",
        node_title="Sampler",
    )
    assert (
        str(problem) == "Sampler (node 7): steps is 20000; at most 10000. Choose a smaller number."
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("sdlx", "Did you mean 'sdxl'?"),
        ("zzzzzz", "Known: sd15, sdxl."),
        ("", "Known: sd15, sdxl."),
    ],
)
def test_a_hint_offers_the_closest_word_or_lists_what_there_is(word: str, expected: str) -> None:
    assert errors.closest(word, ["sdxl", "sd15"]) == expected
