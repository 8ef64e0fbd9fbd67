"""One look at a server: does it answer, how quickly, and what is in its queue."""

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

_LOG_S: Final = 5.0  # the log is worth no long wait
# What Python says of a thread that an exception ended, whose name it makes of the function's.
# ComfyUI's log has it in several pieces. See ComfyUI issues 10514, 11023 and 14186.
_DIED: Final = re.compile(r"^Exception in thread\s+Thread-\d+ \(prompt_worker\)\s*:", re.MULTILINE)
_LIVES: Final = re.compile(r"^Prompt executed in|\d+%\|", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCheck:
    """What was seen, or the error that was met. ``at`` is seconds since 1970.

    ``worker_died``: a job is shown as running, and the log says that what runs it has ended.
    """

    at: float
    latency_s: float | None = None
    stats: SystemStats | None = None
    queue: QueueSnapshot | None = None
    error: ComfyHeadlessError | None = None
    worker_died: bool = False


def check_server(asker: Asker) -> Flow[ServerCheck]:
    """Ask for the server's state and its queue. Raises nothing: an error is a finding, too."""
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
    """Whether a log ends with the death of the thread that runs the jobs.

    Not if something ran after it: a node pack may have started another such thread.
    """
    log = "\n".join(line.text for line in lines)
    deaths = [*_DIED.finditer(log)]
    return bool(deaths) and _LIVES.search(log, deaths[-1].end()) is None


def _worker_died(asker: Asker) -> Flow[bool]:
    try:
        return says_worker_died((yield from asker.once(endpoints.logs(), patience_s=_LOG_S)))
    except ComfyHeadlessError:  # not every server lets its log be read
        return False
