"""Opened workflows and dropped files that are neither run nor saved yet."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from ..client import ComfyWSClient, Template
from ..client.transfer.files import without_invisible
from ..errors import (
    ComfyUIOfflineError,
    InvalidWorkflowError,
    MissingModel,
    Problem,
    StorageError,
    ValidationError,
)
from ..library.saved_workflows import SavedWorkflows
from ..protocol.object_info import NodeRegistry
from ..workflow.checks.graph_checks import check_workflow
from ..workflow.editor import convert_workflow
from ..workflow.fields.field_types import FILE_ROLES
from ..workflow.load import load_workflow
from ..workflow.presets.preset_from_workflow import models_of, preset_from_workflow
from ..workflow.presets.preset_store import Preset
from .server_connection import ServerConnection

__all__ = ["DroppedFile", "OpenWorkflows", "OpenedWorkflow", "title_of"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
_KEPT: Final = 64
_UNREADABLE: Final = frozenset({"missing_node", "invalid_prompt"})


@dataclass(frozen=True, slots=True)
class OpenedWorkflow:
    """A workflow with its problems on the server. Without ``preset`` it cannot become a form."""

    id: str
    title: str
    preset: Preset | None
    problems: tuple[Problem, ...] = ()
    library: NodeRegistry | None = field(default=None, repr=False, compare=False)
    """What the server had when the problems were found."""
    editor: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The editor-format file that it was read from, if any."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep it from running."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def paid(self) -> bool:
        """Whether it has partner nodes, which cost credits."""
        if self.preset is None or self.library is None:
            return False
        return bool(self.library.partner_nodes(self.preset.all_classes))


@dataclass(frozen=True, slots=True)
class DroppedFile:
    """The content of a dropped file. ``form`` is the id of a preset or of an opened workflow.

    ``values`` are those of the form; ``by_role`` are values for other forms, by role.
    """

    user_id: str
    prompt: str = ""
    seed: int | None = None
    form: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    by_role: Mapping[str, Any] = field(default_factory=dict)


class OpenWorkflows:
    """The newest opened workflows and dropped files, in memory.

    Where opened workflows cannot run before they are saved as presets, they are also kept on disk:
    there a page may come to another app, or to the next run of this one.
    """

    def __init__(self, connection: ServerConnection, saved_workflows: SavedWorkflows) -> None:
        self._connection = connection
        self._saved_workflows = saved_workflows
        self._opened: dict[str, OpenedWorkflow] = {}
        self._dropped: dict[str, DroppedFile] = {}
        self._templates: tuple[ComfyWSClient, NodeRegistry | None, list[Template]] | None = None

    def find(self, opened_id: str) -> OpenedWorkflow | None:
        """Find a recently opened workflow, with its current problems."""
        opened, library = self._opened.get(opened_id), self._connection.catalog.library
        if opened is None or opened.preset is None or library is None:
            return opened
        if library is opened.library:
            return opened
        graph, models = opened.preset.graph, opened.preset.models
        problems = check_workflow(graph, library, models=models)
        opened = replace(opened, problems=(*_of_form(problems, opened.preset),), library=library)
        self._opened[opened_id] = opened
        return opened

    async def recall(self, opened_id: str) -> OpenedWorkflow | None:
        """Find a workflow like :meth:`find`, also one that another app or run has opened."""
        if opened_id not in self._opened and self._connection.catalog.find(opened_id) is None:
            kept = await asyncio.to_thread(self._saved_workflows.find_opened, opened_id)
            if kept is not None:
                preset, editor = kept
                opened = OpenedWorkflow(opened_id, preset.title, preset, editor=editor)
                _put(self._opened, opened_id, opened)
        return self.find(opened_id)

    async def keep(self, opened_id: str) -> None:
        """Save an opened workflow where jobs find it. Presets stay as they are.

        Raises:
            ValidationError: it is no longer open, or cannot become a form.
            StorageError: the disk refuses.
        """
        catalog = self._connection.catalog
        if catalog.find(opened_id) is not None:
            return
        opened = self._opened.get(opened_id)
        if opened is None or opened.preset is None:
            raise ValidationError("This workflow is no longer open.", hint="Open it again.")
        await self._keep(opened)

    async def edit(self, preset: Preset) -> None:
        """Save an opened workflow with an edited form, under the same id.

        Raises:
            ValidationError: it is no longer open.
            StorageError: the disk refuses.
        """
        opened = self._opened.get(preset.id)
        if opened is None:
            raise ValidationError("This workflow is no longer open.", hint="Open it again.")
        self._opened[preset.id] = opened = replace(opened, title=preset.title, preset=preset)
        await self._keep(opened)

    async def _keep(self, opened: OpenedWorkflow) -> None:
        if opened.preset is not None:
            await asyncio.to_thread(
                self._saved_workflows.keep_opened, opened.preset, editor=opened.editor
            )
            await self._connection.catalog.look()

    async def templates(self) -> list[Template]:
        """Return ComfyUI's official templates (hundreds).

        They are requested again after each server check, because another version brings others, and
        as long as there are none.
        """
        client, library = self._connection.client, self._connection.catalog.library
        cached = self._templates
        if cached is None or cached[0] is not client or cached[1] is not library or not cached[2]:
            cached = self._templates = client, library, await client.official_templates()
        return cached[2]

    async def open(self, content: bytes, *, title: str) -> OpenedWorkflow:
        """Read a workflow: JSON in either format, or a file that contains one.

        Raises:
            InvalidWorkflowError: it is not a workflow or cannot be used; explains why.
            ComfyUIOfflineError: its node list is needed and the server has not been reached yet.
        """
        catalog = self._connection.catalog
        if catalog.library is None:
            await catalog.refresh()
        if catalog.library is None:
            raise ComfyUIOfflineError("ComfyUI did not list its nodes.")
        opened = await asyncio.to_thread(_read, content, title, catalog.library)
        kept = catalog.find(opened.id)
        if kept is not None and opened.preset is not None and kept.graph == opened.preset.graph:
            opened = replace(opened, title=kept.title, preset=kept)  # its form may be edited
        _put(self._opened, opened.id, opened)
        if not self._connection.keeps_opened:
            try:
                await self._keep(opened)
            except StorageError as error:
                logger.warning("An opened workflow is only in memory: %s", error)
        return opened

    def put_down(self, dropped: DroppedFile) -> str:
        """Keep the content of a dropped file until it is requested; return its id."""
        key = secrets.token_hex(8)
        _put(self._dropped, key, dropped)
        return key

    def take_up(self, key: str, user_id: str) -> DroppedFile:
        """Return the content of a file that the user dropped.

        Raises:
            ValidationError: it is no longer kept.
        """
        dropped = self._dropped.get(key)
        if dropped is None or dropped.user_id != user_id:
            raise ValidationError("The file is no longer available.", hint="Drop it again.")
        return dropped


def _put(entries: dict[str, T], key: str, value: T) -> None:
    """Append as the newest entry and drop the oldest."""
    entries.pop(key, None)
    entries[key] = value
    if len(entries) > _KEPT:
        del entries[next(iter(entries))]


def title_of(filename: str) -> str:
    """Return a title for a workflow's file.

    >>> title_of("my flow.v2.json"), title_of("fox.workflow.json"), title_of("")
    ('my flow.v2', 'fox', 'Workflow')
    """
    name = without_invisible(filename).replace("\\", "/").rpartition("/")[2]
    stem = (name.rpartition(".")[0] or name).removesuffix(".workflow")
    return stem.strip()[:80] or "Workflow"


def _read(content: bytes, title: str, library: NodeRegistry) -> OpenedWorkflow:
    workflow = load_workflow(content)
    editor = workflow.editor
    try:
        graph = workflow.graph or convert_workflow(editor or {}, library)
    except InvalidWorkflowError as error:
        if not error.problems:
            raise
        return OpenedWorkflow(f"lacking-{title}", title, None, error.problems)
    problems = check_workflow(graph, library, models=models_of(editor or {}))
    if any(problem.kind in _UNREADABLE for problem in problems):
        return OpenedWorkflow(f"lacking-{title}", title, None, (*problems,))
    preset = preset_from_workflow(graph, library, title=title, editor=editor)
    found = (*_of_form(problems, preset),)
    return OpenedWorkflow(preset.id, title, preset, found, library, editor)


def _of_form(problems: Sequence[Problem], preset: Preset) -> Iterator[Problem]:
    """Drop the problems of files that the form has a field for.

    A value that the form shows can be fixed there, so it does not block the form.
    """
    params_by_target = {(t.node, t.input): p for p in preset.params for t in p.targets}
    for problem in problems:
        param = params_by_target.get((problem.node or "", problem.input or ""))
        if param is None or isinstance(problem.extra.get("model"), MissingModel):
            yield problem
        elif param.role not in FILE_ROLES:
            yield replace(problem, severity="warning")
