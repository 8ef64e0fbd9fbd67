"""Each check over descriptions of machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.doctor.machine import (
    DataFolder,
    Disk,
    Gpu,
    LackingPreset,
    LanguageModelFacts,
    ListenPort,
    Machine,
    ModelPath,
    PresetFacts,
    ServerDevice,
    ServerFacts,
)
from comfy_ui.doctor.machine_checks import CheckLevel, CheckResult, check_machine
from comfy_ui.health import HealthVerdict

GIB = 2**30
RTX_4090 = Gpu(
    vendor="nvidia",
    name="RTX 4090",
    total_bytes=24 * GIB,
    driver="580.65.06",
    compute_capability=8.9,
)
CUDA = ServerDevice(name="cuda:0 RTX 4090", type="cuda", total_bytes=24 * GIB, free_bytes=GIB)
CPU = ServerDevice(name="cpu", type="cpu", total_bytes=32 * GIB, free_bytes=16 * GIB)
SERVER = ServerFacts(
    url="http://127.0.0.1:8188",
    verdict=HealthVerdict.HEALTHY,
    local=True,
    version="0.33.0",
    pytorch="2.9.1+cu130",
    latency_s=0.01,
    devices=(CUDA,),
)
HEALTHY = Machine(
    version="1.0",
    python="3.12.3",
    system="Linux",
    platform="Linux 6.8 x86_64",
    extras={"ai": True, "ui": True},
    gpus=(RTX_4090,),
    disks=(Disk(purpose="data", path=Path("/data"), free_bytes=200 * 10**9),),
    data=DataFolder(path=Path("/data"), exists=True, database="sound"),
    port=ListenPort(host="127.0.0.1", port=7860, free=True),
    servers=(SERVER,),
    presets=PresetFacts(total=49),
    models=(
        ModelPath(path=Path("/models"), source="server", exists=True, readable=True, writable=True),
    ),
    language_model=LanguageModelFacts(
        state="reachable", url="http://127.0.0.1:11434/v1", name="qwen3", names=("qwen3:latest",)
    ),
)


def concerns(machine: Machine) -> list[CheckResult]:
    return [result for result in check_machine(machine) if result.level is not CheckLevel.OK]


def server(**facts: Any) -> dict[str, Any]:
    return {"servers": (replace(SERVER, **facts),)}


def gpu(**facts: Any) -> dict[str, Any]:
    return {"gpus": (replace(RTX_4090, **facts),)}


def data(**facts: Any) -> dict[str, Any]:
    return {"data": replace(HEALTHY.data, **facts)}


def model(**facts: Any) -> dict[str, Any]:
    return {"language_model": LanguageModelFacts(url="http://127.0.0.1:11434/v1", **facts)}


def free(gigabytes: float, purpose: Any = "data") -> dict[str, Any]:
    disk = Disk(purpose=purpose, path=Path("/data"), free_bytes=int(gigabytes * 1e9))
    return {"disks": (disk,)}


def test_check_machine_healthy_machine_has_no_concerns() -> None:
    assert concerns(HEALTHY) == []
    assert [*dict.fromkeys(result.area for result in check_machine(HEALTHY))] == [
        "Python",
        "GPU",
        "Disk",
        "Data folder",
        "Port",
        "Server",
        "Presets",
        "Models",
        "Language model",
    ]


OFFLINE = {"verdict": HealthVerdict.UNREACHABLE, "error": "Refused.", "devices": (), "version": ""}
MISSING = ModelPath(path=Path("/gone"), source="setting", exists=False)
READ_ONLY = ModelPath(path=Path("/m"), source="server", exists=True, readable=True)
WRONG = ModelPath(path=Path("/m"), source="setting", exists=True, recognized=False)
REMOTE = {"url": "http://10.0.0.5:8188", "local": False}
UPGRADE = "update it to 580.65.06"


@pytest.mark.parametrize(
    ("changes", "level", "text", "advice"),
    [
        ({"extras": {"ai": False}}, "note", "extra 'ai' is not installed", ""),
        # GPU
        ({"gpus": ()}, "note", "No GPU was found", "very slow"),
        (gpu(trouble="no_driver"), "problem", "has no driver", "Install the driver from NVIDIA"),
        (gpu(trouble="driver_fails", detail="Mismatch"), "problem", "Mismatch", "Restart"),
        (gpu(vendor="amd", trouble="no_access"), "problem", "/dev/kfd", "render and video"),
        (gpu(vendor="amd", trouble="no_rocm"), "note", "ROCm is not available", "Install ROCm"),
        (gpu(driver="470.82"), "problem", "too old", "525.60.13"),
        (gpu(driver="560.35.03"), "note", "560.35.03", UPGRADE),
        (gpu(compute_capability=3.7), "problem", "capability 3.7", "900 series"),
        (gpu(compute_capability=6.1), "note", "RTX 4090", "CUDA 12.6"),
        (gpu(total_bytes=4 * GIB), "note", "4.3 GB", "--lowvram"),
        (gpu(vendor="intel"), "note", "RTX 4090", "XPU"),
        # disk
        (free(0.5), "problem", "500 MB free", "Free some space"),
        (free(5), "note", "5.0 GB free", "videos"),
        (free(20, "models"), "note", "20.0 GB free", "20 GB"),
        (free(0.1, "temporary"), "problem", "Temporary files", "Free some space"),
        # data folder
        (data(exists=False, writable=False), "problem", "cannot be created", "--data-dir"),
        (data(writable=False), "problem", "cannot be written", "permissions"),
        (data(open_to_others=True), "note", "other accounts", "chmod 700"),
        (data(database="damaged", detail="page 3"), "problem", "page 3", "recovers"),
        (data(database="newer"), "problem", "newer version", "Update comfy-ui"),
        (data(database="foreign"), "problem", "not written by a release", "Move it away"),
        (data(database="unreadable"), "problem", "cannot be read", "permissions"),
        (data(database="unchecked"), "note", "too large", ""),
        # port
        (
            {"port": ListenPort(host="127.0.0.1", port=7860, free=False)},
            "problem",
            "7860 is in use",
            "--port 7861",
        ),
        # server
        (server(**OFFLINE, port_open=False), "problem", "Nothing listens", "Start ComfyUI"),
        (server(**OFFLINE, port_open=True), "problem", "does not answer as ComfyUI", "port"),
        (server(**OFFLINE, **REMOTE, advice="Do."), "problem", "cannot be reached", "Do."),
        (
            server(verdict=HealthVerdict.REFUSED, error="401", advice="Set COMFYUI_TOKEN."),
            "problem",
            "refuses: 401",
            "COMFYUI_TOKEN",
        ),
        (
            server(verdict=HealthVerdict.STUCK, advice="Restart ComfyUI."),
            "problem",
            "no job moves",
            "Restart ComfyUI.",
        ),
        (server(latency_s=4.0), "note", "after 4.0 s", "slow"),
        (
            server(devices=(CPU,), pytorch="2.9.1+cpu"),
            "problem",
            "on the CPU, although there is RTX 4090",
            "build of PyTorch",
        ),
        (server(devices=(CPU,)), "problem", "on the CPU", "without --cpu"),
        (server(devices=(CPU,), **REMOTE), "note", "on the CPU", ""),
        ({"demo": True, "servers": ()}, "note", "demo engine", "COMFYUI_URL"),
        # presets and models
        ({"presets": None}, "note", "Not checked", ""),
        (
            {"presets": PresetFacts(total=1, lacking=(LackingPreset(id="sdxl", models=("a",)),))},
            "problem",
            "0 of 1 presets are ready",
            "download",
        ),
        (
            {"presets": PresetFacts(total=2, lacking=(LackingPreset(id="sdxl", models=("a",)),))},
            "note",
            "sdxl lacks models a",
            "comfy-ui download sdxl",
        ),
        (
            {"presets": PresetFacts(total=2, lacking=(LackingPreset(id="x", nodes=("N",)),))},
            "note",
            "x lacks nodes N",
            "comfy-ui check x",
        ),
        (
            {"presets": PresetFacts(total=2, broken=("p.toml: line 3",))},
            "problem",
            "line 3",
            "file",
        ),
        ({"models": (MISSING,)}, "problem", "/gone", "unset it"),
        ({"models": (WRONG,)}, "note", "/m", "checkpoints"),
        ({"models": (READ_ONLY,)}, "note", "cannot be written", "permissions"),
        (
            {"models": (replace(READ_ONLY, writable=True, unusable=("gone.safetensors",)),)},
            "problem",
            "cannot be loaded: gone.safetensors",
            "Download them again",
        ),
        ({"models": (replace(READ_ONLY, readable=False),)}, "problem", "cannot be read", ""),
        ({"models": ()}, "note", "not found on this machine", "COMFY_UI_MODELS_DIR"),
        # language model
        (model(state="none"), "note", "no language model", "Ollama"),
        (model(state="no_extra"), "note", "'ai' is missing", ""),
        (model(state="failed", error="It refuses.", hint="Key."), "problem", "refuses", "Key."),
        (model(state="reachable", names=()), "problem", "has no model", "pull"),
        (model(state="reachable"), "note", "does not list", ""),
        (
            model(state="reachable", name="gone", names=("qwen3", "llama3")),
            "problem",
            "does not list the model gone",
            "qwen3, llama3",
        ),
    ],
)
def test_check_machine_with_one_defect_names_it_and_the_cure(
    changes: dict[str, Any], level: str, text: str, advice: str
) -> None:
    results = concerns(replace(HEALTHY, **changes))
    matching = [result for result in results if text in result.text]
    assert [(result.level, advice in result.advice) for result in matching] == [(level, True)]


@pytest.mark.parametrize(
    "changes",
    [
        {"gpus": (), **server(**REMOTE), "models": ()},  # ComfyUI with its GPU and models elsewhere
        {"gpus": (Gpu(vendor="apple", name="Apple M3", total_bytes=GIB),), "macos": (15, 1)},
        {"port": ListenPort(host="::1", port=7860, free=False, ours=True)},
        {"port": ListenPort(host="::1", port=7860, free=False), **data(in_use=True)},
        data(exists=False),
        model(state="rules"),
        gpu(driver="", total_bytes=None, compute_capability=None),
        {**gpu(driver="581.29"), "system": "Windows"},
    ],
)
def test_check_machine_of_another_healthy_kind_has_no_concerns(changes: dict[str, Any]) -> None:
    assert concerns(replace(HEALTHY, **changes)) == []


def test_check_machine_old_macos_is_noted() -> None:
    apple = (Gpu(vendor="apple", name="Apple M1", total_bytes=GIB),)
    (result,) = concerns(replace(HEALTHY, gpus=apple, macos=(13, 6)))
    assert "macOS 14" in result.advice


def test_check_machine_integrated_gpu_beside_another_is_not_mentioned() -> None:
    assert concerns(replace(HEALTHY, gpus=(RTX_4090, Gpu(vendor="intel", name="UHD 770")))) == []


def test_check_machine_many_lacking_presets_shows_the_nearest_and_a_count() -> None:
    lacking = tuple(LackingPreset(id=f"p{n:02}", models=("m",) * (n + 1)) for n in range(12))
    results = concerns(replace(HEALTHY, presets=PresetFacts(total=20, lacking=lacking)))
    assert [result.text.partition(" ")[0] for result in results] == [
        *(f"p{n:02}" for n in range(8)),
        "4",
    ]
