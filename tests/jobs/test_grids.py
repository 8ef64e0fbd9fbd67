"""Grids: their jobs belong together, and a labeled sheet is drawn from the results."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ValidationError
from comfy_ui.jobs.grids import grid_service
from comfy_ui.jobs.grids.contact_sheet import draw
from comfy_ui.jobs.grids.grid_service import GridService
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.storage.records import Grid, GridAxis, GridCell, JobRequest, JobStatus, WebhookTarget
from tests.jobs.support import end_of, sleepy_graph

SIZE = {"width": 256, "height": 320, "steps": 2}
ACROSS, DOWN = GridAxis("Steps", ("1", "2")), GridAxis("Seed", ("7", "8"))


def requests(**more: object) -> list[JobRequest]:
    return [
        JobRequest(
            user_id="ann",
            preset="z_image_turbo",
            values={"prompt": "a kite", **SIZE, "steps": steps, "seed": seed, **more},
        )
        for seed in (7, 8)
        for steps in (1, 2)
    ]


async def ended(service: JobService, grid: Grid) -> None:
    for job_id in grid.jobs:
        await end_of(service, await service.job(job_id, grid.user_id))
    await service.wait_for_sheets(grid.user_id)


async def test_grid_cells_have_the_webhook_of_their_request(service: JobService) -> None:
    hook = WebhookTarget("https://hook.example", "http://here")
    cells = [replace(request, webhook=hook) for request in requests()]
    grid = await service.submit_grid(cells, across=ACROSS, down=DOWN)
    assert [(await service.job(job_id, "ann")).webhook for job_id in grid.jobs] == [hook] * 4
    await service.cancel_all("ann")


async def test_grid_sheet_is_a_result_and_cells_stay(service: JobService) -> None:
    grid = await service.submit_grid(requests(), across=ACROSS, down=DOWN)
    assert service.grid_cell(grid.jobs[2]) == GridCell(3, 4, ("1", "8"))
    await ended(service, grid)
    assert service.grid_cell(grid.jobs[2]) is None
    sheet, *cells = await service.library.results("ann")
    assert len(cells) == 4
    assert sheet.filename == "grid-steps-seed.webp"
    assert (sheet.kind, sheet.prompt, sheet.seed) == ("image", "a kite", 7)
    group = await service.groups.get(grid.id, "ann")
    assert (group.succeeded, group.results) == (4, 4), "the sheet is none of its results"
    assert {item.group_id for item in (sheet, *cells)} == {grid.id}
    assert await service.library.results("ann", folded=True) == [sheet]
    assert sheet.thumbnail is not None
    with Image.open(sheet.path) as picture:
        assert picture.width > 2 * 256
        assert picture.height > 2 * 320
    job = (await service.recent("ann", limit=1))[0]
    assert (job.id, job.status) == (sheet.job_id, JobStatus.SUCCEEDED)
    assert (await service.snapshot(job.id, "ann")).items == (sheet,)
    again = await service.submit(JobRequest(user_id="ann", preset=job.preset, values=job.values))
    assert (await end_of(service, again)).items
    assert await service.library.results("bob") == []


async def test_grid_of_an_app_that_has_ended_gets_its_sheet_from_another_app(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_QUEUED_WITHIN_S", "_LEFT_TO_ITS_APP_S"):
        monkeypatch.setattr(grid_service, name, 0.0)
    monkeypatch.setattr(grid_service, "_LOOK_EVERY_S", 0.05)
    others = [
        GridService(
            store=service._store,
            queue=service._queue,
            files=service.library.files,
            file_thread=service.library.file_thread,
            shared=True,
        )
        for _ in range(2)
    ]
    grid = await service.submit_grid(requests(), across=ACROSS, down=DOWN)
    await service._grids.aclose()  # its app has ended
    for other in others:
        await other.open()
    async with asyncio.timeout(60):
        while await service._store.unfinished_grids():  # noqa: ASYNC110 -- no event says so
            await asyncio.sleep(0.05)
    for other in others:
        await other.aclose()
    sheets = [item for item in await service.library.results("ann") if "grid" in item.filename]
    assert len(sheets) == 1
    assert sheets[0].group_id == grid.id


async def test_follow_queue_counts_grid_sheet_as_ended(service: JobService) -> None:
    async with asyncio.timeout(30), aclosing(service.follow_queue("ann")) as views:
        assert (await anext(views)).ended == 0
        grid = await service.submit_grid(requests(), across=ACROSS, down=DOWN)
        async for view in views:
            if view.ended == len(grid.jobs) + 1:
                break
        newest = (await service.recent("ann", limit=1))[0]
        assert newest.id not in grid.jobs


async def test_submit_grid_queues_all_cells_or_none(client: ComfyWSClient, tmp_path: Path) -> None:
    async with open_jobs(client=client, data_dir=tmp_path / "data", waiting_limit=3) as service:
        with pytest.raises(ValidationError, match="Sampler"):
            await service.submit_grid(requests(sampler="no such"), across=ACROSS, down=DOWN)
        assert await service.active("ann") == []
        held = [
            JobRequest(user_id="ann", preset="s", graph=sleepy_graph(nonce=n, seconds=30))
            for n in range(6)
        ]
        with pytest.raises(ValidationError, match="waiting already"):
            await service.submit_grid(held, across=GridAxis("n", tuple("123456")))
        for job in await service.active("ann"):
            await end_of(service, job)
        assert await service.library.results("ann") == []


def held_requests(count: int) -> list[JobRequest]:
    return [
        JobRequest(user_id="ann", preset="s", graph=sleepy_graph(nonce=n, seconds=30))
        for n in range(count)
    ]


async def test_group_paused_and_cancelled_as_one_survives_a_restart(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    axis = GridAxis("n", ("0", "1", "2", "3"))
    async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
        grid = await service.submit_grid(held_requests(4), across=axis)
        with pytest.raises(ValidationError, match="no such group"):
            await service.groups.set_paused(grid.id, "bob", paused=True)
        await service.groups.set_paused(grid.id, "ann", paused=True)
    async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
        group = await service.groups.get(grid.id, "ann")
        assert (group.title, group.size, group.paused) == ("n", 4, True)
        jobs = await service.groups.jobs(grid.id, "ann")
        assert tuple(job.id for job in jobs) == grid.jobs
        alone = await service.submit(held_requests(9)[8])
        assert (await service.snapshot(grid.jobs[3], "ann")).paused
        assert not (await service.snapshot(alone.id, "ann")).paused
        with pytest.raises(ValidationError):
            await service.groups.cancel(grid.id, "bob")
        assert await service.groups.cancel(grid.id, "ann") == 4
        assert [job.id for job in await service.active("ann")][-1:] == [alone.id]
        await service.cancel(alone.id, "ann")
        await ended(service, grid)
        group = await service.groups.get(grid.id, "ann")
        assert (group.cancelled, group.paused) == (4, False)
        retried = await service.repeat(grid.jobs[0], "ann")
        assert retried.group_id == grid.id
        await service.cancel(retried.id, "ann")


async def test_grid_cancelled_cells_stay_empty_in_sheet(service: JobService) -> None:
    cells = [
        JobRequest(user_id="ann", preset="s", graph=sleepy_graph(nonce=n, seconds=60 * (n > 1)))
        for n in (1, 2, 3)
    ]
    grid = await service.submit_grid(cells, across=GridAxis("Nonce", ("1", "2", "3")))
    await end_of(service, await service.job(grid.jobs[0], "ann"))
    await service.cancel_all("ann")
    await ended(service, grid)
    sheet, *results = await service.library.results("ann")
    assert len(results) == 1
    assert sheet.filename == "grid-nonce.webp"


async def test_grid_restart_before_end_still_draws_sheet(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
        cells = [
            JobRequest(user_id="ann", preset="s", graph=sleepy_graph(nonce=n, seconds=0.4))
            for n in (1, 2, 3)
        ]
        grid = await service.submit_grid(cells, across=GridAxis("Nonce", ("1", "2", "3")))
    async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
        await ended(service, grid)
        assert len(await service.library.results("ann")) == 4
    async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
        assert service.grid_cell(grid.jobs[0]) is None
        assert len(await service.library.results("ann")) == 4


def test_draw_sheet_accepts_any_image_and_label(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 900), (200, 0, 0, 90)).save(tmp_path / "tall.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [tmp_path / "tall.png", None, tmp_path / "broken.png", tmp_path / "gone.png"] * 8
    long = tuple(f"{n} très long, 長い " * 9 for n in range(16))
    grid = Grid(
        id="g",
        user_id="ann",
        across=GridAxis("Modèle", long),
        down=GridAxis("×", ("a", "b")),
        jobs=tuple("x" * 32),
        created_at=0.0,
    )
    sheet = draw(grid, paths, title="a\nprompt " * 200)
    assert max(sheet.size) <= 8192
    assert max(draw(grid, [None] * 32, title="").size) <= 8192
