"""What the commands share: the server they speak to, its node list, and how they print."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StorageError
from ..settings import DEFAULT_URL, Settings
from .object_info_cache import keep, kept

if TYPE_CHECKING:
    from ..client import ComfyWSClient


def server(settings: Settings, url: str | None = None) -> dict[str, Any]:
    """Keyword arguments for a client of the configured server, the first one unless told."""
    token = settings.comfyui_token
    return {
        "url": url or next(iter(settings.comfyui_urls), DEFAULT_URL),
        "token": token.get_secret_value() if token else None,
        "timeout": settings.timeout_s,
        "verify": settings.verify_tls,
    }


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[ComfyWSClient]:
    """A client of the configured server, or of an embedded engine of its own."""
    from ..client import ComfyWSClient

    if settings.demo:
        from ..demo import DemoServer

        async with DemoServer(speed="instant") as engine, ComfyWSClient(url=engine.url) as client:
            yield client
    else:
        async with ComfyWSClient(**server(settings)) as client:
            yield client


def object_info(settings: Settings, *, fresh: bool = False) -> Mapping[str, Any]:
    """The node list of the configured server, kept on disk for each server and version.

    ``fresh``: ask the server, whose models may have changed since.
    """
    from ..client import ComfyClient

    if settings.demo:
        from ..demo import DemoServer

        engine = DemoServer(speed="instant")
        with engine.in_thread(), ComfyClient(url=engine.url) as client:
            return client.object_info().raw
    with ComfyClient(**server(settings)) as client:
        name = f"{client.url} {client.system_stats().comfyui_version}"
        digest = hashlib.sha256(name.encode()).hexdigest()[:20]
        path = settings.data_dir / "cache" / f"object_info-{digest}"
        if not fresh and (known := kept(path)) is not None:
            return known
        raw = client.object_info().raw
    keep(path, raw)
    return raw


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows as columns."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def print_json(value: Any) -> None:
    """For programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def write(path: Path, text: str) -> None:
    """Write a file that the user has named.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
