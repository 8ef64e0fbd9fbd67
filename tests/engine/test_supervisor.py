"""The supervisor over a stand-in for ComfyUI: start, find again, restart, give up, stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from comfy_ui.engine.engine_paths import Installation, read_json, write_installation
from comfy_ui.engine.supervision.process_identity import end_tree, remember, remembered
from comfy_ui.engine.supervision.restart_policy import RestartPolicy
from comfy_ui.engine.supervision.server_command import HOST, free_port
from comfy_ui.engine.supervision.supervisor import (
    ServerPhase,
    Supervisor,
    running_url,
    stop_server,
)
from comfy_ui.engine.versions import roll_back, switch_running
from comfy_ui.errors import EngineError
from tests.engine.stand_in import ROOT, Host, wait_until, write_source

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is started by a Unix script")


def put_version(host: Host, name: str, *, fault: str = "") -> Installation:
    """A complete version with the stand-in, as the installer leaves it."""
    home = host.paths.versions / name
    write_source(home / "ComfyUI", name, fault)
    installation = Installation(
        name=name,
        version=name,
        stack="cpu",
        python=str(host.folder / "python"),
        device="cpu",
        torch="2.11.0",
        source="",
        sha256=None,
        installed_at=0.0,
        plan=name,
    )
    python = host.folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    write_installation(home, installation)
    old = host.paths.current()
    host.paths.switch(name, old.name if old else None)
    return installation


@pytest.fixture
def supervisor(host: Host) -> Iterator[Supervisor]:
    one = Supervisor(host.paths, first_port=0, poll_s=0.02)
    yield one
    one.stop()


def pid_of(host: Host) -> int:
    return int(read_json(host.paths.run_file)["pid"])


@pytest.mark.slow
def test_supervisor_killed_server_is_restarted_and_stop_ends_it(
    host: Host, supervisor: Supervisor
) -> None:
    put_version(host, "1.0")
    url = supervisor.start()
    assert url.startswith(f"http://{HOST}:")
    supervisor.wait_until_ready()
    first = pid_of(host)
    psutil.Process(first).kill()
    wait_until(lambda: supervisor.state.restarts == 1)
    wait_until(lambda: supervisor.state.phase is ServerPhase.READY)
    second = pid_of(host)
    assert second != first
    supervisor.stop()
    assert not psutil.pid_exists(second)
    assert running_url(host.paths) is None
    assert supervisor.state.phase is ServerPhase.STOPPED


@pytest.mark.slow
def test_supervisor_second_one_finds_the_running_server_and_leaves_it(
    host: Host, supervisor: Supervisor
) -> None:
    put_version(host, "1.0")
    url = supervisor.start()
    other = Supervisor(host.paths, first_port=0, poll_s=0.02)
    assert other.start() == url
    other.wait_until_ready()
    other.stop(only_ours=True)
    assert running_url(host.paths) == url


def test_supervisor_crash_loop_ends_with_the_reason(host: Host) -> None:
    put_version(host, "1.0", fault="crash")
    supervisor = Supervisor(host.paths, policy=RestartPolicy(limit=2), first_port=0, poll_s=0.02)
    supervisor.start()
    with pytest.raises(EngineError, match=r"not restarted.*missing_part") as caught:
        supervisor.wait_until_ready()
    assert "engine install" in caught.value.hint
    assert supervisor.state.restarts == 1
    supervisor.stop()


def test_supervisor_stop_elsewhere_is_no_crash(host: Host, supervisor: Supervisor) -> None:
    put_version(host, "1.0", fault="hang")
    supervisor.start()
    assert stop_server(host.paths)
    wait_until(lambda: supervisor.state.phase is ServerPhase.STOPPED)
    assert supervisor.state.restarts == 0


def test_supervisor_without_an_installation_says_how_to_install(supervisor: Supervisor) -> None:
    with pytest.raises(EngineError, match="No ComfyUI is installed") as caught:
        supervisor.start()
    assert "comfy-ui engine install" in caught.value.hint


def test_supervisor_hanging_server_is_starting_until_it_is_stopped(
    host: Host, supervisor: Supervisor
) -> None:
    put_version(host, "1.0", fault="hang")
    supervisor.start()
    assert supervisor.state.phase is ServerPhase.STARTING
    supervisor.stop()
    assert running_url(host.paths) is None


@pytest.mark.slow
def test_switch_running_version_that_does_not_start_returns_to_the_previous_one(
    host: Host,
) -> None:
    old = put_version(host, "1.0")
    put_version(host, "2.0", fault="crash in service")
    supervisor = Supervisor(host.paths, policy=RestartPolicy(limit=1), first_port=0, poll_s=0.02)

    def restart() -> None:
        supervisor.stop()
        supervisor.start()
        supervisor.wait_until_ready()

    with pytest.raises(EngineError, match=r"so ComfyUI 1\.0 runs again"):
        switch_running(host.paths, restart)
    assert host.paths.current() == old
    assert supervisor.state.phase is ServerPhase.READY
    supervisor.stop()


def test_roll_back_twice_returns_to_the_same_version(host: Host) -> None:
    put_version(host, "1.0")
    new = put_version(host, "2.0")
    assert roll_back(host.paths).name == "1.0"
    assert roll_back(host.paths) == new


def test_roll_back_without_a_previous_version_is_an_error(host: Host) -> None:
    put_version(host, "1.0")
    with pytest.raises(EngineError, match="no previous version"):
        roll_back(host.paths)


# --- the parts --------------------------------------------------------------------------------


def test_free_port_taken_port_is_skipped() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 200


def test_remembered_reused_process_id_is_not_the_process(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    remember(path, os.getpid(), port=1)
    facts = remembered(path)
    assert facts is not None
    assert facts["port"] == 1
    path.write_text(path.read_text().replace('"started_at": ', '"started_at": 1'))
    assert remembered(path) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": "x", "started_at": 1}', "{"])
def test_remembered_damaged_file_is_no_process(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    assert remembered(path) is None


def test_end_tree_ends_children_too() -> None:
    script = (
        "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); "
        "p.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
        end_tree(parent.pid)
        parent.wait(30)
    wait_until(lambda: _ended(child))


def _ended(pid: int) -> bool:
    """A killed child without a parent may remain as a zombie in a container without init."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("exits", "delays"),
    [
        ([0, 1, 2, 3, 4], [1, 2, 4, 8, None]),
        ([0, 700, 1400, 2100, 2800], [1, 1, 1, 1, 1]),
        ([0, 500, 599, 601, 602], [1, 2, 4, 4, 8]),
    ],
)
def test_restart_policy_delays_grow_within_its_window(exits: list[int], delays: list[Any]) -> None:
    policy = RestartPolicy()
    assert [policy.delay_s(at) for at in exits] == delays
