"""Import of a folder: each file once, with its metadata and its time."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.jobs.job_service import JobService
from comfy_ui.library import result_files
from comfy_ui.library.folder_import import ImportProgress
from comfy_ui.library.library_service import LibraryService, open_library
from tests.jobs.support import end_of, engine_files, submit_sleepy

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
    "4": {
        "class_type": "KSampler",
        "inputs": {"seed": 2**60 + 1, "positive": ["2", 0], "negative": ["3", 0]},
    },
}
DAY_S = 86400.0


def picture(path: Path, *, colour: str = "teal", at: float | None = None, **fields: Any) -> Path:
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    for key, value in fields.items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    Image.new("RGB", (16, 8), colour).save(path, pnginfo=info)
    if at is not None:
        os.utime(path, (at, at))
    return path


def counts(progress: ImportProgress) -> tuple[int, int, int]:
    return progress.added, progress.known, progress.failed


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


async def test_import_folder_reads_prompt_seed_size_and_time_of_image(
    tmp_path: Path, output: Path
) -> None:
    made_at = time.time() - 30 * DAY_S
    original = picture(output / "2026" / "fox_00001_.png", at=made_at, prompt=GRAPH, workflow={})
    async with open_library(tmp_path / "data") as library:
        assert counts(await library.import_folder(output, "ann")) == (1, 0, 0)
        (item,) = await library.results("ann", text="fox dream.safe")
        assert (item.prompt, item.seed, item.preset) == ("a red fox", 2**60 + 1, "imported")
        assert (item.width, item.height, item.filename) == (16, 8, "fox_00001_.png")
        assert abs(item.created_at - made_at) < 1
        assert item.path.read_bytes() == original.read_bytes()
        assert item.thumbnail is not None
        assert abs(original.stat().st_mtime - made_at) < 1
        assert await library.results("bob") == []


async def test_import_folder_own_image_keeps_preset_and_values(
    tmp_path: Path, output: Path
) -> None:
    own = {"preset": "z_image_turbo", "values": {"prompt": "a kite", "seed": 5, "steps": 4}}
    picture(output / "a.png", comfy_ui=own, prompt=GRAPH)
    async with open_library(tmp_path / "data") as library:
        await library.import_folder(output, "ann")
        (item,) = await library.results("ann")
        assert (item.preset, item.prompt, item.seed) == ("z_image_turbo", "a kite", 5)
        assert item.values == own["values"]


async def test_import_folder_same_bytes_are_imported_once_per_user(
    tmp_path: Path, output: Path
) -> None:
    first = picture(output / "a.png")
    (output / "copy.png").write_bytes(first.read_bytes())
    async with open_library(tmp_path / "data") as library:
        assert counts(await library.import_folder(output, "ann")) == (1, 1, 0)
        assert counts(await library.import_folder(output, "ann")) == (0, 2, 0)
        (item,) = await library.results("ann")
        await library.delete([item.id], "ann")
        assert counts(await library.import_folder(output, "ann")) == (1, 1, 0)  # restored
        assert await library.results("ann") == [item]
        assert counts(await library.import_folder(output, "bob")) == (1, 1, 0)  # his own


async def test_import_folder_result_of_own_job_is_known(
    service: JobService, server: Any, tmp_path: Path
) -> None:
    end = await end_of(service, await submit_sleepy(service))
    assert len(engine_files(server)) == 1
    assert counts(await service.library.import_folder(server.folder / "output", "ann")) == (0, 1, 0)
    assert [item.id for item in await service.library.results("ann")] == [end.items[0].id]


async def test_results_pages_sort_imported_results_by_time(
    service: JobService, output: Path
) -> None:
    newest = (await end_of(service, await submit_sleepy(service))).items[0]
    now = time.time()
    for n in range(7):
        picture(output / f"{n}.png", colour=f"#0000{n:02x}", at=now - (n + 1) * DAY_S)
    picture(output / "same.png", colour="red", at=now - DAY_S)
    picture(output / "tomorrow.png", colour="blue", at=now + DAY_S)
    await service.library.import_folder(output, "ann")
    later = (await end_of(service, await submit_sleepy(service, nonce=2))).items[0]
    listed: list[Any] = []
    while page := await service.library.results(
        "ann", limit=3, before=listed[-1].id if listed else None
    ):
        listed += page
    times = [item.created_at for item in listed]
    assert times == sorted(times, reverse=True)
    assert len({item.id for item in listed}) == len(listed) == 11
    assert listed[0].id == later.id
    assert {item.filename for item in listed[1:3]} == {newest.filename, "tomorrow.png"}
    assert [i.filename for i in await service.library.results("ann", text=".png", limit=2)] == [
        item.filename for item in listed[:2]
    ]
    assert await service.recent("ann") != []
    assert all(job.preset == "sleepy" for job in await service.recent("ann"))


async def test_results_are_newest_first_after_clock_set_back(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await end_of(service, await submit_sleepy(service))).items[0]
    real = time.time
    service._queue._now = lambda: real() - 365 * DAY_S
    second = (await end_of(service, await submit_sleepy(service, nonce=1))).items[0]
    assert [item.id for item in await service.library.results("ann")] == [second.id, first.id]
    assert await service.library.results("ann", before=second.id) == [first]


async def test_import_folder_links_on_same_disk_and_copies_otherwise(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = picture(output / "a.png")
    async with open_library(tmp_path / "data") as library:
        await library.import_folder(output, "ann")
        assert linked.stat().st_nlink == 2

        def refuse(*_: object) -> None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(result_files.os, "link", refuse)
        copied = picture(output / "b.png", colour="red")
        await library.import_folder(output, "ann")
        assert copied.stat().st_nlink == 1
        assert {item.path.read_bytes() for item in await library.results("ann")} == {
            linked.read_bytes(),
            copied.read_bytes(),
        }
        assert not list((tmp_path / "data" / "incoming").iterdir())


async def test_import_folder_skips_hidden_linked_and_other_files(
    tmp_path: Path, output: Path
) -> None:
    picture(output / "good.png")
    (output / "broken.png").write_bytes(b"not a picture")
    (output / "notes.txt").write_text("x")
    (output / ".hidden.png").write_bytes(b"x")
    (output / "loop").symlink_to(output)
    (output / "link.png").symlink_to(output / "good.png")
    picture(output / ".cache" / "x.png", colour="red")
    outside = picture(tmp_path / "outside" / "private.png", colour="blue")
    (output / "outside.png").symlink_to(outside)
    (output / "outside").symlink_to(outside.parent)
    async with open_library(tmp_path / "data") as library:
        done = await library.import_folder(output, "ann")
        assert counts(done) == (2, 0, 0)  # broken files count as results
        assert (done.found, done.looked_at) == (2, 2)
        names = {item.filename for item in await library.results("ann")}
        assert names == {"good.png", "broken.png"}


async def test_import_folder_dry_run_counts_what_the_import_then_adds(
    tmp_path: Path, output: Path
) -> None:
    picture(output / "new.png", prompt=GRAPH)
    (output / "twin.png").write_bytes((output / "new.png").read_bytes())
    picture(output / "photo.png", colour="red")
    picture(tmp_path / "elsewhere" / "secret.png", colour="blue", prompt=GRAPH)
    (output / "away").symlink_to(tmp_path / "elsewhere")
    async with open_library(tmp_path / "data") as library:

        async def count() -> tuple[int, int, int]:
            done = await library.import_folder(output, "ann", generated_only=True, dry_run=True)
            return done.added, done.known, done.skipped

        first = await library.import_folder(output, "ann", generated_only=True, dry_run=True)
        assert first.added_kinds == {"image": 1}
        assert first.added_bytes == (output / "new.png").stat().st_size
        assert await count() == (1, 1, 1)
        assert await library.results("ann") == []
        assert library.imported_last() == 0
        done = await library.import_folder(output, "ann", generated_only=True)
        assert (done.added, done.known, done.skipped) == (1, 1, 1)
        assert await count() == (0, 2, 1)
        assert library.imported_last() == 1
        assert len(await library.undo_import("ann")) == 1
        assert await count() == (1, 1, 1)  # deleted results come back with the next import
        assert counts(await library.import_folder(output, "ann", generated_only=True)) == (1, 1, 0)


async def test_undo_import_is_possible_once_and_after_a_restart(
    tmp_path: Path, output: Path
) -> None:
    picture(output / "a.png")
    async with open_library(tmp_path / "data") as library:
        await library.import_folder(output, "ann")
    async with open_library(tmp_path / "data") as library:
        assert len(await library.undo_import("ann")) == 1
        assert await library.results("ann") == []
        with pytest.raises(ValidationError, match="no import to undo"):
            await library.undo_import("ann")
    assert (output / "a.png").exists()


@pytest.mark.parametrize("where", ["nowhere", "data", "data/files", "data/files/ab"])
async def test_import_folder_missing_or_own_folder_raises(tmp_path: Path, where: str) -> None:
    async with open_library(tmp_path / "data") as library:
        (tmp_path / "data" / "files" / "ab").mkdir()
        with pytest.raises(ValidationError, match="folder"):
            await library.import_folder(tmp_path / where, "ann")


async def test_import_folder_full_disk_raises_and_next_import_continues(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        picture(output / f"{n}.png", colour=f"#0000{n:02x}", at=1e9 + n)
    async with open_library(tmp_path / "data") as library:
        original = library.files.import_file

        def full(path: Path, file: Any) -> Any:
            if path.name == "1.png":
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(path, file)

        monkeypatch.setattr(library.files, "import_file", full)
        with pytest.raises(StorageError, match="No space left"):
            await library.import_folder(output, "ann")
        assert len(await library.results("ann")) == 1
        monkeypatch.undo()
        assert counts(await library.import_folder(output, "ann")) == (2, 1, 0)


async def test_import_folder_cancelled_keeps_items_and_reported_progress(
    tmp_path: Path, output: Path
) -> None:
    for n in range(20):
        picture(output / f"{n}.png", colour=f"#0000{n:02x}")
    seen: list[ImportProgress] = []
    halfway = asyncio.Event()

    def on_progress(progress: ImportProgress) -> None:
        seen.append(progress)
        if progress.looked_at == 5:
            halfway.set()

    async with open_library(tmp_path / "data") as library:
        task = asyncio.create_task(library.import_folder(output, "ann", on_progress=on_progress))
        await halfway.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        kept = len(await library.results("ann"))
        assert 5 <= kept < 20
        done = await library.import_folder(output, "ann")
        assert counts(done) == (20 - kept, kept, 0)
    assert [p.looked_at for p in seen] == sorted(p.looked_at for p in seen)
    assert {p.found for p in seen} == {20}


async def test_open_library_in_use_by_app_raises(service: JobService, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Another comfy-ui"):
        async with open_library(tmp_path / "data") as library:
            assert isinstance(library, LibraryService)
