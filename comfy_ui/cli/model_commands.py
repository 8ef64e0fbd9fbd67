"""Model files: list those missing on the server, and download them to this machine."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ModelDownloadError, ValidationError
from ..settings import Settings
from .command_support import connect, open_source, own_presets, print_json, print_table

if TYPE_CHECKING:
    from ..client import ComfyWSClient
    from ..errors import MissingModel
    from ..models.download_queue import ModelDownload

_SHOW_S = 0.5


def models(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the missing model files of all presets or of the named sources.

    The status is 1 if a named source lacks some.
    """
    from dataclasses import asdict

    async def work() -> dict[str, list[MissingModel]]:
        async with connect(settings) as client:
            return await _lacking(client, settings, arguments.source, arguments.variant)

    lacking = asyncio.run(work())
    files = {model.filename: model for listed in lacking.values() for model in listed}
    if arguments.json:
        listing = {name: [asdict(model) for model in listed] for name, listed in lacking.items()}
        print_json(listing)
    elif not files:
        print("No model file is missing.")
    else:
        names = {
            file: ", ".join(name for name, listed in lacking.items() if model in listed)
            for file, model in files.items()
        }
        print_table([(*_row(model), names[file]) for file, model in files.items()])
    return 1 if arguments.source and files else 0


def download(arguments: argparse.Namespace, settings: Settings) -> int:
    """Download the missing model files of a preset or a workflow to this machine."""
    from ..models.download import ModelSources
    from ..models.download_queue import DownloadQueue, DownloadState
    from ..models.model_folders import find_model_folders

    async def work() -> int:
        async with connect(settings) as client:
            lacking = await _lacking(client, settings, [arguments.source], arguments.variant)
            folders = await find_model_folders(client, settings.models_dir)
        (missing,) = lacking.values()
        if not missing:
            print("No model file is missing.")
            return 0
        if not folders:
            raise ValidationError(
                "The models folder of this ComfyUI is not known here.",
                hint="Name it with --models-dir, or run this on ComfyUI's own machine.",
            )
        unknown = [model.filename for model in missing if model.url is None]
        if unknown:
            raise ModelDownloadError(f"No download URL is known for {', '.join(unknown)}.")
        downloads = DownloadQueue(ModelSources.of(settings))
        downloads.start(missing, folders)
        settled = asyncio.ensure_future(downloads.settle())
        try:
            while not settled.done():
                await asyncio.wait([settled], timeout=_SHOW_S)
                if not arguments.quiet:
                    _show(downloads.listed)
        finally:
            await downloads.aclose()  # Ctrl+C: partial downloads are kept
            if sys.stderr.isatty() and not arguments.quiet:
                print(file=sys.stderr)
        for one in downloads.listed:
            if one.state is DownloadState.DONE:
                print(one.path)
            elif one.error is not None:
                print(f"error: {one.error.message} {one.error.hint}".rstrip(), file=sys.stderr)
        return 0 if all(one.state is DownloadState.DONE for one in downloads.listed) else 1

    return asyncio.run(work())


async def _lacking(
    client: ComfyWSClient, settings: Settings, names: Sequence[str], variant: str | None
) -> dict[str, list[MissingModel]]:
    """The missing model files by source name: presets or workflow files; none: all presets."""
    from ..errors import MissingModel
    from ..workflow.prepare import source_problems

    registry = await client.object_info()
    presets = await asyncio.to_thread(own_presets, settings)
    lacking: dict[str, list[MissingModel]] = {}
    for name in names or presets:
        source = await asyncio.to_thread(open_source, name, presets)
        problems = source_problems(source, registry, presets=presets, variant=variant)
        listed = (problem.extra.get("model") for problem in problems)
        files = {model.filename: model for model in listed if isinstance(model, MissingModel)}
        lacking[name] = [*files.values()]
    return lacking


def _row(model: MissingModel) -> tuple[str, ...]:
    size = f"{model.size_bytes / 1e9:.2f} GB" if model.size_bytes else ""
    return (f"models/{model.folder}/{model.filename}", size, model.license or "", model.url or "")


def _show(downloads: Sequence[ModelDownload]) -> None:
    """Show the running download on one line of a terminal's stderr."""
    running = next((one for one in downloads if one.state.active), None)
    if running is None or not sys.stderr.isatty():
        return
    parts = [running.model.filename]
    if running.share is not None and running.total_bytes:
        parts.append(f"{100 * running.share:.0f} % of {running.total_bytes / 1e9:.2f} GB")
    if running.bytes_per_s:
        parts.append(f"{running.bytes_per_s / 1e6:.1f} MB/s")
    if running.eta_s is not None:
        parts.append(f"{running.eta_s / 60:.0f} min left")
    print(f"\r{'  '.join(parts)[:78]:<78}", end="", file=sys.stderr, flush=True)
