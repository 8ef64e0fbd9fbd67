"""The setup of a managed ComfyUI from the page: plan, install, start, and use it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from ..errors import ComfyHeadlessError, EngineError, InstallCancelledError
from .engine_manager import EngineManager
from .installing.installer import InstallProgress
from .packs.pack_folders import remove_pack
from .planning.install_plan import InstallPlan
from .supervision.supervisor import ServerPhase

__all__ = ["SetupPhase", "SetupState", "SetupTask"]

logger = logging.getLogger(__name__)

_OFF: Final = frozenset({ServerPhase.STOPPED, ServerPhase.IDLE})


class SetupPhase(StrEnum):
    """What the setup is doing."""

    IDLE = "idle"
    PLANNING = "planning"
    PLANNED = "planned"
    INSTALLING = "installing"
    STARTING = "starting"
    CONNECTING = "connecting"

    @property
    def active(self) -> bool:
        """Whether something runs, so that the state changes without a click."""
        return self not in {SetupPhase.IDLE, SetupPhase.PLANNED}


@dataclass(frozen=True, slots=True)
class SetupState:
    """The phase, what is planned, and how far the installation is."""

    phase: SetupPhase = SetupPhase.IDLE
    plan: InstallPlan | None = None
    progress: InstallProgress | None = None
    error: ComfyHeadlessError | None = None
    """Why the last attempt has ended; None if it succeeded."""
    pack: str = ""
    """The node pack that is planned: a name, or an address with a commit."""


class SetupTask:
    """Runs at most one action at a time, independent of open pages.

    All methods are called in one event loop.

    Args:
        manager: the managed ComfyUI.
        connect: turns the page to a server, given its address.
    """

    def __init__(self, manager: EngineManager, connect: Callable[[str], Awaitable[object]]) -> None:
        self.manager = manager
        self.state = SetupState()
        self._connect = connect
        self._cancel = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def plan(self, pack: str = "") -> None:
        """Plan the installation, or that of a node pack; :attr:`state` shows the plan.

        Args:
            pack: a name or an address, see :meth:`.EngineManager.plan_pack`.
        """
        self._begin(SetupState(SetupPhase.PLANNING, pack=pack), self._plan(pack))

    def remove_pack(self, name: str) -> None:
        """Take a node pack away, and restart ComfyUI if it runs."""
        self._begin(SetupState(SetupPhase.STARTING), self._remove_pack(name))

    def install(self, *, then: Callable[[], Awaitable[object]] | None = None) -> None:
        """Install what was planned, start it, and turn the page to it.

        Args:
            then: awaited afterwards.

        Raises:
            EngineError: nothing was planned, or the plan has problems.
        """
        plan = self.state.plan
        if plan is None or plan.problems:
            raise EngineError("There is nothing to install.", hint="Plan it first.")
        state = SetupState(SetupPhase.INSTALLING, plan, pack=self.state.pack)
        self._begin(state, self._install(plan, then))

    def start(self) -> None:
        """Start the installed version and turn the page to it."""
        self._begin(SetupState(SetupPhase.STARTING), self._start())

    def roll_back(self) -> None:
        """Return to the previous version, start it, and turn the page to it."""
        self._begin(SetupState(SetupPhase.STARTING), self._roll_back())

    def choose_memory(self, memory: str) -> None:
        """Keep a choice of how ComfyUI uses the GPU's memory, and restart it if it runs.

        Raises:
            ValidationError, StorageError: see :meth:`.EngineManager.choose_memory`.
        """
        if self.state.phase.active:
            return
        self.manager.choose_memory(memory)
        if self.manager.supervisor.state.phase not in _OFF:
            self._begin(SetupState(SetupPhase.STARTING), self._restart())

    def cancel(self) -> None:
        """Cancel what runs, or drop the plan. What was fetched is kept."""
        self._cancel.set()
        if not self.state.phase.active:
            self.state = SetupState()

    async def stop(self) -> None:
        """Stop the managed ComfyUI."""
        await asyncio.to_thread(self.manager.supervisor.stop)

    async def wait(self) -> None:
        """Wait until nothing runs."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Cancel what runs, and stop ComfyUI if this process has started it."""
        self._cancel.set()
        await self.wait()
        await asyncio.to_thread(lambda: self.manager.supervisor.stop(only_ours=True))

    def _begin(self, state: SetupState, action: Coroutine[Any, Any, None]) -> None:
        if self.state.phase.active:
            action.close()
            return  # a second click
        self._cancel.clear()
        self.state = state
        self._task = asyncio.create_task(self._run(action), name="set up ComfyUI")

    async def _run(self, action: Coroutine[Any, Any, None]) -> None:
        plan, pack = self.state.plan, self.state.pack
        try:
            await action
        except InstallCancelledError as error:
            self.state = SetupState(SetupPhase.PLANNED, plan, error=error, pack=pack)
        except ComfyHeadlessError as error:
            logger.warning("The setup of ComfyUI failed: %s", error)
            phase = SetupPhase.PLANNED if plan is not None else SetupPhase.IDLE
            self.state = SetupState(phase, plan, error=error, pack=pack)
        except Exception:
            logger.exception("The setup of ComfyUI failed.")
            failure = EngineError("The setup failed.", hint="See the app's log.")
            self.state = SetupState(SetupPhase.IDLE, error=failure)

    async def _plan(self, pack: str) -> None:
        manager = self.manager
        plan = await asyncio.to_thread(lambda: manager.plan_pack(pack) if pack else manager.plan())
        if self._cancel.is_set():
            self.state = SetupState()
        else:
            self.state = SetupState(SetupPhase.PLANNED, plan, pack=pack)

    async def _remove_pack(self, name: str) -> None:
        await asyncio.to_thread(remove_pack, self.manager.paths, name)
        if self.manager.supervisor.state.phase in _OFF:
            self.state = SetupState()
        else:
            await self._restart()

    async def _install(
        self, plan: InstallPlan, then: Callable[[], Awaitable[object]] | None
    ) -> None:
        loop = asyncio.get_running_loop()

        def on_progress(progress: InstallProgress) -> None:
            loop.call_soon_threadsafe(self._show, progress)

        await asyncio.to_thread(
            lambda: self.manager.install(plan, cancel=self._cancel, on_progress=on_progress)
        )
        self.state = SetupState(SetupPhase.STARTING)
        await asyncio.to_thread(self.manager.switch)
        await self._use()
        if then is not None:
            await then()

    def _show(self, progress: InstallProgress) -> None:
        if self.state.phase is SetupPhase.INSTALLING:
            self.state = replace(self.state, progress=progress)

    async def _start(self) -> None:
        await asyncio.to_thread(self.manager.start)
        await asyncio.to_thread(self.manager.supervisor.wait_until_ready, self._cancel)
        await self._use()

    async def _restart(self) -> None:
        await asyncio.to_thread(self.manager.restart, self._cancel)
        await self._use()

    async def _roll_back(self) -> None:
        await asyncio.to_thread(self.manager.roll_back)
        await self._use()

    async def _use(self) -> None:
        self.state = SetupState(SetupPhase.CONNECTING)
        await self._connect(self.manager.supervisor.state.url)
        self.state = SetupState()
