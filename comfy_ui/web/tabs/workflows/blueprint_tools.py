"""ComfyUI's blueprints as tools for results: remove the background, segment, blur, upscale, …"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ....client import Blueprint, ComfyWSClient
from ....errors import ComfyHeadlessError, InvalidWorkflowError
from ....protocol.object_info import NodeRegistry
from ....workflow.checks.graph_checks import check_workflow
from ....workflow.editor import convert_workflow
from ....workflow.editor.blueprint import blueprint_workflow
from ....workflow.fields.field_types import FILE_ROLES, MODEL_ROLES
from ....workflow.presets.preset_from_workflow import models_of, preset_from_workflow
from ....workflow.presets.preset_store import Param, Preset
from ...auth.access import Access
from ...http.handlers import PRIVATE, guarded
from ...services import Services

__all__ = ["BlueprintTools", "adopt"]

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 6
_MAX_TOOLS: Final = 300
_MAX_SHOWN: Final = 8


class BlueprintTools:
    """Lists the tools for a result.

    Each blueprint that takes one image or video, and whose nodes and models the server has, becomes
    a preset in ``DATA/tools``. This is done again after each check of the server.
    """

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._adopted: tuple[ComfyWSClient, NodeRegistry, frozenset[str]] | None = None
        self._lock = asyncio.Lock()

    def routes(self) -> list[BaseRoute]:
        """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route("/blueprints", guarded(self._list))]

    async def _list(self, request: Request) -> Response:
        """Respond with the tools for a result: ``form`` is whether they have values to set."""
        user_id = await self._access.admit("run", request)
        number = request.query_params.get("item", "")
        item = await self._services.library.item(int(number) if number.isdecimal() else 0, user_id)
        offered = await self._offered()
        tools = [
            {
                "id": entry.preset.id,
                "title": entry.preset.title,
                "group": entry.preset.description,
                "form": _has_values(entry.preset),
            }
            for entry in self._services.catalog.tools
            if entry.preset.id in offered and entry.preset.by_role(item.kind)
        ]
        tools.sort(key=lambda tool: (str(tool["group"]), str(tool["title"])))
        return JSONResponse({"tools": tools}, headers=PRIVATE)

    async def _offered(self) -> frozenset[str]:
        """Adopt the server's blueprints if that was not done since its last check."""
        catalog, client = self._services.catalog, self._services.client
        async with self._lock:
            if catalog.library is None:
                await catalog.refresh()
            library = next((found for one, found in catalog.servers if one is client), None)
            if library is None:
                return frozenset()
            if self._adopted is not None and self._adopted[:2] == (client, library):
                return self._adopted[2]
            blueprints = await client.blueprints()
            slots = asyncio.Semaphore(_AT_ONCE)

            async def adopted(blueprint: Blueprint) -> Preset | None:
                async with slots:
                    try:
                        file = await client.blueprint(blueprint.id)
                        return await asyncio.to_thread(adopt, file, blueprint.name, library)
                    except ComfyHeadlessError as error:
                        logger.info("Blueprint %r is no tool: %s", blueprint.name, error.message)
                        return None

            found = await asyncio.gather(*map(adopted, blueprints[:_MAX_TOOLS]))
            presets = [preset for preset in found if preset is not None]
            await asyncio.to_thread(self._services.saved_workflows.keep_tools, presets)
            await catalog.look()
            ids = frozenset(preset.id for preset in presets)
            self._adopted = client, library, ids
            return ids


def adopt(blueprint: Mapping[str, Any], name: str, library: NodeRegistry) -> Preset:
    """Make a preset of a blueprint.

    Raises:
        InvalidWorkflowError: it does not take one image or video, or the server lacks something.
    """
    workflow = blueprint_workflow(blueprint)
    graph = convert_workflow(workflow.editor, library)
    preset = preset_from_workflow(graph, library, title=name, editor=workflow.editor)
    media = {t.node for p in preset.params if p.role in FILE_ROLES for t in p.targets}
    lacks = [
        problem
        for problem in check_workflow(graph, library, models=models_of(workflow.editor))
        if problem.severity == "error" and problem.node not in media
    ]
    if lacks:
        raise InvalidWorkflowError(lacks[0].message, problems=lacks)
    if any(library[node["class_type"]].api_node for node in graph.values()):
        raise InvalidWorkflowError("It calls a paid service.")
    return preset.model_copy(
        update={
            "id": f"tool_{preset.id}",
            "description": workflow.category.rpartition("/")[2],
            "lora_slots": (),
            "params": (*_shown(preset.params),),
        }
    )


def _shown(params: Sequence[Param]) -> Iterator[Param]:
    """Yield the params of a tool; the values of a small one are not under Advanced."""
    values = [param for param in params if _is_value(param)]
    for param in params:
        shown = len(values) <= _MAX_SHOWN and param in values
        yield param.model_copy(update={"advanced": False}) if shown else param


def _has_values(preset: Preset) -> bool:
    """Whether there is more to set than the file and what the graph loads."""
    return any(map(_is_value, preset.params))


def _is_value(param: Param) -> bool:
    given = FILE_ROLES | MODEL_ROLES | {"seed"}
    return not param.hidden and param.role not in given
