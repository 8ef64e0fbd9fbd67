from __future__ import annotations

import copy
import inspect
import pickle

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


def test_error_classes_are_drawn_below_their_parent() -> None:
    lines = (errors.__doc__ or "").splitlines()
    for cls in _classes():
        index = next((n for n, line in enumerate(lines) if f" {cls.__name__} " in f"{line} "), None)
        assert index is not None, f"{cls.__name__} is not drawn"
        if cls is not errors.ComfyHeadlessError:
            parent = cls.__mro__[1].__name__
            above = [line for line in lines[:index] if f" {parent} " in f"{line} "]
            assert above, f"{parent} is not drawn above {cls.__name__}"


def _example(cls: type[errors.ComfyHeadlessError]) -> errors.ComfyHeadlessError:
    """An error with a value for each of its own attributes."""
    values = {
        "status": 503,
        "feature": "health",
        "retry_after_s": 2.5,
        "prompt_id": "id",
        "node_id": "7",
        "traceback": ["line"],
        "problems": [errors.Problem("missing_node", "No such class.", extra={"pack": "x"})],
        "name": "ink",
        "class_types": ["Sampler"],
        "models": [errors.MissingModel("vae", "ae.safetensors")],
    }
    names = inspect.signature(cls).parameters
    return cls("It broke.", hint="Repair it.", **{k: v for k, v in values.items() if k in names})


def test_error_classes_have_message_hint_and_retryable() -> None:
    for cls in _classes():
        error = _example(cls)
        assert (error.message, error.hint) == ("It broke.", "Repair it."), cls
        assert isinstance(error.retryable, bool), cls
        assert str(error) == "It broke. Repair it.", cls


@pytest.mark.parametrize(
    "duplicate", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy]
)
def test_error_copied_or_pickled_keeps_all_attributes(duplicate) -> None:
    for cls in _classes():
        error = _example(cls)
        error.add_note("while testing")
        same = duplicate(error)
        assert type(same) is cls
        assert (vars(same), same.args, str(same)) == (vars(error), error.args, str(error))


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
