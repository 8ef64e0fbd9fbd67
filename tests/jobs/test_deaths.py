"""ComfyUI and the app are killed many times: each job has one result, without a click."""

from __future__ import annotations

import pytest

from tests.jobs.death_processes import Plan
from tests.jobs.deaths import deaths


@pytest.mark.slow
async def test_jobs_survive_deaths_of_comfyui_and_of_the_app_in_turn() -> None:
    plan = Plan(jobs=6, kills=2, every_s=1.5, kill_app=True, job_s=0.5, grace_s=0.5)
    account = await deaths(plan)
    assert not account.wrong, account
    assert (account.server_kills, account.killer_deaths) == (2, 2), account
    assert account.app_kills, account


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kill_app", [False, True])
async def test_thirty_jobs_survive_ten_deaths_of_comfyui(*, kill_app: bool) -> None:
    account = await deaths(Plan(kill_app=kill_app))
    assert not account.wrong, account
    assert (account.server_kills, account.killer_deaths) == (10, 2), account
