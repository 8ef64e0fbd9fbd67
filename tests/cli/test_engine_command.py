"""``comfy-ui engine``: node packs, and what a continued installation prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.cli.engine_command import _Progress
from comfy_ui.cli.exit_status import ExitStatus
from comfy_ui.cli.main import run
from comfy_ui.engine import engine_manager
from comfy_ui.engine.installing import installer as installer_module
from comfy_ui.engine.installing.installer import Installer, InstallProgress
from tests.engine.stand_in import Host, archive, pack_archive

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a Unix script")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A machine with a ComfyUI, whose uv is the stand-in."""
    machine = Host(tmp_path)
    monkeypatch.setenv("COMFY_UI_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(engine_manager, "find_uv", lambda: machine.uv)
    monkeypatch.setattr(installer_module, "run_smoke_test", lambda *_args, **_options: None)
    Installer(machine.paths, machine.plan(archive(tmp_path)), uv=str(machine.uv)).install()
    return machine


def test_packs_are_added_listed_and_removed(host: Host, capsys: Any) -> None:
    pack_archive(host.folder, "my-nodes")
    add = ["engine", "packs", "add", "my-nodes", "--source", str(host.folder / "my-nodes.zip")]
    assert run([*add, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "Node pack  my-nodes" in plan
    assert "my-nodes (license unknown) is code of others" in plan
    assert run(add) == ExitStatus.INVALID  # nobody can confirm it
    assert "--yes" in capsys.readouterr().err
    assert run([*add, "--yes"]) == 0
    captured = capsys.readouterr()
    assert "my-nodes is installed." in captured.out
    assert "Node packs: my-nodes" in captured.err
    assert run(["engine", "packs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [pack["name"] for pack in listed["installed"]] == ["my-nodes"]
    assert "ComfyUI-AnimateDiff-Evolved" in listed["available"]
    assert run(["engine", "status"]) == 0
    assert "Node pack  my-nodes" in capsys.readouterr().out
    assert run(["engine", "packs", "remove", "my-nodes", "--yes"]) == 0
    assert run(["engine", "packs"]) == 0
    listing = capsys.readouterr().out
    assert "No node pack is installed." in listing
    assert "ComfyUI-AnimateDiff-Evolved  not installed; for: The preset AnimateDiff" in listing


def test_packs_unknown_name_or_none_is_refused_with_a_hint(host: Host, capsys: Any) -> None:
    assert run(["engine", "packs", "add"]) == ExitStatus.INVALID
    assert "comfy-ui engine packs" in capsys.readouterr().err
    assert run(["engine", "packs", "add", "ComfyUI-AnimateDif-Evolved"]) == ExitStatus.INVALID
    assert "'ComfyUI-AnimateDiff-Evolved'" in capsys.readouterr().err
    assert run(["engine", "packs", "remove", "none", "--yes"]) == ExitStatus.INVALID


def test_progress_of_a_step_that_was_finished_before_says_so(capsys: Any) -> None:
    show = _Progress()
    show(InstallProgress("source", "Copy ComfyUI", 1, 2, finished=True))
    show(InstallProgress("probe", "Check PyTorch", 2, 2))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["[1/2] Copy ComfyUI: already done", "[2/2] Check PyTorch"]
