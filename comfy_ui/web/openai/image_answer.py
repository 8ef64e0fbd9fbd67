"""Results of jobs as OpenAI's clients read them: objects of images, and events of a stream."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ...library.result_decoding import encode_picture
from ...storage.records import LibraryItem
from ...worker_processes.process_pool import WORKERS
from .image_request import ImageRequest

__all__ = ["Kind", "completed_event", "event", "images_response", "partial_event"]

Kind = Literal["image_generation", "image_edit"]
"""The beginning of the names of events."""


async def images_response(
    request: ImageRequest, items: Sequence[LibraryItem], url: Callable[[LibraryItem], str]
) -> dict[str, Any]:
    """Return the body of a response that is no stream. ``url`` returns a result's address."""
    data = []
    for item in items:
        image: dict[str, Any] = {"revised_prompt": item.prompt}
        if request.response_format == "url":
            image["url"] = url(item)
        else:
            image["b64_json"] = await _encoded(request, item)
        if item.seed is not None:
            image["x_comfy_ui"] = {"job": item.job_id, "seed": item.seed}
        data.append(image)
    return {"created": int(time.time()), "data": data, **_facts(request, items[0])}


async def completed_event(request: ImageRequest, item: LibraryItem, kind: Kind) -> str:
    """Return the event of a finished image."""
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    details = {"text_tokens": 0, "image_tokens": 0}
    return event(
        f"{kind}.completed",
        {
            "b64_json": await _encoded(request, item),
            "created_at": int(time.time()),
            **_facts(request, item),
            "usage": {**usage, "input_tokens_details": details},
        },
    )


def partial_event(
    request: ImageRequest, preview: bytes, media_type: str, number: int, kind: Kind
) -> str:
    """Return the event of a preview."""
    return event(
        f"{kind}.partial_image",
        {
            "b64_json": base64.b64encode(preview).decode(),
            "partial_image_index": number,
            "created_at": int(time.time()),
            "size": request.size,
            "quality": request.quality,
            "background": "opaque",
            "output_format": media_type.removeprefix("image/"),
        },
    )


def event(name: str, data: Mapping[str, Any]) -> str:
    """Return a server-sent event, whose data repeats the name as its type."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"


def _facts(request: ImageRequest, item: LibraryItem) -> dict[str, Any]:
    return {
        "background": "opaque",
        "output_format": request.output_format or item.media_type.removeprefix("image/"),
        "quality": request.quality,
        "size": f"{item.width}x{item.height}" if item.width else request.size,
    }


async def _encoded(request: ImageRequest, item: LibraryItem) -> str:
    """Return the file in the requested format, unmodified if it has that format already."""
    wanted = request.output_format
    compressed = request.output_compression is not None and wanted in {"webp", "jpeg"}
    if wanted is None or (item.media_type == f"image/{wanted}" and not compressed):
        return await asyncio.to_thread(_base64_of_file, item.path)
    quality = 100 if request.output_compression is None else request.output_compression
    content = await WORKERS.run(encode_picture, item.path, wanted, quality, user_id=item.user_id)
    return await asyncio.to_thread(lambda: base64.b64encode(content).decode())


def _base64_of_file(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
