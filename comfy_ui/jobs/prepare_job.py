"""From what somebody asks to a job that a server can run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ..errors import InvalidWorkflowError, ValidationError
from ..library.uploads import UploadStore
from ..prompts.wildcards import WildcardFolder, expand_values
from ..protocol.object_info import NodeRegistry
from ..storage.records import TEMPLATES, Job, JobRequest, JobStatus, make_id
from ..workflow.checks.allow_list import check_allowed
from ..workflow.checks.graph_checks import check_workflow, error_for
from ..workflow.filename_prefix import fill_prefixes
from ..workflow.presets.preset_store import Graph, Preset, build_graph, get_preset, resolve_values
from .fair_queue import relative_work


def prepare(
    request: JobRequest,
    libraries: Sequence[NodeRegistry],
    *,
    folders: Sequence[Path],
    wildcards: WildcardFolder,
    inputs: UploadStore,
) -> Job:
    """A request as a job with concrete values and a graph that a server can run.

    ``libraries`` are what the servers have, the preferred one first: presets take the model files
    that are there, so the graph is made for the first that can run it. Without any it is not
    checked.

    Raises:
        UnknownPresetError, ValidationError: a value does not fit.
        InvalidWorkflowError: no server can run it; says what the first one lacks.
    """

    def made_for(library: NodeRegistry | None) -> Job:
        return _for_server(request, library, folders, wildcards, inputs)

    try:
        return made_for(libraries[0] if libraries else None)
    except ValidationError:
        for other in libraries[1:]:
            with suppress(ValidationError):
                return made_for(other)
        raise


def repeated_job(old: Job, job_id: str) -> Job:
    """The same once more, seed included."""
    return Job(
        id=job_id,
        user_id=old.user_id,
        preset=old.preset,
        values=old.values,
        prompt=old.prompt,
        seed=old.seed,
        graph=old.graph,
        status=JobStatus.WAITING,
        created_at=time.time(),
        work=old.work,
    )


def _for_server(
    request: JobRequest,
    library: NodeRegistry | None,
    folders: Sequence[Path],
    wildcards: WildcardFolder,
    inputs: UploadStore,
) -> Job:
    values, graph = dict(request.values), request.graph
    if graph is not None and request.uploads is not None:
        raise ValidationError("Only presets can be run here.")
    prompt, seed = values.get("prompt"), values.get("seed")
    if graph is None:
        preset = get_preset(request.preset, folders=folders)
        words = expand_values(values, preset.params, wildcards)
        values = resolve_values(preset, words.values, object_info=library)
        graph = build_graph(preset, values, object_info=library)
        if request.uploads is not None:
            _allowed(graph, preset, request.uploads)
        prompt, seed = (
            values[param.id] if (param := preset.by_role(role)) else None
            for role in ("prompt", "seed")
        )
        if words.templates:
            values[TEMPLATES] = words.templates
    if library is not None:
        problems = check_workflow(graph, library, uploads=inputs.used_by(graph))
        if wrong := error_for(problems):
            raise wrong
    try:
        json.dumps([values, graph], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValidationError(
            f"The values cannot be stored: {error}.",
            hint="Use texts, numbers, true, false and lists of them.",
        ) from error
    return Job(
        id=make_id(request.user_id, request.key),
        user_id=request.user_id,
        preset=request.preset,
        values=values,
        prompt=str(prompt or ""),
        seed=seed if isinstance(seed, int) else None,
        graph=fill_prefixes(graph, datetime.now().astimezone()),
        status=JobStatus.WAITING,
        created_at=time.time(),
        work=relative_work(values),
    )


def _allowed(graph: Graph, preset: Preset, uploads: frozenset[str]) -> None:
    refused = check_allowed(graph, preset, uploads)
    if refused:
        raise InvalidWorkflowError(str(refused[0]), problems=refused)
