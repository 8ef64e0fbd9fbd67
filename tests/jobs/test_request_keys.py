"""Requests with an idempotency key run once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ValidationError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.storage.records import GridAxis, JobRequest
from tests.jobs.support import end_of, sleepy_graph


def keyed_request(
    key: str | None, *, user_id: str = "ann", nonce: int = 1, seconds: float = 0
) -> JobRequest:
    graph = sleepy_graph(nonce=nonce, seconds=seconds)
    return JobRequest(user_id=user_id, preset="sleepy", graph=graph, key=key)


async def test_submit_same_key_returns_same_job_before_and_after_end(
    service: JobService,
) -> None:
    jobs = await asyncio.gather(*(service.submit(keyed_request("k")) for _ in range(5)))
    await end_of(service, jobs[0])
    jobs.append(await service.submit(keyed_request("k")))
    assert len({job.id for job in jobs}) == 1
    assert len(await service.library.results("ann")) == 1


async def test_submit_same_key_of_another_user_is_another_job(service: JobService) -> None:
    # No two lists of a name and a key are taken for one another, however they are written.
    pairs = [("a", "b"), ("b", "a"), ("a/b", "c"), ("a", "b/c"), ('a", "b', "c"), ("a", 'b", "c')]
    jobs = [await service.submit(keyed_request(key, user_id=user_id)) for user_id, key in pairs]
    assert len({job.id for job in jobs}) == len(pairs)
    assert [job.user_id for job in jobs] == [user_id for user_id, _ in pairs]


async def test_submit_without_key_is_always_a_new_job(service: JobService) -> None:
    one, two = [await service.submit(keyed_request(None)) for _ in range(2)]
    assert one.id != two.id


async def test_repeat_same_key_repeats_job_once(service: JobService) -> None:
    job = await service.submit(keyed_request(None))
    await end_of(service, job)
    once = await asyncio.gather(*(service.repeat(job.id, "ann", key="k") for _ in range(5)))
    await end_of(service, once[0])
    once.append(await service.repeat(job.id, "ann", key="k"))
    assert len({repeated.id for repeated in once}) == 1
    others = [await service.repeat(job.id, "ann", key=key) for key in ("l", None, None)]
    assert len({job.id, once[0].id, *(other.id for other in others)}) == 5


async def test_submit_same_key_after_restart_ignores_limit(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path, waiting_limit=1) as service:
        held = [keyed_request(f"k{n}", nonce=n, seconds=60) for n in range(3)]
        before = [await service.submit(request) for request in held[:2]]
    async with open_jobs(client=client, data_dir=tmp_path, waiting_limit=1) as service:
        for n, wait in enumerate(before):
            assert (await service.submit(held[n])).id == wait.id
        changed = replace(held[1], replaces=before[0].id)  # which has started
        assert (await service.submit(changed)).id == before[1].id
        await service.cancel_all("ann")


async def test_submit_grid_same_key_is_made_once_and_rejected_key_is_free(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    across = GridAxis("n", ("1", "2", "3"))
    async with open_jobs(client=client, data_dir=tmp_path, waiting_limit=3) as service:
        cells = [keyed_request("grid", nonce=n, seconds=0.2) for n in (1, 2, 3)]
        blockers = [
            await service.submit(keyed_request(None, nonce=n, seconds=60)) for n in range(4, 8)
        ]
        with pytest.raises(ValidationError, match="waiting already"):
            await service.submit_grid(cells, across=across)
        await service.cancel_all("ann")
        for job in blockers:
            await end_of(service, job)
        grid = await service.submit_grid(cells, across=across)
        assert await service.submit_grid(cells, across=across) == grid
        for job_id in grid.jobs:
            await end_of(service, await service.job(job_id, "ann"))
        await service.wait_for_sheets("ann")
        assert await service.submit_grid(cells, across=across) == grid
        assert len(await service.library.results("ann")) == 4
