"""A grid of variations: from the values of ``assets/js/grid_dialog.js`` to the cells to queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import ValidationError
from ....protocol.object_info import NodeRegistry
from ....storage.records import GridAxis
from ....workflow.grid_axes import ParamAxis, array_axes, expand, file_axes, first_files, read_axis
from ....workflow.presets.preset_store import Preset, resolve_values
from ...auth.access import Access
from ...components import preset_form
from ...http.handlers import PRIVATE, body, guarded
from ...services import Services
from .form_state import FormState

__all__ = ["GridCells", "grid", "routes"]


@dataclass(frozen=True, slots=True)
class GridCells:
    """The values of each cell, row by row, and the labels of rows and columns."""

    across: GridAxis
    down: GridAxis | None
    cells: tuple[Mapping[str, Any], ...]


def grid(preset: Preset, values: Mapping[str, Any], varied: Sequence[tuple[str, str]]) -> GridCells:
    """Build the cells from the ``varied`` params (:attr:`.form_state.FormState.grid`).

    Several files of a field and arrays in the prompts of ``values`` are further axes.

    Raises:
        ValidationError: an axis cannot be parsed, or there are too many cells.
    """
    rng = random.Random()
    axes = [read_axis(preset, name, text, rng=rng) for name, text in varied]
    axes += [*file_axes(preset, values), *array_axes(preset, values)]
    cells = expand(preset, first_files(preset, values), axes, rng=rng)
    across, *others = axes
    return GridCells(
        GridAxis(across.label, across.labels), _together(others) if others else None, tuple(cells)
    )


def _together(axes: Sequence[ParamAxis]) -> GridAxis:
    """Return the side of the sheet that several axes share, in the order of :func:`.expand`."""
    label = " · ".join(dict.fromkeys(axis.label for axis in axes))
    labels = [" · ".join(filter(None, combined)) for combined in product(*(a.labels for a in axes))]
    return GridAxis(label, tuple(labels))


def routes(services: Services, access: Access) -> list[Route]:
    """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""

    async def count(request: Request) -> Response:
        """Count the cells of a grid, ``[columns, rows]``, and its results before it is queued.

        Every cell is checked as it will be when it is queued.
        """
        access.require("see", request)
        draft = FormState.parse((await body(request)).decode(errors="replace"))
        if not draft.grid:
            raise ValidationError("Choose at least one field to vary.")
        preset = services.catalog.chosen(draft.preset).preset
        values = preset_form.job_values(preset, draft.values)
        prompt_param = preset.by_role("prompt")
        if prompt_param is not None:
            values[prompt_param.id] = draft.prompt
        library = services.catalog.library
        # In a thread: long lists of values take milliseconds.
        size, results = await asyncio.to_thread(_count, preset, values, draft.grid, library)
        return JSONResponse({"size": size, "results": results}, headers=PRIVATE)

    return [Route("/grid", guarded(count, writes=True), methods=["POST"])]


def _count(
    preset: Preset,
    values: Mapping[str, Any],
    varied: Sequence[tuple[str, str]],
    library: NodeRegistry | None,
) -> tuple[tuple[int, int], int]:
    """Return the columns and rows of a grid, and the number of its results."""
    cells = grid(preset, values, varied)
    resolved = [resolve_values(preset, cell, object_info=library) for cell in cells.cells]
    size = len(cells.across.labels), len(cells.down.labels) if cells.down else 1
    batch = preset.by_role("batch")
    return size, sum(int(cell[batch.id]) for cell in resolved) if batch else len(resolved)
