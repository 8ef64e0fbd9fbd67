"""Check a server: whether it answers, how quickly, and what is in its queue."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..errors import ComfyHeadlessError
from ..protocol.queue_and_history import QueueSnapshot
from . import endpoints
from .operations import Asker, Flow
from .response_models import LogLine, SystemStats

_LOG_S: Final = 5.0  # the log is not worth a long wait
# Python's message about a thread that an exception ended; the name is that of its function.
# ComfyUI's log has it in several pieces. See ComfyUI issues 10514, 11023 and 14186.
_DIED: Final = re.compile(r"^Exception in thread\s+Thread-\d+ \(prompt_worker\)\s*:", re.MULTILINE)
_LIVES: Final = re.compile(r"^Prompt executed in|\d+%\|", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCheck:
    """The outcome of a check, or its error. ``at`` is seconds since 1970.

    ``worker_died``: the queue shows a running job, but the log says that ComfyUI's worker thread
    has ended.
    """

    at: float
    latency_s: float | None = None
    stats: SystemStats | None = None
    queue: QueueSnapshot | None = None
    error: ComfyHeadlessError | None = None
    worker_died: bool = False


def check_server(asker: Asker) -> Flow[ServerCheck]:
    """Request the server's state and queue. Raises nothing: an error is part of the check."""
    at, began = time.time(), asker.clock()
    try:
        stats = yield from asker.ask(endpoints.system_stats())
        latency_s = asker.clock() - began
        queue = yield from asker.ask(endpoints.queue())
    except ComfyHeadlessError as error:
        return ServerCheck(at=at, error=error)
    died = bool(queue.running) and (yield from _worker_died(asker))
    return ServerCheck(at=at, latency_s=latency_s, stats=stats, queue=queue, worker_died=died)


def says_worker_died(lines: Iterable[LogLine]) -> bool:
    """Whether the log shows that the thread that runs the jobs has died.

    Not if a job ran afterwards: a node pack may have started another such thread.
    """
    log = "\n".join(line.text for line in lines)
    deaths = [*_DIED.finditer(log)]
    return bool(deaths) and _LIVES.search(log, deaths[-1].end()) is None


def _worker_died(asker: Asker) -> Flow[bool]:
    try:
        return says_worker_died((yield from asker.once(endpoints.logs(), patience_s=_LOG_S)))
    except ComfyHeadlessError:  # some servers do not expose their log
        return False
