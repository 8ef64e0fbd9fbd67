"""The facts that the checks judge: plain values that a test can write down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..health import HealthVerdict

__all__ = [
    "DataFolder",
    "Disk",
    "Gpu",
    "LackingPreset",
    "LanguageModelFacts",
    "ListenPort",
    "Machine",
    "ModelPath",
    "PresetFacts",
    "ServerDevice",
    "ServerFacts",
]

GpuVendor = Literal["nvidia", "amd", "apple", "intel"]
GpuTrouble = Literal["", "no_driver", "driver_fails", "no_access", "no_rocm"]
DatabaseState = Literal["none", "sound", "damaged", "newer", "foreign", "unreadable", "unchecked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU of this machine. Memory is in bytes, None if it is not known."""

    vendor: GpuVendor
    name: str
    total_bytes: int | None = None
    free_bytes: int | None = None
    driver: str = ""
    compute_capability: float | None = None
    """Of NVIDIA GPUs; PyTorch builds support a range of it."""
    trouble: GpuTrouble = ""
    detail: str = ""
    """The error of the driver's own tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The free space of the disk that holds ``path``; None if it cannot be determined."""

    purpose: Literal["data", "models", "temporary"]
    path: Path
    free_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """The folder for jobs and results, and its database."""

    path: Path
    exists: bool
    writable: bool = True
    open_to_others: bool = False
    """Other accounts of this machine can read it."""
    in_use: bool = False
    """A running app holds its lock."""
    database: DatabaseState = "none"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenPort:
    """The port that the app listens on. ``ours``: the app that runs the checks listens there."""

    host: str
    port: int
    free: bool
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDevice:
    """A device that a server computes on, as it reports it. Memory is in bytes."""

    name: str
    type: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server's state. ``configured``: by a setting or on the page, not only the default."""

    url: str
    verdict: HealthVerdict
    configured: bool = True
    local: bool = False
    port_open: bool | None = None
    """Whether something listens at a local address; None: not tried."""
    error: str = ""
    advice: str = ""
    version: str = ""
    pytorch: str = ""
    latency_s: float | None = None
    running: int = 0
    pending: int = 0
    devices: tuple[ServerDevice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingPreset:
    """A preset that cannot run, with what the server lacks."""

    id: str
    models: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetFacts:
    """The presets, judged by the server that can run most of each."""

    total: int
    lacking: tuple[LackingPreset, ...] = ()
    broken: tuple[str, ...] = ()
    """The errors of preset files that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPath:
    """A folder that model files are read from, as this machine sees it."""

    path: Path
    source: Literal["setting", "server"]
    exists: bool
    readable: bool = False
    writable: bool = False
    unusable: tuple[str, ...] = ()
    """Model files that ComfyUI lists and cannot load: links without a target, empty or unreadable
    files."""
    recognized: bool = True
    """It has folders that ComfyUI's models folder has, such as checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModelFacts:
    """The language model that enhances prompts.

    ``names`` are the models that its server lists; None: it does not list them.
    """

    state: Literal["none", "rules", "no_extra", "reachable", "failed"]
    url: str = ""
    name: str = ""
    names: tuple[str, ...] | None = None
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Everything that the checks know about an installation."""

    version: str
    python: str
    system: str
    """``Linux``, ``Darwin`` or ``Windows``."""
    platform: str
    macos: tuple[int, ...] = ()
    extras: Mapping[str, bool] = field(default_factory=dict)
    install_hints: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()
    disks: tuple[Disk, ...] = ()
    data: DataFolder
    port: ListenPort
    demo: bool = False
    """The demo engine was chosen or is in use."""
    servers: tuple[ServerFacts, ...] = ()
    presets: PresetFacts | None = None
    """None: no server has answered."""
    models: tuple[ModelPath, ...] = ()
    language_model: LanguageModelFacts
