"""Plan an installation: what is fetched, how large it is, where it goes. Pure, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...doctor.machine import Gpu
from ...workflow.checks.requirements import version_at_least
from ..engine_paths import EnginePaths, Installation
from ..packs.pack_source import PackSource
from .release_source import Source
from .stack_choice import (
    AUTOMATIC,
    DEFAULT_INDEX,
    TORCH_INDEX,
    Stack,
    choose_stack,
    from_package_index,
    load_stacks,
    version_numbers,
)

__all__ = ["HostFacts", "InstallPlan", "PlannedStep", "make_plan", "size_text"]

_SPARE_BYTES: Final = 2 * 10**9  # for results and the system
_SOURCE_BYTES: Final = 150_000_000  # unpacked
_PACK_BYTES: Final = 300_000_000  # with the packages that it requires
_SLOW_BYTES_PER_S: Final = 4 * 10**6
_FAST_BYTES_PER_S: Final = 40 * 10**6
_PYTHONS: Final = ((3, 10), (3, 14))  # the first and last that the PyTorch builds exist for
_DEFAULT_PYTHON: Final = "3.12"
_NO_UV: Final = "uv is not installed: pip install 'comfy-ui[engine]'."
_BASE: Final = {
    "probe": "Check that PyTorch finds the device",
    "smoke": "Start it once and run a small graph",
    "switch": "Put it into place",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the plan depends on, as found by :func:`.host_facts.collect`."""

    system: str
    machine: str
    python: str
    """The version of the Python that runs comfy-ui."""
    gpus: tuple[Gpu, ...] = ()
    macos: tuple[int, ...] = ()
    free_bytes: int | None = None
    """On the disk of the engine's folder."""
    uv: str | None = None
    """The path of uv, if it is installed."""
    unreachable: tuple[str, ...] = ()
    """Hosts that the installation needs and that do not answer."""
    environment: str | None = None
    """The Python of an existing environment to use, if the owner has chosen one."""
    new_packs: frozenset[str] = frozenset()
    """Names of the node packs that have to be fetched."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the installation. ``download_bytes``: roughly what it fetches, 0 for nothing."""

    name: str
    title: str
    download_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """What an installation will do. It can run only if there are no ``problems``."""

    source: Source
    stack: Stack | None
    gpu: Gpu | None
    python: str
    """The version of Python, or the path of an existing environment's."""
    own_environment: bool
    torch_index: str | None = None
    """A mirror of PyTorch's indexes, or :data:`.DEFAULT_INDEX`."""
    more_packages: tuple[str, ...] = ()
    """Requirements besides those of the source."""
    packs: tuple[PackSource, ...] = ()
    """All node packs of the version."""
    base: Installation | None = None
    """The version whose source and environment are copied."""
    steps: tuple[PlannedStep, ...]
    folder: Path
    models: Path
    installed_bytes: int
    free_bytes: int | None
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def download_bytes(self) -> int:
        """Roughly what is fetched in all."""
        return sum(step.download_bytes for step in self.steps)

    @property
    def device(self) -> str:
        """The GPU and the PyTorch build, for people."""
        if self.base is not None:
            return f"as installed: {self.base.device}, PyTorch {self.base.torch}"
        if self.stack is None:
            return "as in the existing environment"
        if self.gpu is None:
            return self.stack.title
        memory = f", {size_text(self.gpu.total_bytes)}" if self.gpu.total_bytes else ""
        return f"{self.gpu.name}{memory}, PyTorch for {self.stack.title}"

    @property
    def packages(self) -> str:
        """The versions of PyTorch's packages and where they come from, for people."""
        if self.base is not None:
            return "as installed"
        if self.stack is None:
            return "as in the existing environment"
        index = self.torch_index or TORCH_INDEX
        if self.torch_index == DEFAULT_INDEX or (not self.torch_index and not self.stack.backend):
            index = "the package index"
        return f"{', '.join(self.stack.pins)} from {index}"

    @property
    def minutes(self) -> tuple[int, int]:
        """How long the downloads take with a fast and with a slow connection, in minutes."""
        return (
            max(1, round(self.download_bytes / _FAST_BYTES_PER_S / 60)),
            max(2, round(self.download_bytes / _SLOW_BYTES_PER_S / 60)),
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as a dict that json can write."""
        return {
            "ok": not self.problems,
            "source": {"kind": self.source.kind, "location": self.source.location},
            "version": self.source.version,
            "sha256": self.source.sha256,
            "tree": self.source.tree,
            "stack": self.stack.name if self.stack else None,
            "packages": [*self.stack.pins] if self.stack else [],
            "torch_index": self.torch_index,
            "more_packages": [*self.more_packages],
            "packs": [
                {"name": p.name, "source": p.location, "commit": p.commit, "license": p.license}
                for p in self.packs
            ],
            "gpu": self.gpu.name if self.gpu else None,
            "python": self.python,
            "own_environment": self.own_environment,
            "folder": str(self.folder),
            "models": str(self.models),
            "download_bytes": self.download_bytes,
            "installed_bytes": self.installed_bytes,
            "free_bytes": self.free_bytes,
            "minutes": [*self.minutes],
            "steps": [
                {"name": s.name, "title": s.title, "download_bytes": s.download_bytes}
                for s in self.steps
            ],
            "warnings": [*self.warnings],
            "problems": [*self.problems],
        }

    def __str__(self) -> str:
        free = f", {size_text(self.free_bytes)} free" if self.free_bytes is not None else ""
        fast, slow = self.minutes
        existing = "" if self.own_environment else " (existing)"
        size = f"about {size_text(self.download_bytes)}, {fast} to {slow} min"
        lines = [
            f"Install    {self.source.label}",
            f"Device     {self.device}",
            *([f"PyTorch    {self.packages}"] if self.stack and not self.base else []),
            *(f"Node pack  {p.name}, {p.commit[:12] or p.location}" for p in self.packs),
            *([f"Packages   {', '.join(self.more_packages)}"] if self.more_packages else []),
            *([] if self.base else [f"Python     {self.python}{existing}"]),
            f"Folder     {self.folder}",
            f"Models     {self.models}",
            f"Download   {size if self.download_bytes else 'nothing'}",
            f"Disk       about {size_text(self.installed_bytes)}{free}",
        ]
        lines += [f"note       {text}" for text in self.warnings]
        lines += [f"problem    {text}" for text in self.problems]
        return "\n".join(lines)


def make_plan(
    host: HostFacts,
    source: Source,
    paths: EnginePaths,
    *,
    stack: str = AUTOMATIC,
    torch_index: str | None = None,
    torch_packages: str = "",
    more_packages: str = "",
    packs: Sequence[PackSource] = (),
    base: Installation | None = None,
    cached: Mapping[str, int] | None = None,
) -> InstallPlan:
    """Plan the installation of a source on a machine.

    Args:
        host: the facts about the machine.
        source: what to install.
        paths: where it goes.
        stack: the PyTorch build, or ``auto``.
        torch_index: a mirror of PyTorch's indexes, or :data:`.DEFAULT_INDEX`.
        torch_packages: other versions than those of the build, see :meth:`.Stack.with_packages`.
        more_packages: requirements besides those of the source, separated by spaces.
        packs: all node packs of the version; those that have to be fetched have a warning.
        base: the version whose source, environment and build are taken as they are; ``source`` is
            its folder.
        cached: bytes that an interrupted installation has left, by step.

    Raises:
        ValidationError: there is no build of that name, or the versions cannot be read.
    """
    cached = cached or {}
    warnings: list[str] = []
    problems: list[str] = []
    chosen = None
    gpu = None
    own_environment = host.environment is None
    if base is not None:
        chosen = next((one for one in load_stacks() if one.name == base.stack), None)
        own_environment = not Path(base.python).is_absolute()
        if host.uv is None and own_environment:
            problems.append(_NO_UV)
    elif own_environment:
        choice = choose_stack(
            system=host.system,
            machine=host.machine,
            gpus=host.gpus,
            macos=host.macos,
            override=stack,
        )
        if torch_index == DEFAULT_INDEX:
            choice = from_package_index(
                choice, system=host.system, machine=host.machine, macos=host.macos
            )
        chosen, gpu = choice.stack, choice.gpu
        if chosen is not None and torch_packages:
            chosen = chosen.with_packages(torch_packages)
        warnings += choice.notes
        if chosen is None:
            problems.append(f"PyTorch has no build for {host.system} on {host.machine}.")
        elif choice.fixes:
            problems += [f"{text} Or install for the CPU: --stack cpu." for text in choice.fixes]
        elif chosen.device == "cpu":
            warnings.append("No GPU will be used: an image takes minutes instead of seconds.")
        if host.uv is None:
            problems.append(_NO_UV)
    if source.sha256 is None and source.tree is None and source.kind != "folder":
        warnings.append(
            "The archive's content is not checked: you chose it, and it is trusted. Name a known "
            "release with --version to check it."
        )
    for pack in packs:
        if pack.name in host.new_packs:
            warnings += _pack_warnings(pack, own_environment=own_environment)
        version = base.version if base is not None else source.version
        if not version_at_least(version, pack.min_comfyui):
            problems.append(
                f"{pack.name} needs ComfyUI {pack.min_comfyui} or newer, and this is {version}."
            )
    if host.unreachable:
        problems += [_unreachable(name) for name in host.unreachable]
    new = [pack for pack in packs if pack.name in host.new_packs]
    steps = _steps(source, chosen, packs, new, base, own_environment=own_environment)
    needed = _SOURCE_BYTES + len(new) * _PACK_BYTES
    if base is None and chosen is not None:
        needed += chosen.installed_bytes
    if host.free_bytes is not None:
        missing = needed + _SPARE_BYTES - sum(cached.values()) - host.free_bytes
        if missing > 0:
            problems.append(
                f"The disk of {paths.root} needs {size_text(missing)} more free space: "
                f"{size_text(needed)} for ComfyUI and {size_text(_SPARE_BYTES)} to spare."
            )
    else:
        warnings.append("The free disk space cannot be determined.")
    return InstallPlan(
        source=source,
        stack=chosen,
        gpu=gpu,
        python=base.python if base is not None else host.environment or _python(host.python),
        own_environment=own_environment,
        torch_index=torch_index,
        more_packages=(*source.packages, *more_packages.split()) if chosen and not base else (),
        packs=tuple(packs),
        base=base,
        steps=steps,
        folder=paths.root,
        models=paths.models,
        installed_bytes=needed,
        free_bytes=host.free_bytes,
        warnings=tuple(warnings),
        problems=tuple(problems),
    )


def _unreachable(name: str) -> str:
    text = f"{name} cannot be reached from this machine."
    if name == TORCH_INDEX:
        text += " Use a mirror with --torch-index, or the package index: --torch-index default."
    return text


def _pack_warnings(pack: PackSource, *, own_environment: bool) -> list[str]:
    if own_environment or not pack.requirements:
        return [pack.warning]
    names = " ".join(pack.requirements)
    return [pack.warning, f"Install its requirements into the existing environment: {names}"]


def _steps(
    source: Source,
    stack: Stack | None,
    packs: Sequence[PackSource],
    new_packs: Sequence[PackSource],
    base: Installation | None,
    *,
    own_environment: bool,
) -> tuple[PlannedStep, ...]:
    fetched = (source.size_bytes or _SOURCE_BYTES) if source.kind == "url" else 0
    verb = "Download" if source.kind == "url" else "Copy"
    steps = [PlannedStep("source", f"{verb} {source.label}", fetched)]
    if packs:
        size = sum(pack.size_bytes or 0 for pack in new_packs if pack.kind == "url")
        names = ", ".join(pack.name for pack in packs)
        steps.append(PlannedStep("packs", f"Node packs: {names}", size))
    if base is not None and own_environment:
        steps += [
            PlannedStep("environment", "Copy the Python environment"),
            PlannedStep("packages", "Install the requirements of the node packs"),
        ]
    elif own_environment:
        steps += [
            PlannedStep("environment", "Create a Python environment"),
            PlannedStep(
                "packages",
                "Install PyTorch and the requirements",
                stack.download_bytes if stack else 0,
            ),
        ]
    return (*steps, *(PlannedStep(name, title) for name, title in _BASE.items()))


def _python(running: str) -> str:
    """The version of the Python that runs comfy-ui if there is a PyTorch for it, else a default."""
    version = version_numbers(running)[:2]
    return (
        f"{version[0]}.{version[1]}" if _PYTHONS[0] <= version <= _PYTHONS[1] else _DEFAULT_PYTHON
    )


def size_text(size_bytes: int) -> str:
    """A size for people.

    >>> size_text(5_500_000_000), size_text(40_000_000)
    ('5.5 GB', '40 MB')
    """
    if size_bytes >= 10**9:
        return f"{size_bytes / 10**9:.1f} GB"
    return f"{size_bytes / 10**6:.0f} MB"
