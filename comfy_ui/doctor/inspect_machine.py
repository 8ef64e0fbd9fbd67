"""Collect the facts about this machine, the servers and the language model.

Nothing raises: what cannot be determined is itself a fact. Nothing is written, and a running app
is not disturbed.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, TypeVar

from .. import __version__
from ..client import ComfyClient, parse_address
from ..client.server_check import ServerCheck
from ..errors import ComfyHeadlessError, LanguageModelError, Problem
from ..features import FEATURES, list_missing_features
from ..health import IDLE_WORKER_S, HealthTracker, HealthVerdict
from ..models.model_folders import is_local
from ..prompts.language_models.llm import list_models
from ..prompts.language_models.model_choice import RULES, find_model
from ..protocol.object_info import NodeRegistry
from ..settings import Settings
from ..storage.database_schema import VERSION as DATABASE_VERSION
from ..workflow.checks.requirements import preset_problems
from ..workflow.presets.preset_store import load_presets
from .gpu_probe import probe_gpus
from .machine import (
    DatabaseState,
    DataFolder,
    Disk,
    LackingPreset,
    LanguageModelFacts,
    ListenPort,
    Machine,
    ModelPath,
    PresetFacts,
    ServerDevice,
    ServerFacts,
)

__all__ = ["InspectedServer", "ThreadedClient", "free_bytes", "inspect_machine"]

T = TypeVar("T")

_SERVER_S: Final = 20.0  # for all requests to one server, without the pause of a second look
_LANGUAGE_MODEL_S: Final = 5.0
_DATABASE_S: Final = 10.0
_CONNECT_S: Final = 1.0
_CHECKED_OPCODES: Final = 100_000  # between two looks at the clock
_MODEL_SUFFIXES: Final = frozenset(
    {".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin"}
)
_MAX_FILES: Final = 10_000
_TYPICAL_FOLDERS: Final = ("checkpoints", "diffusion_models", "unet", "vae", "loras")


class InspectedServer(Protocol):
    """The requests that the inspection makes; :class:`.ComfyWSClient` has them."""

    @property
    def url(self) -> str: ...
    async def look(self) -> ServerCheck: ...
    async def object_info(self, *, fresh: bool = False) -> NodeRegistry: ...
    async def model_paths(self) -> dict[str, list[str]]: ...


class ThreadedClient:
    """The same with a :class:`.ComfyClient`, which needs no extra."""

    def __init__(self, client: ComfyClient) -> None:
        self._client = client

    @property
    def url(self) -> str:
        """The server's address."""
        return self._client.url

    async def look(self) -> ServerCheck:
        """See :meth:`.ComfyClient.look`."""
        return await asyncio.to_thread(self._client.look)

    async def object_info(self, *, fresh: bool = False) -> NodeRegistry:
        """See :meth:`.ComfyClient.object_info`."""
        return await asyncio.to_thread(lambda: self._client.object_info(fresh=fresh))

    async def model_paths(self) -> dict[str, list[str]]:
        """See :meth:`.ComfyClient.model_paths`."""
        return await asyncio.to_thread(self._client.model_paths)


async def inspect_machine(
    settings: Settings,
    servers: Sequence[InspectedServer],
    *,
    configured: bool = True,
    demo: bool = False,
    app_runs: bool = False,
    preset_folders: Sequence[Path] = (),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Machine:
    """Collect all facts, concurrently.

    Args:
        settings: the settings of the app.
        servers: clients of the servers; none with the demo engine.
        configured: the addresses come from a setting or from the page.
        demo: the demo engine was chosen or is in use.
        app_runs: this process serves the app, on its port.
        preset_folders: folders with presets besides the shipped ones.
        sleep: waits before a second look at a server that seems to be stuck.
    """
    system = platform.system()
    inspections, gpus, data, port, language_model = await asyncio.gather(
        asyncio.gather(*(_inspect_server(one, configured, sleep) for one in servers)),
        asyncio.to_thread(probe_gpus, system),
        asyncio.to_thread(_data_folder, settings.data_dir, app_runs=app_runs),
        asyncio.to_thread(_listen_port, settings, ours=app_runs),
        _language_model(settings),
    )
    registries = [(registry, facts.version) for facts, registry, _ in inspections if registry]
    presets = await asyncio.to_thread(_presets, registries, preset_folders) if registries else None
    reported = [paths for facts, _, paths in inspections if facts.local]
    models = await asyncio.to_thread(_model_paths, settings.models_dir, reported)
    return Machine(
        version=__version__,
        python=platform.python_version(),
        system=system,
        platform=f"{system} {platform.release()} {platform.machine()}",
        macos=tuple(int(n) for n in platform.mac_ver()[0].split(".") if n.isdigit()),
        extras=dict(FEATURES),
        install_hints=list_missing_features(),
        gpus=gpus,
        disks=_disks(settings.data_dir, models),
        data=data,
        port=port,
        demo=demo,
        servers=tuple(facts for facts, _, _ in inspections),
        presets=presets,
        models=models,
        language_model=language_model,
    )


# --- servers ----------------------------------------------------------------------------------

Inspection = tuple[ServerFacts, NodeRegistry | None, Mapping[str, Sequence[str]]]


async def _inspect_server(
    client: InspectedServer, configured: bool, sleep: Callable[[float], Awaitable[None]]
) -> Inspection:
    local = is_local(client.url)
    tracker = HealthTracker(client.url)
    registry, paths = None, {}
    try:
        async with asyncio.timeout(_SERVER_S):
            look = await client.look()
            if look.error is None:
                registry = await _or_none(client.object_info(fresh=True))
                paths = await _or_none(client.model_paths()) or {} if local else {}
    except TimeoutError:
        look = ServerCheck(
            at=time.time(),
            error=ComfyHeadlessError(f"It did not answer within {_SERVER_S:.0f} s."),
        )
    report = tracker.observe(look)
    queue = look.queue
    if queue is not None and (look.worker_died or (queue.pending and not queue.running)):
        await sleep(IDLE_WORKER_S)
        second = await client.look()
        if second.error is None:
            look, report = second, tracker.observe(second)
    stats = look.stats
    facts = ServerFacts(
        url=client.url,
        verdict=report.verdict,
        configured=configured,
        local=local,
        port_open=await asyncio.to_thread(_answers, client.url)
        if local and report.verdict is HealthVerdict.UNREACHABLE
        else None,
        error=look.error.message if look.error else "",
        advice=report.advice,
        version=report.comfyui_version,
        pytorch=stats.pytorch_version if stats else "",
        latency_s=report.latency_s,
        running=report.running,
        pending=report.pending,
        devices=tuple(
            ServerDevice(
                name=device["name"],
                type=device["type"],
                total_bytes=device["vram_total_bytes"],
                free_bytes=device["vram_free_bytes"],
            )
            for device in map(asdict, stats.devices)
        )
        if stats
        else (),
    )
    return facts, registry, paths


async def _or_none(answer: Awaitable[T]) -> T | None:
    try:
        return await answer
    except ComfyHeadlessError:
        return None


def _answers(url: str) -> bool:
    """Whether something listens at the port of a local address."""
    address = parse_address(url)
    try:
        socket.create_connection((address.host, address.port), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


def _presets(
    registries: Sequence[tuple[NodeRegistry, str]], folders: Sequence[Path]
) -> PresetFacts:
    presets = load_presets(folders)
    lacking = []
    for preset in presets.values():
        problems = min(
            (
                [p for p in preset_problems(preset, registry, version) if p.severity == "error"]
                for registry, version in registries
            ),
            key=len,
        )
        if problems:
            lacking.append(_lacking(preset.id, problems))
    return PresetFacts(
        total=len(presets),
        lacking=tuple(lacking),
        broken=tuple(str(problem) for problem in presets.problems),
    )


def _lacking(preset_id: str, problems: Sequence[Problem]) -> LackingPreset:
    models = [p.extra["model"].filename for p in problems if p.kind == "missing_model"]
    nodes = [p.class_type or p.message for p in problems if p.kind == "missing_node"]
    other = [p.message for p in problems if p.kind not in {"missing_model", "missing_node"}]
    return LackingPreset(
        id=preset_id, models=tuple(models), nodes=tuple(nodes), other=tuple(other[:1])
    )


def _model_paths(
    models_dir: Path | None, reported: Sequence[Mapping[str, Sequence[str]]]
) -> tuple[ModelPath, ...]:
    """The folder that is set, else those that the servers on this machine report."""
    if models_dir is not None:
        recognized = any((models_dir / name).is_dir() for name in _TYPICAL_FOLDERS)
        return (_model_path(models_dir, "setting", recognized=recognized),)
    folders: dict[Path, None] = {}  # in order, each once
    for paths in reported:
        for name in _TYPICAL_FOLDERS:
            folders.update(dict.fromkeys(map(Path, paths.get(name, ()))))
    return tuple(_model_path(path, "server") for path in folders if path.is_dir())


def _model_path(path: Path, source: str, *, recognized: bool = True) -> ModelPath:
    return ModelPath(
        path=path,
        source="setting" if source == "setting" else "server",
        exists=path.is_dir(),
        readable=os.access(path, os.R_OK | os.X_OK),
        writable=os.access(path, os.W_OK),
        unusable=tuple(_unusable_files(path)),
        recognized=recognized,
    )


def _unusable_files(folder: Path) -> Iterator[str]:
    """The model files in a folder that cannot be opened or are empty, by relative path."""
    walk = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    models = (path for path in walk if path.suffix.lower() in _MODEL_SUFFIXES)
    for path in islice(models, _MAX_FILES):
        try:
            usable = path.stat().st_size > 0 and os.access(path, os.R_OK)
        except OSError:
            usable = False
        if not usable:
            yield str(path.relative_to(folder))


# --- this machine -----------------------------------------------------------------------------


def _disks(data_dir: Path, models: Sequence[ModelPath]) -> tuple[Disk, ...]:
    """The disks that files are written to; model folders on one disk are one entry."""
    disks = [
        Disk(purpose="data", path=data_dir, free_bytes=free_bytes(data_dir)),
        Disk(
            purpose="temporary",
            path=Path(tempfile.gettempdir()),
            free_bytes=free_bytes(Path(tempfile.gettempdir())),
        ),
    ]
    devices: set[int] = set()
    for folder in models:
        if folder.exists and (device := folder.path.stat().st_dev) not in devices:
            devices.add(device)
            disks.append(
                Disk(purpose="models", path=folder.path, free_bytes=free_bytes(folder.path))
            )
    return tuple(disks)


def free_bytes(path: Path) -> int | None:
    """The free space of the disk that holds a path, which need not exist; None if unknown."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), None)
    try:
        return None if existing is None else shutil.disk_usage(existing).free
    except OSError:
        return None


def _data_folder(path: Path, *, app_runs: bool) -> DataFolder:
    if not path.is_dir():
        parent = next((p for p in path.absolute().parents if p.exists()), None)
        creatable = parent is not None and parent.is_dir() and os.access(parent, os.W_OK)
        return DataFolder(path=path, exists=False, writable=creatable and not path.exists())
    state, detail = _database(path / "comfy_ui.db")
    return DataFolder(
        path=path,
        exists=True,
        writable=os.access(path, os.W_OK | os.X_OK),
        open_to_others=os.name == "posix" and bool(path.stat().st_mode & 0o077),
        in_use=app_runs or _is_locked(path / "comfy_ui.lock"),
        database=state,
        detail=detail,
    )


def _read_only(path: Path) -> sqlite3.Connection:
    # Without a journal no process writes, and SQLite must not create one.
    journal = path.with_name(f"{path.name}-wal").exists()
    options = "mode=ro" if journal else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=1)


def _database(path: Path) -> tuple[DatabaseState, str]:
    try:
        if not path.exists() or not path.stat().st_size:
            return "none", ""
        with closing(_read_only(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > DATABASE_VERSION:
                return "newer", ""
            if not version:
                return "foreign", ""
            deadline = time.monotonic() + _DATABASE_S
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _CHECKED_OPCODES)
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            return "unchecked", ""
        damaged = code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
        return "damaged" if damaged else "unreadable", str(error)
    except OSError as error:
        return "unreadable", error.strerror or type(error).__name__
    return ("sound", "") if verdict == "ok" else ("damaged", str(verdict))


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    return False


def _listen_port(settings: Settings, *, ours: bool) -> ListenPort:
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.port))
            free = True
        except OSError:
            free = False
    return ListenPort(host=host, port=settings.port, free=free, ours=ours)


# --- the language model -----------------------------------------------------------------------


async def _language_model(settings: Settings) -> LanguageModelFacts:
    if settings.llm_model == RULES:
        return LanguageModelFacts(state="rules")
    if not FEATURES["ai"]:
        return LanguageModelFacts(state="no_extra")
    model = await asyncio.to_thread(lambda: find_model(settings=settings))
    if model is None:
        return LanguageModelFacts(state="none")
    try:
        names = await list_models(model, timeout_s=_LANGUAGE_MODEL_S)
    except LanguageModelError as error:
        if error.status in {404, 405, 501}:  # it need not have a list
            return LanguageModelFacts(state="reachable", url=model.base_url, name=model.name)
        return LanguageModelFacts(
            state="failed",
            url=model.base_url,
            name=model.name,
            error=error.message,
            hint=error.hint,
        )
    return LanguageModelFacts(state="reachable", url=model.base_url, name=model.name, names=names)
