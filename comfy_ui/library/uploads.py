"""Uploaded input files of jobs, kept until a worker sends them to its server.

Which server runs a job is not known at the time of the upload.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from ..errors import StorageError
from ..storage.file_stores.file_store import FileStore
from ..workflow.graph import AnyGraph, literals

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,120}\.[a-z0-9]{2,5}")
KEPT_S: Final = 30 * 86400.0
"""An upload that no job has used for this long is deleted; servers keep their copies."""


class UploadStore:
    """Uploads in a file store, by name. All methods block.

    Each that asks the store raises StorageError if it cannot be used.
    """

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._folder = store.folder / "inputs"

    def put(self, name: str, content: bytes) -> None:
        """Write an upload atomically.

        Raises:
            StorageError: the disk refuses.
        """
        path = self._folder / name
        partial = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise StorageError(
                f"The file could not be stored: {error.strerror}.",
                hint="Free some disk space, then send it again.",
            ) from error
        self._store.save(_key(name))

    def path(self, name: str) -> Path | None:
        """Return the path of an upload, or None if there is no such upload."""
        if not _NAME.fullmatch(name):
            return None
        path = self._store.local(_key(name))
        return path if path.is_file() else None

    def __contains__(self, name: object) -> bool:
        return (
            isinstance(name, str)
            and _NAME.fullmatch(name) is not None
            and self._store.exists(_key(name))
        )

    def names(self) -> set[str]:
        """Return the names of all uploads."""
        return {PurePosixPath(key).name for key in self._store.list("inputs/")}

    def used_by(self, graph: AnyGraph) -> list[str]:
        """Return the uploads that a graph uses, each once, and mark them as used now."""
        return [name for name in upload_names(graph) if self._store.touch(_key(name))]

    def purge(self, unfinished: Iterable[AnyGraph] = ()) -> None:
        """Delete uploads unused for :data:`KEPT_S`, except those of the given graphs."""
        for graph in unfinished:
            self.used_by(graph)
        for key, used_at in self._store.list("inputs/").items():
            if time.time() - used_at > KEPT_S:
                try:
                    self._store.delete(key)
                except OSError as error:
                    logger.warning("The upload %s could not be deleted: %s", key, error)


def _key(name: str) -> str:
    return f"inputs/{name}"


def upload_names(graph: AnyGraph) -> list[str]:
    """Return the values of a graph that may be names of uploads, each once. Does not block."""
    if not all(isinstance(node, Mapping) for node in graph.values()):
        return []
    values = dict.fromkeys(value for _, _, value in literals(graph) if isinstance(value, str))
    return [value for value in values if _NAME.fullmatch(value)]
