"""The result of a finished job."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, Generic, NoReturn, Self, TypeVar

from ..errors import ValidationError
from ..protocol.outputs import Kind, OutputFile
from ..workflow.graph import Graph

Saved_co = TypeVar("Saved_co", covariant=True)
"""``list[Path]`` from :class:`ComfyClient`, an awaitable of it from :class:`ComfyWSClient`."""


@dataclass(frozen=True, slots=True, repr=False)
class Result(Generic[Saved_co]):
    """Files and texts of one job, in order, and what produced them.

    ``result["images"]`` reads like ``result.images``, and ``dict(result)`` has all fields; only the
    mapping method ``values()`` gives way to the field of that name.

    The bytes are still on the server: :meth:`save` or the client's ``download`` fetches them. A
    pickled result has no client, so it cannot :meth:`save`.
    """

    prompt_id: str
    files: list[OutputFile]
    texts: list[str]
    seconds: float | None
    """How long the run took, by the server's clock if it says so; None if unknown."""
    cached: bool
    """Whether the server took everything from its cache; the files are those of an earlier run."""
    _saver: Callable[[Sequence[OutputFile], Path], Saved_co] = field(repr=False, compare=False)
    graph: Graph | None = field(default=None, repr=False)
    """The graph that was run, in API format; None if it is unknown."""
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    """The values of the job by name: those of the preset or of the workflow's controls. For a
    workflow that was queued without values, the prompt and the seed found in it."""

    @property
    def images(self) -> list[OutputFile]:
        """The files that are images."""
        return self._of_kind("image")

    @property
    def videos(self) -> list[OutputFile]:
        """The files that are videos."""
        return self._of_kind("video")

    @property
    def audio(self) -> list[OutputFile]:
        """The files that are sound."""
        return self._of_kind("audio")

    @property
    def seed(self) -> int | None:
        """The seed, drawn if the job was queued with a random one; None if there is none."""
        seed = self.values.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def prompt(self) -> str | None:
        """The prompt, with its wildcards expanded; None if there is none."""
        prompt = self.values.get("prompt")
        return prompt if isinstance(prompt, str) else None

    def save(self, folder: str | Path) -> Saved_co:
        """Download all files into ``folder``, which is created if needed; return their paths.

        The bytes are stored as the server has them. An existing file is never overwritten: it is
        kept if it has the same bytes, else the new one gets a number. Names cannot leave the
        folder. The result of :class:`.ComfyWSClient` returns an awaitable.

        Raises:
            OutputMissingError: the server no longer has a file.
            StorageError: the folder cannot be written.
            ValidationError: the result was pickled.
        """
        return self._saver(self.files, Path(folder))

    def __repr__(self) -> str:
        kinds = Counter(file.kind for file in self.files)
        parts = [f"{number} × {kind}" for kind, number in kinds.items()]
        parts += [f"{len(self.texts)} × text"] if self.texts else []
        parts += [f"{self.seconds:.1f} s"] if self.seconds is not None else []
        return f"<{type(self).__name__} {self.prompt_id}: {', '.join(parts) or 'no files'}>"

    def _repr_html_(self) -> str:
        """Show the files and texts in a notebook."""
        shown = [file.html() for file in self.files[:_SHOWN_FILES]]
        shown += [f"<p>{escape(text)}</p>" for text in self.texts]
        return f"<p>{escape(repr(self))}</p>{''.join(shown)}"

    def __getitem__(self, name: str) -> Any:
        if name not in _NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def keys(self) -> KeysView[str]:
        """The names of all fields."""
        return self._fields().keys()

    def items(self) -> ItemsView[str, Any]:
        """The names and values of all fields."""
        return self._fields().items()

    def get(self, name: str, default: Any = None) -> Any:
        """A field by its name; ``default`` for any other name."""
        return getattr(self, name) if name in _NAMES else default

    def __copy__(self) -> Self:
        return replace(self)

    def __deepcopy__(self, memo: object) -> Self:
        return replace(  # the client is shared
            self,
            files=[*self.files],
            texts=[*self.texts],
            graph=copy.deepcopy(self.graph),
            values=copy.deepcopy(self.values),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        values = self.prompt_id, self.files, self.texts, self.seconds, self.cached
        return type(self), (*values, _refuse_to_save, self.graph, self.values)

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _NAMES}

    def _of_kind(self, kind: Kind) -> list[OutputFile]:
        return [file for file in self.files if file.kind == kind]


_NAMES = (
    "prompt_id",
    "images",
    "videos",
    "audio",
    "texts",
    "files",
    "seconds",
    "cached",
    "prompt",
    "seed",
    "values",
    "graph",
)
Mapping.register(Result)
_SHOWN_FILES = 16  # in a notebook


def _refuse_to_save(files: Sequence[OutputFile], folder: Path) -> NoReturn:  # noqa: ARG001
    raise ValidationError(
        "A pickled result has no client to download its files with.",
        hint="Pass each of its files to client.download(file, folder).",
    )
