"""Jobs on the server, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from comfy_ui.cli.exit_status import ExitStatus
from comfy_ui.cli.main import run
from comfy_ui.client import ComfyClient
from comfy_ui.demo import DemoServer, Faults
from tests.client.support import image_graph
from tests.client.test_both_clients import sleeper


@pytest.fixture(autouse=True)
def _separate_data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFY_UI_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def sleepy(engine: DemoServer, monkeypatch: pytest.MonkeyPatch) -> DemoServer:
    engine.faults = Faults(test_nodes=True)
    monkeypatch.setenv("COMFYUI_URL", engine.url)
    return engine


def test_jobs_lists_states_and_cancel_stops_them(sleepy: DemoServer, capsys) -> None:
    with ComfyClient() as client:
        ended = client.run(image_graph(1)).prompt_id
        running, pending = client.queue_prompt(sleeper()), client.queue_prompt(sleeper(color=2))
        assert run(["jobs", "--json"]) == 0
        listed = {job["prompt_id"]: job for job in json.loads(capsys.readouterr().out)}
        assert listed[ended]["state"] == "succeeded"
        assert {listed[running]["state"], listed[pending]["state"]} <= {"running", "pending"}
        assert run(["cancel", running, pending]) == 0
        assert run(["cancel", ended]) == ExitStatus.JOB_FAILED
        capsys.readouterr()
        assert run(["jobs"]) == 0
        states = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
        assert states == {ended: "succeeded", running: "cancelled"}  # ComfyUI forgets pending ones


def test_cancel_group_stops_its_jobs_alone(sleepy: DemoServer, capsys) -> None:
    group = {"comfy_ui_group": "g"}
    with ComfyClient() as client:
        ids = [client.queue_prompt(sleeper(color=n), extra_data=group) for n in (1, 2)]
        other = client.queue_prompt(sleeper(color=3))
        assert run(["jobs"]) == 0
        assert capsys.readouterr().out.count("group g") == 2
        assert run(["cancel", "g"]) == 0
        outcomes = dict(line.split("  ") for line in capsys.readouterr().out.splitlines())
        assert outcomes == dict.fromkeys(ids, "cancelled")
        assert run(["cancel", other]) == 0


def test_cancel_job_unknown_to_the_server_fails_and_says_so(sleepy: DemoServer, capsys) -> None:
    prompt_id = str(uuid4())
    assert run(["cancel", prompt_id]) == ExitStatus.JOB_FAILED
    assert capsys.readouterr().out == f"{prompt_id}  not cancelled: the server has no such job\n"


def test_run_timed_out_prints_the_id_with_which_resume_and_fetch_save_the_files(
    sleepy: DemoServer, tmp_path: Path, capsys
) -> None:
    workflow, out, prompt_id = tmp_path / "w.json", str(tmp_path / "out"), str(uuid4())
    workflow.write_text(json.dumps(sleeper(0.8)))
    argv = ["run", str(workflow), "-o", out, "--timeout", "0.2", "--prompt-id", prompt_id]
    assert run(argv) == ExitStatus.TIMED_OUT
    assert f"comfy-ui resume {prompt_id}" in capsys.readouterr().err
    assert run(["fetch", prompt_id, "-o", out]) == ExitStatus.JOB_FAILED
    assert "has not ended" in capsys.readouterr().err
    assert run(["resume", prompt_id, "-o", out, "--progress", "json"]) == 0
    printed = capsys.readouterr()
    events = [json.loads(line) for line in printed.err.splitlines()]
    assert events[-1]["progress"] == 100
    assert {event["prompt_id"] for event in events} == {prompt_id}
    (saved,) = printed.out.splitlines()
    assert run(["fetch", prompt_id, "-o", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == [saved]
    assert run(["fetch", str(uuid4()), "-o", out]) == ExitStatus.JOB_FAILED


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["run", "sd15", "x", "--prompt-id", "mine"], ExitStatus.INVALID),
        (["run", "sd15", "x", "--comfyui", "http://127.0.0.1:9"], ExitStatus.UNREACHABLE),
        (["fetch", "x", "-o", "/dev/null/x"], ExitStatus.DISK),
        (["convert", "sd15", "-o", "/nowhere/x.json"], ExitStatus.DISK),
    ],
)
def test_cli_exit_status_tells_kinds_of_failure(
    argv: list[str], status: ExitStatus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(argv) == status


@pytest.mark.parametrize("limit", ["-5", "few"])
def test_jobs_limit_that_is_no_count_is_wrong_usage(limit: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["jobs", "--limit", limit])
    assert caught.value.code == ExitStatus.WRONG_USAGE


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "soon"])
def test_run_timeout_that_is_no_duration_is_wrong_usage(timeout: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["run", "sd15", "--timeout", timeout])
    assert caught.value.code == ExitStatus.WRONG_USAGE
