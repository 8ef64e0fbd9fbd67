from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.storage.records import (
    GridAxis,
    Job,
    JobRequest,
    JobStatus,
    Phase,
    QueueView,
    Snapshot,
)
from comfy_ui.web.components.queue_rows import now_row, summary
from comfy_ui.web.tabs.queue_tab import QueueTab
from tests.jobs.support import end_of, sleepy_graph, submit_sleepy, until
from tests.jobs.test_environment_faults import refuse_writes
from tests.web.web_app import WebApp, open_web_app

JOB = Job(
    id="j",
    user_id="ann",
    preset="p",
    values={},
    prompt="",
    seed=None,
    graph={},
    status=JobStatus.WAITING,
    created_at=0.0,
)


@pytest.fixture
async def web_app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as web_app:
        yield web_app


async def next_data(news: AsyncIterator[str]) -> dict[str, Any]:
    """Return the data of the next event that has any."""
    async with asyncio.timeout(10):
        async for event in news:
            if event.startswith("data: "):
                data: dict[str, Any] = json.loads(event.removeprefix("data: "))
                return data
    raise AssertionError("the stream ended")


async def test_queue_events_list_own_jobs_and_count_others(web_app: WebApp) -> None:
    queue = QueueTab(web_app.context)
    running = await submit_sleepy(web_app.service, "ann", nonce=1, seconds=30)
    second = await submit_sleepy(web_app.service, "ann", nonce=2, seconds=30)
    secret = await submit_sleepy(web_app.service, "bob", nonce=3, seconds=30)
    waits = await submit_sleepy(web_app.service, "ann", nonce=4)
    async with aclosing(queue.news("ann")) as news:
        first = await next_data(news)
        assert first["now"] == [running.id, second.id, waits.id]
        assert set(first["rows"]) == set(first["now"])
        assert "1 from others" in first["summary"]
        assert secret.id not in json.dumps(first)
        await web_app.service.cancel(waits.id, "ann")
        while waits.id not in (data := await next_data(news))["past"]:
            pass
        assert data["now"] == [running.id, second.id]
        assert waits.id in data["rows"]
        await web_app.service.cancel(second.id, "ann")
        while second.id in (data := await next_data(news))["now"]:
            assert waits.id not in data["rows"]  # unchanged rows are not sent again
    await web_app.service.cancel_all("ann")


async def test_queue_events_include_a_job_that_starts_and_ends_between_polls(
    web_app: WebApp,
) -> None:
    async with aclosing(QueueTab(web_app.context).news("ann")) as news:
        assert (await next_data(news))["past"] == []
        job = await submit_sleepy(web_app.service, "ann", nonce=1, seconds=0)
        await end_of(web_app.service, job)
        assert (await next_data(news))["past"] == [job.id]


async def test_now_row_of_job_on_offline_server_offers_a_retry(
    web_app: WebApp,
) -> None:
    job = await submit_sleepy(web_app.service, "ann", seconds=30)
    fetching = replace(job, status=JobStatus.FETCHING)
    snapshot = Snapshot(job_id=job.id, phase=Phase.RECONNECTING)
    waits, offered = (
        now_row(fetching, snapshot, web_app.services.catalog, elsewhere=elsewhere)
        for elsewhere in (False, True)
    )
    assert 'data-do="retry-job"' not in waits
    assert 'data-do="retry-job"' in offered
    assert "download when the server is back" in offered
    await web_app.service.cancel_all("ann")


async def test_queue_retry_of_a_job_ended_on_a_full_disk_does_not_run_it_again(
    web_app: WebApp,
) -> None:
    page, user_id = web_app.browser(QueueTab(web_app.context))
    job = await submit_sleepy(web_app.service, user_id, seconds=0.3)
    await until(web_app.service, job, lambda snapshot: snapshot.elapsed_s > 0)
    await refuse_writes(web_app.service, refuse=True)
    assert (await end_of(web_app.service, job)).phase == "failed"
    await refuse_writes(web_app.service, refuse=False)
    answer = await page.post("/queue/retry", json={"job": job.id, "press": "a name"})
    assert answer.json() == {"done": True}
    assert (await end_of(web_app.service, job)).phase == "succeeded"
    assert [one.id for one in await web_app.service.recent(user_id)] == [job.id]


def view_of(*jobs: tuple[JobStatus, Phase, float]) -> QueueView:
    return QueueView(
        tuple(
            (
                replace(JOB, id=str(n), status=status),
                Snapshot(job_id=str(n), phase=phase, elapsed_s=elapsed_s),
            )
            for n, (status, phase, elapsed_s) in enumerate(jobs)
        ),
        others=0,
    )


def test_queue_summary_job_queued_at_comfyui_can_be_cancelled() -> None:
    html = summary(
        view_of((JobStatus.SENT, Phase.RUNNING, 3.0), (JobStatus.SENT, Phase.QUEUED, 0.0))
    )
    assert "1 running · 1 waiting" in html
    assert 'data-do="clear-queue"' in html
    assert 'data-do="clear-queue"' not in summary(view_of((JobStatus.SENT, Phase.RUNNING, 3.0)))


def test_queue_summary_while_comfyui_is_offline_counts_no_running_jobs() -> None:
    html = summary(
        view_of(
            (JobStatus.SENT, Phase.RECONNECTING, 3.0),
            (JobStatus.CLAIMED, Phase.RECONNECTING, 0.0),
            (JobStatus.WAITING, Phase.QUEUED, 0.0),
        )
    )
    assert "0 running · 3 waiting" in html
    assert "Reconnecting to ComfyUI" in html


def test_queue_summary_of_a_paused_queue_offers_to_resume_it() -> None:
    view = view_of((JobStatus.WAITING, Phase.QUEUED, 0.0))
    assert 'data-do="pause-queue"' in summary(view)
    html = summary(replace(view, paused=True))
    assert 'data-do="resume-queue"' in html
    assert 'data-do="pause-queue"' not in html
    assert "-all" not in html
    by_admin = replace(view, all_paused=True)
    assert "Paused by an admin" in summary(by_admin)
    assert 'data-do="resume-all"' in summary(by_admin, may_pause_all=True)


def test_now_row_of_a_job_ready_at_comfyui_can_be_moved_and_edited(web_app: WebApp) -> None:
    sent = replace(JOB, status=JobStatus.SENT)
    ready = now_row(sent, Snapshot(job_id="j", phase=Phase.QUEUED), web_app.services.catalog)
    assert 'data-do="edit-job"' in ready
    running = now_row(sent, Snapshot(job_id="j", phase=Phase.RUNNING), web_app.services.catalog)
    assert 'data-do="edit-job"' not in running
    again = Snapshot(job_id="j", phase=Phase.RUNNING, server_deaths=1)
    assert "Second try" in now_row(sent, again, web_app.services.catalog)


async def test_queue_pause_lets_the_running_job_end_and_starts_no_other(web_app: WebApp) -> None:
    page, user_id = web_app.browser(QueueTab(web_app.context))
    jobs = [await submit_sleepy(web_app.service, user_id, nonce=n, seconds=0.3) for n in range(3)]
    await until(web_app.service, jobs[0], lambda snapshot: snapshot.elapsed_s > 0)
    assert (await page.post("/queue/pause", json={"paused": True})).json() == {"done": True}
    assert (await end_of(web_app.service, jobs[0])).phase == "succeeded"
    await asyncio.sleep(0.2)
    for job in jobs[1:]:
        assert (await web_app.service.job(job.id, user_id)).status is JobStatus.WAITING
        assert (await web_app.service.snapshot(job.id, user_id)).paused
    await page.post("/queue/pause", json={"paused": False})
    for job in jobs[1:]:
        assert (await end_of(web_app.service, job)).phase == "succeeded"


async def test_queue_events_fold_a_group_whose_jobs_come_in_pages(web_app: WebApp) -> None:
    tab = QueueTab(web_app.context)
    page, user_id = web_app.browser(tab)
    other, _ = web_app.browser(tab)
    requests = [
        JobRequest(user_id=user_id, preset="s", graph=sleepy_graph(nonce=n, seconds=30))
        for n in range(30)
    ]
    axis = GridAxis("Nonce", tuple(map(str, range(30))))
    grid = await web_app.service.submit_grid(requests, across=axis)
    async with aclosing(tab.news(user_id)) as news:
        first = await next_data(news)
        assert (first["now"], first["count"]) == ([grid.id], 30)
        assert "0 of 30 done" in first["rows"][grid.id]
        html = (await page.get("/queue/group", params={"id": grid.id})).text
        assert html.count('<li class="job') == 25
        assert "more-members" in html
        whole = (await page.get("/queue/group", params={"id": grid.id, "count": 50})).text
        assert whole.count('<li class="job') == 30
        assert "more-members" not in whole
        assert "job" not in (await other.get("/queue/group", params={"id": grid.id})).text
        pause = {"group": grid.id, "paused": True}
        assert (await other.post("/queue/pause", json=pause)).status_code == 422
        assert (await other.post("/queue/cancel", json={"group": grid.id})).status_code == 422
        assert (await other.post("/queue/move", json={"group": grid.id})).json() == {"done": False}
        assert (await page.post("/queue/pause", json=pause)).json() == {"done": True}
        while "resume-group" not in (await next_data(news))["rows"].get(grid.id, ""):
            pass
        assert (await page.post("/queue/cancel", json={"group": grid.id})).json() == {"done": 30}
        while (data := await next_data(news))["now"] or grid.id not in data["past"]:
            pass


async def test_queue_events_idle_queue_sends_one_event(web_app: WebApp) -> None:
    async with aclosing(QueueTab(web_app.context).news("ann")) as news:
        assert (await next_data(news))["now"] == []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await anext(news)


async def test_queue_actions_on_jobs_of_another_user_are_refused(web_app: WebApp) -> None:
    tab = QueueTab(web_app.context)
    page, user_id = web_app.browser(tab)
    other, _ = web_app.browser(tab)
    jobs = [
        await submit_sleepy(web_app.service, user_id, nonce=n, seconds=30 if n < 2 else 0)
        for n in range(4)
    ]
    await until(web_app.service, jobs[0], lambda snapshot: snapshot.elapsed_s > 0)
    move = {"job": jobs[3].id, "before": jobs[2].id}
    assert (await other.post("/queue/move", json=move)).json() == {"done": False}
    assert (await other.post("/queue/clear", json={})).json() == {"done": 0}
    assert (await other.post("/queue/cancel", json={"job": jobs[2].id})).status_code == 422
    assert (await other.post("/queue/retry", json={"job": jobs[2].id})).status_code == 422
    assert (await page.post("/queue/move", json=move)).json() == {"done": True}
    active = await web_app.service.active(user_id)
    assert [job.id for job in active] == [jobs[0].id, jobs[1].id, jobs[3].id, jobs[2].id]
    assert (await page.post("/queue/clear", json={})).json() == {"done": 3}
    await page.post("/queue/cancel", json={"job": jobs[0].id})
    for job in jobs[:2]:
        assert (await end_of(web_app.service, job)).phase == "cancelled"
    press = {"job": jobs[3].id, "press": "a name"}
    again, sent_again = [
        (await page.post("/queue/retry", json=press)).json()["done"] for _ in range(2)
    ]
    assert again == sent_again
    fresh = await web_app.service.job(again, user_id)
    assert (fresh.values, fresh.graph) == (jobs[3].values, jobs[3].graph)
    assert (await end_of(web_app.service, fresh)).phase == "succeeded"
