"""Typed answers of the server's routes, read leniently: versions differ in what they send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU (or CPU) of the server."""

    name: str
    type: str
    index: int | None
    vram_total_bytes: int
    vram_free_bytes: int


@dataclass(frozen=True, slots=True)
class SystemStats:
    """The answer of ``GET /system_stats``. ``raw`` has the fields that newer versions add."""

    comfyui_version: str
    os: str
    python_version: str
    pytorch_version: str
    ram_total_bytes: int
    ram_free_bytes: int
    argv: tuple[str, ...]
    devices: tuple[Device, ...]
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, body: Any) -> Self:
        raw = _dict(body)
        system = _dict(raw.get("system"))
        argv = system.get("argv")
        devices = raw.get("devices")
        return cls(
            comfyui_version=str(system.get("comfyui_version", "")),
            os=str(system.get("os", "")),
            python_version=str(system.get("python_version", "")),
            pytorch_version=str(system.get("pytorch_version", "")),
            ram_total_bytes=_int(system.get("ram_total")),
            ram_free_bytes=_int(system.get("ram_free")),
            argv=tuple(map(str, argv)) if isinstance(argv, list) else (),
            devices=tuple(
                Device(
                    name=str(device.get("name", "")),
                    type=str(device.get("type", "")),
                    index=device["index"] if isinstance(device.get("index"), int) else None,
                    vram_total_bytes=_int(device.get("vram_total")),
                    vram_free_bytes=_int(device.get("vram_free")),
                )
                for device in (devices if isinstance(devices, list) else ())
                if isinstance(device, dict)
            ),
            raw=raw,
        )


class UploadedFile(str):
    """A file on the server. As a str it is the value of a loader node's input.

    >>> UploadedFile.at("cat.png", subfolder="pets", type="temp")
    'pets/cat.png [temp]'
    """

    __slots__ = ("filename", "subfolder", "type")
    filename: str
    subfolder: str
    type: str

    @classmethod
    def at(cls, filename: str, *, subfolder: str = "", type: str = "input") -> Self:  # noqa: A002
        path = f"{subfolder}/{filename}" if subfolder else filename
        value = cls(path if type == "input" else f"{path} [{type}]")
        value.filename, value.subfolder, value.type = filename, subfolder, type
        return value


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as ``/api/jobs`` lists it. Times are seconds since 1970."""

    prompt_id: str
    status: str
    """pending, in_progress, completed, failed or cancelled."""
    created_at: float | None
    started_at: float | None
    ended_at: float | None
    outputs_count: int
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, body: Any) -> Self:
        raw = _dict(body)
        return cls(
            prompt_id=str(raw.get("id", "")),
            status=str(raw.get("status", "")),
            created_at=_seconds(raw.get("create_time")),
            started_at=_seconds(raw.get("execution_start_time")),
            ended_at=_seconds(raw.get("execution_end_time")),
            outputs_count=_int(raw.get("outputs_count")),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class UserFile:
    """A file of the user's data on the server, such as a saved workflow."""

    path: str
    size_bytes: int
    modified_at: float | None
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file of the server. ``path_index`` is the place among the folder's paths."""

    name: str
    path_index: int = 0
    size_bytes: int = 0
    modified_at: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the server's log; ``time`` as the server writes it (ISO 8601, no zone)."""

    time: str
    text: str


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A subgraph that the server offers as a building block. ``pack`` is where it comes from."""

    id: str
    name: str
    pack: str = ""


def read_blueprints(listed: Mapping[str, Any]) -> list[Blueprint]:
    """Read the server's blueprints, by name; malformed entries are left out."""
    blueprints = []
    for key, entry in listed.items():
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name:
            info = entry.get("info")
            pack = info.get("node_pack") if isinstance(info, dict) else None
            blueprints.append(Blueprint(key, name, pack if isinstance(pack, str) else ""))
    return sorted(blueprints, key=lambda blueprint: blueprint.name)


@dataclass(frozen=True, slots=True)
class Template:
    """One of ComfyUI's official workflow templates, as the server lists it.

    ``kind`` is what it produces (``image``, ``video``, …); ``paid`` ones call a paid service.
    """

    name: str
    title: str
    category: str
    kind: str
    description: str = ""
    paid: bool = False


def read_templates(index: Any) -> list[Template]:
    """Read the templates of the server's index; malformed entries are left out."""
    templates = []
    for category in index if isinstance(index, list) else ():
        listed = category.get("templates") if isinstance(category, dict) else None
        for entry in listed if isinstance(listed, list) else ():
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name:
                templates.append(
                    Template(
                        name=name,
                        title=str(entry.get("title") or name),
                        category=str(category.get("title") or ""),
                        kind=str(category.get("type") or ""),
                        description=str(entry.get("description") or ""),
                        paid=entry.get("openSource") is False,
                    )
                )
    return templates


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _int(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _seconds(milliseconds: Any) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server offers beyond ComfyUI 0.3.64, found by probing its routes.

    ``jobs_api``: it lists jobs of all states. ``atomic_cancel``: it cancels a job, pending or
    running, in one request.
    """

    jobs_api: bool
    atomic_cancel: bool
