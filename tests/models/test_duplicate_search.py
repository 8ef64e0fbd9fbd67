"""The search for duplicates in the background."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from comfy_ui.models import duplicate_search
from comfy_ui.models.duplicate_search import DuplicateSearch
from comfy_ui.models.inventory import LocalModel, list_files
from comfy_ui.models.model_folders import ModelFolders


@pytest.fixture
def files(tmp_path: Path) -> list[LocalModel]:
    for folder, name, content in (("vae", "a", b"1"), ("loras", "b", b"1"), ("loras", "c", b"2")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.safetensors").write_bytes(content)
    return list_files(ModelFolders(base=tmp_path))


async def test_duplicate_search_finds_groups(files: list[LocalModel]) -> None:
    search = DuplicateSearch()
    assert search.groups is None
    search.start(files)
    assert search.active
    await search.wait()
    assert not search.active
    assert search.groups is not None
    assert [[file.name for file in group] for group in search.groups] == [
        ["b.safetensors", "a.safetensors"]
    ]
    assert search.share == 1.0
    search.forget()
    assert search.groups is None


async def test_duplicate_search_cancelled_finds_nothing(
    files: list[LocalModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, calls = threading.Event(), []

    def endless(
        _: Iterable[LocalModel], *, on_progress: Callable[[int, int], None]
    ) -> list[object]:
        calls.append(1)
        while True:
            on_progress(1, 4)
            started.set()

    monkeypatch.setattr(duplicate_search, "find_duplicates", endless)
    search = DuplicateSearch()
    search.start(files)
    await asyncio.to_thread(started.wait)
    search.start(files)  # a second click
    await search.aclose()
    assert (search.groups, search.share, search.active, calls) == (None, 0.25, False, [1])


async def test_duplicate_search_unreadable_file_is_explained(files: list[LocalModel]) -> None:
    files[0].path.unlink()
    search = DuplicateSearch()
    search.start(files)
    await search.wait()
    assert "cannot be read" in search.error
    assert search.groups is None
