"""The presets as this server can run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..client import ComfyWSClient
from ..errors import ComfyHeadlessError, MissingModel, Problem
from ..protocol.nodes import NodeLibrary
from ..workflow.presets import Preset, list_presets, preset_problems

__all__ = ["Catalog", "Entry"]


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
        lacking = {p.extra.get("filename") for p in self.errors if p.kind == "missing_model"}
        return tuple(
            MissingModel(
                folder=model.folder,
                filename=model.filename,
                url=model.url,
                size_bytes=model.size_bytes,
                license=model.license,
                gated=model.gated,
            )
            for model in self.preset.models
            if model.filename in lacking
        )

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

    def __init__(self, client: ComfyWSClient) -> None:
        self._client = client
        self.library: NodeLibrary | None = None
        self.entries: tuple[Entry, ...] = tuple(Entry(preset) for preset in list_presets())

    @property
    def presets(self) -> Sequence[Preset]:
        """The presets, in the order in which they are offered."""
        return [entry.preset for entry in self.entries]

    def entry(self, preset_id: str | None) -> Entry:
        """That preset; the first one where the id is unknown, as an old draft may have."""
        return next((e for e in self.entries if e.preset.id == preset_id), self.entries[0])

    async def refresh(self, *, version: str | None = None) -> None:
        """Ask the server what it has. Keeps the old answer when it is away."""
        try:
            info = await self._client.object_info()
        except ComfyHeadlessError:
            return
        self.library = info if isinstance(info, NodeLibrary) else NodeLibrary(info)
        self.entries = tuple(
            Entry(preset, tuple(preset_problems(preset, self.library, version)))
            for preset in list_presets()
        )
