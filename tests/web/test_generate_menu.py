from __future__ import annotations

import pytest

from comfy_ui.web.tabs.create.form_state import MAX_TIMES, FormState
from comfy_ui.web.tabs.create.generate_menu import menu, series
from tests.web.support import Page, preset


def seeds(text: str) -> list[object]:
    return [draft.values.get("seed") for draft in series(FormState.parse(text), preset())]


def test_series_fixed_seed_adds_the_seed_step_per_run() -> None:
    assert seeds('{"values": {"seed": "100"}, "times": 3, "seed_step": 10}') == [100, 110, 120]
    assert seeds('{"values": {"seed": 5}, "times": 2, "seed_step": 0}') == [5, 5]
    assert seeds('{"values": {"seed": 5}, "times": 2, "repeated": 3}') == [11, 12]


@pytest.mark.parametrize("seed", ["null", '""', "-1", '"x"', "[]", "1e400"])
def test_series_without_valid_seed_leaves_the_value_unchanged(seed: str) -> None:
    value = FormState.parse(f'{{"values": {{"seed": {seed}}}, "times": 2}}').values["seed"]
    assert seeds(f'{{"values": {{"seed": {seed}}}, "times": 2}}') == [value, value]


def test_series_seed_above_64_bits_wraps_to_zero() -> None:
    assert seeds(f'{{"values": {{"seed": {2**64 - 1}}}, "times": 2}}') == [2**64 - 1, 0]


@pytest.mark.parametrize(
    ("times", "count"), [("1e9", MAX_TIMES), ("-3", 1), ("0", 1), ('"8"', 1), ("null", 1)]
)
def test_series_times_is_clamped_to_limits(times: str, count: int) -> None:
    assert len(seeds(f'{{"times": {times}}}')) == count


def test_series_only_first_job_replaces_the_edited_one() -> None:
    drafts = [*series(FormState.parse('{"replaces": "j", "times": 3}'), preset())]
    assert [draft.replaces for draft in drafts] == ["j", None, None]
    assert [draft.press for draft in drafts] == [None, None, None]


def test_series_press_ids_are_unique_and_repeatable() -> None:
    state = FormState.parse('{"press": "k", "times": 3}')
    for _ in range(2):
        assert [draft.press for draft in series(state, preset())] == ["k/0", "k/1", "k/2"]


def test_menu_has_nine_buttons_and_a_label() -> None:
    page = Page(menu())
    assert len(page.all("button")) == 9
    assert page.all("summary", aria_label="More options for Generate")
