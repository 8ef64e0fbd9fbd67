"""Choose the PyTorch build for a machine. Pure, except for reading ``stacks.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ...doctor.machine import Gpu, GpuVendor
from ...errors import ValidationError, closest

__all__ = [
    "AUTOMATIC",
    "DEFAULT_INDEX",
    "TORCH_INDEX",
    "Stack",
    "StackChoice",
    "choose_stack",
    "from_package_index",
    "load_stacks",
    "version_numbers",
]

AUTOMATIC: Final = "auto"
DEFAULT_INDEX: Final = "default"
"""The setting of PyTorch's index that takes the packages from the index of all others."""
TORCH_INDEX: Final = "PyTorch's package index"
"""The name of the index that uv's ``--torch-backend`` takes the packages from."""
_PACKAGE: Final = re.compile(r"(torch|torchvision|torchaudio)(?:==([0-9][0-9a-zA-Z.+]*))?")
_INTEGRATED: Final = 4 * 2**30  # memory that firmware reserves for an integrated GPU is below
_MACOS: Final = (14,)  # the first release that PyTorch's recent builds use the GPU on
# What nvidia-smi and the kernel call the same machine architecture.
_MACHINES: Final = {"amd64": "x86_64", "x86-64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A PyTorch build; ``stacks.toml`` explains the fields."""

    name: str
    title: str
    device: str
    platforms: tuple[str, ...]
    torch: str
    torchvision: str
    torchaudio: str
    download_bytes: int
    installed_bytes: int
    vendor: GpuVendor | None = None
    min_driver: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    min_capability: float = 0.0
    max_capability: float = float("inf")
    package_index: tuple[str, ...] = ()

    @property
    def backend(self) -> str | None:
        """The ``--torch-backend`` of uv; None: the package index itself has the build."""
        return None if self.vendor == "apple" else self.name

    @property
    def pins(self) -> tuple[str, ...]:
        """The requirements that keep the three packages together. An empty version is any."""
        versions = {
            "torch": self.torch,
            "torchvision": self.torchvision,
            "torchaudio": self.torchaudio,
        }
        return tuple(
            f"{name}=={version}" if version else name for name, version in versions.items()
        )

    def with_packages(self, text: str) -> Stack:
        """Return this build with other versions of its packages.

        Args:
            text: such as ``torch==2.14.1 torchvision==0.29.1``. A package without a version, or
                one that is not named, gets the newest version that fits.

        Raises:
            ValidationError: it names another package or no version that can be read.
        """
        versions: dict[str, str] = {}
        for word in text.split():
            match = _PACKAGE.fullmatch(word)
            if match is None:
                raise ValidationError(
                    f"'{word[:80]}' is not a version of a PyTorch package.",
                    hint="Such as: torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0",
                )
            versions[match[1]] = match[2] or ""
        return replace(
            self,
            torch=versions.get("torch", ""),
            torchvision=versions.get("torchvision", ""),
            torchaudio=versions.get("torchaudio", ""),
        )

    def refusal(self, gpu: Gpu, system: str, macos: tuple[int, ...]) -> Refusal | None:
        """Why this build cannot use a GPU of its vendor; None if it can."""
        if gpu.trouble:
            return Refusal(_TROUBLES[gpu.trouble], fixable=True)
        minimum = self.min_driver.get(system, "")
        if minimum and gpu.driver and version_numbers(gpu.driver) < version_numbers(minimum):
            return Refusal(
                f"{self.title} needs driver {minimum} or newer, and {gpu.driver} is installed.",
                fixable=True,
            )
        capability = gpu.compute_capability
        if capability is not None and not self.min_capability <= capability <= self.max_capability:
            return Refusal(
                f"{self.title} has no code for compute capability {capability}, only for "
                f"{self.min_capability} to {self.max_capability}."
            )
        if self.vendor == "apple" and macos and macos < _MACOS:
            return Refusal(f"PyTorch uses the GPU from macOS {_MACOS[0]} on.", fixable=True)
        return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a build cannot use a GPU. ``fixable``: the machine's driver or settings are the cause."""

    reason: str
    fixable: bool = False


_TROUBLES: Final = {
    "no_driver": "The GPU has no driver.",
    "driver_fails": "The GPU's driver does not work.",
    "no_access": "This account may not use /dev/kfd. Add it to the groups render and video.",
    "no_rocm": "ROCm is not available. Install the amdgpu driver with ROCm.",
}


@dataclass(frozen=True, slots=True)
class StackChoice:
    """The chosen build, the GPU that it will use, and why other GPUs are not used.

    ``stack`` is None if PyTorch has no build for this machine. ``fixes`` are the reasons that a
    change of the machine removes.
    """

    stack: Stack | None
    gpu: Gpu | None = None
    notes: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()


@cache
def load_stacks() -> tuple[Stack, ...]:
    """Return the builds of ``stacks.toml``, the preferred ones first."""
    text = Path(__file__).with_name("stacks.toml").read_text(encoding="utf-8")
    return tuple(
        Stack(
            **{
                **entry,
                "platforms": tuple(entry["platforms"]),
                "package_index": tuple(entry.get("package_index", ())),
            }
        )
        for entry in tomllib.loads(text)["stack"]
    )


def choose_stack(
    *,
    system: str,
    machine: str,
    gpus: Sequence[Gpu],
    macos: tuple[int, ...] = (),
    override: str = AUTOMATIC,
    stacks: Sequence[Stack] | None = None,
) -> StackChoice:
    """Choose the build for a machine.

    Args:
        system: ``Linux``, ``Darwin`` or ``Windows``.
        machine: the architecture, as ``platform.machine()`` reports it.
        gpus: the GPUs of the machine.
        macos: the release of macOS.
        override: the name of the build to take regardless of the GPU, or ``auto``.
        stacks: the builds to choose from.

    Raises:
        ValidationError: there is no build named ``override``.
    """
    stacks = load_stacks() if stacks is None else stacks
    machine = _MACHINES.get(machine.lower(), machine.lower())
    if override != AUTOMATIC:
        names = [stack.name for stack in stacks]
        if override not in names:
            raise ValidationError(
                f"There is no PyTorch build '{override}'.", hint=closest(override, names)
            )
        chosen = next(stack for stack in stacks if stack.name == override)
        fitting = (gpu for gpu in gpus if gpu.vendor == chosen.vendor)
        gpu = max(fitting, key=lambda gpu: gpu.total_bytes or 0, default=None)
        refusal = chosen.refusal(gpu, system, macos) if gpu is not None else None
        if chosen.vendor is not None and gpu is None:
            return StackChoice(chosen, None, (f"No GPU for {chosen.title} was found.",))
        return StackChoice(chosen, gpu, (refusal.reason,) if refusal else ())
    here = [stack for stack in stacks if f"{system} {machine}" in stack.platforms]
    notes: list[str] = []
    fixes: list[str] = []
    for gpu in sorted(gpus, key=lambda gpu: (gpu.vendor == "intel", -(gpu.total_bytes or 0))):
        builds = [stack for stack in here if stack.vendor == gpu.vendor]
        if not builds:
            notes.append(f"{gpu.name}: PyTorch has no build for it on this system.")
        elif _is_integrated(gpu):
            notes.append(
                f"{gpu.name}: taken for an integrated GPU. To use it, choose {builds[0].name}."
            )
        else:
            refusals = [(stack, stack.refusal(gpu, system, macos)) for stack in builds]
            usable = next((stack for stack, refusal in refusals if refusal is None), None)
            if usable is not None:
                return StackChoice(usable, gpu, tuple(notes))
            # The last build has the lowest requirements.
            refusal = next((r for _, r in reversed(refusals) if r and r.fixable), refusals[-1][1])
            if refusal is not None:
                (fixes if refusal.fixable else notes).append(f"{gpu.name}: {refusal.reason}")
    cpu = next((stack for stack in here if stack.vendor is None), None)
    return StackChoice(cpu, None, tuple(notes), tuple(fixes))


def from_package_index(
    choice: StackChoice, *, system: str, machine: str, macos: tuple[int, ...] = ()
) -> StackChoice:
    """Return what a choice becomes with the package index, which has one build for each platform.

    The build keeps its name and gets the sizes of the one that is installed. ``fixes`` says why
    that one does not do.
    """
    platform = f"{system} {_MACHINES.get(machine.lower(), machine.lower())}"
    actual = next((stack for stack in load_stacks() if platform in stack.package_index), None)
    chosen = choice.stack
    if chosen is None or actual is None or actual.name == chosen.name:
        return choice
    notes, fixes = [*choice.notes], [*choice.fixes]
    only = f"The package index has PyTorch for {actual.title} only"
    refusal = None
    if choice.gpu is not None and actual.vendor == chosen.vendor:
        refusal = actual.refusal(choice.gpu, system, macos)
    if chosen.vendor is not None and actual.vendor != chosen.vendor:
        fixes.append(f"{only}, not for {chosen.title}.")
    elif refusal is not None:
        fixes.append(f"{only}. {refusal.reason}")
    elif chosen.vendor is None:
        notes.append(f"{only}, which runs on the CPU too but takes more space.")
    else:
        notes.append(f"{only}, so that is installed.")
    sized = replace(
        chosen, download_bytes=actual.download_bytes, installed_bytes=actual.installed_bytes
    )
    return StackChoice(sized, choice.gpu, tuple(notes), tuple(fixes))


def _is_integrated(gpu: Gpu) -> bool:
    """Whether a GPU is probably part of the CPU, for which PyTorch is of little use."""
    if gpu.vendor == "intel":
        return "arc" not in gpu.name.lower().split()
    return gpu.vendor == "amd" and gpu.total_bytes is not None and gpu.total_bytes < _INTEGRATED


def version_numbers(text: str) -> tuple[int, ...]:
    """Split a version at its dots.

    >>> version_numbers("580.65.06")
    (580, 65, 6)
    """
    return tuple(int(part) for part in text.split(".") if part.isdigit())
