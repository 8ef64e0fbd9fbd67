"""Model files: list, move and delete those on this machine, and download missing ones."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ModelDownloadError, ValidationError, closest
from ..settings import Settings
from .command_support import connect, open_source, own_presets, print_json, print_table

if TYPE_CHECKING:
    from ..client import ComfyWSClient
    from ..errors import MissingModel
    from ..models.download_queue import ModelDownload
    from ..models.inventory import LocalModel
    from ..models.model_folders import ModelFolders
    from ..workflow.presets.preset_store import Preset

_SHOW_S = 0.5


def models(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do what the first argument names; without one, list the missing files of presets."""
    names = list(arguments.source)
    action = _ACTIONS.get(names[0]) if names else None
    if action is None:
        return _needs(arguments, settings, names)
    return action(arguments, settings, names[1:])


def _needs(arguments: argparse.Namespace, settings: Settings, names: Sequence[str]) -> int:
    """List the missing model files of all presets or of the named sources.

    The status is 1 if a named source lacks some.
    """
    from dataclasses import asdict

    async def work() -> dict[str, list[MissingModel]]:
        async with connect(settings) as client:
            return await _lacking(client, settings, names, arguments.variant)

    lacking = asyncio.run(work())
    files = {model.filename: model for listed in lacking.values() for model in listed}
    if arguments.json:
        listing = {name: [asdict(model) for model in listed] for name, listed in lacking.items()}
        print_json(listing)
    elif not files:
        print("No model file is missing.")
    else:
        users = {
            file: ", ".join(name for name, listed in lacking.items() if model in listed)
            for file, model in files.items()
        }
        print_table([(*_row(model), users[file]) for file, model in files.items()])
    return 1 if names and files else 0


def _list(arguments: argparse.Namespace, settings: Settings, names: Sequence[str]) -> int:
    """List the files on this machine, of all folders or of the named ones."""
    from ..models.inventory import list_files, presets_using, right_folder, with_families

    files = [f for f in list_files(_folders(settings)) if not names or f.folder in names]
    presets = [*own_presets(settings).values()]
    rows, entries = [], []
    for file in with_families(files):
        users = [preset.id for preset in presets_using(file, presets)]
        belongs = right_folder(file)
        note = f"belongs in {belongs}" if belongs else ", ".join(users)
        rows.append((file.id, _gigabytes(file.size_bytes), file.family, note))
        entries.append(_entry(file) | {"presets": users, "belongs_in": belongs})
    return _print(arguments, rows, entries, "There is no model file.")


def _duplicates(arguments: argparse.Namespace, settings: Settings, _: Sequence[str]) -> int:
    """List files with the same content."""
    from ..models.inventory import find_duplicates, list_files

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{100 * done / total:3.0f} % read", end="", file=sys.stderr, flush=True)

    groups = find_duplicates(list_files(_folders(settings)), on_progress=show)
    rows = [(_gigabytes(group[0].size_bytes), *(file.id for file in group)) for group in groups]
    entries = [[_entry(file) for file in group] for group in groups]
    return _print(arguments, rows, entries, "No file is there twice.")


def _delete(arguments: argparse.Namespace, settings: Settings, names: Sequence[str]) -> int:
    """Move files to the trash. If a preset needs one of them, only with ``--yes``."""
    from ..models.inventory import broken_presets, list_files
    from ..models.model_trash import delete_file

    files = list_files(_folders(settings))
    chosen = [_find(files, name) for name in _required(names)]
    presets = [*own_presets(settings).values()]
    for file in chosen:
        broken = broken_presets(file, files, presets)
        if broken and not arguments.yes:
            titles = ", ".join(preset.id for preset in broken)
            raise ValidationError(
                f"Without {file.id}, these presets no longer run: {titles}.",
                hint="Add --yes to delete it all the same.",
            )
    for file in chosen:
        delete_file(file)
        print(f"{file.id} is in the trash. Restore it with: comfy-ui models restore {file.id}")
    return 0


def _trash(arguments: argparse.Namespace, settings: Settings, _: Sequence[str]) -> int:
    """List the deleted files."""
    from ..models.model_trash import list_trash

    files = list_trash(_folders(settings))
    rows = [(file.id, _gigabytes(file.size_bytes)) for file in files]
    return _print(arguments, rows, [_entry(file) for file in files], "The trash is empty.")


def _restore(_: argparse.Namespace, settings: Settings, names: Sequence[str]) -> int:
    """Move deleted files back."""
    from ..models.model_trash import list_trash, restore_file

    folders = _folders(settings)
    deleted = list_trash(folders)
    for file in [_find(deleted, name) for name in _required(names)]:
        print(restore_file(file, folders))
    return 0


def _empty_trash(arguments: argparse.Namespace, settings: Settings, _: Sequence[str]) -> int:
    """Delete the files in the trash for good."""
    from ..models.model_trash import empty_trash, list_trash

    deleted = list_trash(_folders(settings))
    size = _gigabytes(sum(file.size_bytes for file in deleted))
    if deleted and not arguments.yes:
        raise ValidationError(
            f"This deletes {len(deleted)} files ({size}) for good.", hint="Add --yes to do it."
        )
    empty_trash(deleted)
    print(f"{size} freed.")
    return 0


def _move(arguments: argparse.Namespace, settings: Settings, names: Sequence[str]) -> int:
    """Move files into the folder ``--to``, or into those in which they belong."""
    from ..models.inventory import list_files, right_folder
    from ..models.model_trash import move_file

    folders = _folders(settings)
    files = list_files(folders)
    for file in [_find(files, name) for name in _required(names)]:
        target = arguments.to or right_folder(file)
        if target is None:
            raise ValidationError(
                f"Nothing tells in which folder {file.id} belongs.", hint="Name it with --to."
            )
        print(move_file(file, target, folders))
    return 0


def _suggest(arguments: argparse.Namespace, settings: Settings, _: Sequence[str]) -> int:
    """List the presets that fit into the GPU's memory, or into ``--memory`` gigabytes."""
    from ..models.inventory import fitting_presets

    memory = arguments.memory * 1e9 if arguments.memory else asyncio.run(_gpu_bytes(settings))
    fitting = fitting_presets(own_presets(settings).values(), int(memory))
    rows = [_suggestion(preset) for preset in fitting]
    entries = [{"preset": p.id, "title": p.title, "vram_gb": p.vram_gb} for p in fitting]
    return _print(arguments, rows, entries, f"No preset fits into {_gigabytes(int(memory))}.")


def download(arguments: argparse.Namespace, settings: Settings) -> int:
    """Download the missing model files of a preset or a workflow to this machine."""
    from ..models.model_folders import find_model_folders

    async def work() -> int:
        async with connect(settings) as client:
            lacking = await _lacking(client, settings, [arguments.source], arguments.variant)
            folders = await find_model_folders(client, settings.models_dir)
        (missing,) = lacking.values()
        if not missing:
            print("No model file is missing.")
            return 0
        return await _fetch(missing, _required_folders(folders), arguments, settings)

    return asyncio.run(work())


async def _fetch(
    missing: Sequence[MissingModel],
    folders: ModelFolders,
    arguments: argparse.Namespace,
    settings: Settings,
) -> int:
    """Download files one after the other, showing the progress; Ctrl+C keeps what arrived."""
    from ..models.download import ModelSources
    from ..models.download_queue import DownloadQueue, DownloadState

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


def _download(arguments: argparse.Namespace, settings: Settings, names: Sequence[str]) -> int:
    """Download a file from Hugging Face or Civitai, or what a preset or a workflow lacks."""
    from ..models.download import ModelSources
    from ..models.publishers import choose_file, is_address, look_up

    address, *files = _required(names)
    if Path(address).exists() or not is_address(address):
        arguments.source = address
        return download(arguments, settings)
    folders = _folders(settings)

    async def work() -> int:
        found = await look_up(address, ModelSources.of(settings))
        chosen = [choose_file(found, name, arguments.to) for name in files or (None,)]
        return await _fetch(chosen, folders, arguments, settings)

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


def _folders(settings: Settings) -> ModelFolders:
    """The model folders on this machine: those of the settings, or those of the server."""
    from ..models.model_folders import ModelFolders, find_model_folders

    async def ask() -> ModelFolders:
        async with connect(settings) as client:
            return await find_model_folders(client, None)

    known = settings.models_dir is not None
    folders = ModelFolders(base=settings.models_dir) if known else asyncio.run(ask())
    return _required_folders(folders)


def _required_folders(folders: ModelFolders) -> ModelFolders:
    if not folders:
        raise ValidationError(
            "The models folder of this ComfyUI is not known here.",
            hint="Name it with --models-dir, or run this on ComfyUI's own machine.",
        )
    return folders


async def _gpu_bytes(settings: Settings) -> int:
    async with connect(settings) as client:
        devices = (await client.system_stats()).devices
    return max((device.vram_total_bytes or 0 for device in devices), default=0)


def _suggestion(preset: Preset) -> tuple[str, ...]:
    download = sum(model.size_bytes or 0 for model in preset.models)
    return (
        preset.id,
        preset.title,
        f"needs {preset.vram_gb:g} GB of memory",
        f"{_gigabytes(download)} to download",
    )


def _find(files: Sequence[LocalModel], name: str) -> LocalModel:
    """The file with this id, or the only one with this name."""
    matching = [file for file in files if file.id == name]
    matching = matching or [file for file in files if Path(file.name).name == name]
    if len(matching) > 1:
        ids = ", ".join(file.id for file in matching)
        raise ValidationError(f"Several files have the name '{name}': {ids}.")
    if not matching:
        raise ValidationError(
            f"There is no model file '{name}'.", hint=closest(name, [file.id for file in files])
        )
    return matching[0]


def _required(names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise ValidationError("Name a model file.", hint="See: comfy-ui models list")
    return names


def _entry(file: LocalModel) -> dict[str, object]:
    return {
        "folder": file.folder,
        "name": file.name,
        "path": str(file.path),
        "size_bytes": file.size_bytes,
        "family": file.family,
    }


def _print(
    arguments: argparse.Namespace,
    rows: Sequence[tuple[str, ...]],
    entries: Sequence[object],
    nothing: str,
) -> int:
    if arguments.json:
        print_json([*entries])
    elif rows:
        print_table([*rows])
    else:
        print(nothing)
    return 0


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"


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


_ACTIONS: Final[dict[str, Callable[[argparse.Namespace, Settings, Sequence[str]], int]]] = {
    "needs": _needs,
    "list": _list,
    "duplicates": _duplicates,
    "suggest": _suggest,
    "download": _download,
    "move": _move,
    "delete": _delete,
    "trash": _trash,
    "restore": _restore,
    "empty-trash": _empty_trash,
}
