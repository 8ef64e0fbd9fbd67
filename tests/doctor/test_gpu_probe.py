"""GPUs are found from the output of system tools and the files of the kernel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from comfy_ui.doctor.gpu_probe import CommandOutput, probe_gpus
from comfy_ui.doctor.machine import Gpu

RTX_4090 = "NVIDIA GeForce RTX 4090, 24564, 23011, 580.65.06, 8.9"
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure\n"
    "that the latest NVIDIA driver is installed and running."
)


def machine(**outputs: CommandOutput):
    """A function that runs only these programs."""

    def run(command: Sequence[str]) -> CommandOutput | None:
        return outputs.get(command[0].replace("-", "_"))

    return run


def pci_device(root: Path, number: int, vendor: str, **files: str) -> Path:
    device = root / f"sys/bus/pci/devices/0000:0{number}:00.0"
    device.mkdir(parents=True)
    for name, text in {"vendor": vendor, "class": "0x030000", "device": "0x1234", **files}.items():
        (device / name).write_text(f"{text}\n")
    return device


def test_probe_gpus_nvidia_smi_lists_each_gpu(tmp_path: Path) -> None:
    text = f"{RTX_4090}\nNVIDIA GB10, [N/A], [N/A], 580.95.05, 12.1"
    first, second = probe_gpus(
        "Linux", run=machine(nvidia_smi=CommandOutput(0, text)), root=tmp_path
    )
    assert first == Gpu(
        vendor="nvidia",
        name="NVIDIA GeForce RTX 4090",
        total_bytes=24564 * 2**20,
        free_bytes=23011 * 2**20,
        driver="580.65.06",
        compute_capability=8.9,
    )
    assert (second.total_bytes, second.compute_capability) == (None, 12.1)  # unified memory


def test_probe_gpus_old_nvidia_smi_is_asked_without_compute_capability(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> CommandOutput | None:
        if command[0] != "nvidia-smi":
            return None
        if "compute_cap" in command[1]:
            return CommandOutput(2, 'Field "compute_cap" is not a valid field to query.')
        return CommandOutput(0, "Tesla K80, 11441, 11441, 470.82")

    (gpu,) = probe_gpus("Linux", run=run, root=tmp_path)
    assert (gpu.name, gpu.driver, gpu.compute_capability) == ("Tesla K80", "470.82", None)


@pytest.mark.parametrize(
    ("outputs", "trouble", "detail"),
    [
        ({}, "no_driver", ""),
        ({"nvidia_smi": CommandOutput(9, NO_DRIVER)}, "driver_fails", NO_DRIVER.splitlines()[0]),
    ],
)
def test_probe_gpus_nvidia_gpu_without_working_driver_is_reported(
    outputs, trouble: str, detail: str, tmp_path: Path
) -> None:
    pci_device(tmp_path, 1, "0x10de")
    (gpu,) = probe_gpus("Linux", run=machine(**outputs), root=tmp_path)
    assert (gpu.trouble, gpu.detail) == (trouble, detail)


def test_probe_gpus_machine_with_nvidia_smi_and_no_gpu_has_none(tmp_path: Path) -> None:
    output = CommandOutput(6, "No devices were found")
    assert probe_gpus("Linux", run=machine(nvidia_smi=output), root=tmp_path) == ()


def test_probe_gpus_amd_with_rocm_reads_the_kernel(tmp_path: Path) -> None:
    device = pci_device(
        tmp_path,
        3,
        "0x1002",
        product_name="Radeon RX 7900 XTX",
        mem_info_vram_total=str(24 * 2**30),
        mem_info_vram_used=str(2**30),
    )
    (device / "driver").mkdir()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    (gpu,) = probe_gpus("Linux", run=machine(), root=tmp_path)
    assert (gpu.name, gpu.trouble) == ("Radeon RX 7900 XTX", "")
    assert (gpu.total_bytes, gpu.free_bytes) == (24 * 2**30, 23 * 2**30)


@pytest.mark.parametrize(("driver", "trouble"), [(False, "no_driver"), (True, "no_rocm")])
def test_probe_gpus_amd_without_rocm_says_so(driver: bool, trouble: str, tmp_path: Path) -> None:
    device = pci_device(tmp_path, 3, "0x1002")
    if driver:
        (device / "driver").mkdir()
    (gpu,) = probe_gpus("Linux", run=machine(), root=tmp_path)
    assert (gpu.name, gpu.trouble) == ("AMD GPU (0x1234)", trouble)


def test_probe_gpus_other_pci_devices_are_ignored(tmp_path: Path) -> None:
    pci_device(tmp_path, 1, "0x10de", **{"class": "0x040300"})  # the GPU's sound device
    pci_device(tmp_path, 2, "0x1af4")
    assert probe_gpus("Linux", run=machine(), root=tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [("Apple M3 Max\n68719476736", ["Apple M3 Max"]), ("Intel(R) Core(TM) i9\n34359738368", [])],
)
def test_probe_gpus_mac_has_the_gpu_of_an_apple_chip_only(text: str, names: list[str]) -> None:
    gpus = probe_gpus("Darwin", run=machine(sysctl=CommandOutput(0, text)))
    assert [gpu.name for gpu in gpus] == names
    assert [gpu.total_bytes for gpu in gpus] == [64 * 2**30 for _ in names]


def test_probe_gpus_windows_lists_the_display_adapters() -> None:
    adapters = [
        {"Name": "AMD Radeon RX 6800", "DriverVersion": "31.0.1"},
        {"Name": "Microsoft Basic Display Adapter", "DriverVersion": "10"},
    ]
    run = machine(powershell=CommandOutput(0, json.dumps(adapters)))
    assert [(gpu.vendor, gpu.name) for gpu in probe_gpus("Windows", run=run)] == [
        ("amd", "AMD Radeon RX 6800")
    ]
    run = machine(
        powershell=CommandOutput(0, json.dumps({"Name": "NVIDIA RTX A2000"})),
        nvidia_smi=CommandOutput(0, "NVIDIA RTX A2000, 6138, 5000, 581.29, 8.6"),
    )
    (gpu,) = probe_gpus("Windows", run=run)
    assert (gpu.driver, gpu.trouble) == ("581.29", "")
