"""The lag of the event loop: how much later than asked it runs a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_INTERVAL_S: Final = 1.0


async def measure_lag(observe: Callable[[float], None], *, interval_s: float = _INTERVAL_S) -> None:
    """Call ``observe`` with the lag in seconds, at each interval, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        observe(max(0.0, loop.time() - due))
