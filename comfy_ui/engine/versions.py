"""Switch between installed versions, return to the previous one, and remove all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from ..errors import EngineError
from .engine_paths import EnginePaths, Installation, exclusive
from .supervision.supervisor import stop_server

__all__ = ["remove_engine", "roll_back", "switch_running"]

_BUSY = "An installation is running."


def roll_back(paths: EnginePaths) -> Installation:
    """Make the previous version the one in use; the other becomes the previous one.

    A running server keeps the old version until it is restarted.

    Raises:
        EngineError: there is no previous version, or an installation is running.
        StorageError: the disk refuses.
    """
    with exclusive(paths.root / "install.lock", _BUSY):
        current, previous = paths.current(), paths.previous()
        if previous is None:
            raise EngineError(
                "There is no previous version to return to.",
                hint="One is kept after an update: comfy-ui engine update",
            )
        paths.switch(previous.name, current.name if current else None)
        return previous


def switch_running(paths: EnginePaths, restart: Callable[[], object]) -> Installation:
    """Restart the server with a new version; return to the previous one if that fails.

    ``restart`` stops the server, starts the version in use and waits until it answers.

    Raises:
        EngineError: neither version starts, or the new one did not and the previous one runs.
    """
    try:
        restart()
    except EngineError as error:
        if paths.previous() is None:
            raise
        previous = roll_back(paths)
        restart()
        raise EngineError(
            f"The new version did not start, so ComfyUI {previous.version} runs again. "
            f"{error.message}",
            hint=error.hint,
        ) from error
    current = paths.current()
    if current is None:
        raise EngineError("No ComfyUI is installed here.")
    return current


def remove_engine(paths: EnginePaths) -> list[str]:
    """Stop the server and delete all versions, node packs and caches; return what is kept.

    Models, results, user settings, and what is in ``custom_nodes`` are not deleted.

    Raises:
        EngineError: an installation is running.
        OSError: a file cannot be deleted.
    """
    with exclusive(paths.root / "install.lock", _BUSY):
        stop_server(paths)
        for folder in (
            *(paths.versions, paths.staging, paths.cache, paths.downloads),
            paths.packs,
        ):
            if folder.exists():
                shutil.rmtree(folder)
        for pattern in (
            "current.json",
            "packs_off.json",
            "*.log",
            "*.log.*",
            paths.model_paths.name,
        ):
            for file in paths.root.glob(pattern):
                file.unlink()
    return [str(folder) for folder in (paths.models, paths.work) if folder.exists()]
