"""Graphs from any source: dicts, preset ids, files, prompts."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ServerRejectedError, ValidationError
from ..protocol.object_info import NodeRegistry
from ..protocol.outputs import OutputFile
from ..workflow.graph import classes, copied
from . import endpoints
from .operations import Asker, Flow, work
from .response_models import UploadedFile
from .submission import PARTNER_KEY, Runnable, without_redacted
from .transfer.file_transfers import FileTransfers
from .transfer.upload_sources import UploadSource, is_file
from .transfer.web_files import is_web_address
from .transport.environment import Environment

if TYPE_CHECKING:
    from ..workflow.load import Workflow
    from ..workflow.prepare import PreparedGraph

logger = logging.getLogger(__name__)

NOT_IMPLEMENTED = 501
"""The status of what a server's API does not have at all."""

WorkflowSource: TypeAlias = "Mapping[str, Any] | str | bytes | Path | Workflow"
"""A graph or editor workflow (dict), a preset's id, a file or its bytes; see ``load_workflow``."""


class WorkflowSources:
    """Builds graphs for one server; reads its ``/object_info`` and the settings on first use.

    The settings name the folders of the admin's own presets and wildcards.
    """

    def __init__(
        self,
        asker: Asker,
        transfers: FileTransfers,
        environment: Environment,
        *,
        partner_key: str = "",
    ) -> None:
        self._asker = asker
        self._transfers = transfers
        self._environment = environment
        self._partner_key = partner_key
        self._object_info: NodeRegistry | None = None

    def object_info(self, node: str | None = None, *, fresh: bool = False) -> Flow[NodeRegistry]:
        """All node classes of the server, or one. ``fresh``: fetch all of them again."""
        if node is not None:
            return (yield from self._asker.ask(endpoints.object_info(node)))
        if self._object_info is None or fresh:
            self._object_info = yield from self._asker.ask(endpoints.object_info())
        return self._object_info

    def for_job(
        self,
        source: WorkflowSource,
        values: Mapping[str, UploadSource | Any] | None,
        extra_data: Mapping[str, Any] | None,
    ) -> Flow[tuple[Runnable, Mapping[str, Any] | None]]:
        """What to post: the graph, as :meth:`read` finds it, and the job's extra data."""
        runnable = yield from self.read(source, values)
        if self._partner_key:
            extra_data = yield from self._with_partner_key(runnable, extra_data)
        return runnable, extra_data

    def read(
        self, source: WorkflowSource, values: Mapping[str, UploadSource | Any] | None = None
    ) -> Flow[Runnable]:
        """The graph of any source with these values. Values that are files are uploaded first.

        A dict in API format without values is taken as it is.

        Raises:
            InvalidWorkflowError: there is no workflow in it, or it cannot be converted.
            UnknownPresetError: a plain word that is no preset's id.
            ValidationError: a value does not fit, see :func:`.prepare.prepare`.
            MissingModelsError, MissingNodesError: what the server lacks for a preset, and where to
                get it.
        """
        if isinstance(source, Mapping) and _is_graph(source) and not values:
            return Runnable(copied(source))  # the caller may change it for the next job
        _check_names(values)
        from ..workflow.conditioning.picture_values import PICTURE_VALUES
        from ..workflow.controls import values_in
        from ..workflow.load import load_workflow

        folder = self._environment.settings.presets_dir
        loaded = yield from work(lambda: load_workflow(source, folders=[folder]))
        files = yield from self._file_inputs(loaded, values or {})
        job_values = yield from self._with_uploads(values or {}, files)
        prepared = yield from self._prepare(loaded, job_values)
        for notice in prepared.notices:
            logger.warning("%s", notice)
        if prepared.preset is None:
            values_of_graph = values_in(prepared.graph, prepared.controls)
            for name in ("loras", *PICTURE_VALUES):
                if name in prepared.values:
                    values_of_graph[name] = prepared.values[name]
            return Runnable(prepared.graph, loaded.editor, values_of_graph)
        prepared.require_runnable()
        return Runnable(prepared.graph, values=prepared.values)

    def _with_partner_key(
        self, runnable: Runnable, extra_data: Mapping[str, Any] | None
    ) -> Flow[Mapping[str, Any] | None]:
        """The job's extra data, with the Comfy API key if its graph has a partner node.

        ComfyUI gives that key to the node, which sends it to the service it calls.
        """
        class_types = classes(runnable.graph)
        registries = yield from self._registries()
        if not registries:  # nothing says which nodes are partner nodes
            return extra_data
        (registry,) = registries
        partner_nodes = registry.partner_nodes(class_types)
        for class_type in class_types - {*registry}:  # newer than what was read
            partner_nodes += (yield from self.object_info(class_type)).partner_nodes([class_type])
        if not partner_nodes:
            return extra_data
        return {PARTNER_KEY: self._partner_key, **without_redacted(extra_data)}

    def _file_inputs(self, source: Workflow, values: Mapping[str, Any]) -> Flow[set[str]]:
        """The names of the values that are files by their role, looked up for URLs only."""
        urls = [name for name, value in values.items() if is_web_address(value)]
        if not urls:
            return set()
        from ..workflow.prepare import file_values

        registry = yield from self.object_info()
        return (yield from work(lambda: file_values(source, urls, registry)))

    def _with_uploads(
        self, values: Mapping[str, UploadSource | Any], files: Container[str]
    ) -> Flow[dict[str, Any]]:
        from ..workflow.conditioning.picture_values import PICTURE_VALUES, read_entries

        job_values: dict[str, Any] = {}
        for name, value in values.items():
            if name in PICTURE_VALUES:
                entries = read_entries(name, value)
                for entry in entries:
                    image = entry.get("image")
                    entry["image"] = yield from self._uploaded(image, is_web_address(image))
                job_values[name] = entries
            else:
                job_values[name] = yield from self._uploaded(value, name in files)
        return job_values

    def _uploaded(self, value: UploadSource | Any, named: bool) -> Flow[Any]:
        """The value, or if it is a file, its name after the upload."""
        if not (named or isinstance(value, OutputFile) or is_file(value)):
            return value
        return (
            yield from self._transfers.upload(
                value, filename=None, subfolder="", type="input", overwrite=False
            )
        )

    def _registries(self) -> Flow[list[NodeRegistry]]:
        """The server's node classes; none if its API does not list them."""
        try:
            return [(yield from self.object_info())]
        except ServerRejectedError as error:
            if error.status != NOT_IMPLEMENTED:
                raise
            return []

    def _prepare(self, source: Workflow, values: Mapping[str, Any]) -> Flow[PreparedGraph]:
        from ..workflow.conditioning.picture_values import pictures_in
        from ..workflow.prepare import prepare
        from ..workflow.presets.preset_store import load_presets
        from ..workflow.wildcards import WildcardFolder

        settings = self._environment.settings
        needs_registry = values or source.format != "api"
        registries = (yield from self._registries()) if needs_registry else []
        named = [*values.values(), *pictures_in(values)]
        uploads = {value for value in named if isinstance(value, UploadedFile)}
        return (
            yield from work(
                lambda: prepare(
                    source,
                    values,
                    presets=load_presets([settings.presets_dir]),
                    object_info=registries,
                    wildcards=WildcardFolder(settings.wildcards_dir),
                    uploads=uploads,
                    now=datetime.now().astimezone(),
                )
            )
        )


def _check_names(values: object) -> None:
    if values is None or (
        isinstance(values, Mapping) and all(isinstance(name, str) for name in values)
    ):
        return
    raise ValidationError(
        f"values= maps names to values, unlike {values!r:.100}.",
        hint='Pass a dict, such as {"steps": 8, "KSampler.seed": 7}.',
    )


def _is_graph(source: Mapping[str, Any]) -> bool:
    return bool(source) and all(
        isinstance(node, Mapping) and "class_type" in node for node in source.values()
    )
