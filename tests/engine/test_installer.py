"""The installer with every fault, over a stand-in for ComfyUI, uv and PyTorch."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.engine.engine_paths import exclusive
from comfy_ui.engine.installing import installer as installer_module
from comfy_ui.engine.installing.installer import Installer, InstallProgress
from comfy_ui.engine.planning.release_source import Source
from comfy_ui.errors import EngineError, InstallCancelledError, StorageError
from tests.engine.stand_in import ROOT, Host, archive, wait_until, write_source

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a Unix script")


@pytest.fixture(autouse=True)
def no_smoke(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests are not about the smoke test, which takes a second."""
    if "smoke" not in request.node.name:
        monkeypatch.setattr(installer_module, "run_smoke_test", lambda *_args, **_options: None)


def install(host: Host, source: Source, **options: Any) -> Any:
    return Installer(host.paths, host.plan(source), uv=str(host.uv), **options).install()


@pytest.mark.slow
def test_installer_smoke_tested_archive_becomes_the_version_in_use(host: Host) -> None:
    steps: list[InstallProgress] = []
    installed = install(host, archive(host.folder), on_progress=steps.append)
    assert host.paths.current() == installed
    assert (installed.version, installed.stack, installed.device) == ("1.0", "cpu", "cpu")
    assert installed.torch == "2.11.0+cpu"
    assert list(dict.fromkeys(step.step for step in steps)) == [
        "source",
        "environment",
        "packages",
        "probe",
        "smoke",
        "switch",
    ]
    home = host.paths.home(installed)
    assert sorted(path.name for path in home.iterdir()) == ["ComfyUI", "installation.json", "venv"]
    assert not host.paths.staging.exists()
    assert (host.paths.models / "checkpoints").is_dir()


@pytest.mark.slow
def test_installer_smoke_test_of_a_crashing_version_leaves_the_old_one_in_use(host: Host) -> None:
    old = install(host, archive(host.folder, "1.0"))
    with pytest.raises(EngineError, match="missing_part"):
        install(host, archive(host.folder, "2.0", fault="crash"))
    assert host.paths.current() == old


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_installer_archive_kinds_are_unpacked(host: Host, kind: str) -> None:
    installed = install(host, archive(host.folder, kind=kind))
    assert (host.paths.home(installed) / "ComfyUI" / "nodes" / "data.bin").stat().st_size == 200_000


def test_installer_folder_is_copied_without_models_and_results(host: Host) -> None:
    folder = write_source(host.folder / "mine", "3.0")
    for name in ("models", "output", "user", ".git"):
        (folder / name).mkdir()
        (folder / name / "large.bin").write_bytes(b"x")
    installed = install(host, Source(kind="folder", location=str(folder)))
    assert installed.version == "3.0"
    names = {path.name for path in (host.paths.home(installed) / "ComfyUI").iterdir()}
    assert names == {"main.py", "comfyui_version.py", "requirements.txt", "nodes", "user"}
    assert not any((host.paths.home(installed) / "ComfyUI" / "user").iterdir())


def test_installer_wrong_hash_unpacks_nothing(host: Host) -> None:
    source = replace(archive(host.folder), sha256="0" * 64)
    with pytest.raises(EngineError, match="does not have the expected SHA-256"):
        install(host, source)
    assert not (host.paths.staging / "ComfyUI").exists()
    assert Path(source.location).exists()
    assert host.uv_calls == []


def test_installer_wrong_content_is_not_used(host: Host) -> None:
    source = replace(archive(host.folder), tree="0" * 40)
    with pytest.raises(EngineError, match="does not have the content of ComfyUI 1") as caught:
        install(host, source)
    assert "0" * 40 in caught.value.hint
    assert not (host.paths.staging / "ComfyUI").exists()
    assert host.uv_calls == []


def test_installer_right_content_is_recorded(host: Host) -> None:
    first = install(host, archive(host.folder))
    again = install(host, replace(archive(host.folder), tree=first.tree, sha256=None))
    assert again.tree == first.tree
    assert len(again.tree) == 40


def test_installer_plan_with_a_problem_changes_nothing(host: Host) -> None:
    plan = host.plan(archive(host.folder), free_bytes=10**9)
    with pytest.raises(EngineError, match="more free space"):
        Installer(host.paths, plan, uv=str(host.uv)).install()
    assert not host.paths.root.exists()


def test_installer_disk_full_while_unpacking_continues_later(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack = installer_module.unpack

    def full(_archive: Path, target: Path, _advance: Any, **_: Any) -> None:
        target.mkdir()
        (target / "main.py").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(installer_module, "unpack", full)
    source = archive(host.folder)
    with pytest.raises(StorageError, match="disk is full"):
        install(host, source)
    monkeypatch.setattr(installer_module, "unpack", unpack)
    notes: list[InstallProgress] = []
    installed = install(host, source, on_progress=notes.append)
    assert notes[0].note == "Continuing the interrupted installation."
    assert "import argparse" in (host.paths.home(installed) / "ComfyUI" / "main.py").read_text()


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("full", StorageError, "The disk is full"),
        ("offline", EngineError, "The package index cannot be reached"),
    ],
)
def test_installer_failing_uv_is_explained_and_continues_with_its_step(
    host: Host, fault: str, error: type[Exception], message: str
) -> None:
    source = archive(host.folder)
    host.set_uv_fault(fault)
    with pytest.raises(error, match=message):
        install(host, source)
    assert host.paths.current() is None
    host.set_uv_fault("")
    install(host, source)
    assert [call.split()[0] for call in host.uv_calls] == ["venv", "pip", "venv", "pip"]


def test_installer_continued_run_says_which_steps_were_finished_before(host: Host) -> None:
    source = archive(host.folder)
    host.set_uv_fault("offline")
    with pytest.raises(EngineError):
        install(host, source)
    host.set_uv_fault("")
    steps: list[InstallProgress] = []
    install(host, source, on_progress=steps.append)
    finished = {step.step for step in steps if step.finished}
    assert finished == {"source"}


def test_installer_cpu_choice_uses_the_cpu_where_the_build_finds_a_gpu(host: Host) -> None:
    torch = host.folder / "site" / "torch.py"
    found = "is_available = staticmethod(lambda: True)\n    get_device_name = lambda _: 'A'"
    torch.write_text(
        torch.read_text().replace("is_available = staticmethod(lambda: False)", found, 1)
    )
    assert install(host, archive(host.folder)).device == "cpu"


def test_installer_environment_that_cannot_load_pytorch_is_made_anew(host: Host) -> None:
    source, torch = archive(host.folder), host.folder / "site" / "torch.py"
    content = torch.read_text()
    torch.write_text("import torch._utils")
    with pytest.raises(EngineError, match="PyTorch cannot be loaded"):
        install(host, source)
    torch.write_text(content)
    install(host, source)
    assert [call.split()[0] for call in host.uv_calls] == ["venv", "pip", "venv", "pip"]


def test_installer_gpu_build_without_a_gpu_is_not_a_success(host: Host) -> None:
    from comfy_ui.doctor.machine import Gpu

    gpu = Gpu(vendor="nvidia", name="RTX 4090", driver="580.65.06", compute_capability=8.9)
    plan = host.plan(archive(host.folder), gpus=(gpu,))
    with pytest.raises(EngineError, match="does not find the GPU"):
        Installer(host.paths, plan, uv=str(host.uv)).install()
    assert host.paths.current() is None


def test_installer_cancelled_in_a_tool_ends_it_and_keeps_finished_steps(host: Host) -> None:
    host.set_uv_fault("hang")
    source, cancel = archive(host.folder), threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            install(host, source, cancel=cancel)
        except InstallCancelledError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until((host.folder / "uv_hangs").exists)
    cancel.set()
    thread.join(30)
    assert len(errors) == 1
    assert not (host.paths.root / "tool.json").exists()
    host.set_uv_fault("")
    install(host, source)
    assert [call.split()[0] for call in host.uv_calls] == ["venv", "pip", "venv", "pip"]


def test_installer_other_plan_than_the_interrupted_one_starts_clean(host: Host) -> None:
    host.set_uv_fault("full")
    with pytest.raises(StorageError):
        install(host, archive(host.folder, "1.0"))
    host.set_uv_fault("")
    notes: list[InstallProgress] = []
    installed = install(host, archive(host.folder, "2.0"), on_progress=notes.append)
    assert notes[0].note.startswith("Starting clean")
    assert installed.version == "2.0"


def test_installer_second_at_the_same_time_is_refused(host: Host) -> None:
    source = archive(host.folder)
    with (
        exclusive(host.paths.root / "install.lock", ""),
        pytest.raises(EngineError, match="Another installation is running"),
    ):
        install(host, source)


def test_installer_same_plan_again_changes_nothing(host: Host) -> None:
    source = archive(host.folder)
    first = install(host, source)
    assert install(host, source) == first
    assert len(host.uv_calls) == 2


def test_installer_keeps_one_version_back(host: Host) -> None:
    names = [install(host, archive(host.folder, version)).name for version in ("1", "2", "3")]
    assert sorted(path.name for path in host.paths.versions.iterdir()) == names[1:]
    previous = host.paths.previous()
    assert previous is not None
    assert previous.name == names[1]


def test_installer_existing_environment_is_used_as_it_is(host: Host) -> None:
    subprocess.run([host.uv, "venv", host.folder / "own"], check=True)
    python = host.folder / "own" / "bin" / "python"
    plan = host.plan(archive(host.folder), environment=str(python))
    installed = Installer(host.paths, plan, uv=None).install()
    assert installed.python == str(python)
    assert [step.name for step in plan.steps] == ["source", "probe", "smoke", "switch"]


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from comfy_ui.engine.installing import installer
from comfy_ui.engine.installing.installer import Installer
from tests.engine.stand_in import Host, archive
host = Host.__new__(Host)
host.folder = Path(sys.argv[1]); host.uv = host.folder / "uv"
from comfy_ui.engine.engine_paths import EnginePaths
host.paths = EnginePaths(host.folder / "engine", host.folder / "models")
from comfy_ui.engine.planning.release_source import Source
source = Source(kind="archive", location=sys.argv[2], version="1.0", sha256=sys.argv[3],
                size_bytes=int(sys.argv[4]))
target = sys.argv[5]
die = lambda *_a, **_o: os.kill(os.getpid(), signal.SIGKILL)
if target == "smoke":
    installer.run_smoke_test = die
else:
    installer.run_smoke_test = lambda *_a, **_o: None
if target == "unpack":
    def unpack(archive, folder, advance, **_):
        folder.mkdir(); (folder / "main.py").write_text("half"); die()
    installer.unpack = unpack
elif target == "packages":
    name = "install_packages"
    run = getattr(installer, name)
    def killed(*a, **o):
        run(*a, **o); die()
    setattr(installer, name, killed)
elif target == "probe":
    installer.probe = die
elif target == "rename":
    installer._prune = die
    EnginePaths.switch = die
Installer(host.paths, host.plan(source), uv=str(host.uv)).install()
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["unpack", "packages", "smoke", "rename"])
def test_installer_killed_at_a_step_continues(host: Host, step: str) -> None:
    source = archive(host.folder)
    arguments = [host.folder, source.location, source.sha256, source.size_bytes, step]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert host.paths.current() is None
    installed = install(host, source)
    assert host.paths.current() == installed
    assert [path.name for path in host.paths.versions.iterdir()] == [installed.name]
    assert "import argparse" in (host.paths.home(installed) / "ComfyUI" / "main.py").read_text()


def test_installer_next_run_ends_the_tool_of_a_killed_one(host: Host) -> None:
    """A uv that outlives its installer would write into the same environment."""
    from comfy_ui.engine.supervision.process_identity import remember

    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        host.paths.root.mkdir()
        remember(host.paths.root / "tool.json", orphan.pid)
        install(host, archive(host.folder))
        orphan.wait(30)
    finally:
        orphan.kill()
        orphan.wait()
