from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.web.tabs.create import live_preview as module
from comfy_ui.web.tabs.create.live_preview import LivePreview
from tests.jobs.support import submit_sleepy, until
from tests.web.house import House, open_house
from tests.web.support import Page


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data") as house:
        yield house


def card(event: str) -> str:
    assert event.startswith("data: ")
    assert event.endswith("\n\n")
    told: str = json.loads(event.removeprefix("data: "))
    return told


async def rest_of(news: AsyncIterator[str]) -> list[str]:
    async with asyncio.timeout(20):
        return [event async for event in news]


async def test_a_job_is_drawn_from_where_it_stands_to_its_end(house: House) -> None:
    job = await submit_sleepy(house.service, "ann", nonce=1, seconds=0.6)
    *cards, over = await rest_of(LivePreview(house.services, house.access).news(job))
    assert over == "event: over\ndata:\n\n"
    assert len(cards) >= 3
    for shown in map(card, cards):
        assert f'data-job="{job.id}" data-live' in shown
    assert "Step" in Page(card(cards[-1])).text or "Saving" in Page(card(cards[-1])).text


async def test_all_who_look_get_one_drawing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    make = module.job_card.job_card
    monkeypatch.setattr(
        module.job_card, "job_card", lambda *a, **k: drawn.append(a) or make(*a, **k)
    )
    stage = LivePreview(house.services, house.access)
    job = await submit_sleepy(house.service, "ann", nonce=2, seconds=0.6)
    seen = await asyncio.gather(*(rest_of(stage.news(job)) for _ in range(20)))
    told = sum(len(events) - 1 for events in seen)
    assert len(drawn) < told / 5
    assert stage._cards == {}


async def test_who_reads_slowly_gets_the_newest_and_nothing_is_kept_for_them(house: House) -> None:
    job = await submit_sleepy(house.service, "ann", nonce=3, seconds=2)
    async with aclosing(LivePreview(house.services, house.access).news(job)) as news:
        await anext(news)
        await until(house.service, job, lambda snapshot: (snapshot.step or 0) >= 8)
        told = Page(card(await anext(news))).text
        step = int(told.partition("Step ")[2].split()[0])
        assert step >= 8, "the steps in between are gone"
    await house.service.cancel_all("ann")


async def test_how_many_wait_behind_it_is_told(house: House) -> None:
    job = await submit_sleepy(house.service, "ann", nonce=4, seconds=30)
    stage = LivePreview(house.services, house.access)
    assert "more waiting" not in await stage.card(job)
    await submit_sleepy(house.service, "ann", nonce=5, seconds=30)
    await submit_sleepy(house.service, "bob", nonce=6)
    assert "1 more waiting" in await stage.card(job)
    async with aclosing(stage.news(job)) as news:
        assert "1 more waiting" in card(await anext(news))
    await house.service.cancel_all("ann")


async def test_a_job_of_somebody_else_is_no_job(house: House) -> None:
    stage = LivePreview(house.services, house.access)
    page, user_id = house.visitor(stage)
    stranger, _ = house.visitor(stage)
    job = await submit_sleepy(house.service, user_id, nonce=7, seconds=30)
    for client, path in (
        (stranger, f"/stage/events?job={job.id}"),
        (page, "/stage/events?job=none"),
        (page, "/stage/events"),
    ):
        answer = await client.get(path)
        assert answer.status_code == 422, path
        assert "no such job" in answer.json()["error"]
    await house.service.cancel_all(user_id)
