"""The lag of the event loop: how much later than asked it runs a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from .app_metrics import AppMetrics

_INTERVAL_S: Final = 1.0


async def measure_lag(observe: Callable[[float], None], *, interval_s: float = _INTERVAL_S) -> None:
    """Call ``observe`` with the lag in seconds, at each interval, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        observe(max(0.0, loop.time() - due))


@asynccontextmanager
async def lag_measured(metrics: AppMetrics | None) -> AsyncIterator[None]:
    """Add the lag to the metrics, if there are any, while the ``with`` block runs."""
    if metrics is None:
        yield
        return
    measuring = asyncio.create_task(measure_lag(metrics.observe_lag), name="loop lag")
    try:
        yield
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
