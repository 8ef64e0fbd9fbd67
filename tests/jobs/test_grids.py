"""Grids: their jobs belong together, and a labelled sheet is made of the results."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from PIL import Image

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ValidationError
from comfy_ui.jobs.grids.contact_sheet import draw
from comfy_ui.jobs.grids.grids_table import Grid, GridAxis, GridCell
from comfy_ui.jobs.studio import Studio
from comfy_ui.storage.records import JobRequest, JobStatus
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


async def ended(studio: Studio, grid: Grid) -> None:
    for job_id in grid.jobs:
        await end_of(studio, await studio.job(job_id, grid.user_id))
    await studio.sheets_drawn(grid.user_id)


async def test_the_sheet_is_a_result_of_its_own_and_the_originals_stay(studio: Studio) -> None:
    grid = await studio.submit_grid(requests(), across=ACROSS, down=DOWN)
    assert studio.grid_cell(grid.jobs[2]) == GridCell(3, 4, ("1", "8"))
    await ended(studio, grid)
    assert studio.grid_cell(grid.jobs[2]) is None
    sheet, *cells = await studio.results("ann")
    assert len(cells) == 4
    assert sheet.filename == "grid-steps-seed.webp"
    assert (sheet.kind, sheet.prompt, sheet.seed) == ("image", "a kite", 7)
    assert sheet.thumbnail is not None
    with Image.open(sheet.path) as picture:
        assert picture.width > 2 * 256
        assert picture.height > 2 * 320
    job = (await studio.recent("ann", limit=1))[0]
    assert (job.id, job.status) == (sheet.job_id, JobStatus.SUCCEEDED)
    assert (await studio.snapshot(job.id, "ann")).items == (sheet,)
    again = await studio.submit(JobRequest(user_id="ann", preset=job.preset, values=job.values))
    assert (await end_of(studio, again)).items
    assert await studio.results("bob") == []


async def test_who_follows_the_line_is_told_when_the_sheet_is_there(studio: Studio) -> None:
    async with asyncio.timeout(30), aclosing(studio.follow_line("ann")) as lines:
        assert (await anext(lines)).ended == 0
        grid = await studio.submit_grid(requests(), across=ACROSS, down=DOWN)
        async for line in lines:
            if line.ended == len(grid.jobs) + 1:
                break
        newest = (await studio.recent("ann", limit=1))[0]
        assert newest.id not in grid.jobs


async def test_a_grid_is_queued_whole_or_not_at_all(client: ComfyWSClient, tmp_path: Path) -> None:
    async with Studio(client=client, data_dir=tmp_path / "data", waiting_limit=3) as studio:
        with pytest.raises(ValidationError, match="Sampler"):
            await studio.submit_grid(requests(sampler="no such"), across=ACROSS, down=DOWN)
        assert await studio.active("ann") == []
        held = [
            JobRequest(user_id="ann", preset="s", graph=sleepy_graph(nonce=n, seconds=30))
            for n in range(6)
        ]
        with pytest.raises(ValidationError, match="waiting already"):
            await studio.submit_grid(held, across=GridAxis("n", tuple("123456")))
        for job in await studio.active("ann"):
            await end_of(studio, job)
        assert await studio.results("ann") == []


async def test_cells_that_were_cancelled_stay_empty(studio: Studio) -> None:
    cells = [
        JobRequest(user_id="ann", preset="s", graph=sleepy_graph(nonce=n, seconds=60 * (n > 1)))
        for n in (1, 2, 3)
    ]
    grid = await studio.submit_grid(cells, across=GridAxis("Nonce", ("1", "2", "3")))
    await end_of(studio, await studio.job(grid.jobs[0], "ann"))
    await studio.cancel_all("ann")
    await ended(studio, grid)
    sheet, *made = await studio.results("ann")
    assert len(made) == 1
    assert sheet.filename == "grid-nonce.webp"


async def test_a_restart_in_mid_grid_still_draws_the_sheet(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with Studio(client=client, data_dir=tmp_path / "data") as studio:
        cells = [
            JobRequest(user_id="ann", preset="s", graph=sleepy_graph(nonce=n, seconds=0.4))
            for n in (1, 2, 3)
        ]
        grid = await studio.submit_grid(cells, across=GridAxis("Nonce", ("1", "2", "3")))
    async with Studio(client=client, data_dir=tmp_path / "data") as studio:
        await ended(studio, grid)
        assert len(await studio.results("ann")) == 4
    async with Studio(client=client, data_dir=tmp_path / "data") as studio:
        assert studio.grid_cell(grid.jobs[0]) is None
        assert len(await studio.results("ann")) == 4


def test_a_sheet_takes_any_pictures_and_labels(tmp_path: Path) -> None:
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
