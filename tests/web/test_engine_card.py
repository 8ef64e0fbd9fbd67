"""The setup of a managed ComfyUI from the page, up to the page using it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.engine.engine_manager import EngineManager
from comfy_ui.engine.engine_paths import Installation
from comfy_ui.engine.installing import installer as installer_module
from comfy_ui.engine.installing.installer import Installer, InstallProgress
from comfy_ui.engine.packs.pack_folders import InstalledPack, installed_packs
from comfy_ui.engine.packs.pack_source import known_packs
from comfy_ui.engine.setup_task import SetupPhase, SetupState, SetupTask
from comfy_ui.engine.supervision.supervisor import ServerPhase, ServerState
from comfy_ui.errors import EngineError, StorageError, ValidationError
from comfy_ui.library.saved_workflows import SavedWorkflows
from comfy_ui.settings import Settings, load_settings
from comfy_ui.storage.records import LOCAL_USER_ID, JobRequest, JobStatus, Phase
from comfy_ui.web.server_choice import ServerChoice, choose
from comfy_ui.web.server_connection import ServerConnection
from comfy_ui.web.tabs.engine_card import engine_panel
from comfy_ui.workflow.presets.preset_store import load_presets
from tests.engine.stand_in import Host, archive, pack_archive, wait_until
from tests.web.support import Page

INSTALLED = Installation(
    name="comfyui-0.33.0",
    version="0.33.0",
    stack="cu130",
    python="venv/bin/python",
    device="cuda",
    torch="2.11.0+cu130",
    source="",
    sha256=None,
    installed_at=0.0,
    plan="",
)


unix_only = pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a Unix script")


@pytest.fixture
def machine(tmp_path: Path) -> Host:
    return Host(tmp_path)


def sends(page: Page) -> list[str]:
    buttons = (button for button in page.all("button") if "data-send" in button)
    return [button["data-send"] for button in buttons if "data-pack" not in button]


def test_engine_panel_without_an_installation_offers_the_plan() -> None:
    page = Page(engine_panel(SetupState(), server=ServerState(), current=None))
    assert sends(page) == ["plan"]
    assert "Set up ComfyUI here" in page.text


def test_engine_panel_plan_is_shown_before_anything_is_installed(machine: Host) -> None:
    plan = machine.plan(archive(machine.folder))
    page = Page(
        engine_panel(SetupState(SetupPhase.PLANNED, plan), server=ServerState(), current=None)
    )
    assert sends(page) == ["install", "abort"]
    for text in ("ComfyUI 1.0", "CPU only", "about 1.0 GB", str(plan.folder), "No GPU will be"):
        assert text in page.text


def test_engine_panel_plan_offers_the_models_of_a_first_preset(machine: Host) -> None:
    state = SetupState(SetupPhase.PLANNED, machine.plan(archive(machine.folder)))
    first = load_presets()["sd15"]
    page = Page(engine_panel(state, server=ServerState(), current=None, first=first))
    (form,) = page.all("form")
    assert form["data-send"] == "install"
    (box,) = (one for one in page.all("input") if one.get("name") == "models")
    assert "checked" in box
    assert f"{first.title}, 2.1 GB" in page.text
    assert sends(page) == ["abort"]


def test_engine_panel_plan_with_a_problem_cannot_be_installed(machine: Host) -> None:
    plan = machine.plan(archive(machine.folder), free_bytes=10**9)
    page = Page(
        engine_panel(SetupState(SetupPhase.PLANNED, plan), server=ServerState(), current=None)
    )
    assert sends(page) == ["plan", "abort"]
    assert "more free space" in page.text


def test_engine_panel_progress_has_bytes_speed_and_cancel() -> None:
    progress = InstallProgress("packages", "Install PyTorch", 3, 6, 10**9, 2 * 10**9, 5e6)
    state = SetupState(SetupPhase.INSTALLING, progress=progress)
    page = Page(engine_panel(state, server=ServerState(), current=None))
    assert sends(page) == ["abort"]
    assert "Step 3 of 6" in page.text
    assert "1.0 GB of 2.0 GB, 5.0 MB/s" in page.text
    (bar,) = (tag for tag in page.all("div") if tag.get("role") == "progressbar")
    assert bar["aria-valuenow"] == "50"


def test_engine_panel_crashed_server_shows_reason_log_and_rollback() -> None:
    server = ServerState(ServerPhase.FAILED, message="It <crashed>.", hint="Do this.")
    old = replace(INSTALLED, version="0.3.64")
    page = Page(
        engine_panel(SetupState(), server=server, current=INSTALLED, previous=old, log="a <line>")
    )
    assert sends(page) == ["start", "plan", "back"]
    for text in ("It <crashed>.", "Do this.", "a <line>", "Back to 0.3.64", "2.11.0+cu130 (cuda)"):
        assert text in page.text


def test_engine_panel_running_server_offers_stop() -> None:
    server = ServerState(ServerPhase.READY, "http://127.0.0.1:8188")
    page = Page(engine_panel(SetupState(), server=server, current=INSTALLED))
    assert sends(page) == ["halt", "plan"]
    assert "http://127.0.0.1:8188" in page.text


def test_engine_panel_memory_can_be_chosen_where_a_gpu_is_used() -> None:
    def choices(current: Installation, **more: Any) -> list[str]:
        page = Page(engine_panel(SetupState(), server=ServerState(), current=current, **more))
        return [tag["value"] for tag in page.all("option") if "selected" in tag]

    assert choices(INSTALLED, memory="low") == ["low"]
    assert choices(INSTALLED) == []  # a setting determines it
    assert choices(replace(INSTALLED, device="cpu"), memory="low") == []
    running = ServerState(ServerPhase.READY, "http://127.0.0.1:8188")
    html = engine_panel(SetupState(), server=running, current=INSTALLED, memory="auto")
    assert "Apply and restart" in Page(html).text


def test_engine_panel_lists_node_packs_and_those_that_can_be_added(machine: Host) -> None:
    def packs_of(**more: Any) -> Page:
        return Page(engine_panel(SetupState(), server=ServerState(), current=INSTALLED, **more))

    source = pack_archive(machine.folder, "my-nodes")
    bad = InstalledPack(source, machine.folder, "It <crashed>.")
    page = packs_of(packs=[bad, InstalledPack(known_packs()[0], machine.folder)])
    drops = [one["data-pack"] for one in page.all("button") if one.get("data-send") == "drop"]
    plans = [one["data-pack"] for one in page.all("button") if "data-pack" in one]
    assert drops == ["my-nodes", known_packs()[0].name]
    offered = [pack.name for pack in known_packs()[1:]]
    assert [name for name in plans if name not in drops] == offered
    assert plans.count("my-nodes") == 2  # try again, remove
    for text in ("It <crashed>.", "MIT", known_packs()[0].commit[:12]):
        assert text in page.text
    (form,) = (one for one in page.all("form") if one["data-send"] == "plan")
    assert form
    assert "Node packs" in packs_of().text
    nothing = Page(engine_panel(SetupState(), server=ServerState(), current=None))
    assert "Node packs" not in nothing.text


@unix_only
async def test_setup_task_node_pack_is_planned_installed_and_removed(machine: Host) -> None:
    async def connect(_: str) -> None:
        return None

    setup = task_for(machine, connect, restart=lambda _: None)
    setup.plan()
    await setup.wait()
    setup.install()
    await setup.wait()
    setup.plan("no-such-pack")
    await setup.wait()
    assert "no node pack 'no-such-pack'" in str(setup.state.error)
    pack_archive(machine.folder, "my-nodes")
    plan_pack = setup.manager.plan_pack
    copy = str(machine.folder / "my-nodes.zip")
    manager: Any = setup.manager
    manager.plan_pack = lambda name: plan_pack(name, copy)
    setup.plan("my-nodes")
    await setup.wait()
    assert (setup.state.phase, setup.state.pack) == (SetupPhase.PLANNED, "my-nodes")
    page = Page(engine_panel(setup.state, server=ServerState(), current=INSTALLED))
    assert "my-nodes (license unknown) is code of others" in page.text
    setup.install()
    await setup.wait()
    paths = setup.manager.paths
    assert [one.source.name for one in installed_packs(paths, paths.current())] == ["my-nodes"]
    setup.remove_pack("my-nodes")
    await setup.wait()
    assert (setup.state, installed_packs(paths, paths.current())) == (SetupState(), [])


def test_engine_manager_chosen_memory_counts_for_the_next_start_unless_it_is_set(
    tmp_path: Path,
) -> None:
    manager = EngineManager(Settings(data_dir=tmp_path))
    manager.choose_memory("low")
    assert manager.supervisor.options.memory == "low"
    assert EngineManager(Settings(data_dir=tmp_path)).options.memory == "low"
    with pytest.raises(ValidationError, match="no such use"):
        manager.choose_memory("--listen")
    fixed = EngineManager(Settings(data_dir=tmp_path, engine_memory="auto"))
    assert fixed.options.memory == "auto"
    with pytest.raises(ValidationError, match="COMFY_UI_ENGINE_MEMORY"):
        fixed.choose_memory("low")


async def test_setup_task_chosen_memory_restarts_a_running_server_only(machine: Host) -> None:
    urls: list[str] = []
    restarts: list[str] = []

    async def connect(url: str) -> None:
        urls.append(url)

    def restart(_: threading.Event) -> None:
        restarts.append(setup.manager.options.memory)

    setup = task_for(machine, connect, restart=restart)
    setup.choose_memory("low")
    await setup.wait()
    assert (restarts, urls) == (["low"], ["http://127.0.0.1:9"])
    setup.manager.supervisor.state = ServerState()
    setup.choose_memory("high")
    await setup.wait()
    assert (restarts, setup.manager.options.memory) == (["low"], "high")


# --- the task ---------------------------------------------------------------------------------


def task_for(machine: Host, connect: Any, **replaced: Any) -> SetupTask:
    settings = Settings(data_dir=machine.folder, models_dir=machine.folder / "models")
    manager: Any = EngineManager(settings)
    source = archive(machine.folder)
    manager.plan = lambda: machine.plan(source)
    manager.install = lambda plan, **options: Installer(
        manager.paths, plan, uv=str(machine.uv), **options
    ).install()
    manager.supervisor = SimpleNamespace(
        state=ServerState(ServerPhase.READY, "http://127.0.0.1:9"), stop=lambda **_: None
    )
    for name, value in {"switch": lambda: None, **replaced}.items():
        setattr(manager, name, value)
    return SetupTask(manager, connect)


@pytest.fixture(autouse=True)
def no_smoke_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer_module, "run_smoke_test", lambda *_args, **_options: None)


@unix_only
async def test_setup_task_plan_and_install_end_with_the_page_on_the_server(machine: Host) -> None:
    urls: list[str] = []

    async def connect(url: str) -> None:
        assert setup.state.phase is SetupPhase.CONNECTING
        urls.append(url)

    setup = task_for(machine, connect)
    with pytest.raises(EngineError, match="nothing to install"):
        setup.install()
    setup.plan()
    setup.plan()  # a second click
    await setup.wait()
    assert setup.state.phase is SetupPhase.PLANNED

    async def download() -> None:
        urls.append("downloads")

    setup.install(then=download)
    await setup.wait()
    assert (setup.state, urls) == (SetupState(), ["http://127.0.0.1:9", "downloads"])
    assert setup.manager.paths.current() is not None


@unix_only
async def test_setup_task_cancelled_installation_can_be_continued(machine: Host) -> None:
    async def connect(_: str) -> None:
        return None

    machine.set_uv_fault("hang")
    setup = task_for(machine, connect)
    setup.plan()
    await setup.wait()
    setup.install()
    await asyncio.to_thread(wait_until, (machine.folder / "uv_hangs").exists)
    assert setup.state.progress is not None
    setup.cancel()
    await setup.wait()
    assert setup.state.phase is SetupPhase.PLANNED
    assert "cancelled" in str(setup.state.error)
    machine.set_uv_fault("")
    setup.install()
    await setup.wait()
    assert setup.state == SetupState()


async def test_setup_task_failure_is_shown_with_its_plan(machine: Host) -> None:
    def fail(_plan: Any, **_: Any) -> None:
        raise StorageError("The disk is full.")

    setup = task_for(machine, None, install=fail)
    setup.plan()
    await setup.wait()
    setup.install()
    await setup.wait()
    assert setup.state.phase is SetupPhase.PLANNED
    assert "The disk is full." in str(setup.state.error)


# --- the page's server ------------------------------------------------------------------------


def test_choose_installed_comfyui_is_managed_unless_another_answers(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    assert choose(settings, probe=lambda _: False).kind == "embedded"
    home = tmp_path / "engine" / "versions" / "comfyui-0.33.0"
    from comfy_ui.engine.engine_paths import EnginePaths, write_installation

    write_installation(home, INSTALLED)
    EnginePaths.of(settings).switch("comfyui-0.33.0", None)
    assert choose(settings, probe=lambda _: False) == ServerChoice("managed")
    assert choose(settings, probe=lambda _: True).kind == "found"
    chosen = load_settings(data_dir=tmp_path, engine=True)
    assert choose(chosen, probe=lambda _: True).kind == "managed"


def test_start_engine_managed_that_cannot_start_falls_back_to_the_demo_engine(
    tmp_path: Path,
) -> None:
    def fail() -> str:
        raise EngineError("It cannot be started.")

    settings = Settings(demo_speed="instant", data_dir=tmp_path)
    connection = ServerConnection(settings, ServerChoice("managed"), SavedWorkflows(tmp_path), fail)
    connection.start_engine()
    try:
        assert connection.embedded
        assert connection.choice.urls
    finally:
        connection.stop_engine()


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[ServerConnection]:
    settings = Settings(demo=True, demo_speed="20", data_dir=tmp_path / "data")
    new = ServerConnection(settings, ServerChoice("embedded"), SavedWorkflows(settings.data_dir))
    new.start_engine()
    await new.open()
    yield new
    await new.aclose()
    new.stop_engine()


async def test_use_managed_running_demo_jobs_end_first_and_waiting_ones_run_there(
    connection: ServerConnection, engine: Any
) -> None:
    jobs = [
        await connection.jobs.submit(
            JobRequest(user_id=LOCAL_USER_ID, preset="sdxl_turbo", values={"prompt": f"{n}"})
        )
        for n in range(4)
    ]
    first = connection.jobs.follow(jobs[0].id, LOCAL_USER_ID)
    async with asyncio.timeout(60), aclosing(first) as snapshots:
        async for snapshot in snapshots:
            if snapshot.phase is not Phase.QUEUED:
                break
        await connection.use_managed(engine.url)
        assert (connection.client.url, connection.embedded) == (engine.url, False)
        for job in jobs:
            async for _ in connection.follow(job.id, LOCAL_USER_ID):
                pass
    ended = [await connection.jobs.job(job.id, LOCAL_USER_ID) for job in jobs]
    assert [job.status for job in ended] == [JobStatus.SUCCEEDED] * 4
    assert ended[0].server != ended[-1].server
