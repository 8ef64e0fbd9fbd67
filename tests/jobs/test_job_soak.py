"""The soak at night; by hand: ``python -m tests.jobs.soak``."""

from __future__ import annotations

import pytest

from tests.jobs.soak import soak


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_two_thousand_jobs_of_fifty_people_with_a_fault_every_few_seconds() -> None:
    account = await soak(jobs=2000, owners=50)
    assert account.fine, str(account)
    assert account.faults > 20
    print(account)
