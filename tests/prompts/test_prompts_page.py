"""The page about prompts: its table and its examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import examples, execute
from tests.prompts.table import (
    EXAMPLES,
    PAGE,
    PROMPTS,
    SHOWN,
    document,
    example_table,
    table,
)

TEXT = PAGE.read_text(encoding="utf-8")


def test_prompts_page_table_matches_rules() -> None:
    assert document(TEXT, table(SHOWN)) == TEXT, "python -m tests.prompts.table --write"
    assert {*SHOWN} - {*PROMPTS} == {"slow folk song about the sea"}  # not an image


def test_examples_page_table_matches_rules() -> None:
    text = EXAMPLES.read_text(encoding="utf-8")
    assert document(text, example_table()) == text, "python -m tests.prompts.table --write"
    assert len({*PROMPTS}) == 100


@pytest.mark.parametrize("code", examples(TEXT, "python"))
def test_prompts_page_examples_run(code: str, tmp_path: Path) -> None:
    assert execute(code, tmp_path).strip()
