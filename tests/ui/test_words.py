from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import expand_wildcards
from comfy_ui.ui.words import expanded
from comfy_ui.workflow import get_preset

SDXL = get_preset("sdxl")
TEMPLATE = "a {red|blue|green|white} {fox|owl|cat|dog}"


@pytest.mark.parametrize("seed", [7, "7", " 7 "])
def test_the_seed_of_the_job_chooses_also_as_text_from_the_form(
    tmp_path: Path, seed: int | str
) -> None:
    values = expanded(SDXL, {"prompt": TEMPLATE, "negative": "{a|b}", "seed": seed}, tmp_path)
    assert values["prompt"] == expand_wildcards(TEMPLATE, seed=7).text
    assert values["negative"] in {"a", "b"}
    assert values["seed"] == seed


@pytest.mark.parametrize("seed", [None, -1, "-1", ""])
def test_a_random_seed_is_drawn_here_and_kept_so_that_the_result_can_be_repeated(
    tmp_path: Path, seed: int | str | None
) -> None:
    values = expanded(SDXL, {"prompt": TEMPLATE, "seed": seed}, tmp_path)
    assert values["prompt"] == expand_wildcards(TEMPLATE, seed=values["seed"]).text


def test_values_without_wildcards_stay_as_they_are(tmp_path: Path) -> None:
    given = {"prompt": "a cat", "steps": 3}
    assert expanded(SDXL, given, tmp_path) == given


def test_a_wildcard_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="__pet__"):
        expanded(SDXL, {"prompt": "a __pet__"}, tmp_path)
