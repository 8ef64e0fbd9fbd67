"""The presets and whether the servers can run them."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..client import ComfyWSClient
from ..errors import ComfyHeadlessError, Problem, ValidationError
from ..protocol.object_info import NodeRegistry
from ..workflow.checks.requirements import preset_problems
from ..workflow.merge_object_info import union
from ..workflow.presets.preset_store import Preset, load_presets

__all__ = ["CatalogEntry", "PresetCatalog", "grouped"]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A preset and its problems; ``problems`` is None until a server was checked.

    Of several servers, the one with the fewest problems counts.
    """

    preset: Preset
    problems: tuple[Problem, ...] | None = None
    paid: bool = False
    """Whether it has partner nodes, which cost credits, on a server that was checked."""
    opened: bool = False
    """A workflow that an admin has opened and not saved as a preset."""
    tool: bool = False
    """A blueprint of ComfyUI, which is offered for results and not in lists of presets."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep it from running."""
        return tuple(p for p in self.problems or () if p.severity == "error")

    @property
    def ready(self) -> bool | None:
        """Whether it can run; None if that is not known yet."""
        return None if self.problems is None else not self.errors

    @property
    def lack(self) -> str:
        """Summarize what is missing: ``2 models missing``."""
        least = next((p.extra["least"] for p in self.errors if "least" in p.extra), None)
        if least is not None:
            return f"Needs ComfyUI {least}"
        models = sum(p.kind == "missing_model" for p in self.errors)
        nodes = sum(p.kind == "missing_node" for p in self.errors)
        if models:
            return f"{models} model{'s' * (models > 1)} missing"
        if nodes:
            return f"{nodes} node{'s' * (nodes > 1)} missing"
        return "Cannot run here" if self.errors else ""

    @property
    def reason(self) -> str:
        """Explain why it cannot run, as a sentence for the page; empty if it can."""
        if not self.errors:
            return ""
        first = self.errors[0]
        more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
        return f"{first.message.rstrip('.')}{more}: see Status."


class PresetCatalog:
    """All presets with their readiness, and the merged node list of all servers.

    :meth:`refresh` sends each server one request; reading costs nothing. ``folders`` hold presets
    besides the shipped ones; ``opened_folder`` is the one with opened workflows, ``tools_folder``
    the one with tools.
    """

    def __init__(
        self,
        client: ComfyWSClient,
        presets: Iterable[Preset],
        *,
        others: Sequence[ComfyWSClient] = (),
        folders: Sequence[Path] = (),
        opened_folder: Path | None = None,
        tools_folder: Path | None = None,
    ) -> None:
        self._clients = (client, *others)
        self._folders = (*folders,)
        self._opened_folder = opened_folder
        self._tools_folder = tools_folder
        self._servers: dict[str, tuple[NodeRegistry, str | None]] = {}  # by address
        self.library: NodeRegistry | None = None
        self.online = True
        """Whether a server answered last time. :class:`.ServerConnection` updates it."""
        self.entries: tuple[CatalogEntry, ...] = tuple(CatalogEntry(preset) for preset in presets)
        self.tools: tuple[CatalogEntry, ...] = ()
        """Blueprints as presets. They are found by id and not listed among the others."""
        self.broken: tuple[Problem, ...] = ()
        """Presets whose files cannot be read, with the reason."""

    @property
    def servers(self) -> list[tuple[ComfyWSClient, NodeRegistry]]:
        """The servers that were checked, with their node classes."""
        return [
            (client, self._servers[client.url][0])
            for client in self._clients
            if client.url in self._servers
        ]

    def entry(self, preset_id: str | None) -> CatalogEntry:
        """Return that preset, or the default one if the id is unknown, as in an old draft."""
        entries = (*self.entries, *self.tools)
        return next((e for e in entries if e.preset.id == preset_id), self.default)

    @property
    def default(self) -> CatalogEntry:
        """The first preset that is ready, images first; the first of all if none is ready."""
        ready = [entry for entry in self.entries if entry.ready and not entry.opened]
        images = [entry for entry in ready if entry.preset.task in GROUPS["Images"]]
        return next(iter((*images, *ready, *self.entries)))

    def chosen(self, preset_id: str | None) -> CatalogEntry:
        """Return the preset that a form names, or the default one if it names none.

        Raises:
            ValidationError: there is no such preset, as in an old draft.
        """
        if preset_id and self.find(preset_id) is None:
            raise ValidationError(
                f"There is no preset '{preset_id[:80]}' here.", hint="Choose another one."
            )
        return self.entry(preset_id)

    def find(self, preset_id: str) -> Preset | None:
        """Return that preset, if it exists."""
        entries = (*self.entries, *self.tools)
        return next((e.preset for e in entries if e.preset.id == preset_id), None)

    def title(self, preset_id: str) -> str:
        """Return a preset's title, or its id if it no longer exists."""
        preset = self.find(preset_id)
        return preset.title if preset else preset_id

    def for_tasks(
        self, tasks: Sequence[str], family: str = "", *, takes: Literal["image", "video"] = "image"
    ) -> CatalogEntry | None:
        """Return a preset for one of ``tasks`` that takes an image, or a video.

        Ready ones come first, then earlier tasks, then those of the model family.
        """
        able = [
            entry
            for task in tasks
            for entry in self.entries
            if entry.preset.task == task and entry.preset.by_role(takes)
        ]
        ready = [entry for entry in able if entry.ready] or able
        of_task = [entry for entry in ready if entry.preset.task == ready[0].preset.task]
        of_family = [entry for entry in of_task if entry.preset.family == family]
        return next(iter((*of_family, *ready)), None)

    async def refresh(self, *, versions: Mapping[str, str | None] | None = None) -> None:
        """Check the servers and the list of presets; servers that are away keep their result.

        ``versions`` names the servers to check, by address; None checks all of them.
        """
        clients = [c for c in self._clients if versions is None or c.url in versions]
        answers = await asyncio.gather(
            *(client.object_info(fresh=True) for client in clients), return_exceptions=True
        )
        for client, answer in zip(clients, answers, strict=True):
            if isinstance(answer, NodeRegistry):
                self._servers[client.url] = answer, (versions or {}).get(client.url)
            elif not isinstance(answer, ComfyHeadlessError):
                raise answer
        servers = [self._servers[c.url] for c in self._clients if c.url in self._servers]
        if not servers:
            return
        self.library = await asyncio.to_thread(union, [library for library, _ in servers])
        await self._set(())  # results for the old node list are outdated

    async def look(self) -> None:
        """Update the list of presets: added, changed or removed files.

        The results for other presets are kept; no server is contacted.
        """
        await self._set((*self.entries, *self.tools))

    async def _set(self, known: Iterable[CatalogEntry]) -> None:
        listed, self.broken = await asyncio.to_thread(self._look, known)
        entries = tuple(entry for entry in listed if not entry.tool)
        self.tools = tuple(entry for entry in listed if entry.tool)
        if len(entries) != len(self.entries) or any(map(operator.is_not, entries, self.entries)):
            self.entries = entries  # a tuple that is drawn again only if it has changed

    def _look(
        self, looked: Iterable[CatalogEntry]
    ) -> tuple[tuple[CatalogEntry, ...], tuple[Problem, ...]]:
        before = {entry.preset.id: entry for entry in looked}
        opened, tools = _stems(self._opened_folder), _stems(self._tools_folder)
        presets = load_presets(self._folders)
        return (
            tuple(
                known
                if (known := before.get(preset.id)) is not None
                and known.preset is preset
                and known.opened == (preset.id in opened)
                else self._entry(preset, opened=preset.id in opened, tool=preset.id in tools)
                for preset in presets.values()
            ),
            presets.problems,
        )

    def _entry(self, preset: Preset, *, opened: bool, tool: bool) -> CatalogEntry:
        paid = any(
            library.partner_nodes(preset.all_classes) for library, _ in self._servers.values()
        )
        entries = [
            CatalogEntry(preset, (*preset_problems(preset, library, version),), paid, opened, tool)
            for library, version in self._servers.values()
        ]
        unchecked = CatalogEntry(preset, opened=opened, tool=tool)
        return min(entries, key=lambda entry: len(entry.errors), default=unchecked)


def _stems(folder: Path | None) -> set[str]:
    return {path.stem for path in folder.glob("*.toml")} if folder is not None else set()


GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Images": ("t2i",),
    "Edit images": ("i2i", "edit", "inpaint", "outpaint", "control", "upscale"),
    "Video": ("t2v",),
    "Video from an image": ("i2v",),
    "Edit videos": ("video_upscale", "interpolate"),
    "Audio": ("audio",),
    "3D": ("3d",),
}


def grouped(entries: Iterable[CatalogEntry]) -> list[tuple[str, list[CatalogEntry]]]:
    """Return the presets under headings, in the order of lists; empty headings are omitted."""
    listed = list(entries)
    groups = [("Opened workflows", [entry for entry in listed if entry.opened])]
    groups += [
        (title, [entry for entry in listed if entry.preset.task in tasks and not entry.opened])
        for title, tasks in GROUPS.items()
    ]
    return [(title, entries) for title, entries in groups if entries]
