from __future__ import annotations

import pytest

from comfy_ui.web.tabs.create.form_state import MAX_TIMES, FormState
from comfy_ui.web.tabs.create.generate_menu import menu, series
from tests.web.support import Page, preset


def seeds(text: str) -> list[object]:
    return [draft.values.get("seed") for draft in series(FormState.parse(text), preset())]


def test_a_given_seed_goes_up_by_the_step() -> None:
    assert seeds('{"values": {"seed": "100"}, "times": 3, "seed_step": 10}') == [100, 110, 120]
    assert seeds('{"values": {"seed": 5}, "times": 2, "seed_step": 0}') == [5, 5]


@pytest.mark.parametrize("seed", ["null", '""', "-1", '"x"', "[]"])
def test_without_a_seed_each_draws_its_own(seed: str) -> None:
    given = FormState.parse(f'{{"values": {{"seed": {seed}}}, "times": 2}}').values["seed"]
    assert seeds(f'{{"values": {{"seed": {seed}}}, "times": 2}}') == [given, given]


def test_a_seed_stays_within_what_javascript_can_hold() -> None:
    assert seeds(f'{{"values": {{"seed": {2**53 - 1}}}, "times": 2}}') == [2**53 - 1, 0]


@pytest.mark.parametrize(
    ("asked", "given"), [("1e9", MAX_TIMES), ("-3", 1), ("0", 1), ('"8"', 1), ("null", 1)]
)
def test_no_page_asks_for_more_than_the_limit(asked: str, given: int) -> None:
    assert len(seeds(f'{{"times": {asked}}}')) == given


def test_only_the_first_takes_the_place_of_another_job() -> None:
    drafts = [*series(FormState.parse('{"replaces": "j", "times": 3}'), preset())]
    assert [draft.replaces for draft in drafts] == ["j", None, None]
    assert [draft.press for draft in drafts] == [None, None, None]


def test_each_job_of_a_press_has_its_own_name_and_at_each_try_the_same() -> None:
    asked = FormState.parse('{"press": "k", "times": 3}')
    for _ in range(2):
        assert [draft.press for draft in series(asked, preset())] == ["k/0", "k/1", "k/2"]


def test_every_entry_of_the_menu_has_a_name() -> None:
    page = Page(menu())
    assert len(page.all("button")) == 8
    assert page.all("summary", aria_label="More options for Generate")
