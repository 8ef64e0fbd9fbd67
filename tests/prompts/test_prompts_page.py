"""The page about prompts: its table and its examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import examples, execute
from tests.prompts.table import PAGE, PROMPTS, SHOWN, document

TEXT = PAGE.read_text(encoding="utf-8")


def test_prompts_page_table_matches_rules() -> None:
    assert document(TEXT) == TEXT, "python -m tests.prompts.table --write"
    assert set(SHOWN) <= set(PROMPTS)
    assert len(PROMPTS) == 40


@pytest.mark.parametrize("code", examples(TEXT, "python"))
def test_prompts_page_examples_run(code: str, tmp_path: Path) -> None:
    assert execute(code, tmp_path).strip()
