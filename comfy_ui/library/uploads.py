"""Files that people sent for the inputs of jobs, kept until a server needs them.

Which of several servers runs a job is not known when the file comes, so the bytes stay here, and
a worker hands them to its server before the job.
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
"""An upload that no job used for this long is dropped; servers that had it keep their copy."""


class UploadStore:
    """A folder of uploads, by name. The calls block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "inputs"

    def put(self, name: str, content: bytes) -> None:
        """Keep an upload; it is there whole or not at all.

        Raises:
            StorageError: the disk refuses.
        """
        path = self._at(name)
        half = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            half.write_bytes(content)
            half.replace(path)
        except OSError as error:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            raise StorageError(
                f"The file could not be stored: {error.strerror}.",
                hint="Free some disk space, then send it again.",
            ) from error

    def path(self, name: str) -> Path | None:
        """Where an upload lies; None: it is not one of ours."""
        if not _NAME.fullmatch(name):
            return None
        path = self._at(name)
        return path if path.is_file() else None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.path(name) is not None

    def names(self) -> set[str]:
        """All uploads that are there."""
        return {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()

    def used_by(self, graph: AnyGraph) -> list[str]:
        """The uploads that a graph names, each once; they count as used now."""
        whole = all(isinstance(node, Mapping) for node in graph.values())
        values = (value for _, _, value in literals(graph)) if whole else ()
        named = dict.fromkeys(value for value in values if isinstance(value, str))
        found = [name for name in named if self.path(name) is not None]
        for name in found:
            with suppress(FileNotFoundError):
                os.utime(self._at(name))
        return found

    def purge(self, wanted: Iterable[AnyGraph] = ()) -> None:
        """Drop what was not used for long and none of the ``wanted`` graphs names."""
        for graph in wanted:
            self.used_by(graph)
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            try:
                if time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()
            except FileNotFoundError:  # one that was just being written has its name now
                continue
            except OSError as error:
                logger.warning("The upload %s could not be dropped: %s", path.name, error)

    def _at(self, name: str) -> Path:
        return self._folder / name
