"""``comfy-ui doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_ui.cli.exit_status import ExitStatus
from comfy_ui.cli.main import run
from comfy_ui.demo import DemoServer


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFY_UI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COMFY_UI_LLM_MODEL", "rules")


def test_doctor_with_a_server_prints_each_area_and_no_secret(
    engine: DemoServer, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("COMFYUI_TOKEN", "very-secret-token")
    status = run(["doctor", "--comfyui", engine.url.replace("://", "://me:pass-word@")])
    out = capsys.readouterr().out
    assert status == ExitStatus.DONE, out
    for area in ("Python", "GPU", "Disk", "Data folder", "Port", "Server", "Presets", "Models"):
        assert f"\n{area}\n" in f"\n{out}"
    assert "presets are ready" in out
    assert "0 problems" in out.splitlines()[-1]
    assert "very-secret-token" not in out
    assert "pass-word" not in out


def test_doctor_json_of_offline_server_has_the_problem_and_exits_with_1(capsys) -> None:
    status = run(["doctor", "--json", "--comfyui", "http://127.0.0.1:9"])
    report = json.loads(capsys.readouterr().out)
    assert status == ExitStatus.FAILED
    assert report["ok"] is False
    (problem,) = [r for r in report["results"] if r["level"] == "problem"]
    assert problem["area"] == "Server"
    assert problem["text"] == "Nothing listens at http://127.0.0.1:9."
    assert "Start ComfyUI" in problem["advice"]


def test_doctor_needs_no_extra_but_says_which_are_missing(
    engine: DemoServer, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from comfy_ui import features

    monkeypatch.setattr(features.FEATURES, "_installed", dict.fromkeys(features.FEATURES, False))
    monkeypatch.setenv("COMFY_UI_LLM_MODEL", "")
    assert run(["doctor", "--comfyui", engine.url]) == ExitStatus.DONE
    out = capsys.readouterr().out
    assert "The extra 'websocket' is not installed." in out
    assert "Enhance uses the built-in rules: the extra 'ai' is missing." in out
