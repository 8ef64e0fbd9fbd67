"""Workers that are killed, and a restart of PostgreSQL: no job is lost or published twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scale.kill_workers import kill_workers
from tests.scale.plan import Account, Plan
from tests.scale.postgres_server import PostgresServer

SHORT = Plan(
    jobs=60, users=4, kill_every_s=1.0, restarts=1, quiet_jobs=3, cost_jobs=0, within_s=240.0
)
LONG = Plan(jobs=500, workers=3, kill_every_s=1.0, quiet_jobs=20, within_s=1200.0)
PAGES = Plan(
    jobs=200,
    replicas=3,
    s3=1,
    users=6,
    workers=4,
    kill_every_s=1.0,
    stop_database_s=30.0,
    replica_kills=2,
    s3_stops=1,
    learn_s=0.0,
    within_s=1200.0,
)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(SHORT, id="short", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
        pytest.param(LONG, id="long", marks=[pytest.mark.nightly, pytest.mark.timeout(1800)]),
        pytest.param(PAGES, id="pages", marks=[pytest.mark.nightly, pytest.mark.timeout(1800)]),
    ],
)
async def test_kill_workers_and_postgres_loses_no_job_and_publishes_none_twice(
    plan: Plan, postgres: PostgresServer, record_property: Callable[[str, object], None]
) -> None:
    account = await kill_workers(plan, postgres)
    record_property("killed workers", str(account))
    assert account.fine, f"\n{account}"
    assert account.kills, f"\n{account}"
    assert (account.restarts, account.replica_kills, account.s3_stops) == (
        plan.restarts,
        plan.replica_kills,
        plan.s3_stops,
    )
    if plan.replicas:
        assert any("database" in text for text in account.refusals), "pages say what is wrong"
    assert len(account.dispatch_s) == plan.quiet_jobs, "jobs after the last kill end, too"


def test_account_is_fine_only_without_losses_and_duplicates() -> None:
    assert Account(jobs=2, succeeded=2).fine
    assert not Account(jobs=2, succeeded=1).fine
    assert not Account(jobs=2, succeeded=2, published_twice=1).fine
    assert not Account(jobs=2, succeeded=2, missing_files=1).fine
