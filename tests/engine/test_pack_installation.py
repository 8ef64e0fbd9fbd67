"""Node packs: into a version, over updates, out of it, and every way in which one can fail."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.engine.engine_paths import exclusive, read_json
from comfy_ui.engine.installing import installer as installer_module
from comfy_ui.engine.installing.installer import Installer
from comfy_ui.engine.packs.pack_folders import (
    active_packs,
    crashed_pack,
    installed_packs,
    remove_pack,
    switch_off,
    unmanaged_packs,
)
from comfy_ui.engine.packs.pack_source import PackSource
from comfy_ui.engine.planning.install_plan import InstallPlan
from comfy_ui.engine.planning.release_source import Source
from comfy_ui.engine.supervision.supervisor import ServerPhase, Supervisor
from comfy_ui.engine.versions import roll_back
from comfy_ui.errors import EngineError, InstallCancelledError, ValidationError
from tests.engine.stand_in import Host, archive, pack_archive, wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a Unix script")

CRASH = "class Crash(BaseException): pass\nraise Crash('no such library')"


@pytest.fixture(autouse=True)
def no_smoke(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "smoke" not in request.node.name:
        monkeypatch.setattr(installer_module, "run_smoke_test", lambda *_args, **_options: None)


def run(host: Host, plan: InstallPlan, **options: Any) -> Any:
    return Installer(host.paths, plan, uv=str(host.uv), **options).install()


def install(host: Host, version: str = "1.0", *packs: PackSource) -> Any:
    return run(host, host.plan(archive(host.folder, version), packs=packs))


def names(host: Host) -> list[str]:
    return [pack.source.name for pack in installed_packs(host.paths, host.paths.current())]


@pytest.mark.slow
def test_pack_is_added_beside_the_version_in_use_and_smoke_tested(host: Host) -> None:
    first = install(host)
    pack = pack_archive(host.folder, "first-pack", requirements="einops\n")
    plan = host.plan_packs(pack)
    assert [step.name for step in plan.steps] == [
        *("source", "packs", "environment", "packages", "probe", "smoke", "switch"),
    ]
    assert "first-pack (license MIT) is code of others" in plan.warnings[0]
    added = run(host, plan)
    assert (added.version, added.source, added.tree) == (first.version, first.source, first.tree)
    assert host.paths.previous() == first
    (installed,) = active_packs(host.paths, added)
    assert (installed.folder / "nodes" / "data.txt").read_text() == "first-pack"
    assert f"-r {installed.folder / 'requirements.txt'} torch==2.11.0+cpu" in host.uv_calls[-1]
    assert [call.split()[0] for call in host.uv_calls] == ["venv", "pip", "pip"]


def test_pack_without_requirements_needs_no_package_index(host: Host) -> None:
    install(host)
    calls = len(host.uv_calls)
    run(host, host.plan_packs(pack_archive(host.folder, "plain")))
    assert len(host.uv_calls) == calls
    assert names(host) == ["plain"]


def test_pack_environment_is_a_copy_that_leaves_the_other_as_it_is(host: Host) -> None:
    first = install(host)
    added = run(host, host.plan_packs(pack_archive(host.folder, "plain")))
    old, new = (host.paths.home(one) / "venv" / "bin" / "python" for one in (first, added))
    assert old.samefile(new)
    new.unlink()
    assert old.exists()


def test_pack_is_kept_over_updates_and_rollbacks(host: Host) -> None:
    install(host)
    pack = pack_archive(host.folder, "kept", requirements="einops\n")
    run(host, host.plan_packs(pack))
    folder = active_packs(host.paths, host.paths.current())[0].folder
    (folder / "downloaded.bin").write_bytes(b"a model that the pack has fetched")
    zip_file = Path(pack.location)
    zip_file.unlink()  # nothing is fetched again
    updated = install(host, "2.0", pack)
    assert (updated.version, names(host)) == ("2.0", ["kept"])
    assert "-r " + str(folder / "requirements.txt") in host.uv_calls[-1]
    assert (folder / "downloaded.bin").exists()
    roll_back(host.paths)
    assert names(host) == ["kept"]


def test_pack_removed_stays_on_disk_until_no_version_uses_it(host: Host) -> None:
    install(host)
    pack = pack_archive(host.folder, "gone")
    run(host, host.plan_packs(pack))
    run(host, host.plan_packs(pack, pack_archive(host.folder, "stays")))
    assert remove_pack(host.paths, "gone").name == "gone"
    assert names(host) == ["stays"]
    assert (host.paths.packs / pack.id).exists()  # the previous version has it
    roll_back(host.paths)
    assert names(host) == ["gone"]
    remove_pack(host.paths, "gone")
    assert not (host.paths.packs / pack.id).exists()
    with pytest.raises(ValidationError, match="no node pack 'gone'"):
        remove_pack(host.paths, "gone")


def test_pack_of_another_commit_replaces_the_one_of_the_same_name(host: Host) -> None:
    install(host)
    run(host, host.plan_packs(pack_archive(host.folder, "same", "a = 1")))
    run(host, host.plan_packs(pack_archive(host.folder, "same", "a = 2")))
    (pack,) = active_packs(host.paths, host.paths.current())
    assert (pack.folder / "__init__.py").read_text() == "a = 2\n"


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pin", ["tree", "sha256"])
def test_pack_with_wrong_content_is_not_used(host: Host, pin: str) -> None:
    first = install(host)
    wrong = {"tree": "0" * 40, "sha256": "0" * 64}[pin]
    pack = replace(pack_archive(host.folder, "wrong"), **{pin: wrong})
    with pytest.raises(EngineError, match=r"wrong\.zip does not have the") as caught:
        run(host, host.plan_packs(pack))
    assert f"xpected {'the Git tree ' * (pin == 'tree')}{wrong}" in caught.value.hint
    assert host.paths.current() == first
    assert not [*host.paths.packs.glob("*")]


def test_pack_archive_without_a_node_pack_is_refused(host: Host) -> None:
    install(host)
    pack = pack_archive(host.folder, "empty")
    with zipfile.ZipFile(pack.location, "w") as zipped:
        zipped.writestr("README.md", "nothing")
    with pytest.raises(EngineError, match="no node pack in the archive"):
        run(host, host.plan_packs(replace(pack, tree=None)))


def test_pack_that_cannot_be_downloaded_leaves_the_version_in_use(host: Host) -> None:
    first = install(host)
    pack = replace(
        pack_archive(host.folder, "far"), kind="url", location="https://127.0.0.1:9/far.zip"
    )
    cancel = threading.Event()
    timer = threading.Timer(0.5, cancel.set)  # not all attempts
    timer.start()
    with pytest.raises((EngineError, InstallCancelledError)):
        run(host, host.plan_packs(pack), cancel=cancel)
    timer.join()
    assert host.paths.current() == first
    plan = host.plan_packs(pack, unreachable=("github.com",))
    assert "github.com cannot be reached" in plan.problems[0]


def test_pack_whose_packages_cannot_be_installed_continues_there(host: Host) -> None:
    first = install(host)
    pack = pack_archive(host.folder, "offline", requirements="einops\n")
    host.set_uv_fault("offline")
    with pytest.raises(EngineError, match="package index cannot be reached"):
        run(host, host.plan_packs(pack))
    assert host.paths.current() == first
    host.set_uv_fault("")
    steps: list[Any] = []
    run(host, host.plan_packs(pack), on_progress=steps.append)
    assert {step.step for step in steps if step.finished} == {"source", "packs"}
    assert names(host) == ["offline"]


def test_pack_needs_a_newer_comfyui_is_a_problem_of_the_plan(host: Host) -> None:
    install(host)
    plan = host.plan_packs(replace(pack_archive(host.folder, "new"), min_comfyui="2.5"))
    assert plan.problems == ("new needs ComfyUI 2.5 or newer, and this is 1.0.",)


def test_pack_of_a_version_in_an_existing_environment_names_its_requirements(host: Host) -> None:
    plan = host.plan(archive(host.folder), environment=str(host.folder / "own"))
    own = replace(run_in_own_environment(host, plan), packs=())
    assert Path(own.python).is_absolute()
    pack = replace(pack_archive(host.folder, "mine"), requirements=("einops", "yapf"))
    plan = host.plan_packs(pack)
    assert [step.name for step in plan.steps] == ["source", "packs", "probe", "smoke", "switch"]
    assert plan.warnings[1].endswith("existing environment: einops yapf")


def run_in_own_environment(host: Host, plan: InstallPlan) -> Any:
    import subprocess

    subprocess.run([host.uv, "venv", host.folder / "own"], check=True)
    return run(host, replace(plan, python=str(host.folder / "own" / "bin" / "python")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (CRASH, "does not start with the node pack bad. .*no such library"),
        ("import os; os._exit(3)", "does not start with the node pack bad"),
        ("import no_such_library", "cannot import the node pack bad: No module named"),
    ],
)
def test_pack_that_fails_in_the_smoke_test_leaves_the_version_in_use(
    host: Host, code: str, message: str
) -> None:
    run(host, host.plan(archive(host.folder)))
    current = host.paths.current()
    with pytest.raises(EngineError, match=message) as caught:
        run(host, host.plan_packs(pack_archive(host.folder, "bad", code)))
    assert "packs remove bad" in caught.value.hint
    assert host.paths.current() == current
    assert names(host) == []


@pytest.fixture
def supervisor(host: Host) -> Iterator[Supervisor]:
    one = Supervisor(host.paths, first_port=0, poll_s=0.02)
    yield one
    one.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (f"if in_service:\n    {CRASH.splitlines()[0]}\n    raise Crash('late')", "crashed"),
        ("import os\nif in_service:\n    os._exit(3)", "crashed"),
        ("if in_service:\n    import no_such_library", "cannot import it: No module named"),
    ],
)
def test_supervisor_pack_that_fails_at_the_start_is_left_out_and_named(
    host: Host, supervisor: Supervisor, code: str, reason: str
) -> None:
    install(host, "1.0", pack_archive(host.folder, "bad", code), pack_archive(host.folder, "good"))
    supervisor.start()
    supervisor.wait_until_ready()
    wait_until(lambda: any(p.trouble for p in installed_packs(host.paths, host.paths.current())))
    troubles = {
        pack.source.name: pack.trouble for pack in installed_packs(host.paths, host.paths.current())
    }
    assert reason in troubles["bad"]
    if "_exit" not in code:  # without a word in the log, all packs are left out
        assert not troubles["good"]
    assert supervisor.state.phase is ServerPhase.READY


def test_pack_that_was_left_out_is_tried_again_when_it_is_added_again(host: Host) -> None:
    pack = pack_archive(host.folder, "again")
    install(host, "1.0", pack)
    switch_off(host.paths, installed_packs(host.paths, host.paths.current()), "It crashed.")
    assert active_packs(host.paths, host.paths.current()) == []
    run(host, host.plan_packs(pack))
    assert [one.source.name for one in active_packs(host.paths, host.paths.current())] == ["again"]
    assert read_json(host.paths.packs_off) == {}


def test_crashed_pack_is_the_last_one_in_the_last_traceback(host: Host) -> None:
    install(host, "1.0", *(pack_archive(host.folder, name) for name in ("one", "two")))
    packs = active_packs(host.paths, host.paths.current())
    one, two = packs
    early = f'Traceback (most recent call last):\n  File "{one.folder}/a.py"\nError\n'
    late = f'Traceback (most recent call last):\n  File "main.py"\n  File "{two.folder}/b.py"\n'
    assert crashed_pack(early + late, packs) == two
    assert crashed_pack(early, packs) == one
    assert crashed_pack(f"{one.folder} was loaded", packs) is None
    assert crashed_pack(early + "Fatal Python error: Segmentation fault\n", packs) is None


def test_unmanaged_packs_are_those_in_custom_nodes(host: Host) -> None:
    folder = host.paths.work / "custom_nodes"
    assert unmanaged_packs(host.paths) == []
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "__init__.py").touch()
    (folder / "single.py").touch()
    (folder / "notes").mkdir()
    assert unmanaged_packs(host.paths) == ["mine", "single.py"]


def test_remove_pack_while_something_is_installed_is_refused(host: Host) -> None:
    install(host, "1.0", pack_archive(host.folder, "busy"))
    with (
        exclusive(host.paths.root / "install.lock", ""),
        pytest.raises(EngineError, match="An installation is running"),
    ):
        remove_pack(host.paths, "busy")
    assert names(host) == ["busy"]


def test_source_of_a_version_with_packs_is_that_of_the_copied_one(host: Host) -> None:
    first = install(host)
    added = run(host, host.plan_packs(pack_archive(host.folder, "any")))
    assert (added.sha256, added.tree) == (first.sha256, first.tree)
    assert isinstance(Source(kind="folder", location=first.source), Source)
