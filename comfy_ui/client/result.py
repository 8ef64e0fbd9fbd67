"""What a finished job gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..protocol.outputs import Kind, OutputFile

Saved_co = TypeVar("Saved_co", covariant=True)
"""``list[Path]`` from :class:`ComfyClient`, an awaitable of it from :class:`ComfyWSClient`."""


@dataclass(frozen=True, slots=True)
class Result(Generic[Saved_co]):
    """Files and texts of one job, in order. ``result["images"]`` reads like ``result.images``.

    The bytes are still on the server: :meth:`save` or the client's ``download`` fetches them.
    """

    prompt_id: str
    files: list[OutputFile]
    texts: list[str]
    seconds: float | None
    """How long the server worked on it; None when it did not tell."""
    cached: bool
    """Whether nothing was computed: the server answered from its cache, with the old files."""
    _saver: Callable[[Sequence[OutputFile], Path], Saved_co] = field(repr=False, compare=False)

    @property
    def images(self) -> list[OutputFile]:
        return self._of_kind("image")

    @property
    def videos(self) -> list[OutputFile]:
        return self._of_kind("video")

    @property
    def audio(self) -> list[OutputFile]:
        return self._of_kind("audio")

    def save(self, folder: str | Path) -> Saved_co:
        """Fetch all files into ``folder``, made if absent; gives their paths, in order.

        Bytes are stored as the server has them. A file that is there is never overwritten: with
        the same bytes it is kept, else the new one gets a number. Names cannot leave the folder.

        Raises:
            OutputMissingError: the server does not have a file any more.
            StorageError: the folder cannot be written.
        """
        return self._saver(self.files, Path(folder))

    def __getitem__(self, name: str) -> Any:
        if name.startswith("_") or name not in _NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def _of_kind(self, kind: Kind) -> list[OutputFile]:
        return [file for file in self.files if file.kind == kind]


_NAMES = frozenset(
    {"prompt_id", "files", "texts", "seconds", "cached", "images", "videos", "audio"}
)
