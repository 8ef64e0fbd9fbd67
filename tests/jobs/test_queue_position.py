"""The queue as a user sees it, and the changes of jobs in it."""

from __future__ import annotations

import asyncio
import doctest
from contextlib import aclosing
from typing import Any

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.jobs import queue_position
from comfy_ui.jobs.job_service import JobService
from comfy_ui.jobs.queue import KeyJobsError
from comfy_ui.storage.records import (
    GridAxis,
    JobKey,
    JobRequest,
    Phase,
    QueueView,
    WebhookTarget,
)
from tests.jobs.support import end_of, sleepy_graph, submit_sleepy, until


async def fill(service: JobService) -> list[str]:
    """Queue two of Ann's jobs at ComfyUI, one of Bob's and three more of hers; return her ids."""
    jobs = [await submit_sleepy(service, nonce=n, seconds=30) for n in range(2)]
    await until(service, jobs[0], lambda snapshot: snapshot.phase is not Phase.QUEUED)
    await submit_sleepy(service, "bob", nonce=50)
    jobs += [await submit_sleepy(service, nonce=n) for n in range(2, 5)]
    return [job.id for job in jobs]


async def view_of(service: JobService, user_id: str = "ann") -> QueueView:
    async with aclosing(service.follow_queue(user_id)) as views:
        return await anext(views)


def ids(view: QueueView) -> list[str]:
    return [job.id for job, _ in view.jobs]


async def test_follow_queue_lists_own_jobs_with_positions_and_counts_others(
    service: JobService,
) -> None:
    own = await fill(service)
    view = await view_of(service)
    assert ids(view) == own
    assert view.others == 1
    places = [snapshot.queue_position for _, snapshot in view.jobs]
    assert places[0] is None
    assert [place for place in places[1:] if place] == sorted(
        place for place in places[1:] if place
    )
    assert ids(await view_of(service, "nobody")) == []


async def test_follow_queue_yields_only_when_view_changes(service: JobService) -> None:
    own = await fill(service)
    async with asyncio.timeout(15), aclosing(service.follow_queue("ann")) as views:
        await anext(views)
        await service.reorder(own[4], "ann", before=own[2])
        async for view in views:
            if ids(view) == [own[0], own[1], own[4], own[2], own[3]]:
                break
        await service.cancel_all("ann")
        async for view in views:
            if not view.jobs:
                break
        await service.submit(JobRequest(user_id="cleo", preset="p", graph=sleepy_graph(nonce=60)))
        seen = [view async for view in _for_a_while(views)]
    assert all(view.jobs == () for view in seen)
    assert len(seen) <= 4  # changes of the number of other jobs only


async def _for_a_while(views):  # type: ignore[no-untyped-def]
    while True:
        try:
            async with asyncio.timeout(1.0):
                yield await anext(views)
        except (TimeoutError, StopAsyncIteration):
            return


async def test_submit_with_replaces_takes_position_of_waiting_job(service: JobService) -> None:
    own = await fill(service)
    request = JobRequest(user_id="ann", preset="p", graph=sleepy_graph(nonce=9), replaces=own[3])
    changed = await service.submit(request)
    assert ids(await view_of(service)) == [own[0], own[1], own[2], changed.id, own[4]]
    with pytest.raises(ValidationError):
        await service.job(own[3], "ann")
    await service.cancel_all("ann", waiting_only=True)


async def test_submit_with_replaces_keeps_webhook_unless_it_has_one(service: JobService) -> None:
    await fill(service)
    first, second = (WebhookTarget(f"https://hook.example/{n}", "http://here") for n in (1, 2))
    job_id, webhooks = None, []
    for nonce, webhook in enumerate((first, None, second), 90):
        graph = sleepy_graph(nonce=nonce)
        request = JobRequest(
            user_id="ann", preset="p", graph=graph, replaces=job_id, webhook=webhook
        )
        job_id = (await service.submit(request)).id
        webhooks.append((await service.job(job_id, "ann")).webhook)
    assert webhooks == [first, first, second]
    await service.cancel_all("ann", waiting_only=True)


async def test_repeat_keeps_webhook_of_a_job_without_success(service: JobService) -> None:
    hook = WebhookTarget("https://hook.example", "http://here")
    graphs = [sleepy_graph(nonce=n, seconds=60 * n) for n in range(2)]
    done, cancelled = [
        await service.submit(JobRequest(user_id="ann", preset="p", graph=graph, webhook=hook))
        for graph in graphs
    ]
    await end_of(service, done)
    await service.cancel(cancelled.id, "ann")
    await end_of(service, cancelled)
    assert (await service.repeat(done.id, "ann")).webhook is None
    again = await service.repeat(cancelled.id, "ann")
    assert again.webhook == hook
    await service.cancel(again.id, "ann")


async def test_submit_beyond_the_jobs_of_an_api_key_raises_until_one_ends(
    service: JobService,
) -> None:
    def request(nonce: int, api_key: JobKey | None, **options: Any) -> JobRequest:
        graph = sleepy_graph(nonce=nonce, seconds=60)
        return JobRequest(user_id="ann", preset="p", graph=graph, api_key=api_key, **options)

    one, other = JobKey("one", max_jobs=2), JobKey("other", max_jobs=1)
    await service.submit(request(1, None))
    first, second = [await service.submit(request(n, one, key=f"{n}")) for n in (2, 3)]
    with pytest.raises(KeyJobsError, match="2 jobs at a time"):
        await service.submit(request(4, one))
    with pytest.raises(KeyJobsError):
        await service.repeat(first.id, "ann", api_key=one)
    cells = [request(n, other) for n in (5, 6)]
    with pytest.raises(KeyJobsError):
        await service.submit_grid(cells, across=GridAxis("Seed", ("1", "2")))
    assert (await service.submit(request(3, one, key="3"))).id == second.id
    await service.submit(request(7, one, replaces=second.id))
    await service.cancel(first.id, "ann")
    await end_of(service, first)
    await service.submit(request(8, one))
    assert {job.key_id for job in await service.active("ann")} == {None, "one"}
    await service.cancel_all("ann")


@pytest.mark.parametrize("which", ["running", "another owner's", "none"])
async def test_submit_with_replaces_job_not_waiting_raises(service: JobService, which: str) -> None:
    own = await fill(service)
    user_id = "bob" if which == "another owner's" else "ann"
    old = {"running": own[0], "another owner's": own[3], "none": "none"}[which]
    request = JobRequest(user_id=user_id, preset="p", graph=sleepy_graph(nonce=9), replaces=old)
    with pytest.raises(ValidationError, match="does not wait"):
        await service.submit(request)
    assert ids(await view_of(service)) == own


async def test_repeat_runs_same_graph_for_its_user_only(service: JobService) -> None:
    job = await submit_sleepy(service, nonce=1)
    await end_of(service, job)
    with pytest.raises(ValidationError):
        await service.repeat(job.id, "bob")
    again = await service.repeat(job.id, "ann")
    assert again.id != job.id
    assert (await end_of(service, again)).phase is Phase.SUCCEEDED
    assert (await service.job(again.id, "ann")).graph == job.graph


async def test_results_text_search_matches_model_names(service: JobService) -> None:
    graph = sleepy_graph(nonce=1)
    graph["1"]["_meta"] = {"title": "x"}
    graph["9"] = {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}}
    job = await service.submit(JobRequest(user_id="ann", preset="p", graph=graph))
    await end_of(service, job)
    assert len(await service.library.results("ann", text="ae.safetens")) == 1
    assert await service.library.used_presets("ann") == ["p"]
    assert await service.library.used_presets("bob") == []


def test_coarse_s_doctest_passes() -> None:
    assert doctest.testmod(queue_position).failed == 0


async def test_waiting_jobs_start_after_what_is_before_them(service: JobService) -> None:
    done = await submit_sleepy(service, nonce=90, seconds=0.2)
    await end_of(service, done)  # a sleep is known now, of whatever length
    running = await submit_sleepy(service, nonce=91, seconds=30)
    await until(service, running, lambda snapshot: snapshot.phase is not Phase.QUEUED)
    waiting = [await submit_sleepy(service, nonce=nonce, seconds=30) for nonce in (92, 93, 94)]
    view = await view_of(service)
    starts = {job.id: snapshot.starts_in_s for job, snapshot in view.jobs}
    assert starts[running.id] is None
    known = [starts[job.id] or 0.0 for job in waiting]
    assert known == sorted(known)
    assert known[0] > 0
