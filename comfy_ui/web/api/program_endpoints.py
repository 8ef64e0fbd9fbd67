"""The named endpoints for programs; the same ten are the tools of ``--mcp`` (see :mod:`.mcp`).

Each checks ``access`` first, as the page's handlers do; no other handler has a name.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import wraps
from typing import Any, Final

import gradio as gr

from ...errors import (
    ComfyHeadlessError,
    ComfyUIOfflineError,
    UnknownPresetError,
    ValidationError,
    closest,
)
from ...prompts import aenhance_prompt, load_styles
from ...prompts.language_models.model_choice import RULES
from ...prompts.language_models.sources import find_source
from ...prompts.language_models.text_encoder import TextEncoder
from ...protocol.object_info import NodeRegistry
from ...protocol.progress import Phase
from ...storage.records import (
    EVERYONE,
    TEMPLATES,
    Job,
    JobGroup,
    JobRequest,
    LibraryItem,
    Snapshot,
)
from ...worker_processes.process_pool import WORKERS, Limits
from ...workflow.checks.allow_list import is_allowed
from ...workflow.graph import Graph
from ...workflow.grid_axes import array_axes
from ...workflow.guest_workflow import (
    PreparedWorkflow,
    check_guest_workflow,
    most_nodes,
    not_a_preset,
    part_of_registry,
    prepare_guest_workflow,
    prepare_workflow,
)
from ...workflow.prepare import value_notices
from ...workflow.presets.preset_store import Preset
from ...workflow.wildcards import PROMPT_ROLES, WildcardFolder
from ..auth.access import Access
from ..http.upload_routes import UploadRoutes
from ..preset_catalog import CatalogEntry
from ..services import Services
from ..tabs.create.enhance_prompt import kind_of
from ..tabs.create.grid_request import grid
from ..tabs.create.one_press import extension
from ..webhooks.webhook_message import webhook_target

__all__ = ["ENDED_WITH_CALLER", "NAMES", "ProgramEndpoints"]

NAMES: Final = (
    "generate",
    "run_workflow",
    "extend",
    "trim",
    "enhance",
    "presets",
    "job",
    "cancel",
    "pause",
    "resume",
)
"""The names of all endpoints, methods of :class:`ProgramEndpoints`."""
ENDED_WITH_CALLER: Final = frozenset({"run_workflow", "trim"})
"""Endpoints whose work ends when the caller hangs up. A job that is queued by then continues."""

_MAX_PROMPT: Final = 20_000
_FOLLOWING: Final = frozenset({"generate", "run_workflow", "extend", "trim"})
"""They run as long as their job or work."""
_MAX_FOLLOWED: Final = 150  # of Gradio's places; the others are for the page
_PREPARING: Final = Limits(cpu_s=60, wall_s=180.0)
"""The limits for the workflows of admins, which may be the largest that ComfyUI can run."""
_SHORT: Final = frozenset({"presets", "job", "cancel", "pause", "resume"})
_MAX_SHORT: Final = 2
"""Short calls at a time: each takes milliseconds of the event loop, which others then wait for."""


class ProgramEndpoints:
    """The endpoints. ``request`` identifies the caller; it is Gradio's or Starlette's.

    A job belongs to the queue: it continues without its caller, who finds it again by its id with
    the same login or session.
    """

    def __init__(self, services: Services, access: Access, uploads: UploadRoutes) -> None:
        self._services = services
        self._access = access
        self._uploads = uploads
        self._presets: tuple[Sequence[CatalogEntry], list[dict[str, Any]]] = (), []
        self._checking = asyncio.Semaphore(1)  # workflows, which may have thousands of nodes

    def build(self) -> None:
        """Add the endpoints to the current ``gr.Blocks``."""
        for name in NAMES:
            limited: dict[str, Any] = {"concurrency_limit": None}
            if name in _FOLLOWING:
                limited = {"concurrency_limit": _MAX_FOLLOWED, "concurrency_id": "follow"}
            elif name in _SHORT:
                limited = {"concurrency_limit": _MAX_SHORT, "concurrency_id": "short"}
            gr.events.api(_with_words(getattr(self, name)), api_name=name, **limited)

    async def generate(
        self,
        request: gr.Request,
        preset: str,
        prompt: str = "",
        values: dict[str, Any] | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Make an image, video or audio file with a preset.

        Streams updates while the job runs (phase, progress in percent, step, position in the queue)
        and ends with its files, each with a URL below this app. "notices" name rounded values.
        Arrays in the prompt, as in "[[red, green]] fox", make a group of jobs: the updates are
        those of one job after the other, and the last one has all files.

        Args:
            preset: Id of a preset; "presets" lists them.
            prompt: What to make, in words. <lora:name:0.8> loads a LoRA.
            values: Other parameters of the preset, for instance {"seed": 7, "steps": 20}. Omitted
                ones keep their defaults; a file is a name returned by POST /uploads. "loras" is a
                list such as [["name", 0.8]], "controlnets" one such as [{"type": "canny", "image":
                NAME, "strength": 0.8}], "references" one such as [{"image": NAME}]. "webhook" is a
                URL that is called when the job ends.
        """
        user_id = await self._access.admit("run", request)
        await self._services.connection.wait_ready()
        chosen = self.preset(preset)
        job_values, webhook = _without_webhook(values)
        prompt_param = chosen.by_role("prompt")
        if prompt_param is not None and prompt_param.id not in job_values:
            job_values[prompt_param.id] = _prompt(prompt)
        jobs = await self.submit_preset(
            request, user_id, chosen, job_values, key=_key(request), webhook=webhook
        )
        notices = dict.fromkeys(
            text
            for job in jobs
            for text in value_notices(chosen, {**job_values, **_prompts(chosen, job)})
        )
        async with aclosing(self._followed([job.id for job in jobs], user_id)) as snapshots:
            async for one in snapshots:
                yield {**one, "notices": [*notices]}

    async def submit_preset(
        self,
        request: Any,
        user_id: str,
        preset: Preset,
        values: dict[str, Any],
        *,
        key: str | None,
        webhook: str = "",
        extends: LibraryItem | None = None,
    ) -> list[Job]:
        """Queue a job of a preset, or the group of jobs that the arrays in its prompts stand for.

        The caller has checked that the user may run it. ``extends`` is the video that the new one
        continues.

        Raises:
            ValidationError, StorageError: as :meth:`.JobService.submit`, or a value names a file
                that the user did not upload, or the user may not use that webhook.
        """
        target = await webhook_target(self._access, request, webhook)
        files = self._uploads.check(preset, values, user_id)
        trusted = self._access.allows("open_workflow", request)
        service = self._services.jobs
        template = JobRequest(
            user_id=user_id,
            preset=preset.id,
            values=values,
            uploads=None if trusted else files,
            key=key,
            webhook=target,
            api_key=self._access.job_key(request),
            may_spend=self._access.allows("spend", request),
            source=extends,
            extends=extends is not None,
        )
        if not array_axes(preset, values):
            return [await service.submit(template)]
        cells = await asyncio.to_thread(grid, preset, values, ())
        queued = await service.submit_grid(
            [replace(template, values=cell) for cell in cells.cells],
            across=cells.across,
            down=cells.down,
        )
        return await service.groups.jobs(queued.id, user_id)

    async def extend(
        self,
        request: gr.Request,
        job_id: str,
        prompt: str = "",
        values: dict[str, Any] | None = None,
        file: int | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Continue a job's video from its last frame, and join both. Responds like "generate".

        Uses the preset of the video if that takes an image, else one of its family, with the
        settings of the video. The file of the video stays as it is.

        Args:
            job_id: The "job" of a response whose "files" have a video.
            prompt: What happens next; empty for the prompt of the video.
            values: Other parameters of the preset, as for "generate", for instance {"frames": 49}.
            file: The "id" of the file to continue, if the job has several videos.
        """
        user_id = await self._access.admit("run", request)
        await self._services.connection.wait_ready()
        item = await self._video(job_id, file, user_id)
        preset, settings = await extension(item, self._services.catalog, self._uploads)
        own_values, webhook = _without_webhook(values)
        job_values = {**settings, **own_values}
        prompt_param = preset.by_role("prompt")
        if prompt_param is not None and prompt_param.id not in own_values:
            job_values[prompt_param.id] = str(prompt).strip()[:_MAX_PROMPT] or item.prompt
        jobs = await self.submit_preset(
            request,
            user_id,
            preset,
            job_values,
            key=_key(request),
            webhook=webhook,
            extends=item,
        )
        async with aclosing(self._followed([job.id for job in jobs], user_id)) as snapshots:
            async for one in snapshots:
                yield one

    async def trim(
        self,
        request: gr.Request,
        job_id: str,
        start_s: float,
        end_s: float,
        file: int | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Store a part of a job's video as a new result; the video stays as it is.

        Streams the progress in percent and ends with the new file. Hanging up cancels it.

        Args:
            job_id: The "job" of a response whose "files" have a video.
            start_s: Where the part begins, in seconds from the start of the video.
            end_s: Where it ends.
            file: The "id" of the file to trim, if the job has several videos.
        """
        user_id = await self._access.admit("run", request)
        item = await self._video(job_id, file, user_id)
        cut = self._services.library.cut(item.id, user_id, float(start_s), float(end_s))
        async with aclosing(cut) as steps:
            async for step in steps:
                made = step if isinstance(step, LibraryItem) else None
                yield {
                    "job": made and made.job_id,
                    "phase": str(Phase.SUCCEEDED if made else Phase.RUNNING),
                    "done": made is not None,
                    "progress": 100.0 if isinstance(step, LibraryItem) else round(100 * step, 1),
                    "files": [self._file(made, user_id)] if made else [],
                }

    async def _video(self, job_id: str, file: int | None, user_id: str) -> LibraryItem:
        """Return the video of a job, the first one unless ``file`` names another."""
        snapshot = await self._services.jobs.snapshot(str(job_id), user_id)
        for item in snapshot.items:
            if item.kind == "video" and file in (None, item.id):
                return item
        raise ValidationError(
            "This job has no such video.", hint='Name one of the "files" of a job that is done.'
        )

    async def run_workflow(
        self,
        request: gr.Request,
        workflow: dict[str, Any],
        values: dict[str, Any] | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Run a ComfyUI workflow, in API or editor format. Responds like "generate".

        Admins may run any workflow; users only one that a preset could have produced.

        Args:
            workflow: The workflow as ComfyUI exports it, as a JSON object.
            values: New values for its controls, by id. "webhook" is a URL that is called when the
                job ends.
        """
        user_id = await self._access.admit("run", request)
        own_values, webhook = _without_webhook(values)
        target = await webhook_target(self._access, request, webhook)
        await self._services.connection.wait_ready()
        if not isinstance(workflow, dict):
            raise ValidationError("The workflow must be a JSON object.")
        if self._access.allows("open_workflow", request):
            arguments = workflow, own_values, await self._library(), self._wildcards
            prepared = await WORKERS.run(
                prepare_workflow, *arguments, user_id=user_id, limits=_PREPARING
            )
        else:
            prepared = await self._prepared_for_guest(workflow, own_values, user_id)
        graph = prepared.graph
        stored_values = prepared.values | (
            {TEMPLATES: prepared.templates} if prepared.templates else {}
        )
        job = await self._services.jobs.submit(
            JobRequest(
                user_id=user_id,
                preset="workflow",
                values=stored_values,
                graph=graph,
                key=_key(request),
                webhook=target,
                api_key=self._access.job_key(request),
                may_spend=self._access.allows("spend", request),
            )
        )
        async with aclosing(self._followed([job.id], user_id)) as snapshots:
            async for one in snapshots:
                yield one

    async def _prepared_for_guest(
        self, workflow: dict[str, Any], values: Mapping[str, Any], user_id: str
    ) -> PreparedWorkflow:
        """Prepare a workflow that a preset could have produced; refuse others early."""
        presets = [entry.preset for entry in self._services.catalog.entries]
        async with self._checking:
            names = check_guest_workflow(workflow, values, presets)
            await asyncio.sleep(0)  # other requests go in between
        registry = part_of_registry(await self._library(), names)
        arguments = workflow, values, registry, self._wildcards, most_nodes(presets)
        prepared = await WORKERS.run(prepare_guest_workflow, *arguments, user_id=user_id)
        files = self._uploads.among(prepared.graph, user_id)
        if not await asyncio.to_thread(_some_preset_allows, prepared.graph, presets, files):
            raise not_a_preset()
        return prepared

    @property
    def _wildcards(self) -> WildcardFolder:
        return WildcardFolder(self._services.settings.wildcards_dir)

    async def enhance(
        self, request: gr.Request, prompt: str, style: str = "balanced", preset: str = ""
    ) -> dict[str, Any]:
        """Write a richer prompt: with a language model, a text encoder of ComfyUI, or rules.

        Args:
            prompt: What to make, in a few words.
            style: How to write it: balanced, detailed, …
            preset: Id of the preset that the prompt is for, so that it suits the model.
        """
        await self._access.admit("enhance", request)
        chosen = self.preset(preset) if preset else None
        folder = self._services.settings.data_dir / "styles"
        library = (await asyncio.to_thread(load_styles, folder)).styles
        source = await find_source(
            None,
            servers=self._services.catalog.servers,
            graph=chosen.graph if chosen else None,
            settings=self._services.settings,
        )
        if isinstance(source, TextEncoder):
            await self._services.idle_stop.ensure_started()
        draft = await aenhance_prompt(
            _prompt(prompt),
            style=library.get(str(style), str(style)),
            family=chosen.family if chosen else "",
            kind=kind_of(chosen) if chosen else "image",
            model=source or RULES,
            client=self._services.client,
            shares_gpu=self._services.settings.llm_shares_gpu,
        )
        return {
            "prompt": draft.enhanced,
            "negative": draft.negative,
            "original": draft.original,
            "source": draft.source,
            "reason": draft.reason,
        }

    async def presets(self, request: gr.Request) -> list[dict[str, Any]]:
        """List the presets: what each makes, whether it can run now, and its parameters."""
        self._access.require("see", request)
        await self._services.connection.wait_checked()
        entries = self._services.catalog.entries
        if self._presets[0] is not entries:
            self._presets = entries, [_preset_told(entry) for entry in entries]
        return self._presets[1]

    async def job(self, request: gr.Request, job_id: str) -> dict[str, Any]:
        """Return the state of a job, with its files when it is done; or of a group of jobs.

        Args:
            job_id: The "job" of a response of "generate" or "run_workflow", or its "group".
        """
        user_id = self._access.require("see_own", request)
        groups = await self._services.jobs.groups.by_id([str(job_id)], user_id)
        for group in groups.values():
            return await self._group(group, user_id)
        return self._told(await self._services.jobs.snapshot(str(job_id), user_id), user_id)

    async def report(self, job_id: str, user_id: str, base: str) -> dict[str, Any]:
        """Describe a job as "job" does, with whole addresses of its files below ``base``."""
        answer = self._told(await self._services.jobs.snapshot(job_id, user_id), user_id)
        return {**answer, "files": [{**f, "url": base + f["url"]} for f in answer["files"]]}

    async def cancel(self, request: gr.Request, job_id: str) -> dict[str, Any]:
        """Cancel a job, or a group of jobs. "cancelled" is false if it was already over.

        Args:
            job_id: The "job" of a response of "generate" or "run_workflow", or its "group".
        """
        user_id = self._access.require("cancel", request)
        jobs = self._services.jobs
        if await jobs.groups.by_id([str(job_id)], user_id):
            return {"cancelled": await jobs.groups.cancel(str(job_id), user_id) > 0}
        return {"cancelled": await jobs.cancel(str(job_id), user_id)}

    async def pause(self, request: gr.Request, everyone: bool = False) -> dict[str, Any]:
        """Pause the queue: the running job continues, and no other starts until "resume".

        Args:
            everyone: Pause the queues of all users; for admins.
        """
        return await self._set_paused(request, paused=True, everyone=everyone)

    async def resume(self, request: gr.Request, everyone: bool = False) -> dict[str, Any]:
        """Resume the queue after "pause": waiting jobs start again, in their order.

        Args:
            everyone: Resume the queues of all users; for admins.
        """
        return await self._set_paused(request, paused=False, everyone=everyone)

    async def _set_paused(
        self, request: gr.Request, *, paused: bool, everyone: bool
    ) -> dict[str, Any]:
        user_id = self._access.require("pause_all" if everyone else "cancel", request)
        await self._services.connection.wait_ready()
        await self._services.jobs.set_paused(EVERYONE if everyone else user_id, paused=paused)
        return {"paused": paused, "everyone": everyone}

    async def _followed(
        self, job_ids: Sequence[str], user_id: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the states of jobs, one job after the other; the last one has all files.

        ``progress`` is that of all jobs, ``error`` the first one.
        """
        files: list[dict[str, Any]] = []
        error = None
        for number, job_id in enumerate(job_ids):
            answer: dict[str, Any] = {"files": [], "error": None}
            async with aclosing(self._services.connection.follow(job_id, user_id)) as snapshots:
                async for snapshot in snapshots:
                    answer = self._told(snapshot, user_id)
                    progress = (100 * number + snapshot.progress) / len(job_ids)
                    yield {
                        **answer,
                        "done": snapshot.terminal and job_id == job_ids[-1],
                        "progress": round(progress, 1),
                        "files": files + answer["files"],
                        "error": error or answer["error"],
                    }
            files += answer["files"]
            error = error or answer["error"]

    async def _group(self, group: JobGroup, user_id: str) -> dict[str, Any]:
        jobs = await self._services.jobs.groups.jobs(group.id, user_id)
        items = await self._services.library.results(user_id, limit=500, group_id=group.id)
        return {
            "group": group.id,
            "jobs": [job.id for job in jobs],
            "done": not any(job.status.active for job in jobs),
            "paused": group.paused,
            "size": group.size,
            "succeeded": group.succeeded,
            "failed": group.failed,
            "cancelled": group.cancelled,
            "files": [self._file(item, user_id) for item in reversed(items)],
        }

    def _told(self, snapshot: Snapshot, user_id: str) -> dict[str, Any]:
        error = snapshot.error
        return {
            "job": snapshot.job_id,
            "group": snapshot.group_id,
            "phase": str(snapshot.phase),
            "done": snapshot.terminal,
            "progress": round(snapshot.progress, 1),
            "step": snapshot.step,
            "steps": snapshot.steps,
            "queue_position": snapshot.queue_position,
            "starts_in_s": snapshot.starts_in_s,
            "run_s": snapshot.run_s,
            "eta_s": None if snapshot.eta_s is None else round(snapshot.eta_s, 1),
            "iteration": snapshot.iteration,
            "iterations": snapshot.iterations,
            "text": snapshot.text,
            "paused": snapshot.paused,
            "server_deaths": snapshot.server_deaths,
            "elapsed_s": round(snapshot.elapsed_s, 2),
            "error": {"message": error.message, "hint": error.hint} if error else None,
            "files": [self._file(item, user_id) for item in snapshot.items],
            "texts": list(snapshot.texts),
        }

    def _file(self, item: LibraryItem, user_id: str) -> dict[str, Any]:
        return {
            "id": item.id,
            "kind": str(item.kind),
            "preview": item.is_preview,
            "filename": item.filename,
            "media_type": item.media_type,
            "size_bytes": item.size_bytes,
            "width": item.width,
            "height": item.height,
            "prompt": item.prompt,
            "seed": item.seed,
            "url": self.file_url(item, user_id),
        }

    def file_url(self, item: LibraryItem, user_id: str) -> str:
        """Return the address of a file below this app, which opens it without the user's cookie."""
        return f"/files/{item.id}?key={self._access.file_key(item.id, user_id)}"

    def preset(self, name: str) -> Preset:
        """Return the preset with that id. Raises UnknownPresetError if there is none."""
        preset = self._services.catalog.find(str(name))
        if preset is None:
            preset_ids = [entry.preset.id for entry in self._services.catalog.entries]
            raise UnknownPresetError(
                f"There is no preset '{str(name)[:80]}'.", hint=closest(str(name)[:80], preset_ids)
            )
        return preset

    async def _library(self) -> NodeRegistry:
        await self._services.connection.wait_checked()
        library = self._services.catalog.library
        if library is None:
            raise ComfyUIOfflineError("ComfyUI did not list its nodes.")
        return library


def _some_preset_allows(graph: Graph, presets: list[Preset], files: frozenset[str]) -> bool:
    return any(is_allowed(graph, preset, files) for preset in presets)


def _preset_told(entry: CatalogEntry) -> dict[str, Any]:
    preset = entry.preset
    return {
        "id": preset.id,
        "title": preset.title,
        "description": preset.description,
        "kind": preset.kind,
        "task": preset.task,
        "ready": entry.ready,
        "lack": entry.lack,
        "paid": entry.paid,
        "takes_loras": bool(preset.lora_slots),
        "takes_controlnets": preset.takes_controlnets,
        "takes_references": preset.reference_method() is not None,
        "parameters": [
            {
                "id": param.id,
                "label": param.label,
                "role": param.role,
                "default": param.default,
                **{
                    name: value
                    for name in ("min", "max", "step", "choices")
                    if (value := getattr(param, name)) is not None
                },
            }
            for param in preset.params
        ],
    }


def _prompts(preset: Preset, job: Job) -> dict[str, Any]:
    """Return the prompts of a job, in which arrays are replaced."""
    names = (param.id for param in preset.params if param.role in PROMPT_ROLES)
    return {name: job.values[name] for name in names if name in job.values}


def _prompt(text: object) -> str:
    prompt = str(text).strip()
    if not prompt:
        raise ValidationError("The prompt is empty.", hint="Describe what to generate.")
    return prompt[:_MAX_PROMPT]


def _key(request: gr.Request) -> str | None:
    """Return the caller's idempotency key: requests with the same key make one job.

    A header: Gradio refuses callers that pass positional arguments and lack one.
    """
    return request.headers.get("Idempotency-Key") or None


def _without_webhook(values: object) -> tuple[dict[str, Any], str]:
    """Return the values of a job, and the webhook among them; no argument of its own, see _key."""
    job_values = {**_mapping(values)}
    return job_values, str(job_values.pop("webhook", None) or "")


def _mapping(values: object) -> Mapping[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValidationError("The values must be an object, as {'seed': 7}.")
    return values


def _with_words(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an endpoint so that typed errors reach the caller as sentences; others stay internal."""
    if inspect.isasyncgenfunction(endpoint):

        @wraps(endpoint)
        async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            try:
                async with aclosing(endpoint(*args, **kwargs)) as answers:
                    async for answer in answers:
                        yield answer
            except ComfyHeadlessError as error:
                raise gr.Error(str(error), print_exception=False) from error

        return stream

    @wraps(endpoint)
    async def once(*args: Any, **kwargs: Any) -> Any:
        try:
            return await endpoint(*args, **kwargs)
        except ComfyHeadlessError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return once
