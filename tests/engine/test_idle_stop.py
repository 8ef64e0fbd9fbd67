"""The managed ComfyUI, a stand-in, is stopped after idling and started for the next job."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable

import pytest

from comfy_ui.engine.engine_manager import EngineManager
from comfy_ui.engine.idle_stop import IdleStop
from comfy_ui.engine.setup_task import SetupTask
from comfy_ui.engine.supervision.supervisor import ServerPhase, Supervisor, running_url
from comfy_ui.errors import EngineError
from comfy_ui.settings import Settings
from tests.engine.stand_in import Host
from tests.engine.test_supervisor import put_version

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is started by a Unix script")


class Watched:
    """A managed ComfyUI with settable jobs and clock."""

    def __init__(self, host: Host, *, idle_min: float = 10) -> None:
        self.now_s = 0.0
        self.jobs = self.busy = False
        self.in_use = True
        self.connected: list[str] = []
        manager = EngineManager(Settings(data_dir=host.folder))
        manager.paths = host.paths
        manager.supervisor = self.supervisor = Supervisor(host.paths, first_port=0, poll_s=0.02)

        async def connect(url: str) -> None:
            self.connected.append(url)

        async def is_busy() -> bool:
            return self.busy

        self.setup = SetupTask(manager, connect)
        self.idle_stop = IdleStop(
            self.setup,
            idle_min=idle_min,
            in_use=lambda: self.in_use,
            has_jobs=lambda: self.jobs,
            is_busy=is_busy,
            connect=connect,
            now=lambda: self.now_s,
        )

    @property
    def phase(self) -> ServerPhase:
        return self.supervisor.state.phase

    async def look_at(self, minutes: float) -> ServerPhase:
        self.now_s = minutes * 60
        await self.idle_stop.look()
        return self.phase

    async def reach(self, phase: ServerPhase) -> None:
        await until(lambda: self.phase is phase)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- a thread changes it
            await asyncio.sleep(0.02)


async def test_idle_stop_idle_server_is_stopped_and_started_for_the_next_job(host: Host) -> None:
    put_version(host, "1.0")
    watched = Watched(host)
    url = await asyncio.to_thread(watched.supervisor.start)
    try:
        await watched.reach(ServerPhase.READY)
        assert await watched.look_at(9) is ServerPhase.READY
        watched.jobs = True
        assert await watched.look_at(11) is ServerPhase.READY
        watched.jobs, watched.busy = False, True  # a job of another program
        assert await watched.look_at(22) is ServerPhase.READY
        watched.busy = False
        assert await watched.look_at(31) is ServerPhase.READY
        assert await watched.look_at(32) is ServerPhase.IDLE
        assert running_url(host.paths) is None
        assert watched.supervisor.absence == "idle"
        assert await watched.look_at(60) is ServerPhase.IDLE

        watched.jobs, watched.in_use = True, False  # jobs at another server
        assert await watched.look_at(60) is ServerPhase.IDLE
        await watched.idle_stop.ensure_started()
        assert watched.phase is ServerPhase.IDLE
        watched.in_use = True

        await watched.look_at(61)
        assert watched.supervisor.absence in {"starting", None}
        await watched.reach(ServerPhase.READY)
        assert watched.supervisor.state.url == url
        await watched.look_at(62)
        assert watched.connected == [url]
        watched.jobs = False
        assert await watched.look_at(71) is ServerPhase.READY
    finally:
        await watched.setup.aclose()
    assert watched.phase is ServerPhase.STOPPED


async def test_ensure_started_waits_until_it_answers(host: Host) -> None:
    put_version(host, "1.0")
    watched = Watched(host)
    await asyncio.to_thread(watched.supervisor.start)
    try:
        await watched.reach(ServerPhase.READY)
        assert await watched.look_at(10) is ServerPhase.IDLE
        await watched.idle_stop.ensure_started()
        assert watched.phase is ServerPhase.READY
        assert len(watched.connected) == 1
        assert await watched.look_at(19) is ServerPhase.READY
    finally:
        await watched.setup.aclose()


async def test_idle_stop_server_that_was_found_is_left_alone(host: Host) -> None:
    put_version(host, "1.0")
    first = Supervisor(host.paths, first_port=0, poll_s=0.02)
    url = await asyncio.to_thread(first.start)
    watched = Watched(host)
    try:
        assert await asyncio.to_thread(watched.supervisor.start) == url
        await watched.reach(ServerPhase.READY)
        assert await watched.look_at(100) is ServerPhase.READY
    finally:
        await watched.setup.aclose()
        await asyncio.to_thread(first.stop)


async def test_idle_stop_server_that_cannot_start_again_is_stopped_with_the_reason(
    host: Host,
) -> None:
    put_version(host, "1.0")
    watched = Watched(host)
    await asyncio.to_thread(watched.supervisor.start)
    await watched.reach(ServerPhase.READY)
    assert await watched.look_at(10) is ServerPhase.IDLE
    shutil.rmtree(host.paths.versions)
    watched.jobs = True
    with pytest.raises(EngineError, match="No ComfyUI is installed"):
        await watched.look_at(11)
    assert watched.phase is ServerPhase.STOPPED
    assert watched.supervisor.absence is None


async def test_idle_stop_zero_minutes_never_looks(host: Host) -> None:
    await Watched(host, idle_min=0).idle_stop.run()
