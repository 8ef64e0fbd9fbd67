"""Find the GPUs of this machine and their drivers, without PyTorch.

NVIDIA: ``nvidia-smi``. AMD and Intel on Linux: the files of the kernel below ``/sys``. Apple:
``sysctl``. Windows: the list of display adapters.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .machine import Gpu, GpuVendor

__all__ = ["CommandOutput", "probe_gpus", "run_command"]

_TIMEOUT_S: Final = 10.0
_NVIDIA_SMI: Final = ("/usr/lib/wsl/lib/nvidia-smi", r"C:\Windows\System32\nvidia-smi.exe")
_FIELDS: Final = ("name", "memory.total", "memory.free", "driver_version")
_ADAPTERS: Final = (
    "powershell",
    "-NoProfile",
    "-Command",
    "Get-CimInstance Win32_VideoController | Select-Object Name,DriverVersion | ConvertTo-Json",
)
_VENDORS: Final[dict[str, GpuVendor]] = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
_NAMES: Final = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "apple": "Apple"}
_DISPLAY_CLASS: Final = "0x03"  # PCI base class of display controllers


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """The exit status and output of a command."""

    status: int
    text: str


Run = Callable[[Sequence[str]], CommandOutput | None]


def run_command(command: Sequence[str]) -> CommandOutput | None:
    """Run a command; None if it does not exist or takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 -- constant commands
            [program, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return CommandOutput(done.returncode, f"{done.stdout}\n{done.stderr}".strip())


def probe_gpus(system: str, *, run: Run = run_command, root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Return the GPUs of this machine.

    Args:
        system: ``Linux``, ``Darwin`` or ``Windows``.
        run: runs a command of the system.
        root: the folder that holds ``sys`` and ``dev``.
    """
    if system == "Darwin":
        return _apple(run)
    others = _windows(run) if system == "Windows" else _linux(root)
    nvidia, detail = _nvidia(run)
    if nvidia or detail is None:
        return (*nvidia, *(gpu for gpu in others if gpu.vendor != "nvidia"))
    # The tool is missing or fails: an NVIDIA GPU that the system lists has no working driver.
    return tuple(
        Gpu(
            vendor="nvidia",
            name=gpu.name,
            trouble="driver_fails" if detail else "no_driver",
            detail=detail,
        )
        if gpu.vendor == "nvidia"
        else gpu
        for gpu in others
    )


# --- NVIDIA -----------------------------------------------------------------------------------


def _nvidia(run: Run) -> tuple[tuple[Gpu, ...], str | None]:
    """The GPUs that nvidia-smi lists, and its error; empty if there is no such tool."""
    output = None
    # Drivers before 2021 do not know compute_cap and refuse the whole query.
    for fields in ((*_FIELDS, "compute_cap"), _FIELDS):
        query = (f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
        outputs = (run((program, *query)) for program in ("nvidia-smi", *_NVIDIA_SMI))
        output = next((one for one in outputs if one is not None), None)
        if output is not None and output.status == 0:
            return read_nvidia_smi(output.text), None
    if output is None:
        return (), ""
    if "no devices were found" in output.text.lower():
        return (), None
    return (), next(iter(output.text.splitlines()), "nvidia-smi failed")


def read_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """Read the CSV lines of ``nvidia-smi --query-gpu``; fields it cannot tell are ``[N/A]``."""
    gpus = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < len(_FIELDS):
            continue
        name, total, free, driver = cells[:4]
        gpus.append(
            Gpu(
                vendor="nvidia",
                name=name,
                total_bytes=_mebibytes(total),
                free_bytes=_mebibytes(free),
                driver=driver,
                compute_capability=_number(cells[4]) if len(cells) > 4 else None,
            )
        )
    return tuple(gpus)


def _mebibytes(text: str) -> int | None:
    number = _number(text)
    return None if number is None else int(number * 2**20)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# --- Linux ------------------------------------------------------------------------------------


def _linux(root: Path) -> tuple[Gpu, ...]:
    """The display controllers on the PCI bus; of AMD's also memory, driver and access."""
    gpus = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        vendor = _VENDORS.get(_read(device / "vendor"))
        if vendor is None or not _read(device / "class").startswith(_DISPLAY_CLASS):
            continue
        product = _read(device / "product_name")
        name = product or f"{_NAMES[vendor]} GPU ({_read(device / 'device')})"
        gpus.append(_amd(device, name, root) if vendor == "amd" else Gpu(vendor=vendor, name=name))
    return tuple(gpus)


def _amd(device: Path, name: str, root: Path) -> Gpu:
    total, used = (_number(_read(device / f"mem_info_vram_{part}")) for part in ("total", "used"))
    kfd = root / "dev/kfd"  # the device that ROCm computes through
    if not (device / "driver").exists():
        return Gpu(vendor="amd", name=name, trouble="no_driver")
    denied = kfd.exists() and not os.access(kfd, os.R_OK | os.W_OK)
    return Gpu(
        vendor="amd",
        name=name,
        total_bytes=None if total is None else int(total),
        free_bytes=None if total is None or used is None else int(total - used),
        driver=_read(root / "sys/module/amdgpu/version"),
        trouble="no_access" if denied else "" if kfd.exists() else "no_rocm",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


# --- Apple and Windows ------------------------------------------------------------------------


def _apple(run: Run) -> tuple[Gpu, ...]:
    """The GPU of an Apple chip, which shares the memory; Macs with Intel chips have none to use."""
    output = run(("sysctl", "-n", "machdep.cpu.brand_string", "hw.memsize"))
    if output is None or output.status != 0:
        return ()
    name, _, memory = output.text.partition("\n")
    if not name.startswith("Apple"):
        return ()
    total = _number(memory)
    return (Gpu(vendor="apple", name=name, total_bytes=None if total is None else int(total)),)


def _windows(run: Run) -> tuple[Gpu, ...]:
    output = run(_ADAPTERS)
    try:
        listed = json.loads(output.text) if output is not None and output.status == 0 else []
    except ValueError:
        return ()
    gpus = []
    for adapter in listed if isinstance(listed, list) else [listed]:
        name = str(adapter.get("Name") or "") if isinstance(adapter, dict) else ""
        vendor: GpuVendor | None = next(
            (v for v in ("nvidia", "amd", "intel") if v in name.lower()), None
        )
        if vendor is None and "radeon" in name.lower():
            vendor = "amd"
        if vendor is not None:
            gpus.append(
                Gpu(vendor=vendor, name=name, driver=str(adapter.get("DriverVersion") or ""))
            )
    return tuple(gpus)
