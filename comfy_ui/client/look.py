"""One look at a server: does it answer, how quickly, and what is in its queue."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import ComfyHeadlessError
from ..protocol.answers import QueueSnapshot
from . import inventory, routes
from .flows import Asker, Flow
from .values import SystemStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen, or the error that was met. ``at`` is seconds since 1970."""

    at: float
    latency_s: float | None = None
    stats: SystemStats | None = None
    queue: QueueSnapshot | None = None
    error: ComfyHeadlessError | None = None


def look(asker: Asker) -> Flow[Look]:
    """Ask for the server's state and its queue. Raises nothing: an error is a finding, too."""
    at, began = time.time(), asker.clock()
    try:
        stats = yield from asker.ask(inventory.system_stats())
        latency_s = asker.clock() - began
        queue = yield from asker.ask(routes.queue())
    except ComfyHeadlessError as error:
        return Look(at=at, error=error)
    return Look(at=at, latency_s=latency_s, stats=stats, queue=queue)
