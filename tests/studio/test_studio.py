"""The studio over the real embedded engine: from a request to a result in the library."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import (
    InvalidWorkflowError,
    MissingNodesError,
    StorageError,
    UnknownPresetError,
    ValidationError,
)
from comfy_ui.studio import Job, JobRequest, Phase, Snapshot, Status, Studio, items
from tests.faults import catalogue
from tests.faults.proxy import FaultProxy
from tests.studio import support

NIGHT = {"prompt": "a lighthouse at night", "seed": 7, "steps": 6, "width": 512, "height": 512}


@pytest.fixture
def server() -> Iterator[DemoServer]:
    with DemoServer(speed="instant", faults=Faults(test_nodes=True)).in_thread() as server:
        yield server


@pytest.fixture
async def client(server: DemoServer) -> AsyncIterator[ComfyWSClient]:
    async with ComfyWSClient(url=server.url) as client:
        yield client


@pytest.fixture
async def studio(client: ComfyWSClient, tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(client=client, data_dir=tmp_path / "data") as studio:
        yield studio


async def _sleepy(studio: Studio, owner: str = "ann", *, front: bool = False, **graph: Any) -> Job:
    request = JobRequest(
        owner=owner, preset="sleepy", graph=support.sleepy_graph(**graph), front=front
    )
    return await studio.submit(request)


async def _until(
    studio: Studio, job: Job, wanted: Callable[[Snapshot], bool], *, within_s: float = 20.0
) -> Snapshot:
    """The first snapshot that is ``wanted``; the last one if none is."""
    async with asyncio.timeout(within_s), aclosing(studio.follow(job.id, job.owner)) as news:
        async for snapshot in news:
            if wanted(snapshot):
                break
    return snapshot


async def _end(studio: Studio, job: Job, *, within_s: float = 30.0) -> Snapshot:
    return await _until(studio, job, lambda snapshot: snapshot.terminal, within_s=within_s)


# From request to result


async def test_a_preset_becomes_a_picture_in_the_library_with_the_engines_bytes(
    studio: Studio, server: DemoServer
) -> None:
    job = await studio.submit(JobRequest(owner="ann", preset="z_image_turbo", values=NIGHT))
    end = await _end(studio, job)
    assert (end.phase, end.progress, end.error) == (Phase.SUCCEEDED, 100.0, None)
    (item,) = end.items
    assert item.path.read_bytes() == support.engine_files(server)[item.filename]
    assert (item.kind, item.media_type, item.width, item.height) == ("image", "image/png", 512, 512)
    assert (item.prompt, item.seed, item.preset) == ("a lighthouse at night", 7, "z_image_turbo")
    assert NIGHT.items() <= item.values.items()
    assert item.thumbnail
    with Image.open(item.thumbnail) as small:
        assert max(small.size) <= 512
    assert await studio.results("ann") == [item]
    assert await studio.item(item.id, "ann") == item


async def test_the_file_itself_says_how_to_make_it_again(studio: Studio) -> None:
    job = await studio.submit(JobRequest(owner="ann", preset="z_image_turbo", values=NIGHT))
    (item,) = (await _end(studio, job)).items
    with Image.open(item.path) as image:
        recall = json.loads(image.text["comfy_ui"])  # type: ignore[attr-defined]
        graph = json.loads(image.text["prompt"])  # type: ignore[attr-defined]
    assert recall == {"preset": "z_image_turbo", "values": dict(job.values)}
    stored = await studio.job(job.id, "ann")
    assert stored.graph == graph
    again = await studio.submit(JobRequest(owner="ann", **recall))
    assert again.graph == stored.graph


async def test_a_seed_left_open_is_drawn_and_stored(studio: Studio) -> None:
    values = {**NIGHT, "seed": -1}
    one, two = [
        await studio.submit(JobRequest(owner="ann", preset="z_image_turbo", values=values))
        for _ in range(2)
    ]
    assert one.seed is not None
    assert one.seed >= 0
    assert one.seed == one.values["seed"]
    assert one.seed != two.seed


async def test_a_video_is_stored_with_a_poster(studio: Studio, server: DemoServer) -> None:
    values = {"prompt": "waves", "seed": 1, "steps": 2, "frames": 9, "width": 256, "height": 256}
    job = await studio.submit(JobRequest(owner="ann", preset="wan21_t2v_1_3b", values=values))
    end = await _end(studio, job)
    (item,) = end.items
    assert (item.kind, item.media_type) == ("video", "video/mp4")
    assert (item.width, item.height) == (256, 256)
    assert item.path.read_bytes() == support.engine_files(server)[item.filename]
    assert item.thumbnail
    assert await studio.results("ann", kind="video") == [item]


async def test_progress_never_falls_and_previews_are_jpegs(tmp_path: Path) -> None:
    with DemoServer(speed=20.0).in_thread() as server:
        async with (
            ComfyWSClient(url=server.url) as client,
            Studio(client=client, data_dir=tmp_path) as studio,
        ):
            values = {**NIGHT, "steps": 16}
            job = await studio.submit(
                JobRequest(owner="ann", preset="z_image_turbo", values=values)
            )
            seen = [snapshot async for snapshot in studio.follow(job.id, "ann")]
    percent = [snapshot.progress for snapshot in seen]
    assert percent == sorted(percent)
    assert any(snapshot.preview for snapshot in seen)
    assert all(s.preview[:2] == b"\xff\xd8" for s in seen if s.preview)
    steps = [(s.step, s.steps) for s in seen if s.phase is Phase.RUNNING and s.step]
    assert steps
    assert all(total == 16 for _, total in steps)
    assert any(s.eta_s is not None for s in seen)
    assert [s.version for s in seen[:-1]] == sorted(s.version for s in seen[:-1])


async def test_a_result_made_from_the_servers_cache_is_a_result_of_the_second_job_too(
    studio: Studio,
) -> None:
    first, second = [await _sleepy(studio, nonce=1) for _ in range(2)]
    one, two = (await _end(studio, first)).items, (await _end(studio, second)).items
    assert len(one) == len(two) == 1
    assert one[0].path == two[0].path  # the same bytes are stored once
    assert {item.job_id for item in await studio.results("ann")} == {first.id, second.id}


# What is refused before it is queued


async def test_what_cannot_run_is_refused_with_a_hint_and_leaves_no_trace(studio: Studio) -> None:
    wrong: list[tuple[JobRequest, type[Exception]]] = [
        (JobRequest(owner="ann", preset="z_image_trubo"), UnknownPresetError),
        (JobRequest(owner="ann", preset="z_image_turbo", values={"stepz": 3}), ValidationError),
        (JobRequest(owner="ann", preset="z_image_turbo", values={"steps": 10**6}), ValidationError),
        (
            JobRequest(owner="ann", preset="x", graph={"1": {"class_type": "No", "inputs": {}}}),
            MissingNodesError,
        ),
        (JobRequest(owner="ann", preset="x", graph={}), InvalidWorkflowError),
        (
            JobRequest(
                owner="ann", preset="x", graph=support.sleepy_graph(), values={"a": object()}
            ),
            ValidationError,
        ),
    ]
    for request, kind in wrong:
        with pytest.raises(kind) as told:
            await studio.submit(request)
        assert told.value.hint  # type: ignore[attr-defined]
    assert await studio.active("ann") == []
    assert await studio.recent("ann") == []


# Following


async def test_many_follow_one_job_and_one_that_leaves_changes_nothing(studio: Studio) -> None:
    job = await _sleepy(studio, seconds=0.6)
    stay = [asyncio.create_task(support.last(studio.follow(job.id, "ann"))) for _ in range(5)]
    gone = asyncio.create_task(support.last(studio.follow(job.id, "ann")))
    await asyncio.sleep(0.1)
    gone.cancel()
    async with aclosing(studio.follow(job.id, "ann")) as news:
        async for _ in news:
            break
    ends = await asyncio.gather(*stay)
    assert {end.phase for end in ends} == {Phase.SUCCEEDED}
    assert all(end.items == ends[0].items for end in ends)
    late = [snapshot async for snapshot in studio.follow(job.id, "ann")]
    assert [snapshot.items for snapshot in late] == [ends[0].items]


async def test_a_job_of_another_owner_does_not_exist(studio: Studio) -> None:
    job = await _sleepy(studio)
    (item,) = (await _end(studio, job)).items
    for ask in (studio.snapshot, studio.job, studio.cancel):
        with pytest.raises(ValidationError, match="no such job"):
            await ask(job.id, "bob")
    with pytest.raises(ValidationError, match="no such job"):
        await anext(studio.follow(job.id, "bob"))
    with pytest.raises(ValidationError, match="no such result"):
        await studio.item(item.id, "bob")
    with pytest.raises(ValidationError, match="no such result"):
        await studio.star(item.id, "bob")
    assert await studio.results("bob") == []
    assert await studio.recent("bob") == []
    assert await studio.delete([item.id], "bob") == []
    assert b"".join([piece async for piece in studio.zip([item.id], "bob")])[:2] == b"PK"
    assert await studio.results("ann") == [item]


# Turns


async def test_two_owners_take_turns_and_comfyui_never_holds_more_than_two(
    studio: Studio, client: ComfyWSClient
) -> None:
    jobs = [await _sleepy(studio, "ann", nonce=n, seconds=0.1) for n in range(4)]
    jobs += [await _sleepy(studio, "bob", nonce=100 + n, seconds=0.1) for n in range(2)]
    most = 0
    while await studio.active("ann") or await studio.active("bob"):
        queue = await client.queue()
        most = max(most, len(queue.running) + len(queue.pending))
        await asyncio.sleep(0.01)
    assert most == 2
    ends = [(await studio.job(job.id, job.owner)) for job in jobs]
    order = [job.owner for job in sorted(ends, key=lambda job: job.finished_at or 0)]
    assert order.count("bob") == 2
    assert order[-1] == "ann"  # ann came first with four; bob's two did not wait for all of them


async def test_waiting_jobs_can_be_reordered_and_put_in_front(studio: Studio) -> None:
    running = [await _sleepy(studio, nonce=n, seconds=0.3) for n in range(2)]
    a, b = [await _sleepy(studio, nonce=10 + n) for n in range(2)]
    c = await _sleepy(studio, nonce=12, front=True)
    order = [job.id for job in await studio.active("ann")]
    assert order == [job.id for job in (*running, c, a, b)]
    assert await studio.reorder(b.id, "ann", before=c.id)
    for job in (a, b, c):
        await _end(studio, job)
    done = [job.id for job in await studio.recent("ann")]
    assert done[:3] == [a.id, c.id, b.id]  # newest first


async def test_a_waiting_job_is_told_its_place(studio: Studio) -> None:
    jobs = [await _sleepy(studio, owner, nonce=n, seconds=0.5) for n, owner in enumerate("aabab")]
    last = await studio.snapshot(jobs[-1].id, "b")
    assert last.phase is Phase.QUEUED
    assert last.queue_position == last.queue_size
    assert last.queue_own == 2
    await studio.cancel_all("a")
    await studio.cancel_all("b")
    for job in jobs:
        await _end(studio, job)


# Cancelling


async def test_a_job_is_cancelled_while_it_waits_here(studio: Studio, server: DemoServer) -> None:
    first, second, third = [await _sleepy(studio, nonce=n, seconds=0.5) for n in range(3)]
    assert await studio.cancel(third.id, "ann")
    end = await _end(studio, third)
    assert (end.phase, end.error) == (Phase.CANCELLED, None)
    assert (await studio.job(third.id, "ann")).prompt_id is None  # ComfyUI never heard of it
    assert (await _end(studio, first)).phase is Phase.SUCCEEDED
    assert (await _end(studio, second)).phase is Phase.SUCCEEDED


async def test_a_job_is_cancelled_while_it_waits_at_comfyui(studio: Studio) -> None:
    first, second = [await _sleepy(studio, nonce=n, seconds=0.6) for n in range(2)]
    await _until(studio, first, lambda s: s.phase is Phase.RUNNING)
    while (await studio.active("ann"))[1].status is not Status.SENT:  # noqa: ASYNC110 -- samples the queue
        await asyncio.sleep(0.01)
    assert await studio.cancel(second.id, "ann")
    assert (await _end(studio, second)).phase is Phase.CANCELLED
    assert (await _end(studio, first)).phase is Phase.SUCCEEDED  # nobody else was hit


async def test_a_job_is_cancelled_while_it_runs_and_the_next_goes_on(studio: Studio) -> None:
    first, second = [await _sleepy(studio, nonce=n, seconds=s) for n, s in enumerate((20.0, 0.0))]
    await _until(studio, first, lambda s: s.progress > 5)
    assert await studio.cancel(first.id, "ann")
    end = await _end(studio, first)
    assert (end.phase, end.error, end.items) == (Phase.CANCELLED, None, ())
    assert (await _end(studio, second)).phase is Phase.SUCCEEDED
    assert not await studio.cancel(first.id, "ann")


async def test_a_node_that_does_not_listen_shows_cancelling_until_it_is_over(
    studio: Studio,
) -> None:
    job = await _sleepy(studio, seconds=1.0, blocking=True)
    await _until(studio, job, lambda s: s.phase is Phase.RUNNING)
    await studio.cancel(job.id, "ann")
    seen = [snapshot.phase async for snapshot in studio.follow(job.id, "ann")]
    assert set(seen[:-1]) == {Phase.CANCELLING}
    assert seen[-1] in (Phase.CANCELLED, Phase.SUCCEEDED)


async def test_cancelling_right_after_submitting_ends_in_cancelled_whenever_it_lands(
    studio: Studio, client: ComfyWSClient
) -> None:
    for n in range(10):
        job = await _sleepy(studio, nonce=n, seconds=30.0)
        await asyncio.sleep(n * 0.002)
        assert await studio.cancel(job.id, "ann")
        assert (await _end(studio, job)).phase is Phase.CANCELLED
    queue = await client.queue()
    assert not queue.running
    assert not queue.pending


async def test_a_job_at_a_server_that_is_gone_can_be_got_rid_of(
    studio: Studio, server: DemoServer
) -> None:
    job = await _sleepy(studio, seconds=30.0)
    await _until(studio, job, lambda s: s.progress > 2)
    await asyncio.to_thread(server.kill)
    assert await studio.cancel(job.id, "ann")
    end = await _end(studio, job, within_s=40)
    assert end.phase is Phase.CANCELLED
    assert end.error
    assert "could not be reached" in end.error.message


async def test_cancel_all_ends_what_is_mine_and_spares_the_others(studio: Studio) -> None:
    mine = [await _sleepy(studio, "ann", nonce=n, seconds=20.0) for n in range(4)]
    other = await _sleepy(studio, "bob", nonce=99)
    assert await studio.cancel_all("ann", waiting_only=True) >= 2
    assert await studio.cancel_all("ann") >= 1
    for job in mine:
        assert (await _end(studio, job)).phase is Phase.CANCELLED
    assert (await _end(studio, other)).phase is Phase.SUCCEEDED


# Errors


async def test_a_failing_node_is_a_sentence_with_the_traceback_in_the_details(
    studio: Studio, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, error_at="DemoSleep")
    job = await _sleepy(studio)
    end = await _end(studio, job)
    assert (end.phase, end.items) == (Phase.FAILED, ())
    assert end.error
    assert end.error.message.startswith("Sleep")
    assert end.error.hint
    assert "Traceback" not in end.error.message
    assert (await studio.job(job.id, "ann")).error == end.error
    assert (await studio.snapshot(job.id, "ann")).error == end.error


async def test_out_of_memory_has_its_own_kind_and_advice(
    studio: Studio, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, oom_at="DemoSleep")
    end = await _end(studio, await _sleepy(studio))
    assert end.error
    assert end.error.kind == "OutOfMemoryError"
    assert "smaller" in end.error.hint


async def test_files_that_are_gone_at_the_server_are_said_to_be(
    studio: Studio, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, missing_output=True)
    end = await _end(studio, await _sleepy(studio))
    assert end.phase is Phase.FAILED
    assert end.error
    assert end.error.kind == "OutputMissingError"


async def test_a_server_that_died_and_forgot_the_job_makes_it_lost(
    studio: Studio, server: DemoServer
) -> None:
    job = await _sleepy(studio, seconds=30.0)
    await _until(studio, job, lambda s: s.progress > 2)
    await server.restart()
    end = await _end(studio, job, within_s=60)
    assert end.phase is Phase.LOST
    assert end.error
    assert end.error.kind == "JobLostError"
    assert end.error.hint


async def test_a_connection_that_is_down_shows_reconnecting_and_then_goes_on(
    server: DemoServer, tmp_path: Path
) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        ComfyWSClient(url=proxy.url) as client,
        Studio(client=client, data_dir=tmp_path) as studio,
    ):
        job = await _sleepy(studio, seconds=2.5)
        await _until(studio, job, lambda s: s.progress > 2)
        await proxy.refuse_for(1.5)
        seen = [snapshot async for snapshot in studio.follow(job.id, "ann")]
    assert Phase.RECONNECTING in {snapshot.phase for snapshot in seen}
    assert seen[-1].phase is Phase.SUCCEEDED
    assert len(seen[-1].items) == 1
    assert [s.progress for s in seen] == sorted(s.progress for s in seen)


async def test_a_connection_that_goes_down_while_files_are_fetched_loses_none(
    server: DemoServer, tmp_path: Path
) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        ComfyWSClient(url=proxy.url) as client,
        Studio(client=client, data_dir=tmp_path) as studio,
    ):
        proxy.arm(catalogue.truncated_body, phase="fetch", times=2)
        end = await _end(studio, await _sleepy(studio))
        assert end.phase is Phase.SUCCEEDED
        assert {i.filename: i.path.read_bytes() for i in end.items} == support.engine_files(server)


async def test_a_job_submitted_while_comfyui_is_away_runs_when_it_is_back(
    studio: Studio, server: DemoServer
) -> None:
    await asyncio.to_thread(server.kill)
    job = await _sleepy(studio)
    gone = await _until(studio, job, lambda s: s.phase is Phase.RECONNECTING)
    assert gone.phase is Phase.RECONNECTING
    assert gone.error
    other = await _sleepy(studio, nonce=1)
    await studio.cancel(other.id, "ann")
    assert (await _end(studio, other)).phase is Phase.CANCELLED  # nobody needs to be asked
    await asyncio.to_thread(server.start)
    assert (await _end(studio, job, within_s=60)).phase is Phase.SUCCEEDED


class _FullDisk:
    """A client whose downloads find no room, as long as ``full``; else the real one."""

    def __init__(self, client: ComfyWSClient) -> None:
        self._client = client
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def download(self, file: Any, to: Path | None = None) -> Any:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return await self._client.download(file, to)


async def test_a_full_disk_is_told_and_the_result_is_fetched_when_there_is_room(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path
) -> None:
    disk: Any = _FullDisk(client)
    async with Studio(client=disk, data_dir=tmp_path) as studio:
        job = await _sleepy(studio)
        end = await _end(studio, job)
        assert end.phase is Phase.FAILED
        assert end.error
        assert end.error.kind == "StorageError"
        assert "space" in end.error.hint
        assert str(tmp_path) not in f"{end.error}"  # a visitor learns no paths
        assert await studio.retry_fetch(job.id, "ann")
        assert (await _end(studio, job)).phase is Phase.FAILED
        disk.full = False
        assert await studio.retry_fetch(job.id, "ann")
        (item,) = (await _end(studio, job)).items
        assert item.path.read_bytes() == support.engine_files(server)[item.filename]
        assert not await studio.retry_fetch(job.id, "ann")


async def test_a_restart_fetches_what_a_full_disk_kept_out(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    disk: Any = _FullDisk(client)
    async with Studio(client=disk, data_dir=tmp_path) as studio:
        job = await _sleepy(studio)
        assert (await _end(studio, job)).phase is Phase.FAILED
    async with Studio(client=client, data_dir=tmp_path) as studio:
        assert len((await _end(studio, job)).items) == 1


# Leaving and coming back


@pytest.mark.parametrize("away_s", [0.0, 1.2])
async def test_jobs_are_found_again_after_a_restart_running_queued_waiting_or_finished(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path, away_s: float
) -> None:
    async with Studio(client=client, data_dir=tmp_path) as studio:
        jobs = [await _sleepy(studio, nonce=n, seconds=0.4) for n in range(4)]
        await _until(studio, jobs[0], lambda s: s.progress > 2)
    await asyncio.sleep(away_s)
    async with (
        ComfyWSClient(url=server.url) as other,
        Studio(client=other, data_dir=tmp_path) as studio,
    ):
        ends = [await _end(studio, job) for job in jobs]
        assert [(end.phase, len(end.items)) for end in ends] == [(Phase.SUCCEEDED, 1)] * 4
        assert len(await studio.results("ann")) == 4
    assert len(support.engine_files(server)) == 4  # none ran twice


async def test_a_job_that_was_claimed_and_never_sent_is_sent_after_a_restart(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with support.open_queue(tmp_path) as queue:
        job = await queue.submit(support.a_job(graph=support.sleepy_graph()), front=False)
        await queue.claim("w", limit=1)
    async with Studio(client=client, data_dir=tmp_path) as studio:
        assert (await _end(studio, job)).phase is Phase.SUCCEEDED


async def test_a_job_lost_while_we_were_away_is_said_to_be(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path
) -> None:
    async with Studio(client=client, data_dir=tmp_path) as studio:
        job = await _sleepy(studio, seconds=30.0)
        await _until(studio, job, lambda s: s.progress > 2)
    await server.restart()
    async with Studio(client=client, data_dir=tmp_path) as studio:
        end = await _end(studio, job, within_s=60)
        assert end.phase is Phase.LOST
        assert end.error


async def test_closing_leaves_no_task_and_no_thread_and_is_quick(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    studio = Studio(client=client, data_dir=tmp_path)
    await studio.start()
    job = await _sleepy(studio, seconds=30.0)
    await _until(studio, job, lambda s: s.progress > 2)
    follower = asyncio.create_task(support.last(studio.follow(job.id, "ann")))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await studio.aclose()
    assert time.monotonic() - began < 2.0
    assert not (await follower).terminal  # the job goes on; only we leave
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert not [name for name in names if name.startswith(("Runner", "Studio"))]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("studio")]
    await studio.aclose()
    with pytest.raises(StorageError):
        await studio.results("ann")


# The library


async def test_results_are_starred_deleted_restored_and_zipped(
    studio: Studio, server: DemoServer
) -> None:
    for n in range(3):
        await _end(studio, await _sleepy(studio, nonce=n))
    new, mid, old = await studio.results("ann")
    await studio.star(mid.id, "ann")
    assert [item.id for item in await studio.results("ann", starred=True)] == [mid.id]
    assert await studio.delete([new.id, old.id], "ann") == [new.id, old.id]
    assert [item.id for item in await studio.results("ann")] == [mid.id]
    assert await studio.restore([new.id, old.id], "ann") == [new.id, old.id]
    assert await studio.results("ann", before=new.id, limit=1) == [
        (await studio.item(mid.id, "ann"))
    ]
    content = b"".join([piece async for piece in studio.zip([new.id, old.id], "ann")])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            item.filename: support.engine_files(server)[item.filename] for item in (new, old)
        }


async def test_what_was_deleted_long_ago_is_purged_with_its_file_at_the_next_start(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with Studio(client=client, data_dir=tmp_path) as studio:
        (old,) = (await _end(studio, await _sleepy(studio, nonce=1))).items
        (new,) = (await _end(studio, await _sleepy(studio, nonce=2))).items
        await studio.delete([old.id, new.id], "ann")
        await studio._database.run(items.set_deleted, [old.id], "ann", None)
        await studio._database.run(items.set_deleted, [old.id], "ann", 1.0)
        os.utime(old.path, (0, 0))
    async with Studio(client=client, data_dir=tmp_path) as studio:
        async with asyncio.timeout(5):
            while old.path.exists():  # noqa: ASYNC110 -- nothing tells of it
                await asyncio.sleep(0.01)
        assert await studio.restore([old.id, new.id], "ann") == [new.id]
        assert new.path.exists()


# The server


async def test_the_status_of_a_server_that_answers_and_of_one_that_is_away(
    studio: Studio, server: DemoServer
) -> None:
    up = await studio.server_status()
    assert (up.online, up.error) == (True, None)
    assert up.version
    assert up.devices
    assert up.latency_s is not None
    await asyncio.to_thread(server.kill)
    down = await studio.server_status()
    assert (down.online, down.version) == (False, None)
    assert down.error
    assert down.error.hint
