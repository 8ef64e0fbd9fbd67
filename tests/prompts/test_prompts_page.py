"""The page about prompts: its table and its examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_ui import compile_workflow
from comfy_ui.demo import DemoServer
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


@pytest.mark.slow  # each imports the package in its own process, and one paints
@pytest.mark.parametrize("code", examples(TEXT, "python"))
def test_prompts_page_examples_run(
    code: str, engine: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYUI_URL", engine.url)
    workflow = compile_workflow("sd15", prompt="a bay", steps=1, width=384, height=384)
    (tmp_path / "workflow.json").write_text(json.dumps(workflow), encoding="utf-8")
    assert execute(code, tmp_path).strip()
