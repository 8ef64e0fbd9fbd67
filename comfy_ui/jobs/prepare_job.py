"""A :class:`JobRequest` as a :class:`Job` that a server can run."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ..errors import ValidationError
from ..library.uploads import UploadStore
from ..protocol.object_info import NodeRegistry
from ..storage.records import TEMPLATES, Job, JobRequest, JobStatus, LibraryItem, make_id
from ..workflow.load import Workflow
from ..workflow.prepare import PreparedGraph, prepare
from ..workflow.presets.preset_store import load_presets
from ..workflow.video_extension import continue_video
from ..workflow.wildcards import WildcardFolder
from .fair_queue import relative_work

__all__ = ["prepare_job", "repeated_job"]


def prepare_job(
    request: JobRequest,
    object_info: Sequence[NodeRegistry],
    *,
    preset_folders: Sequence[Path],
    wildcards: WildcardFolder,
    uploads: UploadStore,
) -> Job:
    """Prepare a request, see :func:`.prepare.prepare`. Reads presets, wildcards and uploads.

    Without ``object_info`` the graph is not checked.

    Raises:
        UnknownPresetError, ValidationError: a value does not fit.
        InvalidWorkflowError: no server can run it; ``problems`` are those of the first server.
    """
    source: Workflow | str = request.preset
    if request.graph is not None:
        source = Workflow("api", graph={**request.graph})
    prepared = prepare(
        source,
        {} if isinstance(source, Workflow) else request.values,  # a graph holds its values
        presets=load_presets(preset_folders),
        object_info=object_info,
        wildcards=wildcards,
        uploads=uploads,
        guest_uploads=request.uploads,
        now=datetime.now().astimezone(),
        rng=random.Random(),
    )
    prepared.require_runnable()
    graph = prepared.graph
    if request.extends:
        extended = continue_video(graph)
        if extended is None or request.source is None:
            raise ValidationError(
                "This workflow cannot continue a video.",
                hint="Choose a preset that makes a video from an image.",
            )
        graph = extended
    uploads.used_by(graph)
    values = dict(request.values) if isinstance(source, Workflow) else _job_values(prepared)
    prompt, seed = _prompt_and_seed(prepared, values, request.source)
    try:
        json.dumps([values, graph], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValidationError(
            f"The values cannot be stored: {error}.",
            hint="Use strings, numbers, true, false and lists of them.",
        ) from error
    return Job(
        id=make_id(request.user_id, request.key),
        user_id=request.user_id,
        preset=request.preset,
        values=values,
        prompt=str(prompt or ""),
        seed=seed if isinstance(seed, int) else None,
        graph=graph,
        status=JobStatus.WAITING,
        created_at=time.time(),
        work=relative_work(values),
        parent_id=request.source.id if request.source else None,
        webhook=request.webhook,
        key_id=request.api_key.id if request.api_key else None,
        may_spend=request.may_spend,
    )


def repeated_job(job: Job, job_id: str, key_id: str | None, *, may_spend: bool) -> Job:
    """A new job with the same graph and values, seed included.

    It stands for a job that did not succeed, and then keeps the webhook.
    """
    return Job(
        id=job_id,
        user_id=job.user_id,
        preset=job.preset,
        values=job.values,
        prompt=job.prompt,
        seed=job.seed,
        graph=job.graph,
        status=JobStatus.WAITING,
        created_at=time.time(),
        work=job.work,
        parent_id=job.parent_id,
        webhook=None if job.status is JobStatus.SUCCEEDED else job.webhook,
        group_id=job.group_id,
        key_id=key_id,
        may_spend=may_spend,
    )


def _job_values(prepared: PreparedGraph) -> dict[str, object]:
    return {
        **prepared.values,
        **({TEMPLATES: prepared.templates} if prepared.templates else {}),
    }


def _prompt_and_seed(
    prepared: PreparedGraph, values: dict[str, object], source: LibraryItem | None
) -> tuple[object, object]:
    preset = prepared.preset
    if preset is None:
        return values.get("prompt"), values.get("seed")
    prompt_param, seed_param = preset.by_role("prompt"), preset.by_role("seed")
    prompt = values[prompt_param.id] if prompt_param else None
    seed = values[seed_param.id] if seed_param else None
    if source is None:
        return prompt, seed
    # An upscaler's own seed does not recreate the image.
    keeps_image = seed_param is None or preset.task == "upscale"
    return (
        source.prompt if prompt_param is None else prompt,
        source.seed if keeps_image else seed,
    )
