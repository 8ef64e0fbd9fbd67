"""Images that ComfyUI makes for the form itself, outside the queue and the library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ....client.tracking.small_job import run_small_job
from ....errors import GenerationFailedError, ValidationError
from ....protocol.object_info import NodeRegistry
from ....workflow.conditioning.control_types import preprocess_graph
from ....workflow.conditioning.segment_graph import segment_graph
from ....workflow.graph import Graph
from ...auth.access import Access
from ...http.handlers import PRIVATE, asked, body, guarded, while_connected
from ...http.upload_routes import UploadRoutes
from ...services import Services

__all__ = ["SmallJobs"]

_TIMEOUT_S: Final = 90.0  # a model may have to be loaded
_AT_ONCE: Final = 2


class _Preprocess(BaseModel):
    """The upload to prepare, and the type of ControlNet that it is for."""

    image: Annotated[str, Field(max_length=400)]
    type: Annotated[str, Field(max_length=40)]


class _Segment(BaseModel):
    """The upload to select a part of: by words, or by its pixels."""

    image: Annotated[str, Field(max_length=400)]
    text: Annotated[str, Field(max_length=200)] = ""
    points: Annotated[list[tuple[int, int]], Field(max_length=32)] = []


class SmallJobs:
    """Answers with an image as soon as a server has made it; ends with the request."""

    def __init__(self, services: Services, access: Access, uploads: UploadRoutes) -> None:
        self._services = services
        self._access = access
        self._uploads = uploads
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def routes(self) -> list[Route]:
        """The routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/create/preprocess", guarded(self._preprocess, writes=True), methods=["POST"]),
            Route("/create/segment", guarded(self._segment, writes=True), methods=["POST"]),
        ]

    async def _preprocess(self, request: Request) -> Response:
        """Respond with an uploaded image as a ControlNet of a type would read it."""
        user_id = await self._access.admit("run", request)
        form = asked(_Preprocess, await body(request))
        content = await self._uploads.read(form.image, user_id)

        def graph(image: str, registry: NodeRegistry) -> Graph:
            return preprocess_graph(form.type, image, registry)

        return await while_connected(request, self._run(content, graph))

    async def _segment(self, request: Request) -> Response:
        """Respond with a mask of an uploaded image, white where it shows what was asked for."""
        user_id = await self._access.admit("run", request)
        form = asked(_Segment, await body(request))
        content = await self._uploads.layer(form.image, "picture", user_id)

        def graph(image: str, registry: NodeRegistry) -> Graph:
            return segment_graph(image, registry, text=form.text, points=form.points)

        return await while_connected(request, self._run(content, graph))

    async def _run(self, content: bytes, graph: Callable[[str, NodeRegistry], Graph]) -> Response:
        """Run a graph over an image on the first server that can, and respond with its image.

        Raises:
            ValidationError: no server can run it, or it is busy.
        """
        error: ValidationError | None = None
        for client, registry in self._services.catalog.servers:
            try:
                graph("", registry)
            except ValidationError as one:
                error = error or one
                continue
            async with self._slots:
                await self._services.idle_stop.ensure_started()
                image = await client.upload_image(content, subfolder="comfy-ui", type="temp")
                result = await run_small_job(client, graph(image, registry), timeout_s=_TIMEOUT_S)
                if result is None:
                    raise ValidationError(
                        "ComfyUI is busy with another job.", hint="Try again when it has ended."
                    )
                image_file = next((file for file in result.files if file.kind == "image"), None)
                if image_file is None:
                    raise GenerationFailedError("ComfyUI returned no image.")
                prepared = await client.download(image_file)
            return Response(prepared, media_type="image/png", headers=PRIVATE)
        raise error or ValidationError("No ComfyUI is online.")
