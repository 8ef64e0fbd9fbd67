"""The nightly soak test; run it alone with ``python -m tests.jobs.soak``."""

from __future__ import annotations

import pytest

from tests.jobs.soak import soak


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_soak_two_thousand_jobs_of_fifty_users_with_frequent_faults() -> None:
    account = await soak(jobs=2000, owners=50)
    assert account.fine, str(account)
    assert account.faults > 20
    print(account)
