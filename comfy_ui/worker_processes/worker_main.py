"""The main function of a worker process: answer one request after the other, within limits.

A process starts in a tenth of a second: this module imports little, not even ``asyncio``.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from ..errors import WorkLimitError

if sys.platform != "win32":
    import resource

__all__ = ["Limits", "report_progress", "serve"]

_MEMORY_BYTES: Final = 2 * 2**30  # masking an image of 64 million pixels takes 1.2 GB
_NICE: Final = 10  # the event loop goes first, by a factor of ten
_REPORT_INTERVAL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call: CPU time and memory, where the platform limits them, and elapsed
    time."""

    cpu_s: int = 10
    wall_s: float = 60.0
    memory_bytes: int = _MEMORY_BYTES

    def within(self, most: Limits) -> Limits:
        """Return the lower limits of both."""
        return Limits(
            min(self.cpu_s, most.cpu_s),
            min(self.wall_s, most.wall_s),
            min(self.memory_bytes, most.memory_bytes),
        )


class _Reporting:
    """Where a worker process reports to; None in other processes."""

    replies: BinaryIO | None = None
    reported_at = 0.0


def report_progress(fraction: float) -> None:
    """Tell the caller of the running function how much of it is done, 0 to 1.

    Does nothing outside a worker process, and soon after the last report.
    """
    now = time.monotonic()
    if _Reporting.replies is not None and now - _Reporting.reported_at >= _REPORT_INTERVAL_S:
        _Reporting.reported_at = now
        pickle.dump(min(max(float(fraction), 0.0), 1.0), _Reporting.replies, protocol=5)
        _Reporting.replies.flush()


def serve() -> None:
    """Answer requests from standard input until it ends. The main function of a worker process."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    _Reporting.replies = replies
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # prints must not mix with replies
    if sys.platform != "win32":
        os.nice(_NICE)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        _lower(resource.RLIMIT_CORE, 0)
    while True:
        try:
            function, arguments, limits = pickle.load(requests)  # noqa: S301 -- from the app
        except EOFError:
            return
        if sys.platform != "win32":
            _lower(resource.RLIMIT_AS, limits.memory_bytes)
            _lower(resource.RLIMIT_CPU, int(time.process_time()) + 1 + limits.cpu_s)
            signal.setitimer(signal.ITIMER_REAL, limits.wall_s)  # SIGALRM ends the process
        reply = _reply(function, arguments)
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(reply)
        replies.flush()


def _reply(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        reply = True, function(*arguments)
    except MemoryError:
        reply = False, WorkLimitError("This needs too much memory.", hint="Use a smaller file.")
    except Exception as error:  # noqa: BLE001 -- raised again by the caller
        reply = False, error
    try:
        return pickle.dumps(reply, protocol=5)
    except Exception as error:  # noqa: BLE001 -- an exception of a library may not allow it
        return pickle.dumps((False, RuntimeError(f"{reply[1]!r:.500}: {error!r:.500}")))


def _lower(kind: int, soft: int) -> None:
    """Set a soft limit, where the platform has it; it can be raised again for the next call."""
    if sys.platform != "win32":
        with suppress(ValueError, OSError):  # macOS has no limit of the address space
            resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
