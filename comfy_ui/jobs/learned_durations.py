"""How long the nodes of each server took: loaded when the app starts, stored as it is learned."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

from ..errors import StorageError
from ..protocol.durations import NodeDurations
from ..storage.job_store import JobStore

logger = logging.getLogger(__name__)

_SAVE_S: Final = 5.0


async def load(store: JobStore, durations: Mapping[str, NodeDurations]) -> None:
    """Add what is stored of each server."""
    for name, learned in durations.items():
        for key, measurements in (await store.durations(name)).items():
            learned.restore(key, measurements)


async def save(store: JobStore, durations: Mapping[str, NodeDurations]) -> None:
    """Store what was learned since the last call. If the disk refuses, only estimates suffer."""
    for name, learned in durations.items():
        if unsaved := learned.take_unsaved():
            try:
                await store.save_durations(name, unsaved, now=time.time())
            except StorageError as error:
                logger.info("Durations could not be saved: %s", error)


async def keep_saving(store: JobStore, durations: Mapping[str, NodeDurations]) -> None:
    """Store what is learned every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(_SAVE_S)
        await save(store, durations)
