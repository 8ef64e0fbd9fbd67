"""The list of what servers do to their clients, F1 to F26, is covered to the last one."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def test_each_of_the_known_failures_has_a_test_that_bears_its_number() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    named = {n for file in files for n in re.findall(r"def test_f(\d+)_", file.read_text("utf-8"))}
    assert {int(number) for number in named} == set(range(1, 27))
