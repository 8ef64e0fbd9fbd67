"""Coverage of the numbered server failures, F1 to F26, by tests numbers ``test_f<number>_…``."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def test_every_numbered_failure_has_a_test_with_its_number() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    numbers = {
        n for file in files for n in re.findall(r"def test_f(\d+)_", file.read_text("utf-8"))
    }
    assert {int(number) for number in numbers} == set(range(1, 27))
