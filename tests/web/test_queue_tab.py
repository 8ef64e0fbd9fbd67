from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.storage.records import JobStatus, Phase, Snapshot
from comfy_ui.web.components.queue_rows import now_row
from comfy_ui.web.tabs.queue_tab import QueueTab
from tests.jobs.support import end_of, submit_sleepy, until
from tests.web.house import House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data") as house:
        yield house


async def told(news: AsyncIterator[str]) -> dict[str, Any]:
    """The next event that carries data."""
    async with asyncio.timeout(10):
        async for event in news:
            if event.startswith("data: "):
                data: dict[str, Any] = json.loads(event.removeprefix("data: "))
                return data
    raise AssertionError("the stream ended")


async def test_the_stream_tells_own_jobs_once_and_counts_those_of_others(house: House) -> None:
    queue = QueueTab(house.context)
    running = await submit_sleepy(house.service, "ann", nonce=1, seconds=30)
    second = await submit_sleepy(house.service, "ann", nonce=2, seconds=30)
    secret = await submit_sleepy(house.service, "bob", nonce=3, seconds=30)
    waits = await submit_sleepy(house.service, "ann", nonce=4)
    async with aclosing(queue.news("ann")) as news:
        first = await told(news)
        assert first["now"] == [running.id, second.id, waits.id]
        assert set(first["rows"]) == set(first["now"])
        assert "1 from others" in first["summary"]
        assert secret.id not in json.dumps(first)
        await house.service.cancel(waits.id, "ann")
        while waits.id not in (data := await told(news))["past"]:
            pass
        assert data["now"] == [running.id, second.id]
        assert waits.id in data["rows"]
        await house.service.cancel(second.id, "ann")
        while second.id in (data := await told(news))["now"]:
            assert waits.id not in data["rows"]  # it has not changed
    await house.service.cancel_all("ann")


async def test_a_job_that_comes_and_goes_between_two_looks_is_told(house: House) -> None:
    async with aclosing(QueueTab(house.context).news("ann")) as news:
        assert (await told(news))["past"] == []
        job = await submit_sleepy(house.service, "ann", nonce=1, seconds=0)
        await end_of(house.service, job)
        assert (await told(news))["past"] == [job.id]


async def test_what_is_made_at_a_server_that_is_away_can_be_run_again_from_its_row(
    house: House,
) -> None:
    job = await submit_sleepy(house.service, "ann", seconds=30)
    made = replace(job, status=JobStatus.FETCHING)
    snapshot = Snapshot(job_id=job.id, phase=Phase.RECONNECTING)
    waits, offered = (
        now_row(made, snapshot, house.services.catalog, elsewhere=elsewhere)
        for elsewhere in (False, True)
    )
    assert 'data-do="retry-job"' not in waits
    assert 'data-do="retry-job"' in offered
    assert "download when the server is back" in offered
    await house.service.cancel_all("ann")


async def test_an_idle_queue_says_one_thing_and_then_nothing(house: House) -> None:
    async with aclosing(QueueTab(house.context).news("ann")) as news:
        assert (await told(news))["now"] == []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await anext(news)


async def test_jobs_are_moved_cancelled_and_tried_again_by_their_owner_only(house: House) -> None:
    tab = QueueTab(house.context)
    page, user_id = house.visitor(tab)
    stranger, _ = house.visitor(tab)
    jobs = [
        await submit_sleepy(house.service, user_id, nonce=n, seconds=30 if n < 2 else 0)
        for n in range(4)
    ]
    await until(house.service, jobs[0], lambda snapshot: snapshot.elapsed_s > 0)
    move = {"job": jobs[3].id, "before": jobs[2].id}
    assert (await stranger.post("/queue/move", json=move)).json() == {"done": False}
    assert (await stranger.post("/queue/clear", json={})).json() == {"done": 0}
    assert (await stranger.post("/queue/cancel", json={"job": jobs[2].id})).status_code == 422
    assert (await stranger.post("/queue/retry", json={"job": jobs[2].id})).status_code == 422
    assert (await page.post("/queue/move", json=move)).json() == {"done": True}
    active = await house.service.active(user_id)
    assert [job.id for job in active] == [jobs[0].id, jobs[1].id, jobs[3].id, jobs[2].id]
    assert (await page.post("/queue/clear", json={})).json() == {"done": 2}
    for job in jobs[:2]:
        await page.post("/queue/cancel", json={"job": job.id})
        assert (await end_of(house.service, job)).phase == "cancelled"
    press = {"job": jobs[3].id, "press": "a name"}
    again, sent_again = [
        (await page.post("/queue/retry", json=press)).json()["done"] for _ in range(2)
    ]
    assert again == sent_again
    fresh = await house.service.job(again, user_id)
    assert (fresh.values, fresh.graph) == (jobs[3].values, jobs[3].graph)
    assert (await end_of(house.service, fresh)).phase == "succeeded"
