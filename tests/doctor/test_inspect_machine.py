"""Facts are collected from a real folder, real sockets and the demo engine."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_ui.client import ClientOptions, ComfyClient, ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.doctor.inspect_machine import ThreadedClient, inspect_machine
from comfy_ui.doctor.machine import DataFolder, Machine
from comfy_ui.health import IDLE_WORKER_S, HealthVerdict
from comfy_ui.protocol.queue_and_history import QueueAnswer, QueueSnapshot
from comfy_ui.settings import load_settings
from comfy_ui.storage.database import Database
from tests.prompts.support import MODEL, LlmServer


async def inspect(data_dir: Path, *servers, **options) -> Machine:
    settings = load_settings(
        data_dir=data_dir,
        llm_model=options.pop("llm_model", "rules"),
        **options.pop("settings", {}),
    )
    return await inspect_machine(settings, servers, **options)


def folder(path: Path) -> DataFolder:
    return asyncio.run(inspect(path)).data


async def created(path: Path) -> None:
    database = Database(path)
    await database.open()
    await database.close()


async def test_inspect_machine_demo_engine_is_online_with_every_preset(
    engine: DemoServer, tmp_path: Path
) -> None:
    with ComfyClient(url=engine.url) as client:
        machine = await inspect(tmp_path, ThreadedClient(client))
    (server,) = machine.servers
    assert (server.verdict, server.local, server.running) == (HealthVerdict.HEALTHY, True, 0)
    assert server.version
    assert machine.presets is not None
    assert machine.presets.total >= 49
    assert len(machine.presets.lacking) < machine.presets.total


async def test_inspect_machine_takes_async_clients_as_well(
    engine: DemoServer, tmp_path: Path
) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        machine = await inspect(tmp_path, client)
    assert machine.servers[0].verdict is HealthVerdict.HEALTHY


async def test_inspect_machine_closed_and_foreign_ports_are_told_apart(tmp_path: Path) -> None:
    options = ClientOptions(max_retries=0)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with ComfyClient(url=closed, options=options) as client:
            machine = await inspect(tmp_path, ThreadedClient(client))
        assert machine.servers[0].port_open is False
        listening.listen()
        with ComfyClient(url=closed, timeout=0.3, options=options) as client:
            machine = await inspect(tmp_path, ThreadedClient(client))
        assert machine.servers[0].port_open is True
    assert machine.presets is None


async def test_inspect_machine_waiting_job_on_idle_server_is_looked_at_twice(
    engine: DemoServer, tmp_path: Path
) -> None:
    pauses: list[float] = []

    class Stuck(ThreadedClient):
        async def look(self):
            look = await super().look()
            queue = QueueSnapshot({}, {"job": QueueAnswer("pending")})
            return replace(look, queue=queue, at=look.at + sum(pauses))

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with ComfyClient(url=engine.url) as client:
        machine = await inspect(tmp_path, Stuck(client), sleep=sleep)
    assert pauses == [IDLE_WORKER_S]
    assert machine.servers[0].verdict is HealthVerdict.STUCK


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
async def test_inspect_machine_model_files_without_content_are_listed(tmp_path: Path) -> None:
    loras = tmp_path / "models" / "loras"
    loras.mkdir(parents=True)
    (loras / "good.safetensors").write_bytes(b"x")
    (loras / "empty.safetensors").touch()
    (loras / "put_loras_here").touch()
    (loras / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (path,) = (await inspect(tmp_path, settings={"models_dir": tmp_path / "models"})).models
    assert sorted(path.unusable) == ["loras/empty.safetensors", "loras/gone.safetensors"]


def test_data_folder_missing_or_empty_has_no_database(tmp_path: Path) -> None:
    assert folder(tmp_path).database == "none"
    missing = folder(tmp_path / "new" / "folder")
    assert (missing.exists, missing.writable) == (False, True)
    assert not (tmp_path / "new").exists()


def test_data_folder_sound_database_stays_untouched(tmp_path: Path) -> None:
    asyncio.run(created(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    data = folder(tmp_path)
    assert (data.database, data.in_use) == ("sound", False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


async def test_data_folder_of_a_running_app_is_in_use_and_sound(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.open()
    try:
        data = (await inspect(tmp_path)).data
    finally:
        await database.close()
    assert (data.database, data.in_use) == ("sound", True)


@pytest.mark.parametrize(("version", "state"), [(99, "newer"), (0, "foreign")])
def test_data_folder_database_of_another_version_is_recognized(
    version: int, state: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute(f"PRAGMA user_version = {version}")
    assert folder(tmp_path).database == state


def test_data_folder_damaged_database_is_recognized(tmp_path: Path) -> None:
    asyncio.run(created(tmp_path))
    path = tmp_path / "comfy_ui.db"
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    path.write_bytes(content)
    assert folder(tmp_path).database == "damaged"
    path.write_text("no database at all, but some text of more than a hundred bytes " * 4)
    assert folder(tmp_path).database == "damaged"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_data_folder_readable_by_others_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert folder(tmp_path).open_to_others
    tmp_path.chmod(0o700)
    assert not folder(tmp_path).open_to_others


async def test_inspect_machine_models_dir_is_judged_by_its_folders(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for step in ("missing", "empty", "typical"):
        if step == "empty":
            models.mkdir()
        elif step == "typical":
            (models / "checkpoints").mkdir()
        (path,) = (await inspect(tmp_path, settings={"models_dir": models})).models
        assert (path.exists, path.recognized) == (step != "missing", step == "typical")
    assert path.readable
    assert path.writable


async def test_inspect_machine_port_in_use_is_not_free(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert not (await inspect(tmp_path, settings={"port": port})).port.free
    assert (await inspect(tmp_path, settings={"port": port})).port.free


async def test_inspect_machine_preset_file_that_cannot_be_read_is_listed(
    engine: DemoServer, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text("schema_version = ")
    with ComfyClient(url=engine.url) as client:
        machine = await inspect(tmp_path, ThreadedClient(client), preset_folders=[tmp_path])
    assert machine.presets is not None
    assert len(machine.presets.broken) == 1
    assert "bad.toml" in machine.presets.broken[0]


async def test_inspect_machine_language_model_is_asked_for_its_models(tmp_path: Path) -> None:
    with LlmServer() as llm:
        settings = {"openai_base_url": llm.url, "openai_api_key": "sk-1234"}
        machine = await inspect(tmp_path, llm_model=MODEL, settings=settings)
        assert machine.language_model.state == "reachable"
        assert (machine.language_model.name, machine.language_model.names) == (MODEL, (MODEL,))
    machine = await inspect(tmp_path, llm_model=MODEL, settings=settings)
    assert machine.language_model.state == "failed"
    assert "cannot be reached" in machine.language_model.error
    assert (await inspect(tmp_path)).language_model.state == "rules"
