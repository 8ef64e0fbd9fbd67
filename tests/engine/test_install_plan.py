"""The plan over descriptions of machines: which PyTorch build, and what stands in the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.doctor.machine import Gpu
from comfy_ui.engine.engine_paths import EnginePaths
from comfy_ui.engine.planning.host_facts import PackageIndex, collect
from comfy_ui.engine.planning.install_plan import HostFacts, make_plan
from comfy_ui.engine.planning.release_source import Source
from comfy_ui.engine.planning.stack_choice import TORCH_INDEX, choose_stack, load_stacks
from comfy_ui.errors import ValidationError
from comfy_ui.settings import Settings

GIB = 2**30
PATHS = EnginePaths(Path("/data/engine"), Path("/data/models"))
SOURCE = Source(
    kind="url",
    location="https://github.com/a.zip",
    version="0.33.0",
    sha256="a" * 64,
    size_bytes=40_000_000,
)
HOST = HostFacts(
    system="Linux",
    machine="x86_64",
    python="3.12.3",
    free_bytes=100 * 10**9,
    uv="/usr/bin/uv",
)


def nvidia(
    name: str, capability: float | None, driver: str = "590.10", gib: int = 12, **more: Any
) -> Gpu:
    return Gpu(
        vendor="nvidia",
        name=name,
        driver=driver,
        compute_capability=capability,
        total_bytes=gib * GIB,
        **more,
    )


RTX_4090 = nvidia("RTX 4090", 8.9, gib=24)
AMD = Gpu(vendor="amd", name="RX 7900 XTX", total_bytes=24 * GIB)
APU = Gpu(vendor="amd", name="Radeon 780M", total_bytes=GIB // 2)
ARC = Gpu(vendor="intel", name="Intel Arc A770", total_bytes=16 * GIB)
UHD = Gpu(vendor="intel", name="Intel GPU (0x9bc4)")
M3 = Gpu(vendor="apple", name="Apple M3 Pro", total_bytes=36 * GIB)
# description: system, machine, GPUs, more facts, the build (None: none), and a word of a problem
MACHINES: dict[str, tuple[str, str, tuple[Gpu, ...], dict[str, Any], str | None, str]] = {
    "RTX 5090": ("Linux", "x86_64", (nvidia("RTX 5090", 12.0, gib=32),), {}, "cu130", ""),
    "RTX 4090": ("Linux", "x86_64", (RTX_4090,), {}, "cu130", ""),
    "RTX 3060": ("Linux", "x86_64", (nvidia("RTX 3060", 8.6),), {}, "cu130", ""),
    "RTX 2060": ("Linux", "x86_64", (nvidia("RTX 2060", 7.5, gib=6),), {}, "cu130", ""),
    "H200": ("Linux", "x86_64", (nvidia("H200", 9.0, gib=141),), {}, "cu130", ""),
    "DGX Spark": ("Linux", "aarch64", (nvidia("GB10", 12.1, gib=119),), {}, "cu130", ""),
    "exact driver": ("Linux", "x86_64", (nvidia("A", 8.9, "580.65.06"),), {}, "cu130", ""),
    "one before": ("Linux", "x86_64", (nvidia("A", 8.9, "580.65.05"),), {}, "cu128", ""),
    "driver 550": ("Linux", "x86_64", (nvidia("A", 8.9, "550.54"),), {}, "cu128", ""),
    "driver 525": ("Linux", "x86_64", (nvidia("A", 8.9, "525.60.13"),), {}, "cu128", ""),
    "driver 470": ("Linux", "x86_64", (nvidia("A", 8.9, "470.1"),), {}, "cpu", "needs driver"),
    "RTX 5090, old driver": (
        *("Linux", "x86_64", (nvidia("RTX 5090", 12.0, "570.1"),), {}, "cu128", ""),
    ),
    "GTX 1080": ("Linux", "x86_64", (nvidia("GTX 1080", 6.1, gib=8),), {}, "cu126", ""),
    "GTX 980": ("Linux", "x86_64", (nvidia("GTX 980", 5.2, gib=4),), {}, "cu126", ""),
    "V100": ("Linux", "x86_64", (nvidia("V100", 7.0, gib=16),), {}, "cu126", ""),
    "GTX 1080, driver 470": (
        *("Linux", "x86_64", (nvidia("GTX 1080", 6.1, "470.2"),), {}, "cpu", "needs driver"),
    ),
    "GTX 680": ("Linux", "x86_64", (nvidia("GTX 680", 3.0, gib=2),), {}, "cpu", ""),
    "no capability": ("Linux", "x86_64", (nvidia("A", None),), {}, "cu130", ""),
    "no driver version": ("Linux", "x86_64", (nvidia("A", 8.9, ""),), {}, "cu130", ""),
    "no driver": (
        *("Linux", "x86_64", (nvidia("A", None, "", trouble="no_driver"),), {}, "cpu", "no driver"),
    ),
    "driver fails": (
        "Linux",
        "x86_64",
        (nvidia("A", None, "", trouble="driver_fails"),),
        {},
        "cpu",
        "driver does not work",
    ),
    "two NVIDIA": (
        *("Linux", "x86_64", (nvidia("GT 710", 3.5, gib=2), RTX_4090), {}, "cu130", ""),
    ),
    "NVIDIA and AMD": ("Linux", "x86_64", (AMD, RTX_4090), {}, "rocm7.1", ""),
    "NVIDIA and UHD": ("Linux", "x86_64", (UHD, RTX_4090), {}, "cu130", ""),
    "broken NVIDIA, AMD": (
        *("Linux", "x86_64", (nvidia("A", None, "", trouble="no_driver"), AMD), {}, "rocm7.1", ""),
    ),
    "RX 7900": ("Linux", "x86_64", (AMD,), {}, "rocm7.1", ""),
    "RX without ROCm": (
        *("Linux", "x86_64", (replace(AMD, trouble="no_rocm"),), {}, "cpu", "ROCm is not"),
    ),
    "RX without access": (
        *("Linux", "x86_64", (replace(AMD, trouble="no_access"),), {}, "cpu", "/dev/kfd"),
    ),
    "AMD APU": ("Linux", "x86_64", (APU,), {}, "cpu", ""),
    "RX on Windows": ("Windows", "AMD64", (AMD,), {}, "cpu", ""),
    "Arc": ("Linux", "x86_64", (ARC,), {}, "xpu", ""),
    "Arc on Windows": ("Windows", "AMD64", (ARC,), {}, "xpu", ""),
    "UHD": ("Linux", "x86_64", (UHD,), {}, "cpu", ""),
    "no GPU": ("Linux", "x86_64", (), {}, "cpu", ""),
    "no GPU, ARM": ("Linux", "aarch64", (), {}, "cpu", ""),
    "Windows RTX": ("Windows", "AMD64", (nvidia("A", 8.9, "580.88"),), {}, "cu130", ""),
    "Windows, older": ("Windows", "AMD64", (nvidia("A", 8.9, "572.16"),), {}, "cu128", ""),
    "Windows, too old": (
        *("Windows", "AMD64", (nvidia("A", 8.9, "516.94"),), {}, "cpu", "527.41"),
    ),
    "Mac": ("Darwin", "arm64", (M3,), {"macos": (15, 1)}, "mps", ""),
    "Mac, macOS 13": ("Darwin", "arm64", (M3,), {"macos": (13, 6)}, "cpu", "macOS 14"),
    "Mac with Intel": ("Darwin", "x86_64", (), {"macos": (13, 6)}, None, "no build"),
    "32-bit ARM": ("Linux", "armv7l", (), {}, None, "no build"),
    "FreeBSD": ("FreeBSD", "amd64", (RTX_4090,), {}, None, "no build"),
}


@pytest.mark.parametrize("description", MACHINES)
def test_make_plan_chooses_the_build_for_a_machine(description: str) -> None:
    system, machine, gpus, more, build, problem = MACHINES[description]
    host = replace(HOST, system=system, machine=machine, gpus=gpus, **more)
    plan = make_plan(host, SOURCE, PATHS)
    assert (plan.stack.name if plan.stack else None) == build
    assert problem in " ".join(plan.problems)
    assert bool(plan.problems) == bool(problem)
    if build == "cpu" and not problem:
        assert any("No GPU will be used" in warning for warning in plan.warnings)
    json.dumps(plan.to_dict())


def test_make_plan_driver_too_old_offers_the_cpu_build_as_an_explicit_choice() -> None:
    host = replace(HOST, gpus=(nvidia("A", 8.9, "470.1"),))
    assert "--stack cpu" in make_plan(host, SOURCE, PATHS).problems[0]
    plan = make_plan(host, SOURCE, PATHS, stack="cpu")
    assert plan.stack is not None
    assert (plan.stack.name, plan.problems) == ("cpu", ())


def test_make_plan_override_that_does_not_fit_is_a_warning() -> None:
    plan = make_plan(replace(HOST, gpus=(nvidia("GTX 1080", 6.1),)), SOURCE, PATHS, stack="cu130")
    assert any("no code for compute capability 6.1" in text for text in plan.warnings)
    plan = make_plan(HOST, SOURCE, PATHS, stack="cu130")
    assert any("No GPU for CUDA 13.0" in text for text in plan.warnings)


def test_make_plan_other_versions_replace_those_of_the_build() -> None:
    versions = "torch==2.14.1 torchvision==0.29.1+cpu"
    plan = make_plan(HOST, SOURCE, PATHS, stack="cpu", torch_packages=versions)
    assert plan.stack is not None
    assert plan.stack.pins == ("torch==2.14.1", "torchvision==0.29.1+cpu", "torchaudio")
    assert "torchaudio from PyTorch's package index" in str(plan)
    with pytest.raises(ValidationError, match="'numpy==2'"):
        make_plan(HOST, SOURCE, PATHS, torch_packages="torch==2.14.1 numpy==2")


@pytest.mark.parametrize(
    ("index", "label"),
    [
        (None, "PyTorch's package index"),
        ("default", "the package index"),
        ("https://mirror.example/whl", "https://mirror.example/whl"),
    ],
)
def test_make_plan_shows_where_pytorch_comes_from(index: str | None, label: str) -> None:
    plan = make_plan(HOST, SOURCE, PATHS, stack="cpu", torch_index=index)
    assert f"from {label}" in str(plan)
    assert plan.to_dict()["torch_index"] == index


# system, machine, GPU, choice, the build that is fetched, and words of a warning or a problem
PACKAGE_INDEX: dict[str, tuple[str, str, Gpu | None, str, str, str, bool]] = {
    "no GPU": ("Linux", "x86_64", None, "auto", "cu130", "only, which runs on the CPU", True),
    "ARM": ("Linux", "aarch64", None, "cpu", "cu130", "which runs on the CPU too", True),
    "RTX 4090": ("Linux", "x86_64", RTX_4090, "auto", "cu130", "", True),
    "cu128": ("Linux", "x86_64", RTX_4090, "cu128", "cu130", "so that is installed", True),
    "old driver": (
        *("Linux", "x86_64", nvidia("A", 8.9, "550.54"), "auto", "cu130", "580.65.06", False),
    ),
    "AMD": ("Linux", "x86_64", AMD, "auto", "cu130", "not for ROCm 7.1", False),
    "Windows": ("Windows", "AMD64", RTX_4090, "auto", "cpu", "not for CUDA 13.0", False),
    "Windows, no GPU": ("Windows", "AMD64", None, "auto", "cpu", "", True),
    "Mac": ("Darwin", "arm64", M3, "auto", "mps", "", True),
}


@pytest.mark.parametrize("description", PACKAGE_INDEX)
def test_make_plan_package_index_has_one_build_for_each_system(description: str) -> None:
    system, machine, gpu, choice, fetched, words, possible = PACKAGE_INDEX[description]
    host = replace(HOST, system=system, machine=machine, gpus=(gpu,) if gpu else ())
    plan = make_plan(host, SOURCE, PATHS, stack=choice, torch_index="default")
    build = next(stack for stack in load_stacks() if stack.name == fetched)
    assert plan.stack is not None
    assert plan.stack.installed_bytes == build.installed_bytes
    assert plan.steps[2].download_bytes == build.download_bytes
    assert words in " ".join(plan.warnings if possible else plan.problems)
    assert bool(plan.problems) != possible


def test_collect_asks_for_the_hosts_that_the_installation_needs() -> None:
    asked: list[str] = []

    def reach(hosts: Sequence[str], indexes: Sequence[PackageIndex]) -> Iterator[str]:
        asked.extend([*hosts, *(index.name for index in indexes)])
        yield from asked

    def needed(**settings: Any) -> list[str]:
        asked.clear()
        facts = collect(Settings(**settings), SOURCE, PATHS, reach=reach)
        assert facts.unreachable == (*asked,)
        return [*asked]

    assert "github.com" in needed()
    assert "github.com" in needed(torch_index="default")
    if sys.platform != "darwin":
        assert needed()[-1] == TORCH_INDEX
        assert "mirror.example" in needed(torch_index="https://mirror.example/whl")
    assert TORCH_INDEX not in needed(torch_index="default")
    assert TORCH_INDEX not in needed(engine_python=Path("/venv/bin/python"))
    problems = make_plan(replace(HOST, unreachable=(TORCH_INDEX,)), SOURCE, PATHS).problems
    assert "--torch-index default" in problems[0]


def test_choose_stack_unknown_override_names_the_nearest() -> None:
    with pytest.raises(ValidationError, match="cu131") as caught:
        choose_stack(system="Linux", machine="x86_64", gpus=(), override="cu131")
    assert "cu13" in caught.value.hint


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"free_bytes": 4 * 10**9}, "more free space"),
        ({"uv": None}, "uv is not installed"),
        ({"unreachable": ("github.com",)}, "github.com cannot be reached"),
    ],
)
def test_make_plan_obstacle_is_found_before_anything_is_fetched(
    facts: dict[str, Any], problem: str
) -> None:
    plan = make_plan(replace(HOST, **facts), SOURCE, PATHS)
    assert [problem in text for text in plan.problems] == [True]
    assert f"problem    {plan.problems[0]}" in str(plan)


def test_make_plan_bytes_of_an_interrupted_installation_count_as_free() -> None:
    host = replace(HOST, free_bytes=4 * 10**9)
    assert not make_plan(host, SOURCE, PATHS, cached={"staging": 2 * 10**9}).problems


def test_make_plan_existing_environment_needs_neither_uv_nor_packages() -> None:
    host = replace(HOST, uv=None, environment="/venv/bin/python", free_bytes=3 * 10**9)
    plan = make_plan(host, SOURCE, PATHS)
    assert plan.problems == ()
    assert (plan.python, plan.own_environment, plan.stack) == ("/venv/bin/python", False, None)
    assert plan.download_bytes == SOURCE.size_bytes


@pytest.mark.parametrize(
    ("running", "chosen"), [("3.11.7", "3.11"), ("3.14.0", "3.14"), ("3.15.1", "3.12")]
)
def test_make_plan_python_is_the_running_one_if_pytorch_has_a_build(
    running: str, chosen: str
) -> None:
    assert make_plan(replace(HOST, python=running), SOURCE, PATHS).python == chosen


def test_load_stacks_lists_known_devices_and_sensible_sizes() -> None:
    stacks = load_stacks()
    assert stacks[-1].name == "cpu"
    for stack in stacks:
        assert stack.device in {"cuda", "xpu", "mps", "cpu"}
        assert 0 < stack.download_bytes < stack.installed_bytes
        assert stack.min_capability <= stack.max_capability
