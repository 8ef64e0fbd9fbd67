from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_ui.storage.records import Job, JobRequest
from comfy_ui.web.tabs.create import live_preview as module
from comfy_ui.web.tabs.create.live_preview import LivePreview
from tests.jobs.support import end_of, submit_sleepy, until
from tests.web.support import Page
from tests.web.web_app import WebApp, open_web_app


@pytest.fixture
async def web_app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as web_app:
        yield web_app


def card(event: str) -> str:
    assert event.startswith("data: ")
    assert event.endswith("\n\n")
    html: str = json.loads(event.removeprefix("data: "))
    return html


async def rest_of(news: AsyncIterator[str]) -> list[str]:
    async with asyncio.timeout(20):
        return [event async for event in news]


async def test_live_preview_streams_cards_until_the_job_ends(web_app: WebApp) -> None:
    job = await submit_sleepy(web_app.service, "ann", nonce=1, seconds=0.6)
    *cards, over = await rest_of(LivePreview(web_app.services, web_app.access).news(job))
    assert over == "event: over\ndata:\n\n"
    assert len(cards) >= 3
    for shown in map(card, cards):
        assert f'data-job="{job.id}" data-live' in shown
    assert "Step" in Page(card(cards[-1])).text or "Saving" in Page(card(cards[-1])).text


async def test_live_preview_renders_each_card_once_for_all_viewers(
    web_app: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    make = module.job_card.job_card
    monkeypatch.setattr(
        module.job_card, "job_card", lambda *a, **k: drawn.append(a) or make(*a, **k)
    )
    preview = LivePreview(web_app.services, web_app.access)
    job = await submit_sleepy(web_app.service, "ann", nonce=2, seconds=0.6)
    seen = await asyncio.gather(*(rest_of(preview.news(job)) for _ in range(20)))
    count = sum(len(events) - 1 for events in seen)
    assert len(drawn) < count / 5
    assert preview._cards == {}


async def test_live_preview_slow_reader_gets_the_newest_card_only(web_app: WebApp) -> None:
    job = await submit_sleepy(web_app.service, "ann", nonce=3, seconds=2)
    async with aclosing(LivePreview(web_app.services, web_app.access).news(job)) as news:
        await anext(news)
        await until(web_app.service, job, lambda snapshot: (snapshot.step or 0) >= 8)
        text = Page(card(await anext(news))).text
        step = int(text.partition("Step ")[2].split()[0])
        assert step >= 8, "the steps in between are gone"
    await web_app.service.cancel_all("ann")


async def test_live_preview_card_shows_the_number_of_waiting_jobs(web_app: WebApp) -> None:
    job = await submit_sleepy(web_app.service, "ann", nonce=4, seconds=30)
    preview = LivePreview(web_app.services, web_app.access)
    assert "more waiting" not in await preview.card(job)
    await submit_sleepy(web_app.service, "ann", nonce=5, seconds=30)
    await submit_sleepy(web_app.service, "bob", nonce=6)
    assert "1 more waiting" in await preview.card(job)
    async with aclosing(preview.news(job)) as news:
        assert "1 more waiting" in card(await anext(news))
    await web_app.service.cancel_all("ann")


async def test_live_preview_job_of_another_user_is_refused(web_app: WebApp) -> None:
    preview = LivePreview(web_app.services, web_app.access)
    page, user_id = web_app.browser(preview)
    other, _ = web_app.browser(preview)
    job = await submit_sleepy(web_app.service, user_id, nonce=7, seconds=30)
    for client, path in (
        (other, f"/stage/events?job={job.id}"),
        (page, "/stage/events?job=none"),
        (page, "/stage/events"),
    ):
        answer = await client.get(path)
        assert answer.status_code == 422, path
        assert "no such job" in answer.json()["error"]
    await web_app.service.cancel_all(user_id)


async def submit_batch(web_app: WebApp, images: int, *, steps: int = 1) -> Job:
    values = {"prompt": "a fox", "batch": images, "width": 256, "height": 256, "steps": steps}
    request = JobRequest(user_id="ann", preset="z_image_turbo", values=values)
    return await web_app.service.submit(request)


async def test_live_preview_shows_each_image_of_a_batch_in_order(web_app: WebApp) -> None:
    preview = LivePreview(web_app.services, web_app.access)
    last = await end_of(web_app.service, await submit_batch(web_app, 3))
    first, second, third = (item.id for item in last.items)
    state = await preview.state("ann")
    shown = [
        button["data-open"] for button in Page(state.results or "").all("button", class_="thumb")
    ]
    assert shown == [str(first), str(second), str(third)]
    assert "3 results" in Page(state.card or "").text
    for item_id, place in ((first, "1 of 3"), (second, "2 of 3"), (third, "3 of 3")):
        assert place in (await preview.state("ann", item_id=item_id)).card
    await web_app.service.library.delete([second], "ann")
    after = (await preview.state("ann", item_id=second)).card
    assert "2 of 2" in after
    assert f"files/{third}" in after


async def test_live_preview_opened_job_is_shown_beside_a_running_one(web_app: WebApp) -> None:
    preview = LivePreview(web_app.services, web_app.access)
    browser, user_id = web_app.browser(preview)
    values = {"prompt": "a fox", "batch": 2, "width": 256, "height": 256, "steps": 1}
    request = JobRequest(user_id=user_id, preset="z_image_turbo", values=values)
    done = await end_of(web_app.service, await web_app.service.submit(request))
    running = await submit_sleepy(web_app.service, user_id, nonce=15, seconds=30)
    async with browser:

        async def opened(job_id: str, item_id: int = 0) -> Any:
            query = {"opened": job_id, "opened_item": item_id}
            return (await browser.get("/stage", params=query)).json()

        state = await opened(done.job_id)
        assert state["job"] == running.id
        assert "data-live" in state["card"]
        assert "2 results" in Page(state["opened"]).text
        second = done.items[1].id
        assert "2 of 2" in Page((await opened(done.job_id, second))["opened"]).text
        await web_app.service.library.delete([item.id for item in done.items], user_id)
        assert (await opened(done.job_id))["opened"] == ""
        assert (await opened("another's"))["opened"] == ""
        assert (await browser.get("/stage")).json()["opened"] is None
    await web_app.service.cancel_all(user_id)


async def test_live_preview_counts_results_only_if_it_shows_all(web_app: WebApp) -> None:
    preview = LivePreview(web_app.services, web_app.access)
    for _ in range(2):
        await end_of(web_app.service, await submit_batch(web_app, 12))
    assert "Results24" in Page((await preview.state("ann")).results or "").text
    await end_of(web_app.service, await submit_batch(web_app, 1))
    page = Page((await preview.state("ann")).results or "")
    assert len(page.all("button", class_="thumb")) == 24
    assert page.text == "ResultsShow all"


async def stop(web_app: WebApp, preview: LivePreview, job: Job) -> None:
    """Stop a job that a page follows."""
    following = asyncio.create_task(rest_of(preview.news(job)))
    await asyncio.sleep(0)
    await web_app.service.cancel(job.id, job.user_id)
    await following


async def test_live_preview_stopped_job_keeps_its_preview_for_the_page_that_followed(
    web_app: WebApp,
) -> None:
    preview = LivePreview(web_app.services, web_app.access)
    await end_of(web_app.service, await submit_batch(web_app, 1))
    web_app.server.engine.executor.step_s = 0.2
    job = await submit_batch(web_app, 1, steps=50)
    await until(web_app.service, job, lambda snapshot: snapshot.preview is not None)
    await stop(web_app, preview, job)
    state = await preview.state("ann", ended=job.id)
    page = Page(state.card or "")
    assert page.elements[0][1]["data-phase"] == "cancelled"
    assert (page.all("img")[0]["src"] or "").startswith("data:image/")
    assert page.all("button", data_do="last-result")
    assert not state.stopped
    assert 'data-phase="succeeded"' in ((await preview.state("ann")).card or "")
    assert "data:image/" not in ((await preview.state("bob", ended=job.id)).card or "")


async def test_live_preview_job_stopped_without_preview_leaves_the_last_result(
    web_app: WebApp,
) -> None:
    preview = LivePreview(web_app.services, web_app.access)
    for nonce in (9, 10):  # as many as a server takes at once
        await submit_sleepy(web_app.service, "bob", nonce=nonce, seconds=30)
    job = await submit_sleepy(web_app.service, "ann", nonce=11)
    await stop(web_app, preview, job)
    state = await preview.state("ann", ended=job.id)
    assert "Stopped before anything was saved" in (state.card or "")
    await web_app.service.cancel_all("bob")
    done = await end_of(web_app.service, await submit_batch(web_app, 1))
    for nonce in (12, 13):
        await submit_sleepy(web_app.service, "bob", nonce=nonce, seconds=30)
    job = await submit_sleepy(web_app.service, "ann", nonce=14)
    await stop(web_app, preview, job)
    state = await preview.state("ann", ended=job.id)
    assert f"files/{done.items[0].id}" in (state.card or "")
    assert state.stopped
    await web_app.service.cancel_all("bob")


async def test_live_preview_kept_preview_is_a_result_with_the_settings_of_its_job(
    web_app: WebApp,
) -> None:
    preview = LivePreview(web_app.services, web_app.access)
    browser, user_id = web_app.browser(preview)
    values = {"prompt": "a fox", "seed": 5, "width": 256, "height": 256, "steps": 8}
    web_app.server.engine.executor.step_s = 0.1
    request = JobRequest(user_id=user_id, preset="z_image_turbo", values=values)
    job = await web_app.service.submit(request)
    await until(web_app.service, job, lambda snapshot: (snapshot.step or 0) >= 4)
    await stop(web_app, preview, job)
    card = (await preview.state(user_id, ended=job.id)).card or ""
    assert "Stopped at step " in Page(card).text
    assert Page(card).all("button", data_do="keep-preview")
    async with browser:
        for _ in range(2):  # a second press stores nothing new
            answer = await browser.post("/stage/keep", json={"job": job.id})
            assert answer.status_code == 200, answer.text
        other = await browser.post("/stage/keep", json={"job": "another"})
        assert other.status_code == 422
    (item,) = await web_app.service.library.results(user_id)
    assert (item.id, item.is_preview, item.kind) == (answer.json()["item"], True, "image")
    assert (item.prompt, item.seed, item.values["steps"]) == ("a fox", 5, 8)
    with Image.open(item.path) as image:
        image.load()
    shown = Page((await preview.state(user_id)).card or "")
    assert "Preview" in shown.text
    assert shown.all("button", data_do="star-result")
