"""ServerConnection: the old connection stays until the new one works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from logging import getLogger
from pathlib import Path
from typing import Any

import pytest

from comfy_ui import logging
from comfy_ui.demo import DemoServer
from comfy_ui.errors import (
    AuthenticationError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    StorageError,
    ValidationError,
)
from comfy_ui.jobs.workers import server as server_module
from comfy_ui.library.saved_workflows import SavedWorkflows
from comfy_ui.settings import Settings
from comfy_ui.storage.database import Database
from comfy_ui.storage.records import LOCAL_USER_ID, Absence, JobRequest, Phase, QueueCounts
from comfy_ui.web.components.job_card import look_of
from comfy_ui.web.components.server_cards import servers_panel
from comfy_ui.web.server_choice import ServerChoice, typed
from comfy_ui.web.server_connection import ServerConnection
from tests.client.hostile_server import hostile, trickle
from tests.client.support import ScriptedServer, response


def connection_to(settings: Settings, choice: ServerChoice) -> ServerConnection:
    return ServerConnection(settings, choice, SavedWorkflows(settings.data_dir))


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[ServerConnection]:
    settings = Settings(demo=True, demo_speed="instant", data_dir=tmp_path / "data")
    new = connection_to(settings, ServerChoice("embedded"))
    new.start_engine()
    await new.open()
    yield new
    await new.aclose()
    new.stop_engine()


async def test_managed_server_stopped_after_idling_jobs_wait_and_nothing_is_broken(
    tmp_path: Path, engine: Any
) -> None:
    absences: list[Absence | None] = ["idle"]
    new = ServerConnection(
        Settings(data_dir=tmp_path),
        ServerChoice("managed", (engine.url,)),
        SavedWorkflows(tmp_path),
        managed_absence=lambda: absences[-1],
    )
    await new.open()
    try:
        (status,) = await new.refresh()
        assert (status.online, status.absence, status.error) == (False, "idle", None)
        assert new.catalog.online
        page = servers_panel([status], counts=QueueCounts(0, 0), embedded=False, private=True)
        assert "Stopped after idling" in page
        assert not new.has_jobs()
        job = await new.jobs.submit(
            JobRequest(user_id=LOCAL_USER_ID, preset="sdxl_turbo", values={"prompt": "fox"})
        )
        async with asyncio.timeout(60), aclosing(new.follow(job.id, LOCAL_USER_ID)) as snapshots:
            async for snapshot in snapshots:
                if snapshot.phase is Phase.RECONNECTING and absences[-1] is not None:
                    assert look_of(snapshot).label == "ComfyUI is starting"
                    assert new.has_jobs()
                    absences += ["starting", None]
                    await new.use_managed(engine.url)
        assert snapshot.phase is Phase.SUCCEEDED
        assert absences[-1] is None
    finally:
        await new.aclose()


async def test_reconnect_with_external_workers_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, workers="external", demo=True)
    with pytest.raises(ValidationError, match="Workers run the jobs"):
        await connection_to(settings, ServerChoice("embedded")).reconnect("http://127.0.0.1:8188")


async def test_reconnect_failed_open_restores_the_previous_server(
    connection: ServerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database, before = Database.open, connection.client.url

    async def once(self: Database) -> None:
        monkeypatch.setattr(Database, "open", open_database)
        raise StorageError("The disk is full.")

    with DemoServer(speed="instant").in_thread() as other:
        monkeypatch.setattr(Database, "open", once)
        with pytest.raises(StorageError, match="full"):
            await connection.reconnect(other.url)
        assert (connection.client.url, connection.embedded) == (before, True)
        assert [status.online for status in await connection.refresh()] == [True]
        await connection.reconnect(other.url)
        assert (connection.client.url, connection.embedded) == (other.url, False)


async def test_check_online_stopped_server_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DemoServer(speed="instant").in_thread() as server:
        connection = connection_to(
            Settings(data_dir=tmp_path), ServerChoice("configured", (server.url,))
        )
        await connection.open()
        try:
            await connection.check_online()
            assert connection.catalog.online
            await asyncio.to_thread(server.kill)
            monkeypatch.setattr(connection, "_online_until", time.monotonic() + 600)
            await connection.check_online()
            assert connection.catalog.online, "the last check still counts"
            monkeypatch.setattr(connection, "_online_until", 0.0)
            await connection.check_online()
            assert not connection.catalog.online
        finally:
            await connection.aclose()


async def test_reconnect_sends_the_typed_token_and_never_shows_it(
    connection: ServerConnection,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("handlers", []), ("propagate", True), ("level", 0)):  # to be restored
        monkeypatch.setattr(getLogger("comfy_ui"), name, value)
    logging.configure("debug")
    with ScriptedServer(lambda _: response(status=401)) as server:
        with pytest.raises(AuthenticationError) as caught:
            await connection.reconnect(server.url, "hunter-2-token")
        assert server.requests[0].headers["authorization"] == "Bearer hunter-2-token"
    assert "token" in caught.value.hint
    assert "COMFYUI" not in caught.value.hint
    getLogger("comfy_ui.test").warning("The answer has %s in it", "hunter-2-token")
    assert "hunter-2" not in repr(typed(server.url, "hunter-2-token")) + str(caught.value)
    errors = capsys.readouterr().err
    assert "[redacted] in it" in errors
    assert "hunter-2" not in errors


async def test_reconnect_closed_port_advises_about_the_typed_address(
    connection: ServerConnection,
) -> None:
    with pytest.raises(ComfyUIOfflineError) as caught:
        await connection.reconnect("http://127.0.0.1:9")
    assert caught.value.hint == "Check the address, and that ComfyUI listens there."


async def test_reconnect_trickling_server_ends_within_the_time_of_a_check(
    connection: ServerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_CHECK_TIMEOUT_S", 0.2)
    async with hostile(trickle) as other, asyncio.timeout(10):
        with pytest.raises(ComfyUIConnectionError, match="did not answer within"):
            await connection.reconnect(other.url)


async def test_wait_ready_during_reconnect_waits_for_the_new_server(
    connection: ServerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connection.wait_ready()  # returns at once without a reconnect
    opening, proceed, open_database = asyncio.Event(), asyncio.Event(), Database.open

    async def slow(self: Database) -> None:
        opening.set()
        await proceed.wait()
        await open_database(self)

    monkeypatch.setattr(Database, "open", slow)
    with DemoServer(speed="instant").in_thread() as other:
        change = asyncio.create_task(connection.reconnect(other.url))
        await opening.wait()
        guest: Any = asyncio.create_task(connection.wait_ready())
        await asyncio.sleep(0.05)
        assert not guest.done()
        proceed.set()
        await guest
        assert await connection.jobs.active("ann") == []
        await change


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
async def test_reconnect_cancelled_leaves_a_working_server(tmp_path: Path, after_s: float) -> None:
    with (
        DemoServer(speed="instant").in_thread() as first,
        DemoServer(speed="instant").in_thread() as second,
    ):
        choice = ServerChoice("configured", (first.url,))
        connection = connection_to(Settings(data_dir=tmp_path), choice)
        await connection.open()
        try:
            await connection.wait_checked()
            going = asyncio.create_task(connection.reconnect(second.url))
            await asyncio.sleep(after_s)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            async with connection._reconnecting:  # the reconnect has ended
                assert await connection.jobs.library.results("ann") == []
                assert (await connection.jobs.server_status()).online
        finally:
            await connection.aclose()
