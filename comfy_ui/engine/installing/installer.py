"""Install a version into a staging folder, step by step, and put it into place when it works.

Killed or cancelled anywhere, the next run continues: a finished step is not repeated. A plan that
differs from the interrupted one starts clean.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from ...errors import EngineError, InstallCancelledError, StorageError
from ...private_files import make_folder
from ..engine_paths import (
    EnginePaths,
    Installation,
    disk_error,
    exclusive,
    read_installation,
    read_json,
    write_installation,
    write_json,
)
from ..packs.pack_folders import InstalledPack, pack_folder, prune_packs, put_pack, switch_on
from ..packs.pack_source import PackSource
from ..planning.install_plan import InstallPlan, PlannedStep
from ..planning.release_source import Source
from ..supervision.process_identity import end_remembered
from ..supervision.server_command import ServerOptions, prepare_folders
from .archive_download import download_archive
from .python_environment import (
    FolderMeter,
    ProbeResult,
    Tool,
    check_device,
    copy_environment,
    create_environment,
    environment_python,
    install_packages,
    probe,
)
from .smoke_test import run_smoke_test
from .unpack import ENTRY_POINT, PACK_ENTRY_POINT, copy_folder, file_sha256, unpack

__all__ = ["InstallProgress", "Installer"]

_SPEED_S: Final = 10.0  # the period that the speed is measured over
_SOURCE_HINT: Final = "Check the network, or set COMFY_UI_ENGINE_SOURCE to a mirror or a copy."
_PACK_HINT: Final = "Check the network, or use a copy: comfy-ui engine packs add {} --source FILE"
_SOURCE: Final = "ComfyUI"
_ENVIRONMENT: Final = "venv"


@dataclass(frozen=True, slots=True)
class InstallProgress:
    """The state of a step. ``note`` says whether an interrupted installation continues.

    ``finished``: an earlier run has done this step, so it is skipped.
    """

    step: str
    title: str
    number: int
    count: int
    done_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    note: str = ""
    finished: bool = False

    @property
    def share(self) -> float | None:
        """The share of the step's bytes from 0 to 1, or None if unknown."""
        return min(1.0, self.done_bytes / self.total_bytes) if self.total_bytes else None


class Installer:
    """One run of an installation. :meth:`install` blocks; call it in a thread.

    Args:
        paths: the engine's folders.
        plan: what to install.
        uv: the path of uv; not needed with an existing environment.
        options: how the smoke test starts ComfyUI.
        cancel: set to stop. What was fetched is kept.
        on_progress: called several times a second, in the thread of :meth:`install`.
        now: the clock of the speed, in seconds.
    """

    def __init__(
        self,
        paths: EnginePaths,
        plan: InstallPlan,
        *,
        uv: str | None,
        options: ServerOptions | None = None,
        cancel: threading.Event | None = None,
        on_progress: Callable[[InstallProgress], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._plan = plan
        self._uv = uv or ""
        self._options = options or ServerOptions()
        self._cancel = cancel or threading.Event()
        self._on_progress = on_progress
        self._now = now
        self._note = ""
        self._marks: deque[tuple[float, int]] = deque()
        self._shown_at = float("-inf")
        self._progress = InstallProgress("", "", 0, len(plan.steps))

    # --- the run ------------------------------------------------------------------------------

    def install(self) -> Installation:
        """Install the version of the plan and make it the one in use.

        The one in use before can be returned to; older ones are deleted.

        Raises:
            InstallCancelledError: ``cancel`` was set.
            StorageError: the disk is full or refuses.
            EngineError: a step failed, or another process is installing.
        """
        plan, paths = self._plan, self._paths
        if plan.problems:
            raise EngineError(plan.problems[0], hint=" ".join(plan.problems[1:]))
        try:
            make_folder(paths.root)
            with exclusive(paths.root / "install.lock", "Another installation is running."):
                return self._install()
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise StorageError(
                    "The disk is full.",
                    hint="Free some space and start again: it continues where it stopped.",
                ) from error
            raise disk_error(paths.root, error) from error

    def _install(self) -> Installation:
        if finished := self._finished():
            return finished
        done = self._begin()
        tool = Tool(self._paths.install_log, self._paths.root / "tool.json", self._cancel)
        steps: dict[str, Callable[[], None]] = {
            "source": self._fetch_source,
            "packs": self._fetch_packs,
            "environment": lambda: self._create_environment(tool),
            "packages": lambda: self._install_packages(tool),
            "probe": lambda: self._probe(tool, done),
            "smoke": self._smoke,
        }
        for number, step in enumerate(self._plan.steps, 1):
            self._check_cancelled()
            self._show(step, number, finished=step.name in done)
            if step.name in steps and step.name not in done:
                steps[step.name]()
                done.append(step.name)
                self._save(done)
        return self._put_into_place()

    def _finished(self) -> Installation | None:
        """Return the version of the same plan that is complete, and make it the one in use.

        A run that was killed just before its last step leaves one.
        """
        paths, old = self._paths, self._paths.current()
        if self._plan.source.kind == "folder" or not paths.versions.is_dir():
            return None  # the folder's content may have changed
        complete = (read_installation(folder) for folder in paths.versions.iterdir())
        same = next((one for one in complete if one and one.plan == self._digest), None)
        if same is not None and (old is None or same.name != old.name):
            paths.switch(same.name, old.name if old else None)
        return same

    def _begin(self) -> list[str]:
        """Prepare the staging folder; return the steps that an interrupted run has finished."""
        end_remembered(self._paths.root / "tool.json")
        end_remembered(self._staging / "smoke.json")
        state = read_json(self._state_file)
        if state.get("digest") == self._digest and isinstance(state.get("done"), list):
            done = [name for name in state["done"] if isinstance(name, str)]
            if "packages" not in done:  # uv takes a package that it was killed in for complete
                done = [name for name in done if name != "environment"]
            self._note = "Continuing the interrupted installation."
            return done
        if self._staging.exists():
            self._note = "Starting clean: the interrupted installation was a different one."
            _delete(self._staging)
        make_folder(self._staging)
        self._paths.install_log.write_bytes(b"")
        self._save([])
        return []

    def _save(self, done: list[str]) -> None:
        write_json(self._state_file, {"digest": self._digest, "done": done})

    @property
    def _digest(self) -> str:
        """What makes two plans the same. A folder may have changed: it is copied again."""
        plan = self._plan
        stack = [plan.stack.name, *plan.stack.pins] if plan.stack else None
        packages = [stack, plan.torch_index, plan.more_packages]
        packs = [pack.id for pack in plan.packs]
        facts = [asdict(plan.source), packages, plan.python, plan.own_environment, packs]
        return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()

    @property
    def _staging(self) -> Path:
        return self._paths.staging

    @property
    def _state_file(self) -> Path:
        return self._staging / "state.json"

    @property
    def _source(self) -> Path:
        return self._staging / _SOURCE

    @property
    def _environment(self) -> Path:
        return self._staging / _ENVIRONMENT

    @property
    def _python(self) -> Path:
        own = self._plan.own_environment
        return environment_python(self._environment) if own else Path(self._plan.python)

    # --- steps --------------------------------------------------------------------------------

    def _fetch_source(self) -> None:
        source, base = self._plan.source, self._plan.base
        partial = self._staging / f"{_SOURCE}.partial"
        _delete(partial)
        _delete(self._source)
        digest, tree = (base.sha256, base.tree) if base is not None else (None, "")
        if source.kind == "folder":
            copy_folder(Path(source.location), partial, self._advance)
        else:
            digest, tree = self._unpack_verified(source, partial)
        if not (partial / "requirements.txt").is_file():
            raise EngineError("The source of ComfyUI has no requirements.txt.")
        # For ComfyUI's database. Each version has its own, because an older one cannot read that of
        # a newer one after a rollback.
        (partial / "user").mkdir(exist_ok=True)
        write_json(self._staging / "source.json", {"sha256": digest, "tree": tree})
        partial.rename(self._source)
        if source.kind == "url":
            _delete(self._paths.downloads)

    def _fetch_packs(self) -> None:
        for pack in self._plan.packs:
            if pack_folder(self._paths, pack) is not None:
                continue
            staged = self._staging / "packs" / pack.id
            _delete(staged)
            _delete(self._paths.packs / pack.id)  # incomplete
            staged.mkdir(parents=True)
            _, tree = self._unpack_verified(pack, staged / pack.name)
            # A commit is known by its content from now on; others are known by their pin.
            put_pack(self._paths, staged, replace(pack, tree=tree) if pack.commit else pack)
            _delete(self._paths.downloads)

    def _unpack_verified(self, source: Source | PackSource, target: Path) -> tuple[str, str]:
        """Fetch an archive and unpack it; return its SHA-256 and the Git tree id of its content.

        Raises:
            EngineError: its content is not the expected one; nothing of it is left.
        """
        if isinstance(source, PackSource):
            title = content = source.name
            hint, entry_point = _PACK_HINT.format(source.name), PACK_ENTRY_POINT
        else:
            title, content = "The source of ComfyUI", f"ComfyUI {source.version}"
            hint, entry_point = _SOURCE_HINT, ENTRY_POINT
        archive = Path(source.location)
        if source.kind == "url":
            archive = download_archive(
                source.location,
                self._paths.downloads,
                hosts=source.hosts,
                sha256=source.sha256,
                title=title,
                hint=hint,
                cancel=self._cancel,
                on_progress=self._received,
            )
        try:
            digest = file_sha256(archive, lambda _: self._check_cancelled())
            if source.sha256 not in {None, digest}:
                raise EngineError(
                    f"{archive.name} does not have the expected SHA-256 of {content}.",
                    hint=f"Expected {source.sha256}, got {digest}. It was not unpacked.",
                )
            tree = unpack(archive, target, self._advance, entry_point=entry_point)
            if source.tree not in {None, tree}:
                _delete(target)
                raise EngineError(
                    f"{archive.name} does not have the content of {content}.",
                    hint=f"Expected the Git tree {source.tree}, got {tree}. It is not used.",
                )
        except EngineError:
            if source.kind == "url":
                archive.unlink()
            raise
        return digest, tree

    @property
    def _packs(self) -> list[InstalledPack]:
        packs = (pack_folder(self._paths, pack) for pack in self._plan.packs)
        return [pack for pack in packs if pack is not None]

    def _create_environment(self, tool: Tool) -> None:
        base = self._plan.base
        if base is None:
            create_environment(
                tool, self._uv, self._environment, self._plan.python, self._paths.cache
            )
        else:
            source = self._paths.home(base) / _ENVIRONMENT
            copy_environment(source, self._environment, self._check_cancelled)

    def _install_packages(self, tool: Tool) -> None:
        plan, base = self._plan, self._plan.base
        stack = plan.stack
        if stack is None:
            raise EngineError("The plan has no PyTorch build.")
        files = [pack.folder / "requirements.txt" for pack in self._packs]
        files = [file for file in files if file.is_file()]
        pins: tuple[str, ...] = (*stack.pins, *plan.more_packages)
        if base is None:
            files = [self._source / "requirements.txt", *files]
        elif not files:
            return
        else:
            pins = (f"torch=={base.torch}",)  # a pack must not replace it
        make_folder(self._paths.cache)
        meter = FolderMeter(self._paths.cache)
        meter.measure()
        start = meter.size_bytes

        def watch() -> None:
            if meter.measure():
                # The cache holds unpacked files, of about twice the size of what was fetched.
                share = (meter.size_bytes - start) / stack.installed_bytes
                self._received(int(min(1.0, share) * stack.download_bytes), stack.download_bytes)

        install_packages(
            tool,
            self._uv,
            self._environment,
            requirements=files,
            stack=stack,
            pins=pins,
            cache=self._paths.cache,
            torch_index=self._plan.torch_index,
            watch=watch,
        )

    def _probe(self, tool: Tool, done: list[str]) -> None:
        try:
            result = probe(tool, self._python)
        except InstallCancelledError:
            raise
        except EngineError:
            self._save([name for name in done if name == "source"])  # the next run installs again
            raise
        result = check_device(result, self._plan.stack, log=self._paths.install_log)
        write_json(self._staging / "probe.json", asdict(result))

    def _smoke(self) -> None:
        packs = self._packs
        prepare_folders(self._paths, packs=packs)
        run_smoke_test(
            self._python,
            self._source,
            self._paths,
            device=self._probed.device,
            options=self._options,
            cancel=self._cancel,
            packs=packs,
        )

    @property
    def _probed(self) -> ProbeResult:
        return ProbeResult(**read_json(self._staging / "probe.json"))

    def _put_into_place(self) -> Installation:
        paths, plan, result = self._paths, self._plan, self._probed
        old = paths.current()
        installation = Installation(
            name=paths.unused_name(plan.source.version or source_version(self._source)),
            version=source_version(self._source) or plan.source.version,
            stack=plan.stack.name if plan.stack else "",
            python=str(self._python.relative_to(self._staging))
            if plan.own_environment
            else plan.python,
            device=result.device,
            torch=result.torch,
            source=plan.base.source if plan.base is not None else plan.source.location,
            installed_at=time.time(),
            plan=self._digest,
            packs=tuple(pack.id for pack in plan.packs),
            **read_json(self._staging / "source.json"),
        )
        make_folder(paths.versions)
        for name in ("smoke", "packs"):
            _delete(self._staging / name)
        write_installation(self._staging, installation)
        target = paths.versions / installation.name
        self._staging.rename(target)
        for name in ("state.json", "source.json", "probe.json", "smoke.log"):
            (target / name).unlink(missing_ok=True)
        paths.switch(installation.name, old.name if old else None)
        switch_on(paths, installation.packs)  # they have just been tested
        _prune(paths, {installation.name, *([old.name] if old else [])})
        prune_packs(paths)
        return installation

    # --- progress -----------------------------------------------------------------------------

    def _check_cancelled(self) -> None:
        if self._cancel.is_set():
            raise InstallCancelledError("The installation was cancelled.")

    def _show(self, step: PlannedStep, number: int, *, finished: bool) -> None:
        self._marks.clear()
        total = step.download_bytes or None
        self._progress = InstallProgress(
            step.name,
            step.title,
            number,
            len(self._plan.steps),
            total_bytes=total,
            note=self._note,
            finished=finished,
        )
        self._on_progress(self._progress)

    def _advance(self, count: int) -> None:
        self._check_cancelled()
        self._received(self._progress.done_bytes + count, self._progress.total_bytes)

    def _received(self, done: int, total: int | None) -> None:
        now = self._now()
        self._marks.append((now, done))
        while self._marks[0][0] < now - _SPEED_S and len(self._marks) > 2:
            self._marks.popleft()
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        speed = (after - before) / (end - start) if end > start else None
        last = self._progress
        self._progress = InstallProgress(
            last.step, last.title, last.number, last.count, done, total, speed, last.note
        )
        if now - self._shown_at > 0.1:
            self._shown_at = now
            self._on_progress(self._progress)


def source_version(source: Path) -> str:
    """Return the version that the source of ComfyUI states, or an empty text."""
    try:
        text = (source / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    _, _, value = text.partition("__version__")
    version = value.strip(" =\n").partition("\n")[0].strip("\"' ")
    return version if version.replace(".", "").isalnum() else ""


def _prune(paths: EnginePaths, kept: set[str]) -> None:
    """Delete complete versions that are neither in use nor the one to return to."""
    for folder in paths.versions.iterdir():
        if folder.name not in kept and read_installation(folder) is not None:
            _delete(folder)


def _delete(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        raise EngineError(f"{path} cannot be deleted.", hint="Delete it yourself.")
