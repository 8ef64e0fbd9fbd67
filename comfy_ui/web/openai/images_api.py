"""The routes of the Images API: models, generations, edits.

They prepare and queue jobs as the endpoints for programs do, see :mod:`..api.program_endpoints`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import ComfyHeadlessError, UnknownPresetError
from ...library.upload_decoding import mask_of_edit
from ...storage.records import Job, LibraryItem, Snapshot
from ...worker_processes.process_pool import WORKERS
from ...workflow.presets.schema import Preset
from ..api.program_endpoints import ProgramEndpoints
from ..auth.access import Access, login_missing
from ..http.handlers import PRIVATE, Handler, body, events, while_connected
from ..http.request_budgets import budget_of
from ..http.upload_routes import UploadRoutes
from ..preset_catalog import CatalogEntry
from ..services import Services
from .api_errors import ApiError, api_error, error_response
from .image_answer import Kind, completed_event, event, images_response, partial_event
from .image_request import ImageRequest, job_values, parse_form, parse_json

__all__ = ["ImagesApi"]

_GENERATIONS: Final = "/v1/images/generations"
_EDITS: Final = "/v1/images/edits"
_MAX_IMAGES: Final = 16
_MAX_FIELDS: Final = 100
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")


class ImagesApi:
    """Answers requests of OpenAI's clients. A model is the id of a preset."""

    def __init__(
        self,
        services: Services,
        access: Access,
        uploads: UploadRoutes,
        endpoints: ProgramEndpoints,
    ) -> None:
        self._services = services
        self._access = access
        self._uploads = uploads
        self._endpoints = endpoints
        self._cancelling: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """The routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/v1/models", _answered(self._models)),
            Route("/v1/models/{id}", _answered(self._model)),
            Route(_GENERATIONS, _answered(self._generate), methods=["POST"]),
            Route(_EDITS, _answered(self._edit), methods=["POST"]),
        ]

    async def _models(self, request: Request) -> Response:
        self._user_id(request)
        await self._services.connection.wait_checked()
        entries = self._services.catalog.entries
        data = [_model(entry) for entry in entries if entry.ready is not False]
        return JSONResponse({"object": "list", "data": data}, headers=PRIVATE)

    async def _model(self, request: Request) -> Response:
        self._user_id(request)
        preset = self._endpoints.preset(request.path_params["id"])
        return JSONResponse(_model(self._services.catalog.entry(preset.id)), headers=PRIVATE)

    async def _generate(self, request: Request) -> Response:
        user_id = self._user_id(request)
        options = parse_json(await body(request, budget_of("POST", _GENERATIONS).body_bytes))
        preset = self._preset(options, self._services.catalog.default)
        values = job_values(options, preset)
        return await self._answer(
            request, user_id, options, preset, values=values, kind="image_generation"
        )

    async def _edit(self, request: Request) -> Response:
        user_id = self._user_id(request)
        try:
            form = await request.form(max_files=_MAX_IMAGES + 1, max_fields=_MAX_FIELDS)
        except HTTPException as error:
            raise ApiError(400, str(error.detail)) from error
        try:
            fields = [(name, text) for name, text in form.multi_items() if isinstance(text, str)]
            options = parse_form(fields)
            images = [await file.read() for file in _files(form, "image", "image[]")]
            masks = [await file.read() for file in _files(form, "mask")]
        finally:
            await form.close()
        if not images:
            raise ApiError(400, "There is no image.", hint="Send it as 'image'.", param="image")
        tasks = ("inpaint", "edit", "i2i") if masks else ("edit", "i2i", "inpaint")
        default = self._services.catalog.for_tasks(tasks)
        preset = self._preset(options, default)
        files = await while_connected(request, self._files(preset, images, masks, user_id, default))
        values = [{**files, **each} for each in job_values(options, preset)]
        return await self._answer(
            request, user_id, options, preset, values=values, kind="image_edit"
        )

    async def _files(
        self,
        preset: Preset,
        images: Sequence[bytes],
        masks: Sequence[bytes],
        user_id: str,
        default: CatalogEntry | None,
    ) -> dict[str, Any]:
        """Store the images and the mask; return them as values of the preset."""
        params = [param for param in preset.params if param.role == "image"]
        if len(images) > len(params):
            able = f"Use a model for edits, such as {default.preset.id}." if default else ""
            takes = f"at most {len(params)} images" if params else "no image"
            raise ApiError(400, f"'{preset.id}' takes {takes}.", hint=able, param="image")
        accept = self._uploads.accept
        names = [await accept(image, "image", user_id) for image in images]
        values: dict[str, Any] = {
            param.id: name for param, name in zip(params, names, strict=False)
        }
        if masks:
            mask = await WORKERS.run(mask_of_edit, masks[0], user_id=user_id)
            if mask_param := preset.by_role("mask"):
                values[mask_param.id] = await accept(mask, "mask", user_id)
            else:
                values[params[0].id] = await self._uploads.paint(names[0], user_id, mask=mask)
        return values

    def _user_id(self, request: Request) -> str:
        user_id = self._access.require("see_own", request)
        if not self._access.identifies(request):
            raise ApiError(
                401,
                "This needs an API key.",
                hint="Create one on the machine of the app: comfy-ui keys create NAME.",
                code="invalid_api_key",
            )
        return user_id

    def _preset(self, options: ImageRequest, default: CatalogEntry | None) -> Preset:
        if options.preset_id:
            preset = self._endpoints.preset(options.preset_id)
        elif default is not None:
            preset = default.preset
        else:
            raise UnknownPresetError("No preset takes an image.")
        if preset.kind != "image":
            raise ApiError(
                400,
                f"'{preset.id}' makes {preset.kind}, not images.",
                hint="The endpoint /gradio_api/call/generate runs it.",
                param="model",
            )
        return preset

    async def _answer(
        self,
        request: Request,
        user_id: str,
        options: ImageRequest,
        preset: Preset,
        *,
        values: Sequence[dict[str, Any]],
        kind: Kind,
    ) -> Response:
        await self._services.connection.wait_ready()
        jobs = await self._submitted(request, user_id, options, preset, values)
        headers = {**PRIVATE, "X-Comfy-UI-Model": preset.id, "X-Comfy-UI-Jobs": _ids(jobs)}
        if preset.size_params is not None:
            sides = [str(jobs[0].values[param.id]) for param in preset.size_params]
            headers["X-Comfy-UI-Size"] = "x".join(sides)
        if options.stream:
            pieces = self._events(user_id, options, jobs, kind)
            response = events(request, pieces, reconnect=False)
            response.headers.update(headers)
            return response
        try:
            results = await while_connected(request, self._results(request, user_id, jobs))
        except ClientDisconnect:
            self._leave(user_id, options, jobs)
            raise
        base = str(request.base_url).rstrip("/")
        answer = await images_response(
            options, results, lambda item: base + self._endpoints.file_url(item, user_id)
        )
        return JSONResponse(answer, headers=headers)

    async def _submitted(
        self,
        request: Request,
        user_id: str,
        options: ImageRequest,
        preset: Preset,
        values: Sequence[dict[str, Any]],
    ) -> list[Job]:
        """Queue all jobs of a request, or none."""
        key = request.headers.get("Idempotency-Key")
        jobs: list[Job] = []
        try:
            for number, each in enumerate(values):
                await self._access.admit("run", request)
                job_key = f"v1 {number} {key}" if key else None
                jobs += await self._endpoints.submit_preset(
                    request, user_id, preset, each, key=job_key, webhook=options.webhook
                )
        except ComfyHeadlessError:
            await self._cancel(user_id, jobs)
            raise
        return jobs

    async def _results(
        self, request: Request, user_id: str, jobs: Sequence[Job]
    ) -> list[LibraryItem]:
        """Wait for the images of all jobs. Raises ApiError if a job has none."""
        results: list[LibraryItem] = []
        for job in jobs:
            last = None
            async with aclosing(self._services.connection.follow(job.id, user_id)) as snapshots:
                async for snapshot in snapshots:
                    last = snapshot
                    if login_missing(request):
                        raise ApiError(401, "This API key is not valid.", code="invalid_api_key")
            results += await self._with_files(last)
        return results

    async def _with_files(self, last: Snapshot | None) -> list[LibraryItem]:
        images = _images(last)
        for item in images:
            await self._services.library.fetch(item.path)
        return images

    async def _events(
        self, user_id: str, options: ImageRequest, jobs: Sequence[Job], kind: Kind
    ) -> AsyncGenerator[str, None]:
        """Yield previews, spread over each job, and the finished images as events."""
        unfinished = [*jobs]
        try:
            for job in jobs:
                last, sent = None, 0
                async with aclosing(self._services.connection.follow(job.id, user_id)) as followed:
                    async for last in followed:
                        due = 100 * (sent + 1) / (options.partial_images + 1)
                        if (
                            sent < options.partial_images
                            and last.preview
                            and last.preview_type
                            and last.progress >= due
                            and not last.terminal
                        ):
                            yield partial_event(
                                options, last.preview, last.preview_type, sent, kind
                            )
                            sent += 1
                unfinished.remove(job)
                for item in await self._with_files(last):
                    yield await completed_event(options, item, kind)
        except ApiError as error:
            yield event("error", error.envelope)
        except ComfyHeadlessError as error:
            yield event("error", api_error(error).envelope)
        finally:
            self._leave(user_id, options, unfinished)

    def _leave(self, user_id: str, options: ImageRequest, jobs: Sequence[Job]) -> None:
        """Cancel the jobs of a client that has disconnected, if it asked for that.

        In a task of its own, because the request's is being cancelled.
        """
        if options.cancels and jobs:
            task = asyncio.create_task(self._cancel(user_id, jobs), name="cancel jobs")
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, user_id: str, jobs: Sequence[Job]) -> None:
        for job in jobs:
            await self._services.jobs.cancel(job.id, user_id)


def _answered(handler: Handler) -> Handler:
    """Wrap a handler so that errors have the API's envelope and each response an id."""

    async def answer(request: Request) -> Response:
        try:
            response = await handler(request)
        except ApiError as error:
            response = error_response(error)
        except ComfyHeadlessError as error:
            response = error_response(api_error(error))
        except ClientDisconnect:  # also the middleware's error for a body that is too large
            response = error_response(ApiError(413, "The body was too large, or too slow."))
        sent = request.headers.get("x-request-id", "")
        response.headers["X-Request-Id"] = (
            sent if _REQUEST_ID.fullmatch(sent) else f"req_{secrets.token_hex(12)}"
        )
        return response

    return answer


def _model(entry: CatalogEntry) -> dict[str, Any]:
    preset = entry.preset
    return {
        "id": preset.id,
        "object": "model",
        "created": 0,
        "owned_by": "comfy-ui",
        "name": preset.title,
        "kind": preset.kind,
        "task": preset.task,
        "ready": entry.ready,
    }


def _files(form: FormData, *names: str) -> list[UploadFile]:
    return [
        value
        for name, value in form.multi_items()
        if name in names and isinstance(value, UploadFile)
    ]


def _images(snapshot: Snapshot | None) -> list[LibraryItem]:
    """Return the images of a job's last snapshot. Raises ApiError if there are none."""
    if snapshot is None or not snapshot.terminal:
        raise ApiError(503, "The app is stopping. The job continues at its next start.")
    images = [item for item in snapshot.items if item.kind == "image"]
    if not images:
        raise ApiError.of_job(snapshot.phase, snapshot.error)
    return images


def _ids(jobs: Sequence[Job]) -> str:
    return ",".join(job.id for job in jobs)
