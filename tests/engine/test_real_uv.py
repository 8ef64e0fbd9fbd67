"""The installer with the real uv and a package index on loopback: no script in uv's place."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.engine.engine_paths import EnginePaths
from comfy_ui.engine.installing.installer import Installer, InstallProgress
from comfy_ui.engine.installing.python_environment import find_uv
from comfy_ui.engine.planning.install_plan import HostFacts, InstallPlan, make_plan
from comfy_ui.engine.planning.release_source import Source
from comfy_ui.engine.supervision.process_identity import remembered
from comfy_ui.errors import EngineError
from tests.engine.package_index import CPU, PackageIndex, wheel
from tests.engine.stand_in import ROOT, archive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_uv() is None, reason="the extra engine is not installed"),
]

VERSION = platform.python_version()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with PackageIndex().serve() as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{server.url}/simple")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
        monkeypatch.setenv("UV_NO_CONFIG", "1")
        for name in ("UV_CACHE_DIR", "UV_OFFLINE", "UV_INDEX", "UV_FIND_LINKS", "UV_OVERRIDE"):
            monkeypatch.delenv(name, raising=False)
        yield server


def plan_for(folder: Path, source: Source, **options: Any) -> InstallPlan:
    facts = HostFacts(
        system="Linux",
        machine="x86_64",
        python=VERSION,
        free_bytes=100 * 10**9,
        uv=str(find_uv()),
    )
    paths = EnginePaths(folder / "engine", folder / "models")
    return make_plan(facts, source, paths, **{"torch_index": "default", **options})


def installer(folder: Path, plan: InstallPlan, **options: Any) -> Installer:
    paths = EnginePaths(folder / "engine", folder / "models")
    return Installer(paths, plan, uv=str(find_uv()), **options)


def packages_in(installed_python: Path) -> set[str]:
    """The distributions of an environment."""
    site = next(installed_python.parent.parent.glob("**/site-packages"))
    return {path.name.removesuffix(".dist-info") for path in site.glob("*.dist-info")}


def test_real_uv_installs_the_pins_and_the_environment_moves_with_its_folder(
    index: PackageIndex, tmp_path: Path
) -> None:
    plan = plan_for(tmp_path, archive(tmp_path), more_packages="einops")
    installed = installer(tmp_path, plan).install()  # with the smoke test, from the staging folder
    paths = EnginePaths(tmp_path / "engine", tmp_path / "models")
    python = paths.home(installed) / installed.python
    assert installed.torch == CPU.torch
    assert packages_in(python) == {
        f"torch-{CPU.torch}",
        f"torchvision-{CPU.torchvision}",
        f"torchaudio-{CPU.torchaudio}",
        "einops-1.0",
    }
    shown = subprocess.run(  # after the rename of the folder
        [python, "-c", "import torch; print(torch.__version__)"], capture_output=True, check=True
    )
    assert shown.stdout.decode().strip() == CPU.torch


def test_real_uv_takes_pytorch_from_a_mirror_of_its_indexes(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_smoke_test(monkeypatch)
    plan = plan_for(tmp_path, archive(tmp_path), torch_index=f"{index.url}/whl/")
    assert installer(tmp_path, plan).install().torch == f"{CPU.torch}+cpu"


def test_real_uv_takes_other_versions_of_pytorch(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_smoke_test(monkeypatch)
    plan = plan_for(tmp_path, archive(tmp_path), torch_packages="torch==9.1")
    assert installer(tmp_path, plan).install().torch == "9.1"


def test_real_uv_package_with_a_wrong_hash_is_not_installed(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_smoke_test(monkeypatch)
    plan = plan_for(tmp_path, archive(tmp_path))
    index.wrong_hash = True
    with pytest.raises(EngineError, match="another content than its index says"):
        installer(tmp_path, plan).install()
    index.wrong_hash = False
    assert installer(tmp_path, plan).install().torch == CPU.torch


def test_real_uv_lost_network_is_explained_and_the_step_continues(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_smoke_test(monkeypatch)
    plan = plan_for(tmp_path, archive(tmp_path))
    with monkeypatch.context() as changed:
        changed.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
        with pytest.raises(EngineError, match="The package index cannot be reached"):
            installer(tmp_path, plan).install()
    notes: list[InstallProgress] = []
    installer(tmp_path, plan, on_progress=notes.append).install()
    assert notes[0].note == "Continuing the interrupted installation."


def test_real_uv_package_that_does_not_exist_is_named(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_smoke_test(monkeypatch)
    plan = plan_for(tmp_path, archive(tmp_path), more_packages="no-such-package")
    with pytest.raises(EngineError, match="no-such-package was not found"):
        installer(tmp_path, plan).install()


def test_real_uv_second_installation_at_the_same_time_is_refused_and_cancel_ends_the_first(
    index: PackageIndex, tmp_path: Path
) -> None:
    plan = plan_for(tmp_path, archive(tmp_path))
    cancel = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            installer(tmp_path, plan, cancel=cancel).install()
        except EngineError as error:
            errors.append(error)

    index.hold.clear()
    thread = threading.Thread(target=work)
    thread.start()
    assert index.asked_for_torch.wait(60)
    with pytest.raises(EngineError, match="Another installation is running"):
        installer(tmp_path, plan).install()
    cancel.set()
    thread.join(60)
    assert [str(error) for error in errors] == [
        "The installation was cancelled. Start it again to continue."
    ]
    assert remembered(tmp_path / "engine" / "tool.json") is None


# Installs without the smoke test, and kills itself at the start of a step.
CHILD = """
import os, signal, sys
from pathlib import Path
from comfy_ui.engine.installing import installer as installing
from comfy_ui.engine.planning.release_source import Source
from tests.engine.test_real_uv import installer, plan_for
folder, step, location, sha256 = Path(sys.argv[1]), *sys.argv[2:]
source = Source(kind="archive", location=location, version="1.0", sha256=sha256)
def on_progress(progress):
    print(progress.step, progress.note, flush=True)
    if progress.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
from comfy_ui.errors import ComfyHeadlessError
installing.run_smoke_test = lambda *_args, **_options: None
try:
    installed = installer(folder, plan_for(folder, source), on_progress=on_progress).install()
    print("installed", installed.torch, flush=True)
except ComfyHeadlessError as error:
    print("error", error.message, flush=True)
"""


def child(folder: Path, step: str, source: Source) -> list[str]:
    """The command of a process that installs and dies at ``step``."""
    return [sys.executable, "-c", CHILD, str(folder), step, source.location, source.sha256 or ""]


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_real_uv_killed_at_each_step_continues_each_time(
    index: PackageIndex, tmp_path: Path
) -> None:
    source = archive(tmp_path)
    paths = EnginePaths(tmp_path / "engine", tmp_path / "models")
    for step in ("source", "environment", "packages", "probe", "smoke", "switch"):
        if step == "probe":  # once in the middle of the packages, with uv left behind
            index.hold.clear()
            index.asked_for_torch.clear()
            process = subprocess.Popen(child(tmp_path, "", source), cwd=ROOT)
            assert index.asked_for_torch.wait(60)
            process.kill()
            process.wait()
            orphan = remembered(paths.root / "tool.json")
            assert orphan is not None
            index.hold.set()
        done = subprocess.run(
            child(tmp_path, step, source), cwd=ROOT, check=False, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        if step != "source":
            assert "Continuing the interrupted installation." in done.stdout
        assert paths.current() is None
    done = subprocess.run(
        child(tmp_path, "", source), cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert f"installed {CPU.torch}" in done.stdout, done.stdout
    installed = paths.current()
    assert installed is not None
    assert asdict(installed)["sha256"] == source.sha256
    assert remembered(paths.root / "tool.json") is None


def may_mount() -> bool:
    command = ["unshare", "--map-root-user", "--mount", "true"]
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(command, check=False, capture_output=True).returncode
    )


@pytest.mark.skipif(not may_mount(), reason="needs a file system of its own")
def test_real_uv_full_disk_is_explained_and_continues_with_more_space(
    index: PackageIndex, tmp_path: Path
) -> None:
    name = f"torchvision-{CPU.torchvision}-py3-none-any.whl"
    ballast = os.urandom(4_000_000).hex()
    index.packages["simple"][name] = wheel("torchvision", CPU.torchvision, {"ballast.txt": ballast})
    source = archive(tmp_path)
    disk = tmp_path / "engine"
    disk.mkdir()
    script = """
        mount -t tmpfs -o size=4m tmpfs "$1"; shift
        "$@"
        mount -o remount,size=200m tmpfs "$0" && "$@"
    """
    done = subprocess.run(
        [
            *("unshare", "--map-root-user", "--mount", "sh", "-c", script, disk, disk),
            *child(tmp_path, "", source),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    first, _, second = done.stdout.partition("error ")
    assert "The disk is full." in second.splitlines()[0], done.stdout
    assert "packages" in first
    assert "Continuing the interrupted installation." in second
    assert f"installed {CPU.torch}" in second


def no_smoke_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoke test starts a server, which one test is enough for."""
    monkeypatch.setattr(
        "comfy_ui.engine.installing.installer.run_smoke_test", lambda *_args, **_options: None
    )
