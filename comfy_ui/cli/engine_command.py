"""A ComfyUI of comfy-ui's own on this machine: ``comfy-ui engine``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import EngineError, ValidationError
from ..settings import Settings
from .command_support import print_json
from .exit_status import ExitStatus

if TYPE_CHECKING:
    from ..engine.engine_manager import EngineManager
    from ..engine.engine_paths import EnginePaths, Installation
    from ..engine.installing.installer import InstallProgress
    from ..engine.planning.install_plan import InstallPlan

_POLL_S: Final = 0.5
_LOG_BYTES: Final = 8192
Add = Callable[[str, Callable[[argparse.Namespace, Settings], int], str], argparse.ArgumentParser]


def add_actions(add: Add) -> None:
    """Add the actions of ``comfy-ui engine`` with their options."""
    sub = add("install", install, "Install ComfyUI on this machine, after showing the plan.")
    _install_options(sub)
    sub = add("update", update, "Install another version beside the one in use and switch to it.")
    _install_options(sub)
    sub = add("start", start, "Start the installed ComfyUI in the background.")
    sub.add_argument("--foreground", action="store_true", help="run until Ctrl+C")
    sub.add_argument(
        "--memory",
        dest="engine_memory",
        choices=["auto", "high", "normal", "low", "none", "cpu"],
        help="use of GPU memory (auto)",
    )
    add("stop", stop, "Stop it.")
    sub = add("status", status, "Show the installed versions and whether one runs.")
    sub.add_argument("--json", action="store_true", help="print the status as JSON")
    sub.add_argument("--log", action="store_true", help="print the end of ComfyUI's log")
    sub = add("packs", packs, "List, add and remove node packs, which are code of others.")
    sub.add_argument("action", nargs="?", choices=["list", "add", "remove"], default="list")
    sub.add_argument(
        "pack", nargs="?", help="a name of the list, or https://github.com/OWNER/NAME@COMMIT"
    )
    sub.add_argument("--source", help="an archive with it, or an https address with #sha256=")
    _confirmation_options(sub)
    add("rollback", roll_back, "Return to the version before the last update.")
    sub = add("remove", remove, "Delete the installed versions; models and results are kept.")
    sub.add_argument("--yes", action="store_true", help="do not ask")


def _install_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", dest="release", help="the release of ComfyUI")
    parser.add_argument("--source", dest="engine_source", help="an archive, a folder or an address")
    parser.add_argument("--stack", dest="engine_stack", help="the PyTorch build (auto)")
    parser.add_argument(
        "--torch-index", help="a mirror of PyTorch's indexes, or 'default' for the package index"
    )
    parser.add_argument(
        "--torch-packages", help="other versions, such as 'torch==2.14.1 torchvision==0.29.1'"
    )
    parser.add_argument(
        "--packages", dest="engine_packages", help="further packages, such as those of custom nodes"
    )
    parser.add_argument(
        "--python", dest="engine_python", help="the Python of an existing environment to use"
    )
    _confirmation_options(parser)


def _confirmation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print the plan or the result as JSON")


def install(arguments: argparse.Namespace, settings: Settings) -> int:
    """Plan, ask, and install."""
    manager = _manager(settings)

    def report(installed: Installation) -> None:
        print(f"ComfyUI {installed.version} is installed. PyTorch {installed.torch}.")
        print("Start it with: comfy-ui engine start, or with the app: comfy-ui --engine")

    return _install(manager, manager.plan(arguments.release), arguments, report)


def _install(
    manager: EngineManager,
    plan: InstallPlan,
    arguments: argparse.Namespace,
    report: Callable[[Installation], None],
) -> int:
    """Show a plan, ask, install, and report.

    Raises:
        EngineError: the plan has problems, or the installation fails.
    """
    if not arguments.json:
        print(plan)
    elif arguments.dry_run:
        print_json(plan.to_dict())
    if arguments.dry_run:
        return ExitStatus.FAILED if plan.problems else ExitStatus.DONE
    if plan.problems:
        raise EngineError(plan.problems[0], hint=" ".join(plan.problems[1:]))
    if not _confirmed(arguments, "Install this?"):
        return ExitStatus.FAILED
    installed = run_installation(manager, plan)
    if arguments.json:
        print_json(_facts(installed))
    else:
        report(installed)
    return ExitStatus.DONE


def run_installation(manager: EngineManager, plan: InstallPlan) -> Installation:
    """Install what was planned, with progress on stderr, and restart a running server."""
    from ..engine.supervision.supervisor import running_url

    installed = manager.install(plan, on_progress=_Progress())
    if running_url(manager.paths) is not None:
        from ..engine.versions import switch_running

        print("Restarting ComfyUI with the new version.", file=sys.stderr)
        installed = switch_running(manager.paths, lambda: _start_detached(manager))
    return installed


def update(arguments: argparse.Namespace, settings: Settings) -> int:
    """Install another version beside the one in use and switch to it."""
    _manager(settings).require_installed()
    return install(arguments, settings)


def start(arguments: argparse.Namespace, settings: Settings) -> int:
    """Start the installed version and wait until it answers."""
    manager = _manager(settings)
    manager.require_installed()
    if not arguments.foreground:
        print(f"ComfyUI is at {_start_detached(manager, memory=manager.options.memory)}")
        return ExitStatus.DONE
    from ..engine.supervision.supervisor import ServerPhase

    print(f"Starting ComfyUI at {manager.start()}", flush=True)
    supervisor = manager.supervisor
    try:
        while supervisor.state.phase not in {ServerPhase.STOPPED, ServerPhase.FAILED}:
            time.sleep(_POLL_S)
    finally:
        state = supervisor.state
        supervisor.stop(only_ours=True)
    if state.phase is ServerPhase.FAILED:
        raise EngineError(state.message, hint=state.hint)
    return ExitStatus.DONE


def stop(_: argparse.Namespace, settings: Settings) -> int:
    """Stop the managed server, whichever process started it."""
    from ..engine.supervision.supervisor import stop_server

    print("Stopped." if stop_server(_manager(settings).paths) else "It was not running.")
    return ExitStatus.DONE


def status(arguments: argparse.Namespace, settings: Settings) -> int:
    """Show the versions and the server; exits with 1 if nothing is installed."""
    from ..engine.packs.pack_folders import installed_packs
    from ..engine.supervision.server_log import read_tail
    from ..engine.supervision.supervisor import answers_at, running_url

    paths = _manager(settings).paths
    if arguments.log:
        print(read_tail(paths.server_log, _LOG_BYTES), end="")
        return ExitStatus.DONE
    current, previous = paths.current(), paths.previous()
    url = running_url(paths)
    state = "stopped" if url is None else "ready" if answers_at(url) else "starting"
    if arguments.json:
        print_json(
            {
                "current": _facts(current),
                "previous": _facts(previous),
                "state": state,
                "url": url,
                "folder": str(paths.root),
                "models": str(paths.models),
                "interrupted": paths.staging.exists(),
            }
        )
    elif current is None:
        print("No ComfyUI is installed here. Install it: comfy-ui engine install")
    else:
        print(f"ComfyUI {current.version}, PyTorch {current.torch} ({current.device}), {state}")
        if url:
            print(f"Address    {url}")
        print(f"Source     {_origin(current)}")
        for pack in installed_packs(paths, current):
            off = f", off: {pack.trouble}" if pack.trouble else ""
            print(f"Node pack  {pack.source.name}{off}")
        print(f"Folder     {paths.home(current)}\nModels     {paths.models}")
        if previous is not None:
            print(f"Rollback   to ComfyUI {previous.version}{_with_packs(paths, previous)}")
    if paths.staging.exists() and not arguments.json:
        print("An installation was interrupted. Continue it: comfy-ui engine install")
    return ExitStatus.FAILED if current is None else ExitStatus.DONE


def packs(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the node packs of the version in use, add one, or take one away."""
    manager = _manager(settings)
    if arguments.action == "list":
        return _list_packs(manager, as_json=arguments.json)
    manager.require_installed()
    if not arguments.pack:
        raise ValidationError(
            "No node pack is named.", hint="They are listed by: comfy-ui engine packs"
        )
    if arguments.action == "remove":
        return _remove_pack(manager, arguments)
    plan = manager.plan_pack(arguments.pack, arguments.source)
    name = plan.packs[-1].name
    return _install(manager, plan, arguments, lambda _: print(f"{name} is installed."))


def _list_packs(manager: EngineManager, *, as_json: bool) -> int:
    from ..engine.packs.pack_folders import installed_packs, unmanaged_packs
    from ..engine.packs.pack_source import known_packs

    installed = installed_packs(manager.paths, manager.paths.current())
    names = {pack.source.name for pack in installed}
    offered = [pack for pack in known_packs() if pack.name not in names]
    others = unmanaged_packs(manager.paths)
    if as_json:
        print_json(
            {
                "installed": [
                    {
                        "name": pack.source.name,
                        "commit": pack.source.commit,
                        "license": pack.source.license,
                        "folder": str(pack.folder),
                        "trouble": pack.trouble,
                    }
                    for pack in installed
                ],
                "available": [pack.name for pack in offered],
                "custom_nodes": others,
            }
        )
        return ExitStatus.DONE
    for pack in installed:
        state = f"off: {pack.trouble}" if pack.trouble else "in use"
        print(f"{pack.source.name}  {pack.source.commit[:12] or pack.source.id}  {state}")
    for name in others:
        print(f"{name}  your own, in {manager.paths.work / 'custom_nodes'}")
    if not installed and not others:
        print("No node pack is installed.")
    for offer in offered:
        print(f"{offer.name}  not installed; for: {offer.purpose}; license {offer.license}")
    return ExitStatus.DONE


def _remove_pack(manager: EngineManager, arguments: argparse.Namespace) -> int:
    from ..engine.packs.pack_folders import remove_pack
    from ..engine.supervision.supervisor import running_url

    if not _confirmed(arguments, f"Remove the node pack {arguments.pack}?"):
        return ExitStatus.FAILED
    source = remove_pack(manager.paths, arguments.pack)
    if running_url(manager.paths) is not None:
        print("Restarting ComfyUI without it.", file=sys.stderr)
        _start_detached(manager)
    print(f"{source.name} is removed.")
    return ExitStatus.DONE


def roll_back(_: argparse.Namespace, settings: Settings) -> int:
    """Return to the previous version and restart a running server."""
    from ..engine.supervision.supervisor import running_url
    from ..engine.versions import roll_back as return_to_previous

    manager = _manager(settings)
    previous = return_to_previous(manager.paths)
    if running_url(manager.paths) is not None:
        _start_detached(manager)
    print(f"ComfyUI {previous.version} is in use.")
    return ExitStatus.DONE


def remove(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete the versions."""
    from ..engine.versions import remove_engine

    manager = _manager(settings)
    if not _confirmed(arguments, f"Delete ComfyUI in {manager.paths.root}?"):
        return ExitStatus.FAILED
    for folder in remove_engine(manager.paths):
        print(f"Kept: {folder}")
    return ExitStatus.DONE


def set_up(settings: Settings) -> None:
    """Install ComfyUI for the app if there is none yet: ``comfy-ui --engine``.

    Raises:
        EngineError: the plan has problems, or was not confirmed.
    """
    manager = _manager(settings)
    if manager.paths.current() is None:
        arguments = argparse.Namespace(release=None, json=False, dry_run=False, yes=False)
        if install(arguments, settings) != ExitStatus.DONE:
            raise EngineError("No ComfyUI was installed.", hint="Start without --engine.")


# --- helpers ----------------------------------------------------------------------------------


def _manager(settings: Settings) -> EngineManager:
    from ..engine.engine_manager import EngineManager
    from ..features import require_feature

    require_feature("engine")
    return EngineManager(settings)


def _confirmed(arguments: argparse.Namespace, question: str) -> bool:
    """Ask on a terminal.

    Raises:
        ValidationError: there is no terminal and no ``--yes``.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise ValidationError("There is no terminal to confirm on.", hint="Add --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _origin(installation: Installation) -> str:
    """Whether the source is that of a known release."""
    from ..engine.planning.release_source import load_releases

    for release in load_releases():
        if release.tree == installation.tree:
            return f"as published in ComfyUI {release.version}, commit {release.commit[:12]}"
    return f"{installation.source}, which is not a release that comfy-ui knows"


def _with_packs(paths: EnginePaths, installation: Installation) -> str:
    from ..engine.packs.pack_folders import installed_packs

    names = [pack.source.name for pack in installed_packs(paths, installation)]
    return f" with {', '.join(names)}" if names else ""


def _facts(installation: Installation | None) -> dict[str, object] | None:
    from dataclasses import asdict

    return None if installation is None else asdict(installation)


def _start_detached(manager: EngineManager, *, memory: str | None = None) -> str:
    """Start a supervisor that outlives this command, and wait until ComfyUI answers.

    Raises:
        EngineError: it has ended before that.
    """
    from ..engine.supervision.server_log import read_tail
    from ..engine.supervision.supervisor import answers_at, running_url, stop_server

    paths = manager.paths
    if memory is None:  # restart
        stop_server(paths)
    if (url := running_url(paths)) is not None and answers_at(url):
        return url
    log = paths.root / "supervisor.log"
    command = [sys.executable, "-m", "comfy_ui", "engine", "start", "--foreground"]
    options = ["--memory", memory] if memory else []
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- this program
            [*command, *options, "--data-dir", str(paths.root.parent)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COMFY_UI_MODELS_DIR": str(paths.models)},
            start_new_session=True,
        )
    while process.poll() is None:
        if (url := running_url(paths)) is not None and answers_at(url):
            return url
        time.sleep(_POLL_S)
    text = read_tail(log).strip().removeprefix("Starting ComfyUI at ").partition("error: ")[2]
    raise EngineError(text.strip() or "ComfyUI ended.", hint="See comfy-ui engine status --log")


class _Progress:
    """Prints the steps on stderr; on a terminal the bytes too."""

    def __init__(self) -> None:
        self._step = ""

    def __call__(self, progress: InstallProgress) -> None:
        from ..engine.planning.install_plan import size_text

        if progress.step != self._step:
            if not self._step and progress.note:
                print(progress.note, file=sys.stderr)
            if self._step and sys.stderr.isatty():
                print(file=sys.stderr)
            self._step = progress.step
            end = "" if sys.stderr.isatty() else "\n"
            text = f"[{progress.number}/{progress.count}] {progress.title}"
            text += ": already done" if progress.finished else ""
            print(text, end=end, file=sys.stderr, flush=True)
        if not sys.stderr.isatty() or not progress.done_bytes:
            return
        total = f" of {size_text(progress.total_bytes)}" if progress.total_bytes else ""
        speed = f", {size_text(int(progress.bytes_per_s))}/s" if progress.bytes_per_s else ""
        text = f"[{progress.number}/{progress.count}] {progress.title}: "
        text += f"{size_text(progress.done_bytes)}{total}{speed}"
        print(f"\r{text[:78]:<78}", end="", file=sys.stderr, flush=True)
