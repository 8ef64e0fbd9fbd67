"""The command line, over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import av
import pytest
import trustme
from PIL import Image

from comfy_ui.cli.exit_status import ExitStatus
from comfy_ui.cli.main import run
from comfy_ui.cli.object_info_cache import keep, kept
from comfy_ui.library.library_service import open_library
from comfy_ui.library.result_files import ResultFiles
from comfy_ui.protocol.outputs import OutputFile
from comfy_ui.storage.records import StoredFile
from comfy_ui.workflow.presets.preset_store import get_preset
from tests.client.publisher import WEIGHTS, Publisher, publishing
from tests.library.test_folder_import import picture
from tests.workflow.official_templates import template_with_model

GRAPH = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 255},
    },
    "2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "cli", "images": ["1", 0]}},
}


@pytest.fixture(autouse=True)
def _separate_data_dir(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFY_UI_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    path = tmp_path / "blue.json"
    path.write_text(json.dumps(GRAPH), encoding="utf-8")
    return path


def test_run_preset_with_loras_loads_them(engine, tmp_path: Path, capsys) -> None:
    argv = ["run", "sd15", "a bay <lora:ink_wash_sdxl:0.5>", "--set", "steps=1", "--quiet"]
    argv += ["--lora", "golden_hour_sd15:0.8:0.2", "--comfyui", engine.url, "-o", str(tmp_path)]
    assert run(argv) == 0, capsys.readouterr().err
    with Image.open(next(tmp_path.glob("*.png"))) as picture:
        graph = json.loads(picture.text["prompt"])
    loaders = [n["inputs"] for n in graph.values() if n["class_type"] == "LoraLoader"]
    assert [(one["lora_name"], one["strength_clip"]) for one in loaders] == [
        ("golden_hour_sd15.safetensors", 0.2),
        ("style/ink_wash_sdxl.safetensors", 0.5),
    ]
    assert run([*argv, "--lora", "golden_huor"]) == ExitStatus.INVALID
    assert "Did you mean 'golden_hour_sd15'?" in capsys.readouterr().err


def test_run_preset_with_controlnet_and_reference_uploads_their_images(
    engine, tmp_path: Path, capsys
) -> None:
    picture(tmp_path / "room.png")
    argv = ["run", "flux1_dev", "a room", "--set", "steps=1", "--set", "size=256x256", "--quiet"]
    argv += ["--controlnet", f"canny={tmp_path / 'room.png'},strength=0.8,end=0.5"]
    argv += ["--reference", f"{tmp_path / 'room.png'}"]
    argv += ["--comfyui", engine.url, "-o", str(tmp_path / "out")]
    assert run(argv) == 0, capsys.readouterr().err
    with Image.open(next((tmp_path / "out").glob("*.png"))) as result:
        graph = json.loads(result.text["prompt"])
    inputs = {node["class_type"]: node["inputs"] for node in graph.values()}
    assert inputs["ControlNetApplyAdvanced"]["end_percent"] == 0.5
    assert inputs["LoadImage"]["image"] == "room.png"
    assert "StyleModelApply" in inputs
    assert run([*argv, "--controlnet", "cany=x.png"]) == ExitStatus.INVALID
    assert "Did you mean 'canny'?" in capsys.readouterr().err


def frame_count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_run_extend_joins_the_new_clip_and_trim_cuts_it(engine, tmp_path: Path, capsys) -> None:
    out = ["--quiet", "-o", str(tmp_path)]
    argv = ["run", "wan22_5b", "a river", "--comfyui", engine.url, *out]
    for value in ("frames=9", "fps=8", "steps=1"):
        argv += ["--set", value]
    assert run([*argv, "--set", "size=256x256"]) == 0, capsys.readouterr().err
    first = Path(capsys.readouterr().out.strip())
    assert run([*argv, "--extend", str(first)]) == 0, capsys.readouterr().err
    whole = Path(capsys.readouterr().out.strip())
    assert (frame_count(first), frame_count(whole)) == (9, 17)
    assert sorted(tmp_path.glob("*.mp4")) == sorted([first, whole])

    late = [*argv, "--extend", str(first), "--timeout", "0.001"]
    assert run(late) == ExitStatus.TIMED_OUT
    hint = capsys.readouterr().err.splitlines()[-1]
    command = shlex.split(hint.partition("comfy-ui ")[2])
    assert run([*command, "--comfyui", engine.url, *out]) == 0, capsys.readouterr().err
    resumed = Path(capsys.readouterr().out.strip())
    assert frame_count(resumed) == 17
    assert run(["fetch", command[1], "--comfyui", engine.url, "-o", str(tmp_path)]) == 0
    fetched = capsys.readouterr()
    assert "--extend VIDEO" in fetched.err
    assert frame_count(Path(fetched.out.strip())) == 8
    for path in (resumed, Path(fetched.out.strip())):
        path.unlink()
    argv = ["run", "sd15", "a cat", "--extend", str(first), "--demo", *out]
    assert run(argv) == ExitStatus.INVALID
    assert "cannot continue a video" in capsys.readouterr().err

    part = tmp_path / "part.mp4"
    argv = ["trim", str(whole), "0.5", "0:01.5", "-o", str(part)]
    assert run([*argv, "--progress", "lines"]) == 0
    assert (capsys.readouterr().out, frame_count(part)) == (f"{part}\n", 8)
    for change, message in (
        ([], "exists already"),
        (["-o", str(tmp_path / "none" / "part.mp4")], "none"),
        (["-o", str(tmp_path / "other.mp4"), "7", "8"], ""),
    ):
        assert run([*argv[:2], *(change[2:] or argv[2:4]), *(change[:2] or argv[4:])]) != 0
        assert message in capsys.readouterr().err
    assert sorted(tmp_path.glob("*.mp4")) == sorted([first, whole, part])


def test_run_preset_saves_the_output_files(engine, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    status = run(
        [
            "run",
            "sd15",
            "a quiet harbour",
            "--set",
            "seed=5",
            "--set",
            "steps=3",
            "--json",
            "--comfyui",
            engine.url,
            "-o",
            str(out),
            "--quiet",
        ]
    )
    captured = capsys.readouterr()
    assert status == 0, captured.err
    result = json.loads(captured.out)
    (path,) = map(Path, result["files"])
    with Image.open(path) as picture:
        graph = json.loads(picture.text["prompt"])
    assert [n["inputs"]["seed"] for n in graph.values() if "seed" in n["inputs"]] == [5]
    assert path.parent == out


def test_run_prompt_with_an_array_saves_a_result_of_each_entry(
    engine, tmp_path: Path, capsys
) -> None:
    out = str(tmp_path / "out")
    command = ["run", "sd15", "[[red, green]] fox", "--set", "steps=1", "--comfyui", engine.url]
    assert run([*command, "-o", out, "--json", "--quiet"]) == 0
    results = json.loads(capsys.readouterr().out)
    texts = []
    for result in results:
        (path,) = result["files"]
        with Image.open(path) as picture:
            texts.append(picture.text["prompt"])
    assert "red fox" in texts[0]
    assert "green fox" in texts[1]
    assert len({result["seed"] for result in results}) == 1
    assert run(["jobs", "--json", "--comfyui", engine.url]) == 0
    listed = {job["prompt_id"]: job["group"] for job in json.loads(capsys.readouterr().out)}
    (group,) = {listed[result["prompt_id"]] for result in results}
    assert group
    prompt_id = ["--prompt-id", str(uuid4())]
    assert run([*command, "-o", out, *prompt_id]) == ExitStatus.INVALID


def test_run_rounded_size_is_said(engine, tmp_path, capsys) -> None:
    argv = ["run", "sd15", "x", "--set", "width=500", "--set", "steps=1", "--quiet", "--json"]
    assert run([*argv, "--comfyui", engine.url, "-o", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "Width 500 becomes 504, a multiple of 8." in captured.err
    assert json.loads(captured.out)["notices"] == ["Width 500 becomes 504, a multiple of 8."]


@pytest.mark.parametrize("below", ["", "below"])
def test_run_output_that_is_no_folder_fails_before_any_request(
    below: str, graph_file, tmp_path, capsys
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    folder = notes / below
    assert (
        run(["run", str(graph_file), "--comfyui", "http://127.0.0.1:9", "-o", str(folder)])
        == ExitStatus.DISK
    )
    error = capsys.readouterr().err
    assert f"Cannot write to '{folder}': '{notes}' is not a folder." in error
    assert "space" not in error
    assert notes.read_text() == "mine"


def test_run_new_output_folder_is_not_created_by_a_run_that_fails(tmp_path, capsys) -> None:
    out = tmp_path / "new" / "out"
    assert (
        run(["run", "sd15", "x", "--comfyui", "http://127.0.0.1:9", "-o", str(out)])
        == ExitStatus.UNREACHABLE
    )
    assert "Nothing answers" in capsys.readouterr().err
    assert not out.parent.exists()


@pytest.mark.parametrize("source", ["sd15", "graph"])
def test_run_seed_of_64_bits_reaches_the_server(source: str, engine, tmp_path, capsys) -> None:
    if source == "graph":
        path = tmp_path / "sd15.json"
        assert run(["convert", "sd15", "-o", str(path)]) == 0
        source = str(path)
    argv = ["run", source, "--set", f"seed={2**64 - 1}", "--set", "steps=1", "--quiet"]
    assert run([*argv, "--comfyui", engine.url, "-o", str(tmp_path)]) == 0, capsys.readouterr().err
    with Image.open(capsys.readouterr().out.strip()) as picture:
        graph = json.loads(picture.text["prompt"])
    assert [n["inputs"]["seed"] for n in graph.values() if "seed" in n["inputs"]] == [2**64 - 1]


def test_run_workflow_file_applies_set_values(engine, graph_file, tmp_path, capsys) -> None:
    argv = ["run", str(graph_file), "--set", "width=96", "--comfyui", engine.url]
    assert run([*argv, "-o", str(tmp_path / "out"), "--quiet"]) == 0
    with Image.open(capsys.readouterr().out.strip()) as picture:
        assert picture.size == (96, 48)


def test_run_wildcards_are_chosen_by_seed_and_printed(engine, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "data" / "wildcards"
    folder.mkdir(parents=True)
    (folder / "sea.txt").write_text("harbour\n")
    argv = ["run", "sd15", "a {quiet|loud|dark|wide} __sea__", "--set", "steps=1", "--json"]
    argv += ["--comfyui", engine.url, "-o", str(tmp_path / "out"), "--quiet"]
    assert run(argv) == 0
    first = capsys.readouterr()
    chosen = json.loads(first.out)["chosen"]
    assert chosen["prompt"].endswith(" harbour")
    assert f"prompt: {chosen['prompt']}" in first.err
    assert run([*argv, "--set", f"seed={chosen['seed']}"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"] == {"prompt": chosen["prompt"]}


def test_run_local_image_is_uploaded(engine, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "mine.png"
    Image.new("RGB", (128, 96), "teal").save(picture)
    argv = ["run", "sdxl_img2img", "a harbour", "--set", f"image={picture}", "--set", "steps=2"]
    argv += ["--set", "megapixels=0.25", "--comfyui", engine.url, "-o", str(tmp_path / "out")]
    assert run([*argv, "--quiet"]) == 0, capsys.readouterr().err
    with Image.open(capsys.readouterr().out.strip()) as output:
        assert output.width > output.height


def test_run_local_image_of_a_workflow_file_is_uploaded_by_any_name(
    engine, tmp_path: Path, capsys
) -> None:
    picture, workflow = tmp_path / "mine.png", tmp_path / "w.json"
    Image.new("RGB", (24, 16), "teal").save(picture)
    graph = {
        "10": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["10", 0], "filename_prefix": "t"}},
    }
    workflow.write_text(json.dumps(graph))
    argv = ["run", str(workflow), "--comfyui", engine.url, "-o", str(tmp_path), "--quiet"]
    assert run([*argv, "--set", f"LoadImage.image={picture}"]) == 0, capsys.readouterr().err
    with Image.open(capsys.readouterr().out.strip()) as output:
        assert output.size == (24, 16)
    absent = tmp_path / "absent.png"
    assert run([*argv, "--set", f"10.image={absent}"]) == ExitStatus.INVALID
    assert f"There is no file '{absent}'." in capsys.readouterr().err


def test_run_missing_model_is_named(tmp_path: Path, capsys) -> None:
    from comfy_ui.demo import DemoServer

    with DemoServer(speed="instant").in_thread() as server:
        argv = ["run", "sd15", "x", "--set", "model=nowhere.safetensors"]
        assert run([*argv, "--comfyui", server.url]) == ExitStatus.INVALID
    assert "nowhere.safetensors" in capsys.readouterr().err


def test_run_demo_uses_the_demo_engine(graph_file, tmp_path, capsys) -> None:
    assert run(["run", str(graph_file), "--demo", "-o", str(tmp_path), "--quiet"]) == 0
    assert Path(capsys.readouterr().out.strip()).exists()


def test_check_missing_node_is_printed_and_exits_with_1(engine, tmp_path: Path, capsys) -> None:
    broken = {**GRAPH, "3": {"class_type": "NoSuchNode", "inputs": {}}}
    broken["2"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["3", 0], "filename_prefix": "x"},
    }
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken), encoding="utf-8")
    assert run(["check", str(path), "--comfyui", engine.url]) == 1
    assert "NoSuchNode" in capsys.readouterr().out


def test_check_node_that_the_demo_engine_lacks_advises_a_real_comfyui(tmp_path, capsys) -> None:
    node = {"id": 1, "type": "NewCoreNode", "pos": [0, 0], "size": [1, 1], "mode": 0, "flags": {}}
    node |= {"order": 0, "inputs": [], "widgets_values": []}
    node |= {"outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}]}
    node["properties"] = {"cnr_id": "comfy-core", "ver": "0.16.3"}
    saves = {**node, "id": 2, "type": "PreviewImage", "outputs": [], "order": 1}
    saves["inputs"] = [{"name": "images", "type": "IMAGE", "link": 1}]
    editor = {"nodes": [node, saves], "links": [[1, 1, 0, 2, 0, "IMAGE"]], "version": 0.4}
    path = tmp_path / "new.json"
    path.write_text(json.dumps(editor), encoding="utf-8")
    assert run(["check", str(path), "--demo"]) == 1
    captured = capsys.readouterr()
    assert "The demo engine does not have it." in captured.out + captured.err
    assert "Update ComfyUI" not in captured.out + captured.err


def test_check_valid_workflow_exits_with_0(engine, graph_file, capsys) -> None:
    assert run(["check", str(graph_file), "--comfyui", engine.url]) == 0
    assert "can run" in capsys.readouterr().out


def test_check_preset_sidecar_reports_its_errors(engine, tmp_path: Path, capsys) -> None:
    sidecar = tmp_path / "mine.toml"
    sidecar.with_suffix(".json").write_text(json.dumps(GRAPH))
    text = (
        'title = "Mine"\ndescription = "Blue."\ntask = "t2i"\nfamily = "None"\n'
        'outputs = [{ node = "2", kind = "image" }]\n\n'
        '[params.width]\ntargets = ["1.width"]\ndefault = 64\nmin = 16\n'
    )
    sidecar.write_text(text)
    assert run(["check", str(sidecar), "--comfyui", engine.url]) == 0
    assert "This preset can run." in capsys.readouterr().out
    for old, new, message in (
        ('"1.width"', '"9.width"', "parameter 'width' writes to node '9', which is not in the"),
        ("min = 16", "min = 99999", "min 99999 is above max 2048"),
        ("min = 16", "min = 16\nmax = 32", "default that the server refuses"),
    ):
        sidecar.write_text(text.replace(old, new))
        status = run(["check", str(sidecar), "--comfyui", engine.url])
        captured = capsys.readouterr()
        assert message in captured.out + captured.err
        assert status in ((0,) if "refuses" in message else (1, ExitStatus.INVALID))


@pytest.mark.parametrize(
    ("name", "reason"), [("", "Is a directory"), ("x/api.json", "No such file")]
)
def test_convert_output_that_cannot_be_written_prints_the_reason(
    name: str, reason: str, graph_file, tmp_path: Path, capsys
) -> None:
    assert run(["convert", str(graph_file), "-o", str(tmp_path / name)]) == ExitStatus.DISK
    error = capsys.readouterr().err
    assert reason in error
    assert "space" not in error


def test_convert_api_file_needs_no_server(graph_file, tmp_path: Path) -> None:
    out = tmp_path / "api.json"
    assert run(["convert", str(graph_file), "-o", str(out), "--comfyui", "http://127.0.0.1:9"]) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == GRAPH


def test_controls_lists_roles(engine, graph_file, capsys) -> None:
    assert run(["controls", str(graph_file), "--json", "--comfyui", engine.url]) == 0
    roles = {control["role"] for control in json.loads(capsys.readouterr().out)}
    assert {"width", "height"} <= roles


def test_controls_caches_object_info_and_check_refreshes_it(
    engine, graph_file, tmp_path, capsys
) -> None:
    argv = ["controls", str(graph_file), "--json", "--comfyui", engine.url]
    assert run(argv) == 0
    first = capsys.readouterr().out
    (path,) = (tmp_path / "data" / "cache").iterdir()
    assert run(argv) == 0
    assert capsys.readouterr().out == first
    path.write_text("{cut", encoding="utf-8")
    assert run(argv) == 0
    assert (kept(path) or {})["EmptyImage"]
    keep(path, {"Other": {}})  # as if the nodes were installed later
    assert run(["check", str(graph_file), "--comfyui", engine.url]) == 0


def test_presets_lists_shipped_presets(capsys) -> None:
    assert run(["presets"]) == 0
    assert "z_image_turbo" in capsys.readouterr().out


def test_status_of_online_server_prints_its_url(engine, capsys) -> None:
    assert run(["status", "--comfyui", engine.url]) == 0
    assert engine.url in capsys.readouterr().out


def test_status_of_offline_server_exits_with_1(capsys) -> None:
    assert run(["status", "--comfyui", "http://127.0.0.1:9"]) == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "sdlx"], "Did you mean 'sdxl'"),
        (["run", "sd15", "--set", "stepz=3"], "Did you mean 'steps'"),
        (["run", "sd15", "--set", "steps"], "NAME=VALUE"),
        (["run", "sd15", "--set", "steps=many"], "'Steps' takes a whole number"),
        (["convert", "nowhere.json"], "nowhere.json"),
        (["presets", "--comfyui", "http://x", "--log-level", "info"], None),
    ],
)
def test_cli_invalid_arguments_print_a_hint_without_traceback(
    engine, argv, message, capsys
) -> None:
    status = run([*argv, "--comfyui", engine.url] if "--comfyui" not in argv else argv)
    captured = capsys.readouterr()
    if message is None:
        assert status == 0
    else:
        assert status == ExitStatus.INVALID
        assert message in captured.err
        assert "Traceback" not in captured.err


def test_run_offline_server_prints_a_hint_without_traceback(graph_file, capsys) -> None:
    assert (
        run(["run", str(graph_file), "--comfyui", "http://127.0.0.1:9"]) == ExitStatus.UNREACHABLE
    )
    captured = capsys.readouterr()
    assert "hint: " in captured.err
    assert "Traceback" not in captured.err


def test_run_file_without_json_prints_an_error(engine, tmp_path: Path, capsys) -> None:
    path = tmp_path / "notes.json"
    path.write_text("not json at all", encoding="utf-8")
    assert run(["run", str(path), "--comfyui", engine.url]) == ExitStatus.INVALID
    assert "JSON" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C is sent as a signal")
def test_run_ctrl_c_cancels_the_job_on_the_server(tmp_path: Path) -> None:
    from comfy_ui.client import ComfyClient
    from comfy_ui.demo import DemoServer

    with DemoServer(speed=4.0).in_thread() as server, ComfyClient(url=server.url) as client:
        command = [sys.executable, "-m", "comfy_ui", "run", "sd15", "a cat", "--set", "steps=100"]
        # A shell that runs the tests in the background makes children ignore Ctrl+C.
        process = subprocess.Popen(
            [*command, "--comfyui", server.url, "-o", tmp_path],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        try:
            deadline = time.monotonic() + 30
            while not client.queue().running:
                assert time.monotonic() < deadline, "the job never started"
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 130, errors
        assert "Cancelling" in errors
        queue = client.queue()
        assert not queue.running
        assert not queue.pending
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_passwords")
def test_users_adds_lists_and_removes_accounts(tmp_path, capsys, monkeypatch) -> None:
    folder = ["--data-dir", str(tmp_path)]
    monkeypatch.setattr("sys.stdin", io.StringIO("long enough\n"))
    assert run(["users", "--add", "anna", "--admin", *folder]) == 0
    assert capsys.readouterr().out.split() == ["anna", "admin"]
    assert "long enough" not in (tmp_path / "accounts.json").read_text()
    assert run(["users", "--remove", "ana", *folder]) == ExitStatus.INVALID
    assert "anna" in capsys.readouterr().err
    assert run(["users", "--remove", "anna", *folder]) == 0
    assert run(["users", *folder]) == 0
    assert capsys.readouterr().out == ""


def test_keys_creates_lists_and_revokes_keys(tmp_path, capsys, monkeypatch) -> None:
    folder = ["--data-dir", str(tmp_path)]
    assert run(["keys", "create", "Backup", "--jobs", "2", *folder]) == 0
    text = capsys.readouterr().out.strip()
    assert run(["keys", "list", "--json", *folder]) == 0
    listed = capsys.readouterr().out
    (key,) = json.loads(listed)
    assert (key["owner"], key["role"], key["uses"]) == ("admin", "admin", [])
    assert text.startswith(f"cui_{key['id']}_")
    assert "digest" not in listed
    assert key["limits"] == {"requests": None, "jobs": 2, "per_minute": None}
    assert run(["keys", "limit", key["id"], "--per-minute", "-1", *folder]) == ExitStatus.INVALID
    assert run(["keys", "limit", key["id"], "--per-minute", "60", *folder]) == 0
    assert run(["keys", "list", *folder]) == 0
    assert "admin  60 requests a minute" in capsys.readouterr().out
    assert run(["keys", "revoke", "unknown", *folder]) == ExitStatus.INVALID
    assert run(["keys", "revoke", key["id"], *folder]) == 0
    assert run(["keys", "list", *folder]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("quick_passwords")
def test_keys_create_takes_a_user_and_at_most_their_role(tmp_path, capsys, monkeypatch) -> None:
    folder = ["--data-dir", str(tmp_path)]
    monkeypatch.setattr("sys.stdin", io.StringIO("long enough\nlong enough\n"))
    assert run(["users", "--add", "vera", *folder]) == 0
    for wrong in ([], ["--user", "vea"], ["--user", "vera", "--role", "admin"]):
        assert run(["keys", "create", "a", *wrong, *folder]) == ExitStatus.INVALID
        assert "vera" in capsys.readouterr().err
    assert run(["keys", "create", "a", "--user", "vera", *folder]) == 0
    capsys.readouterr()
    assert run(["keys", "list", *folder]) == 0
    assert "vera  user" in capsys.readouterr().out
    assert run(["users", "--remove", "vera", *folder]) == 0
    assert run(["users", "--add", "vera", *folder]) == 0
    capsys.readouterr()
    assert run(["keys", "list", *folder]) == 0
    assert capsys.readouterr().out == "", "a new user of the name does not get the old keys"


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch) -> Iterator[Publisher]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with publishing(authority) as server:
        monkeypatch.setenv("COMFY_UI_DOWNLOAD_HOSTS", server.host)
        yield server


@pytest.fixture
def needy_file(publisher: Publisher, tmp_path: Path) -> Path:
    """An editor file with the download URL of its model."""
    path = tmp_path / "needy.json"
    path.write_text(json.dumps(template_with_model(publisher.url, "far.safetensors")))
    return path


def test_models_lists_and_download_fetches_missing_files(
    engine, publisher: Publisher, needy_file: Path, tmp_path: Path, capsys
) -> None:
    argv = [str(needy_file), "--comfyui", engine.url]
    assert run(["models", *argv, "--json"]) == 1
    (listed,) = json.loads(capsys.readouterr().out).values()
    assert [(m["folder"], m["url"]) for m in listed] == [
        ("checkpoints", f"{publisher.url}/x/resolve/main/far.safetensors")
    ]
    assert run(["download", *argv]) == ExitStatus.INVALID
    assert "--models-dir" in capsys.readouterr().err
    publisher.cuts = [2 * 2**20]
    assert run(["download", *argv, "--models-dir", str(tmp_path / "models")]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "models" / "checkpoints" / "far.safetensors"
    assert path.read_bytes() == WEIGHTS
    publisher.statuses = [403]
    path.unlink()
    assert run(["download", *argv, "--models-dir", str(tmp_path / "models")]) == 1
    assert "requires a login" in capsys.readouterr().err


def test_models_of_shipped_presets_are_complete_on_the_demo_engine(engine, capsys) -> None:
    assert run(["models", "sdxl", "wan22_5b", "--comfyui", engine.url]) == 0
    assert "No model file is missing" in capsys.readouterr().out
    assert run(["models", "sdxll", "--comfyui", engine.url]) == ExitStatus.INVALID
    assert "Did you mean 'sdxl'" in capsys.readouterr().err


def _own_preset(data_dir: Path) -> None:
    folder = data_dir / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.json").write_text(json.dumps(GRAPH))
    (folder / "mine.toml").write_text(
        'title = "Mine"\ndescription = "Blue."\ntask = "t2i"\nfamily = "None"\n'
        'outputs = [{ node = "2", kind = "image" }]\n\n'
        '[params.width]\ntargets = ["1.width"]\ndefault = 64\nmin = 16\n'
    )


@pytest.mark.parametrize("preset", ["sdxl", "mine"])
def test_check_accepts_shipped_and_own_preset_ids(
    preset: str, engine, tmp_path: Path, capsys
) -> None:
    _own_preset(tmp_path / "data")
    assert run(["check", preset, "--comfyui", engine.url]) == 0
    assert "This preset can run." in capsys.readouterr().out


def test_run_accepts_own_preset_ids(engine, tmp_path: Path, capsys) -> None:
    _own_preset(tmp_path / "data")
    argv = ["run", "mine", "--set", "width=96", "--comfyui", engine.url, "--quiet"]
    assert run([*argv, "-o", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    with Image.open(capsys.readouterr().out.strip()) as picture:
        assert picture.size == (96, 48)


@pytest.mark.parametrize("command", ["check", "controls", "convert"])
def test_cli_accepts_shipped_preset_ids(command: str, engine, capsys) -> None:
    assert run([command, "sdxl", "--comfyui", engine.url]) == 0
    assert capsys.readouterr().out


def test_controls_accepts_preset_ids(engine, tmp_path: Path, capsys) -> None:
    _own_preset(tmp_path / "data")
    assert run(["controls", "mine", "--json", "--comfyui", engine.url]) == 0
    (width,) = json.loads(capsys.readouterr().out)
    assert (width["id"], width["min"]) == ("width", 16)
    assert run(["controls", "mine", "--comfyui", engine.url]) == 0
    assert capsys.readouterr().out.split()[:3] == ["width", "width", "Width"]


def test_convert_accepts_preset_ids_and_keeps_file_name_prefixes(tmp_path: Path, capsys) -> None:
    _own_preset(tmp_path / "data")
    assert run(["convert", "mine", "--comfyui", "http://127.0.0.1:9"]) == 0
    assert json.loads(capsys.readouterr().out) == GRAPH


def test_presets_and_models_include_own_presets(engine, tmp_path: Path, capsys) -> None:
    _own_preset(tmp_path / "data")
    assert run(["presets"]) == 0
    assert "mine" in capsys.readouterr().out.split()
    assert run(["models", "mine", "--comfyui", engine.url]) == 0


@pytest.fixture
def results_folder(tmp_path: Path) -> Path:
    """Two generated images and a photo."""
    folder = tmp_path / "results"
    for n in range(2):
        picture(folder / f"{n}.png", colour=f"#0000{n:02x}", prompt=GRAPH)
    picture(folder / "photo.png", colour="red")
    return folder


def imported(tmp_path: Path) -> list[str]:
    async def names() -> list[str]:
        async with open_library(tmp_path / "data") as library:
            return sorted(item.filename for item in await library.results("local"))

    return asyncio.run(names())


def test_import_takes_generated_files_only_unless_all(results_folder, tmp_path, capsys) -> None:
    assert run(["import", str(results_folder)]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "2 added, 0 already there, 1 without generation metadata, 0 unreadable.\n"
    )
    assert "--all" in captured.err
    assert imported(tmp_path) == ["0.png", "1.png"]
    assert run(["import", str(results_folder), "--all"]) == 0
    assert imported(tmp_path) == ["0.png", "1.png", "photo.png"]


def test_import_dry_run_lists_files_and_changes_nothing(results_folder, tmp_path, capsys) -> None:
    assert run(["import", str(results_folder), "--dry-run"]) == 0
    *paths, summary = capsys.readouterr().out.splitlines()
    assert sorted(paths) == [str(results_folder / f"{n}.png") for n in range(2)]
    assert summary.startswith("2 would be added, 0 already there, 1 without")
    assert imported(tmp_path) == []
    assert run(["import", "--undo"]) == ExitStatus.INVALID
    assert "no import to undo" in capsys.readouterr().err


def test_import_undo_removes_only_what_the_last_import_added(
    results_folder, tmp_path, capsys
) -> None:
    assert run(["import", str(results_folder)]) == 0
    assert run(["import", str(results_folder), "--all"]) == 0
    assert run(["import", "--undo"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 removed.")
    assert imported(tmp_path) == ["0.png", "1.png"]
    assert (results_folder / "photo.png").exists()
    assert run(["import", "--undo"]) == ExitStatus.INVALID


def test_import_ctrl_c_says_what_was_added_and_can_be_undone(
    results_folder, tmp_path, capsys, monkeypatch
) -> None:
    real = ResultFiles.import_file

    def stop(store: ResultFiles, path: Path, file: OutputFile) -> StoredFile:
        if path.name == "1.png":
            handler = signal.getsignal(signal.SIGINT)  # of asyncio.run(): it cancels the task
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            give_up_at = time.monotonic() + 30
            while not handler.keywords["main_task"].cancelling() and time.monotonic() < give_up_at:
                time.sleep(0.01)
            raise OSError("not reached by the import")
        return real(store, path, file)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with monkeypatch.context() as patch:
            patch.setattr(ResultFiles, "import_file", stop)
            assert run(["import", str(results_folder)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    error = capsys.readouterr().err
    assert "1 added" in error
    assert "again to continue" in error
    assert run(["import", "--undo"]) == 0
    assert imported(tmp_path) == []


def test_models_list_move_delete_and_restore(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "models"
    option = ["--models-dir", str(folder)]
    for model in get_preset("z_image_turbo").models:
        path = folder / model.folder / model.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bytes")
    misplaced = folder / "vae" / "qwen_3_4b.safetensors"
    (folder / "text_encoders" / "qwen_3_4b.safetensors").rename(misplaced)

    assert run(["models", "list", "vae", *option]) == 0
    assert "belongs in text_encoders" in capsys.readouterr().out
    assert run(["models", "move", "qwen_3_4b.safetensors", *option]) == 0
    encoder = "text_encoders/qwen_3_4b.safetensors"
    assert capsys.readouterr().out.strip() == str(folder / encoder)
    assert run(["models", "list", "--json", *option]) == 0
    entry = next(e for e in json.loads(capsys.readouterr().out) if e["folder"] == "text_encoders")
    assert "z_image_turbo" in entry["presets"]

    assert run(["models", "delete", encoder, *option]) == ExitStatus.INVALID
    assert "no longer run: z_image_turbo" in capsys.readouterr().err
    assert run(["models", "delete", encoder, "--yes", *option]) == 0
    assert not (folder / encoder).exists()
    assert run(["models", "trash", *option]) == 0
    assert encoder in capsys.readouterr().out
    assert run(["models", "restore", encoder, *option]) == 0
    assert (folder / encoder).read_bytes() == b"bytes"
    assert run(["models", "empty-trash", *option]) == 0
    assert run(["models", "delete", "nothing.safetensors", *option]) == ExitStatus.INVALID
    assert run(["models", "duplicates", *option]) == 0
    assert "text_encoders/" in capsys.readouterr().out
    assert run(["models", "suggest", "--memory", "8"]) == 0
    assert "GB of memory" in capsys.readouterr().out
