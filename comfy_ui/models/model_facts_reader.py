"""Read facts about model files: from the models folder if it is on this machine, else from ComfyUI.

Results are cached by file, size and time. Reading a large folder takes a while, so callers get what
is known after a moment, and whether that is all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ..client import ComfyWSClient
from ..errors import ComfyHeadlessError, WorkLimitError
from ..worker_processes.process_pool import WORKERS
from .model_facts import ModelFacts, facts_from, preview_of, read_facts, read_preview
from .model_folders import ModelFolders

__all__ = ["FolderFacts", "ModelFactsReader"]

logger = logging.getLogger(__name__)

_WAIT_S: Final = 1.0
_MAX_FILES: Final = 5000  # of a folder
_BATCH: Final = 40  # files of one call in a worker process
_REQUESTS: Final = 4  # at a time, to the server
_MAX_PREVIEWS: Final = 400  # each has some 20 KB


class _Stamp(NamedTuple):
    """What changes with a file's content, or with the files beside it."""

    size_bytes: int
    modified_at: float
    folder_modified_at: float = 0.0


class _LocalFile(NamedTuple):
    path: Path
    stamp: _Stamp


class FolderFacts(NamedTuple):
    """The facts and sizes by file name, and whether all files have been read."""

    facts: dict[str, ModelFacts]
    sizes_bytes: dict[str, int]
    complete: bool


class ModelFactsReader:
    """Reads and caches facts about the model files of the connected server.

    Args:
        client: returns the client of the server.
        folders: returns the model folders on this machine.
    """

    def __init__(
        self, client: Callable[[], ComfyWSClient], folders: Callable[[], ModelFolders]
    ) -> None:
        self._client = client
        self._folders = folders
        self._facts: dict[tuple[str, str], dict[str, tuple[_Stamp | None, ModelFacts]]] = {}
        self._paths: dict[tuple[str, str], dict[str, int]] = {}
        self._reading: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._previews: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._requests = asyncio.Semaphore(_REQUESTS)

    async def facts(self, folder: str, names: Sequence[str]) -> FolderFacts:
        """Return what is known about these files within a second; reading continues after it."""
        key = (self._client().url, folder)
        task = self._reading.get(key)
        if task is None or task.done():
            task = asyncio.create_task(self._read(key, names[:_MAX_FILES]))
            self._reading[key] = task
        await asyncio.wait([task], timeout=_WAIT_S)
        known = self._facts.get(key, {})
        read = [(name, *known[name]) for name in names if name in known]
        return FolderFacts(
            {name: facts for name, _, facts in read},
            {name: stamp.size_bytes for name, stamp, _ in read if stamp and stamp.size_bytes},
            task.done(),
        )

    async def preview(self, folder: str, name: str) -> bytes | None:
        """Return the picture of a model file as a small WebP, or None."""
        key = (self._client().url, folder, name)
        if key not in self._previews:
            async with self._requests:
                content = await self._preview(folder, name)
            if content is None:
                return None  # asked again: a picture may be added
            self._previews[key] = content
            while len(self._previews) > _MAX_PREVIEWS:
                self._previews.popitem(last=False)
        return self._previews.get(key)

    async def aclose(self) -> None:
        """Stop reading."""
        tasks = [*self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, key: tuple[str, str], names: Sequence[str]) -> None:
        local = await asyncio.to_thread(_local_files, self._folders(), key[1], names)
        listed = await self._stamps(key) if len(local) < len(names) else {}
        stamps = listed | {name: file.stamp for name, file in local.items()}
        known = self._facts.setdefault(key, {})
        due = [name for name in names if name not in known or known[name][0] != stamps.get(name)]
        for batch in _batches([name for name in due if name in local], _BATCH):
            try:
                facts = await WORKERS.run(read_facts, [(name, local[name].path) for name in batch])
            except WorkLimitError as error:
                logger.warning("Model files cannot be read: %s", error)
                facts = [ModelFacts()] * len(batch)
            self._keep(key, batch, stamps, facts)
        for batch in _batches([name for name in due if name not in local], _REQUESTS):
            facts = await asyncio.gather(*(self._ask(key[1], name) for name in batch))
            self._keep(key, batch, stamps, facts)

    def _keep(
        self,
        key: tuple[str, str],
        names: Sequence[str],
        stamps: Mapping[str, _Stamp],
        facts: Sequence[ModelFacts],
    ) -> None:
        for name, one in zip(names, facts, strict=True):
            self._facts[key][name] = (stamps.get(name), one)
            self._previews.pop((*key, name), None)

    async def _stamps(self, key: tuple[str, str]) -> dict[str, _Stamp]:
        try:
            files = await self._client().model_files(key[1])
        except ComfyHeadlessError:  # an older server
            return {}
        self._paths[key] = {file.name: file.path_index for file in files}
        return {file.name: _Stamp(file.size_bytes, file.modified_at) for file in files}

    async def _ask(self, folder: str, name: str) -> ModelFacts:
        try:
            metadata = await self._client().model_metadata(folder, name)
        except ComfyHeadlessError:
            metadata = {}
        return facts_from(name, metadata)

    async def _preview(self, folder: str, name: str) -> bytes | None:
        path = await asyncio.to_thread(self._folders().find, folder, name)
        try:
            if path is not None:
                return await WORKERS.run(read_preview, path)
            index = self._paths.get((self._client().url, folder), {}).get(name, 0)
            content = await self._client().model_preview(folder, name, path_index=index)
            return None if content is None else await WORKERS.run(preview_of, content)
        except ComfyHeadlessError:  # the server is away, or the picture is damaged
            return None


def _local_files(folders: ModelFolders, folder: str, names: Sequence[str]) -> dict[str, _LocalFile]:
    """Return those of the files that are on this machine."""
    files = {}
    for name in names:
        path = folders.find(folder, name)
        if path is None:
            continue
        try:
            status, beside = path.stat(), path.parent.stat()
        except OSError:  # deleted meanwhile
            continue
        files[name] = _LocalFile(path, _Stamp(status.st_size, status.st_mtime, beside.st_mtime))
    return files


def _batches(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
