"""What the commands share: the server, ``/object_info``, presets and files, and printing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UnknownPresetError, ValidationError
from ..protocol.object_info import NodeRegistry
from ..settings import DEFAULT_URL, Settings
from .object_info_cache import keep, kept

if TYPE_CHECKING:
    from ..client import ComfyWSClient
    from ..workflow.load import Workflow
    from ..workflow.presets.preset_store import Preset, Presets


def server(settings: Settings, url: str | None = None) -> dict[str, Any]:
    """Keyword arguments for a client of the configured server, the first one by default."""
    from ..client.transport.environment import partner_key_for

    url = url or next(iter(settings.comfyui_urls), DEFAULT_URL)
    token = settings.comfyui_token
    return {
        "url": url,
        "token": token.get_secret_value() if token else None,
        "api_key_comfy_org": partner_key_for(url, settings) or "",
        "timeout": settings.timeout_s,
        "verify": settings.verify_tls,
    }


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[ComfyWSClient]:
    """A client of the configured server, or of a new demo engine."""
    from ..client import ComfyWSClient

    if settings.demo:
        from ..demo import DemoServer

        # Not "instant", which paints large images smaller: people look at this result.
        async with DemoServer(speed=1000) as engine, ComfyWSClient(url=engine.url) as client:
            yield client
    else:
        async with ComfyWSClient(**server(settings)) as client:
            yield client


def object_info(settings: Settings, *, fresh: bool = False) -> NodeRegistry:
    """``/object_info`` of the configured server, cached on disk by server and version.

    ``fresh``: ask the server, as its models may have changed.
    """
    from ..client import ComfyClient

    if settings.demo:
        from ..demo import DemoServer

        engine = DemoServer(speed="instant")
        with engine.in_thread(), ComfyClient(url=engine.url) as client:
            return client.object_info()
    with ComfyClient(**server(settings)) as client:
        name = f"{client.url} {client.system_stats().comfyui_version}"
        digest = hashlib.sha256(name.encode()).hexdigest()[:20]
        path = settings.data_dir / "cache" / f"object_info-{digest}"
        if not fresh and (cached := kept(path)) is not None:
            return NodeRegistry(cached)
        raw = client.object_info().raw
    keep(path, raw)
    return NodeRegistry(raw)


def own_presets(settings: Settings) -> Presets:
    """The shipped presets and those in the data folder."""
    from ..workflow.presets.preset_store import load_presets

    return load_presets([settings.presets_dir])


def open_source(name: str, presets: Presets) -> Preset | Workflow:
    """The preset with that id, the preset of a ``.toml`` file, or the workflow in a file.

    Raises:
        ValidationError: there is no such preset or file, or it cannot be read.
    """
    from ..workflow.load import load_workflow
    from ..workflow.presets.preset_store import load_preset

    path = Path(name)
    try:
        return presets.require(name)
    except UnknownPresetError as error:
        if not path.is_file():
            raise ValidationError(
                f"There is no file and no preset named '{name}'.", hint=error.hint
            ) from error
    return load_preset(path) if path.suffix == ".toml" else load_workflow(path)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as aligned columns."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def print_json(value: Any) -> None:
    """Print JSON for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def check_file(path: Path) -> None:
    """Check that a file that the user has named can be written.

    Raises:
        StorageError: it cannot.
    """
    from ..client.transfer.files import disk_error

    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise disk_error(path, error) from error
    if not existed:
        path.unlink()


def write(path: Path, text: str) -> None:
    """Write a file that the user has named.

    Raises:
        StorageError: the file cannot be written.
    """
    from ..client.transfer.files import disk_error

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise disk_error(path, error) from error
