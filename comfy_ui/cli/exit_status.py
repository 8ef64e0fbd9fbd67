"""The exit status of a command, by kind of failure."""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    GenerationError,
    GenerationTimeoutError,
    StorageError,
    ValidationError,
)


class ExitStatus(IntEnum):
    """What scripts can tell apart. The text of each is in ``docs/use/command-line.md``."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    UNREACHABLE = 3
    INVALID = 4
    JOB_FAILED = 5
    TIMED_OUT = 6
    DISK = 7
    INTERRUPTED = 130


_STATUSES: tuple[tuple[type[ComfyHeadlessError], ExitStatus], ...] = (
    (ComfyUIConnectionError, ExitStatus.UNREACHABLE),
    (ValidationError, ExitStatus.INVALID),
    (GenerationTimeoutError, ExitStatus.TIMED_OUT),
    (GenerationError, ExitStatus.JOB_FAILED),
    (StorageError, ExitStatus.DISK),
)


def status_of(error: ComfyHeadlessError) -> ExitStatus:
    """The exit status for an error."""
    kinds = (status for kind, status in _STATUSES if isinstance(error, kind))
    return next(kinds, ExitStatus.FAILED)
