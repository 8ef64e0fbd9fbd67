"""PROMPTS.md tells what is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prompts.table import PAGE, PROMPTS, SHOWN, document

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_in_the_documentation_is_what_the_rules_write() -> None:
    assert document(TEXT) == TEXT, "python -m tests.prompts.table --write"
    assert set(SHOWN) <= set(PROMPTS)
    assert len(PROMPTS) == 40


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL))
def test_the_examples_of_the_documentation_work(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
