"""The log of the managed ComfyUI: its last lines, its rotation, and what an exit means."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["explain_exit", "read_tail", "rotate"]

_MAX_BYTES: Final = 5 * 2**20
_KEPT: Final = 3
_TAIL_BYTES: Final = 16_384
# The first that matches explains an exit: a pattern, what happened, and what to do.
_CAUSES: Final = (
    (
        r"address already in use|errno 98|errno 10048|only one usage of each socket address",
        "The port is taken by another program.",
        "Stop that program, or start again: another port is chosen.",
    ),
    (
        r"found no nvidia driver|cuda driver version is insufficient|driver.{0,40} is too old",
        "The NVIDIA driver is missing or too old for this build of PyTorch.",
        "Update the driver, then install again. Check with: comfy-ui doctor",
    ),
    (
        r"torch not compiled with cuda|no kernel image is available",
        "The installed build of PyTorch does not support this GPU.",
        "Install again with another build: comfy-ui engine install --stack NAME",
    ),
    (
        r"out of memory|outofmemoryerror|cannot allocate memory",
        "There was not enough memory to start.",
        "Close other programs, or set COMFY_UI_ENGINE_MEMORY=low.",
    ),
    (
        r"no space left on device|errno 28",
        "The disk is full.",
        "Free some space and start again.",
    ),
    (
        r"modulenotfounderror: no module named '?(?P<name>[\w.]+)",
        "A Python package is missing in its environment: {name}.",
        "Install it with its package: comfy-ui engine install --packages NAME",
    ),
    (
        r"unrecognized arguments: (?P<name>.+)",
        "This version of ComfyUI does not know the option {name}.",
        "Correct COMFY_UI_ENGINE_OPTIONS.",
    ),
)
_SHOWN_LINES: Final = 3


def read_tail(log: Path, max_bytes: int = _TAIL_BYTES) -> str:
    """Return the end of a log, from the start of a line; empty if there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - max_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if size > max_bytes else text


def explain_exit(tail: str) -> tuple[str, str]:
    """Return why ComfyUI has ended, and what to do, from the end of its log.

    >>> explain_exit("OSError: [Errno 98] address already in use")[0]
    'The port is taken by another program.'
    """
    for pattern, message, hint in _CAUSES:
        if match := re.search(pattern, tail, flags=re.IGNORECASE):
            return message.format(**match.groupdict()), hint
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    last = " ".join(lines[-_SHOWN_LINES:])[-400:]
    return f"ComfyUI ended. {last}".strip(), "See its log: comfy-ui engine status --log"


def rotate(log: Path, *, max_bytes: int = _MAX_BYTES) -> bool:
    """Move the content of a large log to ``NAME.1``; whether it was large.

    The running process keeps the file open in append mode, so the content is copied and the file
    truncated; what is written in between is lost.
    """
    try:
        if log.stat().st_size <= max_bytes:
            return False
        for number in range(_KEPT - 1, 0, -1):
            with suppress(FileNotFoundError):
                _numbered(log, number).replace(_numbered(log, number + 1))
        shutil.copyfile(log, _numbered(log, 1))
        with log.open("r+b") as file:
            file.truncate(0)
    except OSError:
        return False  # a full disk: the log is of less use than the server
    return True


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")
