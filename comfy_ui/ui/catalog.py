"""The presets as this server can run them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..client import ComfyWSClient
from ..errors import ComfyHeadlessError, MissingModel, Problem
from ..protocol.nodes import NodeLibrary
from ..workflow.presets import Preset, list_presets, preset_problems

__all__ = ["Catalog", "Entry", "grouped"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A preset and what it lacks on the server; ``problems`` is None until the server was asked."""

    preset: Preset
    problems: tuple[Problem, ...] | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep it from running."""
        return tuple(p for p in self.problems or () if p.severity == "error")

    @property
    def ready(self) -> bool | None:
        """Whether it can run; None when that is not known yet."""
        return None if self.problems is None else not self.errors

    @property
    def missing_models(self) -> tuple[MissingModel, ...]:
        """The files to get, each with folder, size and address where they are known."""
        found = [p.extra.get("model") for p in self.errors]
        return tuple(model for model in found if isinstance(model, MissingModel))

    @property
    def lack(self) -> str:
        """What is missing, in a few words: ``2 models missing``."""
        models = sum(p.kind == "missing_model" for p in self.errors)
        nodes = sum(p.kind == "missing_node" for p in self.errors)
        if models:
            return f"{models} model{'s' * (models > 1)} missing"
        if nodes:
            return f"{nodes} node{'s' * (nodes > 1)} missing"
        return "Cannot run here" if self.errors else ""

    @property
    def reason(self) -> str:
        """Why it cannot run, as a sentence for the page; empty when it can."""
        if not self.errors:
            return ""
        first = self.errors[0]
        more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
        return f"{first.message.rstrip('.')}{more}: see Status."


class Catalog:
    """All presets with their readiness, and the server's node list behind it.

    Asks the server only in :meth:`refresh`; reading costs nothing.
    """

    def __init__(self, client: ComfyWSClient, presets: Iterable[Preset]) -> None:
        self._client = client
        self.library: NodeLibrary | None = None
        self.entries: tuple[Entry, ...] = tuple(Entry(preset) for preset in presets)

    def entry(self, preset_id: str | None) -> Entry:
        """That preset; the first one where the id is unknown, as an old draft may have."""
        return next((e for e in self.entries if e.preset.id == preset_id), self.entries[0])

    async def refresh(self, *, version: str | None = None) -> None:
        """Ask the server what it has, and look which presets there are. Keeps the old answer
        when the server is away.
        """
        try:
            library = await self._client.object_info()
        except ComfyHeadlessError:
            return
        self.library = library
        self.entries = await asyncio.to_thread(_entries, library, version)


def _entries(library: NodeLibrary, version: str | None) -> tuple[Entry, ...]:
    return tuple(
        Entry(preset, tuple(preset_problems(preset, library, version))) for preset in list_presets()
    )


GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Pictures": ("t2i",),
    "Pictures from pictures": ("i2i", "edit", "inpaint", "control", "upscale"),
    "Video": ("t2v",),
    "Video from a picture": ("i2v",),
    "Sound": ("audio",),
    "3D": ("3d",),
}


def grouped(entries: Iterable[Entry]) -> list[tuple[str, list[Entry]]]:
    """The presets under headings, in the order of lists; headings without presets are left out."""
    listed = list(entries)
    groups = (
        (title, [entry for entry in listed if entry.preset.task in tasks])
        for title, tasks in GROUPS.items()
    )
    return [(title, found) for title, found in groups if found]
