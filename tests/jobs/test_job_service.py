"""The job service over the demo engine, from a request to a result in the library."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import zipfile
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.errors import (
    ComfyHeadlessError,
    InvalidWorkflowError,
    MissingNodesError,
    UnknownPresetError,
    ValidationError,
)
from comfy_ui.jobs import job_service
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.jobs.prepare_job import prepare_job
from comfy_ui.storage.records import TEMPLATES, Job, JobRequest, Phase
from comfy_ui.storage.tables import items_table
from tests.jobs import support
from tests.jobs.support import end_of, submit_sleepy

NIGHT = {"prompt": "a lighthouse at night", "seed": 7, "steps": 6, "width": 512, "height": 512}


# From request to result


async def test_submit_preset_stores_image_with_engine_bytes_in_library(
    service: JobService, server: DemoServer
) -> None:
    job = await service.submit(JobRequest(user_id="ann", preset="z_image_turbo", values=NIGHT))
    end = await end_of(service, job)
    assert (end.phase, end.progress, end.error) == (Phase.SUCCEEDED, 100.0, None)
    (item,) = end.items
    assert item.path.read_bytes() == support.engine_files(server)[item.filename]
    assert (item.kind, item.media_type, item.width, item.height) == ("image", "image/png", 512, 512)
    assert (item.prompt, item.seed, item.preset) == ("a lighthouse at night", 7, "z_image_turbo")
    assert NIGHT.items() <= item.values.items()
    assert item.thumbnail
    with Image.open(item.thumbnail) as small:
        assert max(small.size) <= 512
    assert await service.library.results("ann") == [item]
    assert await service.library.item(item.id, "ann") == item


async def test_result_file_metadata_recreates_same_graph(service: JobService) -> None:
    job = await service.submit(JobRequest(user_id="ann", preset="z_image_turbo", values=NIGHT))
    (item,) = (await end_of(service, job)).items
    with Image.open(item.path) as image:
        recall = json.loads(image.text["comfy_ui"])  # type: ignore[attr-defined]
        graph = json.loads(image.text["prompt"])  # type: ignore[attr-defined]
    assert recall == {"preset": "z_image_turbo", "values": dict(job.values)}
    stored = await service.job(job.id, "ann")
    assert stored.graph == graph
    again = await service.submit(JobRequest(user_id="ann", **recall))
    assert again.graph == stored.graph


async def test_submit_random_seed_is_chosen_and_stored(service: JobService) -> None:
    values = {**NIGHT, "seed": -1}
    one, two = [
        await service.submit(JobRequest(user_id="ann", preset="z_image_turbo", values=values))
        for _ in range(2)
    ]
    assert one.seed is not None
    assert one.seed >= 0
    assert one.seed == one.values["seed"]
    assert one.seed != two.seed


async def test_submit_wildcards_are_chosen_by_seed_and_template_is_kept(
    service: JobService,
) -> None:
    template = "a {red|blue|green|white} {fox|owl|cat|dog}"
    values = {**NIGHT, "prompt": template, "steps": 1}
    jobs = [
        await service.submit(JobRequest(user_id="ann", preset="z_image_turbo", values=values))
        for _ in range(2)
    ]
    first, second = jobs
    assert first.prompt == second.prompt == first.values["prompt"] != template
    assert first.values[TEMPLATES] == {"prompt": template}
    (item,) = (await end_of(service, first)).items
    assert (item.prompt, item.values[TEMPLATES]) == (first.prompt, {"prompt": template})
    with pytest.raises(ValidationError, match="__pet__"):
        await service.submit(
            JobRequest(user_id="ann", preset="z_image_turbo", values={"prompt": "a __pet__"})
        )


async def test_estimate_many_slow_ones_of_a_user_leave_a_thread_for_others(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, first_began, began = threading.Event(), threading.Event(), []

    def prepare(request: JobRequest, *arguments: Any, **options: Any) -> Job:
        if request.user_id == "ann":
            began.append(request)
            first_began.set()
            released.wait(30)
        return prepare_job(request, *arguments, **options)

    monkeypatch.setattr(job_service, "prepare_job", prepare)

    async def estimate(user_id: str) -> None:
        await service.estimate(JobRequest(user_id=user_id, preset="z_image_turbo", values=NIGHT))

    many = [asyncio.create_task(estimate("ann")) for _ in range(40)]
    try:
        assert await asyncio.to_thread(first_began.wait, 30)
        await estimate("bob")
        assert len(began) == 1
    finally:
        released.set()
        await asyncio.gather(*many)


async def test_close_during_slow_preparations_drops_those_that_wait(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, began = threading.Event(), threading.Semaphore(0)

    def prepare(request: JobRequest, *arguments: Any, **options: Any) -> Job:
        began.release()
        released.wait(30)
        return prepare_job(request, *arguments, **options)

    monkeypatch.setattr(job_service, "prepare_job", prepare)
    requests = [
        JobRequest(user_id=user_id, preset="z_image_turbo", values=NIGHT)
        for user_id in ("ann", "bob", "cid", "dan")
    ]
    calls = [asyncio.create_task(service.estimate(request)) for request in requests]
    try:
        for _ in range(2):
            assert await asyncio.to_thread(began.acquire, timeout=30)
        calls[0].cancel()
        service.close()
    finally:
        released.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    cancelled = [isinstance(end, asyncio.CancelledError) for end in ends]
    assert cancelled == [True, False, True, True]
    with pytest.raises(ComfyHeadlessError, match="stopping"):
        await service.estimate(requests[0])


async def test_submit_video_preset_stores_video_with_poster(
    service: JobService, server: DemoServer
) -> None:
    values = {"prompt": "waves", "seed": 1, "steps": 2, "frames": 9, "width": 256, "height": 256}
    job = await service.submit(JobRequest(user_id="ann", preset="wan21_t2v_1_3b", values=values))
    end = await end_of(service, job)
    (item,) = end.items
    assert (item.kind, item.media_type) == ("video", "video/mp4")
    assert (item.width, item.height) == (256, 256)
    assert item.path.read_bytes() == support.engine_files(server)[item.filename]
    assert item.thumbnail
    assert await service.library.results("ann", kind="video") == [item]


async def test_follow_progress_never_falls_and_previews_are_jpeg(tmp_path: Path) -> None:
    with DemoServer(speed=20.0).in_thread() as server:
        async with (
            ComfyWSClient(url=server.url) as client,
            open_jobs(client=client, data_dir=tmp_path) as service,
        ):
            values = {**NIGHT, "steps": 16}
            job = await service.submit(
                JobRequest(user_id="ann", preset="z_image_turbo", values=values)
            )
            seen = [snapshot async for snapshot in service.follow(job.id, "ann")]
    percent = [snapshot.progress for snapshot in seen]
    assert percent == sorted(percent)
    assert any(snapshot.preview for snapshot in seen)
    assert all(s.preview[:2] == b"\xff\xd8" for s in seen if s.preview)
    steps = [(s.step, s.steps) for s in seen if s.phase is Phase.RUNNING and s.step]
    assert steps
    assert all(total == 16 for _, total in steps)
    assert any(s.eta_s is not None for s in seen)
    assert [s.version for s in seen[:-1]] == sorted(s.version for s in seen[:-1])


async def test_submit_cached_graph_gives_each_job_its_own_result(
    service: JobService,
) -> None:
    first, second = [await submit_sleepy(service, nonce=1) for _ in range(2)]
    one, two = (await end_of(service, first)).items, (await end_of(service, second)).items
    assert len(one) == len(two) == 1
    assert one[0].path == two[0].path  # the same bytes are stored once
    assert {item.job_id for item in await service.library.results("ann")} == {first.id, second.id}


# Rejected before queueing


async def test_submit_invalid_request_raises_with_hint_and_stores_nothing(
    service: JobService,
) -> None:
    wrong: list[tuple[JobRequest, type[Exception]]] = [
        (JobRequest(user_id="ann", preset="z_image_trubo"), UnknownPresetError),
        (JobRequest(user_id="ann", preset="z_image_turbo", values={"stepz": 3}), ValidationError),
        (
            JobRequest(user_id="ann", preset="z_image_turbo", values={"steps": 10**6}),
            ValidationError,
        ),
        (
            JobRequest(user_id="ann", preset="x", graph={"1": {"class_type": "No", "inputs": {}}}),
            MissingNodesError,
        ),
        (JobRequest(user_id="ann", preset="x", graph={}), InvalidWorkflowError),
        (
            JobRequest(
                user_id="ann", preset="x", graph=support.sleepy_graph(), values={"a": object()}
            ),
            ValidationError,
        ),
    ]
    for request, kind in wrong:
        with pytest.raises(kind) as caught:
            await service.submit(request)
        assert caught.value.hint  # type: ignore[attr-defined]
    assert await service.active("ann") == []
    assert await service.recent("ann") == []


# Following


async def test_follow_many_followers_get_same_end_when_one_leaves(service: JobService) -> None:
    job = await submit_sleepy(service, seconds=0.6)
    stay = [asyncio.create_task(support.last(service.follow(job.id, "ann"))) for _ in range(5)]
    gone = asyncio.create_task(support.last(service.follow(job.id, "ann")))
    await asyncio.sleep(0.1)
    gone.cancel()
    async with aclosing(service.follow(job.id, "ann")) as news:
        async for _ in news:
            break
    ends = await asyncio.gather(*stay)
    assert {end.phase for end in ends} == {Phase.SUCCEEDED}
    assert all(end.items == ends[0].items for end in ends)
    late = [snapshot async for snapshot in service.follow(job.id, "ann")]
    assert [snapshot.items for snapshot in late] == [ends[0].items]


async def test_service_job_of_another_user_does_not_exist(service: JobService) -> None:
    job = await submit_sleepy(service)
    (item,) = (await end_of(service, job)).items
    for ask in (service.snapshot, service.job, service.cancel):
        with pytest.raises(ValidationError, match="no such job"):
            await ask(job.id, "bob")
    with pytest.raises(ValidationError, match="no such job"):
        await anext(service.follow(job.id, "bob"))
    with pytest.raises(ValidationError, match="no such result"):
        await service.library.item(item.id, "bob")
    with pytest.raises(ValidationError, match="no such result"):
        await service.library.star(item.id, "bob")
    assert await service.library.results("bob") == []
    assert await service.recent("bob") == []
    assert await service.library.delete([item.id], "bob") == []
    assert b"".join([piece async for piece in service.library.zip([item.id], "bob")])[:2] == b"PK"
    assert await service.library.results("ann") == [item]


# The queue


async def test_queue_two_users_alternate_and_server_holds_two_jobs(
    service: JobService, client: ComfyWSClient
) -> None:
    jobs = [await submit_sleepy(service, "ann", nonce=n, seconds=0.1) for n in range(4)]
    jobs += [await submit_sleepy(service, "bob", nonce=100 + n, seconds=0.1) for n in range(2)]
    most = 0
    while await service.active("ann") or await service.active("bob"):
        queue = await client.queue()
        most = max(most, len(queue.running) + len(queue.pending))
        await asyncio.sleep(0.01)
    assert most == 2
    ends = [(await service.job(job.id, job.user_id)) for job in jobs]
    order = [job.user_id for job in sorted(ends, key=lambda job: job.finished_at or 0)]
    assert order.count("bob") == 2
    assert order[-1] == "ann"  # ann submitted four first; bob's two did not wait for all of them


async def test_reorder_and_front_change_order_of_waiting_jobs(service: JobService) -> None:
    running = [await submit_sleepy(service, nonce=n, seconds=0.3) for n in range(2)]
    a, b = [await submit_sleepy(service, nonce=10 + n) for n in range(2)]
    c = await submit_sleepy(service, nonce=12, front=True)
    order = [job.id for job in await service.active("ann")]
    assert order == [job.id for job in (*running, c, a, b)]
    assert await service.reorder(b.id, "ann", before=c.id)
    order = [job.id for job in await service.active("ann")]
    assert order[-3:] == [b.id, c.id, a.id]  # ends may differ: the server holds two at once
    for job in (a, b, c):
        await end_of(service, job)


async def test_snapshot_of_waiting_job_has_queue_position(service: JobService) -> None:
    jobs = [
        await submit_sleepy(service, user_id, nonce=n, seconds=0.5)
        for n, user_id in enumerate("aabab")
    ]
    last = await service.snapshot(jobs[-1].id, "b")
    assert last.phase is Phase.QUEUED
    assert last.queue_position == last.queue_size
    assert last.queue_own == 2
    await service.cancel_all("a")
    await service.cancel_all("b")
    for job in jobs:
        await end_of(service, job)


# The library


async def test_library_results_are_starred_deleted_restored_and_zipped(
    service: JobService, server: DemoServer
) -> None:
    for n in range(3):
        await end_of(service, await submit_sleepy(service, nonce=n))
    new, mid, old = await service.library.results("ann")
    await service.library.star(mid.id, "ann")
    assert [item.id for item in await service.library.results("ann", starred=True)] == [mid.id]
    assert await service.library.delete([new.id, old.id], "ann") == [new.id, old.id]
    assert [item.id for item in await service.library.results("ann")] == [mid.id]
    assert await service.library.restore([new.id, old.id], "ann") == [new.id, old.id]
    assert await service.library.results("ann", before=new.id, limit=1) == [
        (await service.library.item(mid.id, "ann"))
    ]
    content = b"".join([piece async for piece in service.library.zip([new.id, old.id], "ann")])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        *names, metadata = archive.namelist()
        assert {name: archive.read(name) for name in names} == {
            item.filename: support.engine_files(server)[item.filename] for item in (new, old)
        }
        assert [entry["file"] for entry in json.loads(archive.read(metadata))] == names


async def test_purge_on_start_removes_long_deleted_result_and_its_file(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        (old,) = (await end_of(service, await submit_sleepy(service, nonce=1))).items
        (new,) = (await end_of(service, await submit_sleepy(service, nonce=2))).items
        await service.library.delete([old.id, new.id], "ann")
        await service._store._database.run(items_table.set_deleted, [old.id], "ann", None)
        await service._store._database.run(items_table.set_deleted, [old.id], "ann", 1.0)
        os.utime(old.path, (0, 0))
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        async with asyncio.timeout(5):
            while old.path.exists():  # noqa: ASYNC110 -- no event reports it
                await asyncio.sleep(0.01)
        assert await service.library.restore([old.id, new.id], "ann") == [new.id]
        assert new.path.exists()


# The server


async def test_server_status_reports_online_and_offline_server(
    service: JobService, server: DemoServer
) -> None:
    up = await service.server_status()
    assert (up.online, up.error) == (True, None)
    assert up.version
    assert up.devices
    assert up.latency_s is not None
    assert up.health
    assert up.health.ok
    await asyncio.to_thread(server.kill)
    down = await service.server_status()
    assert (down.online, down.version) == (False, None)
    assert down.error
    assert down.error.hint
    assert down.health
    assert down.health.last_error


async def test_submit_preview_image_becomes_result(service: JobService) -> None:
    graph = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 255},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    end = await end_of(
        service, await service.submit(JobRequest(user_id="ann", preset="x", graph=graph))
    )
    (item,) = end.items
    assert (item.width, item.height) == (64, 48)


async def test_submit_user_without_uploads_runs_presets_only(service: JobService) -> None:
    request = JobRequest(user_id="ann", preset="z_image_turbo", values=NIGHT, uploads=frozenset())
    assert (await end_of(service, await service.submit(request))).phase is Phase.SUCCEEDED
    with pytest.raises(ValidationError, match="Only presets can be run here"):
        await service.submit(JobRequest(user_id="ann", preset="x", graph={}, uploads=frozenset()))
    values = {"prompt": "bluer", "image": "somebody_elses.png"}
    with pytest.raises(ValidationError):
        await service.submit(
            JobRequest(user_id="ann", preset="sdxl_img2img", values=values, uploads=frozenset())
        )


async def test_durations_are_kept_across_restarts(server: DemoServer, tmp_path: Path) -> None:
    for run in (1, 2):
        async with (
            ComfyWSClient(url=server.url) as client,
            open_jobs(client=client, data_dir=tmp_path) as service,
        ):
            assert bool(len(client.durations)) is (run == 2)
            job = await submit_sleepy(service, nonce=run)
            assert (await end_of(service, job)).phase is Phase.SUCCEEDED
