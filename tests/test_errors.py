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
def test_error_classes_are_drawn_below_their_parent(cls: type) -> None:
    lines = (errors.__doc__ or "").splitlines()
    index = next((n for n, line in enumerate(lines) if f" {cls.__name__} " in f"{line} "), None)
    assert index is not None, f"{cls.__name__} is not drawn"
    if cls is not errors.ComfyHeadlessError:
        parent = cls.__mro__[1].__name__
        above = [line for line in lines[:index] if f" {parent} " in f"{line} "]
        assert above, f"{parent} is not drawn above {cls.__name__}"


@pytest.mark.parametrize("cls", _classes(), ids=lambda c: c.__name__)
def test_error_classes_have_message_hint_and_retryable(cls) -> None:
    extra = {"feature": "x"} if cls is errors.MissingFeatureError else {}
    extra |= {"status": 500} if cls is errors.ServerRejectedError else {}
    error = cls("It broke.", hint="Repair it.", **extra)
    assert (error.message, error.hint) == ("It broke.", "Repair it.")
    assert isinstance(error.retryable, bool)
    assert str(error) == "It broke. Repair it."


def test_problem_str_is_a_sentence_with_its_node() -> None:
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
def test_closest_suggests_the_closest_word_or_lists_all(word: str, expected: str) -> None:
    assert errors.closest(word, ["sdxl", "sd15"]) == expected
