"""Model files: which are missing on the server, and fetching them onto this machine."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelDownloadError, ValidationError, closest
from ..settings import Settings
from .command_support import connect, print_json, print_table

if TYPE_CHECKING:
    from ..client import ComfyWSClient
    from ..errors import MissingModel
    from ..models.download_queue import ModelDownload

_SHOW_S = 0.5


def models(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the missing files of all presets or of what is named; 1 when one named lacks some."""
    from dataclasses import asdict

    async def work() -> dict[str, list[MissingModel]]:
        async with connect(settings) as client:
            return await _lacking(client, arguments.source, arguments.variant)

    lacking = asyncio.run(work())
    files = {model.filename: model for listed in lacking.values() for model in listed}
    if arguments.json:
        told = {name: [asdict(model) for model in listed] for name, listed in lacking.items()}
        print_json(told)
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
    """Fetch what a preset or a workflow lacks into the models folder of this machine."""
    from ..models.download import ModelSources
    from ..models.download_queue import DownloadQueue, DownloadState
    from ..models.model_folders import find_model_folders

    async def work() -> int:
        async with connect(settings) as client:
            lacking = await _lacking(client, [arguments.source], arguments.variant)
            folders = await find_model_folders(client, settings.models_dir)
        (wanted,) = lacking.values()
        if not wanted:
            print("No model file is missing.")
            return 0
        if not folders:
            raise ValidationError(
                "The models folder of this ComfyUI is not known here.",
                hint="Name it with --models-dir, or run this on ComfyUI's own machine.",
            )
        unknown = [model.filename for model in wanted if model.url is None]
        if unknown:
            raise ModelDownloadError(f"Nobody says where {', '.join(unknown)} comes from.")
        downloads = DownloadQueue(ModelSources.of(settings))
        downloads.start(wanted, folders)
        settled = asyncio.ensure_future(downloads.settle())
        try:
            while not settled.done():
                await asyncio.wait([settled], timeout=_SHOW_S)
                if not arguments.quiet:
                    _show(downloads.listed)
        finally:
            await downloads.aclose()  # Ctrl+C: what has come is kept
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
    client: ComfyWSClient, sources: Sequence[str], variant: str | None
) -> dict[str, list[MissingModel]]:
    """The missing files of presets or workflow files, by name; of all presets for no name."""
    from ..errors import MissingModel
    from ..workflow import check_workflow, list_presets, load_workflow
    from ..workflow.presets.preset_from_workflow import models_of
    from ..workflow.presets.preset_store import preset_problems

    library = await client.object_info()
    presets = {preset.id: preset for preset in list_presets()}
    found: dict[str, list[MissingModel]] = {}
    for source in sources or presets:
        if source in presets:
            problems = preset_problems(presets[source], library, variant=variant)
        elif await asyncio.to_thread(Path(source).is_file):
            workflow = load_workflow(Path(source))
            told = models_of(workflow.editor or {})
            problems = check_workflow(workflow.to_graph(library), library, models=told)
        else:
            raise ValidationError(
                f"There is no file and no preset named '{source}'.", hint=closest(source, presets)
            )
        listed = (problem.extra.get("model") for problem in problems)
        files = {model.filename: model for model in listed if isinstance(model, MissingModel)}
        found[source] = [*files.values()]
    return found


def _row(model: MissingModel) -> tuple[str, ...]:
    size = f"{model.size_bytes / 1e9:.2f} GB" if model.size_bytes else ""
    return (f"models/{model.folder}/{model.filename}", size, model.license or "", model.url or "")


def _show(downloads: Sequence[ModelDownload]) -> None:
    """One line on stderr that changes; in a log file one line a file."""
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
