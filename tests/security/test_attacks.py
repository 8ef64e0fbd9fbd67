"""The worst of the attacks, in short. ``python -m tests.security`` runs all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.security import attacks
from tests.security.attacks import ATTACKS, LONGEST_RECOVERY_S, Attack, Row, Target, measure
from tests.security.test_availability import SLOWEST_S

TESTS = Path(__file__).resolve().parents[1]
SECURITY_MODEL = TESTS.parent / "docs/develop/security-model.md"
WORST = ("call/run_workflow", "POST /mcp presets")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("attacks") / "data"
    with attacks.target(folder) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [attack for attack in ATTACKS if f"{attack.endpoint} {attack.name}".startswith(WORST)],
    ids=lambda attack: attack.endpoint,
)
async def test_app_under_attack_answers_others(
    target: Target, attack: Attack, record_property: Callable[[str, Any], None]
) -> None:
    row = await measure(target, attack, seconds=1.0)
    assert row.p95 < 2 * SLOWEST_S, row.line
    assert row.failed == 0, row.line
    assert row.peak_mb < 1200, row.line
    assert row.recovery_s < LONGEST_RECOVERY_S, row.line
    record_property("answers to attacks", row.answers.total())


@pytest.mark.parametrize(
    ("seconds", "peak_mb", "recovery_s", "harmless"),
    [(0.5, 900, 1, True), (1.5, 900, 1, False), (0.5, 3_500, 1, False), (0.5, 900, 11, False)],
)
def test_row_is_harmless_if_others_memory_and_recovery_are_in_bounds(
    seconds: float, peak_mb: float, recovery_s: float, harmless: bool
) -> None:
    row = Row(ATTACKS[0], Counter(), {"page": [seconds]}, 0, 230, peak_mb, recovery_s)
    assert row.harmless is harmless


def test_security_model_names_existing_tests_and_attacks() -> None:
    table = SECURITY_MODEL.read_text(encoding="utf-8").partition("<!-- attacks -->")[2]
    rows = re.findall(r"^\| (.+) \| (`.+`) \|$", table, re.MULTILINE)
    names = {name for _, tests in rows for name in re.findall(r"`([^`]+)`", tests)}
    sources = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    existing = {*re.findall(r"def (test_\w+)\(", sources), *(one.endpoint for one in ATTACKS)}
    assert len(rows) >= 26
    assert names <= existing
