"""fault x phase x client: no job is lost, duplicated, hung or falsified, and nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.matrix import Bench, bench, cases
from tests.faults.oracle import Run
from tests.faults.runner import Case, run_case

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage() -> Iterator[Bench]:
    with bench() as stage:
        yield stage


def _check(case: Case, stage: Bench) -> Run:
    run, violations = run_case(case, stage.proxy, stage.server_url)
    assert not violations, "\n".join(map(str, violations))
    assert run.hits, "the fault never acted: the case proves nothing"
    return run


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_run_under_each_fault_has_no_violation(case: Case, stage: Bench) -> None:
    assert _check(case, stage).seconds < 9, "right, but far too late"


@pytest.mark.nightly
@pytest.mark.parametrize("case", cases(slow=True), ids=lambda case: case.name)
def test_run_under_each_slow_fault_has_no_violation(case: Case, stage: Bench) -> None:
    _check(case, stage)
