"""Stop the managed ComfyUI while there is nothing to do, and start it for the next job."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import ComfyHeadlessError
from .setup_task import SetupTask
from .supervision.supervisor import ServerPhase, ServerState

__all__ = ["IdleStop"]

logger = logging.getLogger(__name__)

_LOOK_S: Final = 2.0
_POLL_S: Final = 0.2


class IdleStop:
    """Looks at the jobs every two seconds. All methods are called in one event loop.

    Only a ComfyUI that this process has started is stopped. Jobs wait while it is off or starting,
    see :attr:`.Supervisor.absence`.

    Args:
        setup: the managed ComfyUI, and what an admin does with it.
        idle_min: the minutes without a job after which it is stopped; 0: never.
        in_use: returns whether the page uses it, and no other server.
        has_jobs: returns whether a job of this app is at the server, or is to go there.
        is_busy: returns whether the server has jobs, of any program.
        connect: turns the page to the server, given its address, when it runs again.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        setup: SetupTask,
        *,
        idle_min: float,
        in_use: Callable[[], bool],
        has_jobs: Callable[[], bool],
        is_busy: Callable[[], Awaitable[bool]],
        connect: Callable[[str], Awaitable[object]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setup = setup
        self._manager = setup.manager
        self._idle_s = idle_min * 60
        self._in_use = in_use
        self._has_jobs = has_jobs
        self._is_busy = is_busy
        self._connect = connect
        self._now = now
        self._busy_at = now()
        self._starts = False
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Look at the jobs until cancelled. Returns at once if ComfyUI is never to be stopped."""
        while self._idle_s:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.look()
            except (ComfyHeadlessError, OSError) as error:  # temporary, as on a full disk
                logger.warning("%s", error)

    async def look(self) -> None:
        """Stop ComfyUI if it has been idle for long enough, or start it if a job waits."""
        if not self._in_use():
            self._busy_at = self._now()
            return
        supervisor = self._manager.supervisor
        phase = supervisor.state.phase
        if phase is ServerPhase.IDLE and self._has_jobs():
            await self._start()
            return
        if phase is ServerPhase.READY and self._starts:
            await self._use()
        is_used = phase is not ServerPhase.READY or self._setup.state.phase.active
        if is_used or self._has_jobs() or await self._is_busy():
            self._busy_at = self._now()
        elif supervisor.started_it and self._now() - self._busy_at >= self._idle_s:
            await self._stop()

    async def ensure_started(self) -> None:
        """Start ComfyUI if it was stopped after idling, and wait until it answers.

        Raises:
            EngineError: it cannot be started.
            StorageError: the disk refuses.
        """
        if not self._in_use():
            return
        supervisor = self._manager.supervisor
        self._busy_at = self._now()
        if supervisor.state.phase is ServerPhase.IDLE:
            await self._start()
        while supervisor.absence is not None:  # noqa: ASYNC110 -- a thread changes it
            await asyncio.sleep(_POLL_S)
        if self._starts:
            await self._use()

    async def _start(self) -> None:
        async with self._changing:
            if self._manager.supervisor.state.phase is ServerPhase.IDLE:
                logger.info("ComfyUI is started: there is a job again.")
                self._starts = True
                await asyncio.to_thread(self._manager.start)

    async def _use(self) -> None:
        self._starts = False
        await self._connect(self._manager.supervisor.state.url)

    async def _stop(self) -> None:
        supervisor = self._manager.supervisor
        async with self._changing:
            if self._has_jobs() or self._setup.state.phase.active:
                return
            logger.info("ComfyUI is stopped: it had no job for %g minutes.", self._idle_s / 60)
            # Set before it is stopped: from now on, jobs wait instead of being sent.
            idle = ServerState(ServerPhase.IDLE, supervisor.state.url)
            supervisor.state = idle
            await asyncio.to_thread(lambda: supervisor.stop(only_ours=True, state=idle))
