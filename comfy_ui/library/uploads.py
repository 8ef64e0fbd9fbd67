"""Uploaded input files of jobs, kept until a worker sends them to its server.

Which server runs a job is not known at the time of the upload.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import StorageError
from ..workflow.graph import AnyGraph, literals

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,120}\.[a-z0-9]{2,5}")
KEPT_S: Final = 30 * 86400.0
"""An upload that no job has used for this long is deleted; servers keep their copies."""


class UploadStore:
    """A folder of uploads, by name. All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "inputs"

    def put(self, name: str, content: bytes) -> None:
        """Write an upload atomically.

        Raises:
            StorageError: the disk refuses.
        """
        path = self._at(name)
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

    def path(self, name: str) -> Path | None:
        """Return the path of an upload, or None if there is no such upload."""
        if not _NAME.fullmatch(name):
            return None
        path = self._at(name)
        return path if path.is_file() else None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.path(name) is not None

    def names(self) -> set[str]:
        """Return the names of all uploads."""
        return {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()

    def used_by(self, graph: AnyGraph) -> list[str]:
        """Return the uploads that a graph uses, each once, and mark them as used now."""
        used = [name for name in upload_names(graph) if self.path(name) is not None]
        for name in used:
            with suppress(FileNotFoundError):
                os.utime(self._at(name))
        return used

    def purge(self, unfinished: Iterable[AnyGraph] = ()) -> None:
        """Delete uploads unused for :data:`KEPT_S`, except those of the given graphs."""
        for graph in unfinished:
            self.used_by(graph)
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            try:
                if time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()
            except FileNotFoundError:  # a partial file that was renamed
                continue
            except OSError as error:
                logger.warning("The upload %s could not be deleted: %s", path.name, error)

    def _at(self, name: str) -> Path:
        return self._folder / name


def upload_names(graph: AnyGraph) -> list[str]:
    """Return the values of a graph that may be names of uploads, each once. Does not block."""
    if not all(isinstance(node, Mapping) for node in graph.values()):
        return []
    values = dict.fromkeys(value for _, _, value in literals(graph) if isinstance(value, str))
    return [value for value in values if _NAME.fullmatch(value)]
