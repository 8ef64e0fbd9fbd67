"""Presets, styles and wildcards of apps that share no folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from comfy_ui.errors import StorageError
from comfy_ui.library.saved_workflows import SavedWorkflows
from comfy_ui.scale.shared_folders import postgres_folders as module
from comfy_ui.scale.shared_folders.postgres_folders import PostgresFolders
from comfy_ui.workflow.presets.preset_store import get_preset, load_presets
from tests.web.support import picture_bytes

from .postgres_server import PostgresServer, new_database


class AppFolder:
    """The data folder of one app."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.path = folder
        self.saved = SavedWorkflows(folder)
        self.folders = PostgresFolders(url, folder)

    def restart(self) -> None:
        self.folders.close()
        self.folders = PostgresFolders(self.url, self.path)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name: str) -> str | None:
        path = self.path / name
        return path.read_text() if path.exists() else None


@pytest.fixture
async def apps(postgres: Any, tmp_path: Path) -> AsyncIterator[tuple[AppFolder, AppFolder]]:
    async with new_database() as url:
        one, other = (AppFolder(url, tmp_path / name) for name in ("one", "other"))
        yield one, other
        for app in (one, other):
            app.folders.close()


def sync(*apps: AppFolder) -> None:
    for app in apps:
        app.folders.sync()


def test_preset_saved_at_one_app_is_edited_restored_and_deleted_at_another(
    apps: tuple[AppFolder, AppFolder],
) -> None:
    one, other = apps
    preset = one.saved.save(get_preset("sdxl"), "Our look")
    one.saved.set_cover(preset.id, picture_bytes("PNG", side=32))
    sync(one)
    assert other.folders.sync(), "its folder has changed"
    found = load_presets([other.saved.presets])[preset.id]
    assert (found.title, found.graph) == ("Our look", preset.graph)
    assert found.thumbnail
    other.saved.update(found.model_copy(update={"title": "Another look"}))
    sync(other, one)
    assert load_presets([one.saved.presets])[preset.id].title == "Another look"
    assert [version.title for version in one.saved.versions.listed(preset.id)] == [
        "Another look",
        "Our look",
    ]
    one.saved.delete(preset.id)
    sync(one, other)
    assert preset.id not in load_presets([other.saved.presets])
    other.saved.restore(preset.id, 1)
    sync(other, one)
    assert load_presets([one.saved.presets])[preset.id].title == "Our look"


def test_files_changed_while_an_app_is_stopped_are_exchanged_at_its_start(
    apps: tuple[AppFolder, AppFolder],
) -> None:
    one, other = apps
    one.write("wildcards/animals/cats.txt", "lion")
    one.write("styles/mine.csv", "name,prompt\n")
    sync(one, other)
    other.folders.close()
    other.write("wildcards/animals/cats.txt", "lion\ntiger")
    (one.path / "styles/mine.csv").unlink()
    sync(one)
    other.restart()
    sync(other, one)
    assert one.read("wildcards/animals/cats.txt") == "lion\ntiger"
    assert other.read("styles/mine.csv") is None
    assert not other.folders.sync()


def test_file_that_two_apps_changed_is_the_one_that_was_first_and_nothing_is_lost(
    apps: tuple[AppFolder, AppFolder],
) -> None:
    one, other = apps
    for app, text in ((one, "first"), (other, "second")):
        app.write("wildcards/a.txt", text)
    sync(one, other, one)
    assert one.read("wildcards/a.txt") == other.read("wildcards/a.txt") == "first"
    assert other.read("wildcards/a.txt.replaced") == "second"
    assert one.read("wildcards/a.txt.replaced") is None


def test_apps_that_have_one_folder_exchange_nothing_with_themselves(
    apps: tuple[AppFolder, AppFolder],
) -> None:
    one, other = apps
    twin = AppFolder(one.url, one.path)
    for text in ("first", "second", "third"):
        one.write("wildcards/a.txt", text)
        assert [app.folders.sync() for app in (twin, one)] == [False, False]
    other.write("wildcards/b.txt", "of another folder")
    sync(other, twin, one, other)
    assert one.read("wildcards/b.txt") == "of another folder"
    assert other.read("wildcards/a.txt") == "third"
    assert not [*one.path.rglob("*.replaced")]
    twin.folders.close()


def test_folder_that_is_gone_or_unreadable_deletes_nothing_elsewhere(
    apps: tuple[AppFolder, AppFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = apps
    one.write("wildcards/a.txt", "lion")
    sync(one, other)
    other.path.rename(tmp_path / "unmounted")
    sync(other, one)
    assert one.read("wildcards/a.txt") == other.read("wildcards/a.txt") == "lion"

    def refuse(_: Path, onerror: Any) -> Any:
        onerror(PermissionError(13, "Permission denied"))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "walk", refuse)
        with pytest.raises(StorageError, match="Permission denied"):
            sync(other)
    sync(other, one)
    assert one.read("wildcards/a.txt") == "lion"


def test_other_files_are_neither_sent_nor_written(
    apps: tuple[AppFolder, AppFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 10)
    one, other = apps
    names = ["secret.key", "wildcards/.hidden.txt", "wildcards/run.sh", "files/a.json"]
    for name in (*names, "wildcards/large.txt"):
        one.write(name, "x" * (20 if "large" in name else 1))
    one.write("wildcards/b.txt", "small")
    sync(one)
    with psycopg.connect(one.url, autocommit=True) as connection:
        rows = connection.execute("SELECT path FROM shared_files").fetchall()
        assert rows == [("wildcards/b.txt",)]
        hostile = [
            "../out.txt",
            "wildcards/../../out.txt",
            "/tmp/out.txt",
            "accounts.json",
            "a.txt",
        ]
        for number, path in enumerate(hostile, start=2):
            connection.execute(
                "INSERT INTO shared_files VALUES (%s, 'x', 'digest', %s)", (path, number)
            )
    sync(other)
    files = {p.relative_to(other.path).as_posix() for p in other.path.rglob("*") if p.is_file()}
    assert files == {"shared_files.json", "wildcards/b.txt"}
    assert not (other.path.parent / "out.txt").exists()
    one.write("wildcards/b.txt", "larger than that")
    sync(one, other)
    assert other.read("wildcards/b.txt") == "small", "it was not deleted"


async def test_sync_without_its_table_asks_for_an_upgrade(postgres: Any, tmp_path: Path) -> None:
    async with new_database(upgraded=False) as url:
        with pytest.raises(StorageError) as error:
            PostgresFolders(url, tmp_path).sync()
    assert error.value.hint == "Run: comfy-ui db upgrade"


async def test_keep_synced_goes_on_after_the_database_was_away(
    postgres: PostgresServer,
    apps: tuple[AppFolder, AppFolder],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "_SYNC_EVERY_S", 0.05)
    one, other = apps
    sync(one, other)
    changed = asyncio.Event()

    async def apply() -> None:
        changed.set()

    task = asyncio.create_task(other.folders.keep_synced(apply))
    postgres.stop()
    try:
        one.write("wildcards/a.txt", "lion")
        with pytest.raises(StorageError, match="exchanged"):
            one.folders.sync()
        async with asyncio.timeout(30):
            while True:
                if "exchanged" in caplog.text:
                    break
                await asyncio.sleep(0.02)
    finally:
        postgres.start()
    sync(one)
    async with asyncio.timeout(30):
        await changed.wait()
    assert other.read("wildcards/a.txt") == "lion"
    task.cancel()
