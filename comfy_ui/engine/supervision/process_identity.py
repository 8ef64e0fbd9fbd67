"""Find a process again by its id and start time, because ids are reused, and end it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..engine_paths import read_json, write_json

__all__ = ["end_remembered", "end_tree", "remember", "remembered"]

_TERMINATE_S: Final = 10.0
_SAME_START_S: Final = 1.0


def remember(path: Path, pid: int, **facts: Any) -> None:
    """Write the identity of a process to a file, with further facts.

    Raises:
        OSError: the disk refuses.
    """
    import psutil

    try:
        started_at = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return
    write_json(path, {"pid": pid, "started_at": started_at, **facts})


def remembered(path: Path) -> dict[str, Any] | None:
    """Return the facts of a file whose process still runs, or None."""
    import psutil

    facts = read_json(path)
    try:
        process = psutil.Process(int(facts["pid"]))
        same = abs(process.create_time() - float(facts["started_at"])) < _SAME_START_S
        return facts if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, TypeError, ValueError, psutil.Error):
        return None


def end_remembered(path: Path) -> bool:
    """End the process of a file, if it still runs, and delete the file; whether it ran."""
    facts = remembered(path)
    path.unlink(missing_ok=True)  # first: a supervisor restarts only a process with a file
    if facts is not None:
        end_tree(int(facts["pid"]))
    return facts is not None


def end_tree(pid: int) -> None:
    """Terminate a process and its children; kill those that do not end within 10 s."""
    import psutil

    try:
        process = psutil.Process(pid)
        processes = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for one in processes:
        with suppress(psutil.Error):
            one.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_TERMINATE_S)
    for one in alive:
        with suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(alive, timeout=_TERMINATE_S)
