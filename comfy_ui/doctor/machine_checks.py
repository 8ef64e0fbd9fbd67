"""Judge the facts about an installation. Pure: no I/O, so that any machine can be a test case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..health import HealthVerdict
from .machine import (
    DataFolder,
    Disk,
    Gpu,
    LanguageModelFacts,
    Machine,
    ModelPath,
    PresetFacts,
    ServerFacts,
)

__all__ = ["CheckLevel", "CheckResult", "check_machine"]

_GB: Final = 10**9
# Below the first number, jobs fail soon; below the second, a download or a video may not fit.
_FREE_BYTES: Final = {
    "data": (1 * _GB, 10 * _GB),
    "models": (1 * _GB, 30 * _GB),
    "temporary": (_GB // 5, 2 * _GB),
}
_SMALL_GPU_BYTES: Final = 6 * 2**30
_SLOW_S: Final = 2.0
_SHOWN: Final = 8
# Minimum drivers of PyTorch's CUDA builds, from NVIDIA's table of CUDA releases: of CUDA 12 by
# minor-version compatibility, and of CUDA 13.0.
_CUDA_12_DRIVER: Final = {"Linux": (525, 60, 13), "Windows": (527, 41)}
_CUDA_13_DRIVER: Final = {"Linux": (580, 65, 6), "Windows": (580, 88)}
# Compute capabilities of PyTorch's builds: CUDA 12.6 from the first, newer builds from the second.
_CUDA_126_CAPABILITY: Final = 5.0
_NEWER_CUDA_CAPABILITY: Final = 7.5
_MACOS: Final = (14,)  # the first release that PyTorch's recent builds use the GPU on


class CheckLevel(StrEnum):
    """How much a result matters."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One result: what was checked, what is the case, and what to do."""

    area: str
    level: CheckLevel
    text: str
    advice: str = ""


def check_machine(machine: Machine) -> tuple[CheckResult, ...]:
    """Judge everything, in the order of the report."""
    results: list[CheckResult] = []
    for area, check in (
        ("Python", _python(machine)),
        ("GPU", _gpus(machine)),
        ("Disk", _disks(machine.disks)),
        ("Data folder", _data_folder(machine.data)),
        ("Port", _port(machine)),
        ("Server", _servers(machine)),
        ("Presets", _presets(machine.presets)),
        ("Models", _model_paths(machine)),
        ("Language model", _language_model(machine.language_model, machine.install_hints)),
    ):
        results += [CheckResult(area, *result) for result in check]
    return tuple(results)


Judged = Iterator[tuple[CheckLevel, str, str]]
_OK, _NOTE, _PROBLEM = CheckLevel.OK, CheckLevel.NOTE, CheckLevel.PROBLEM


def _python(machine: Machine) -> Judged:
    yield _OK, f"comfy-ui {machine.version}, Python {machine.python}, {machine.platform}", ""
    installed = [name for name, there in machine.extras.items() if there]
    if installed:
        yield _OK, f"Installed extras: {', '.join(installed)}", ""
    for name, there in machine.extras.items():
        if not there:
            yield (
                _NOTE,
                f"The extra '{name}' is not installed.",
                machine.install_hints.get(name, ""),
            )


# --- GPU --------------------------------------------------------------------------------------


def _gpus(machine: Machine) -> Judged:
    usable = [gpu for gpu in machine.gpus if gpu.vendor != "intel"]
    for gpu in usable or machine.gpus:
        yield _gpu(gpu, machine)
    if not machine.gpus:
        text = "No GPU was found on this machine."
        if any(server.version and not server.local for server in machine.servers):
            yield _OK, f"{text} ComfyUI runs on another one.", ""
        else:
            yield (
                _NOTE,
                text,
                "ComfyUI is very slow without one. It may run on another machine: set COMFYUI_URL.",
            )


def _gpu(gpu: Gpu, machine: Machine) -> tuple[CheckLevel, str, str]:
    label = gpu.name + (f", {_size(gpu.total_bytes)}" if gpu.total_bytes else "")
    label += f", driver {gpu.driver}" if gpu.driver else ""
    match gpu.trouble:
        case "no_driver":
            maker = "NVIDIA" if gpu.vendor == "nvidia" else "AMD (amdgpu)"
            return (
                _PROBLEM,
                f"{label} has no driver.",
                f"Install the driver from {maker} and restart.",
            )
        case "driver_fails":
            return (
                _PROBLEM,
                f"The driver of {label} does not work: {gpu.detail}",
                "Restart the machine; if that does not help, install the driver again.",
            )
        case "no_access":
            return (
                _PROBLEM,
                f"{label}: this account may not use /dev/kfd.",
                "Add the account to the groups render and video, and log in again.",
            )
        case "no_rocm":
            return _NOTE, f"{label}: ROCm is not available.", "Install ROCm to compute on it."
    match gpu.vendor:
        case "nvidia":
            return _nvidia_gpu(gpu, label, machine.system)
        case "apple":
            if machine.macos and machine.macos < _MACOS:
                release = ".".join(map(str, machine.macos))
                return (
                    _NOTE,
                    f"{label}, macOS {release}",
                    f"Recent releases of PyTorch use the GPU from macOS {_MACOS[0]} on.",
                )
            return _OK, f"{label} shared with the system", ""
        case "intel":
            return _NOTE, label, "ComfyUI can use Intel Arc GPUs, with PyTorch for XPU."
        case "amd":
            return _memory(gpu, label)


def _nvidia_gpu(gpu: Gpu, label: str, system: str) -> tuple[CheckLevel, str, str]:
    driver = _version(gpu.driver)
    capability = gpu.compute_capability
    if capability is not None and capability < _CUDA_126_CAPABILITY:
        return (
            _PROBLEM,
            f"{label}: compute capability {capability} is too old for PyTorch.",
            "Use a GPU of the GeForce 900 series or newer.",
        )
    if driver and driver < _CUDA_12_DRIVER.get(system, ()):
        return (
            _PROBLEM,
            f"{label}: the driver is too old for PyTorch.",
            f"Update it to {_dotted(_CUDA_12_DRIVER[system])} or newer.",
        )
    if capability is not None and capability < _NEWER_CUDA_CAPABILITY:
        return _NOTE, label, "Install PyTorch for CUDA 12.6: newer builds do not support this GPU."
    if driver and driver < _CUDA_13_DRIVER.get(system, ()):
        least = _dotted(_CUDA_13_DRIVER[system])
        return _NOTE, label, f"It runs PyTorch for CUDA 12. For CUDA 13, update it to {least}."
    return _memory(gpu, label)


def _memory(gpu: Gpu, label: str) -> tuple[CheckLevel, str, str]:
    if gpu.total_bytes is not None and gpu.total_bytes < _SMALL_GPU_BYTES:
        return _NOTE, label, "Choose small models, and start ComfyUI with --lowvram."
    return _OK, label, ""


# --- disk, data folder, port ------------------------------------------------------------------


def _disks(disks: Iterable[Disk]) -> Judged:
    for disk in disks:
        names = {"data": "Results", "models": "Model files", "temporary": "Temporary files"}
        label = f"{names[disk.purpose]}, {disk.path}"
        if disk.free_bytes is None:
            yield _NOTE, f"{label}: the free space cannot be determined.", ""
            continue
        least, plenty = _FREE_BYTES[disk.purpose]
        text = f"{label}: {_size(disk.free_bytes)} free"
        if disk.free_bytes < least:
            yield _PROBLEM, text, "Free some space: the next file may not fit."
        elif disk.free_bytes < plenty:
            use = (
                "one model file can have 20 GB" if disk.purpose == "models" else "videos are large"
            )
            yield _NOTE, text, f"Free some space soon: {use}."
        else:
            yield _OK, text, ""


def _data_folder(data: DataFolder) -> Judged:
    if not data.exists:
        if data.writable:
            yield _OK, f"{data.path} is created at the first start.", ""
        else:
            yield (
                _PROBLEM,
                f"{data.path} does not exist and cannot be created.",
                "Choose another folder with --data-dir.",
            )
        return
    if not data.writable:
        yield (
            _PROBLEM,
            f"{data.path} cannot be written.",
            "Correct its permissions, or choose another folder with --data-dir.",
        )
    elif data.open_to_others:
        yield (
            _NOTE,
            f"{data.path} can be read by other accounts of this machine.",
            f"Unless that is on purpose: chmod 700 '{data.path}'",
        )
    else:
        yield _OK, f"{data.path} is writable.", ""
    match data.database:
        case "sound":
            yield _OK, "The database is sound.", ""
        case "unchecked":
            yield _NOTE, "The database is too large to be checked in a few seconds.", ""
        case "damaged":
            yield (
                _PROBLEM,
                f"The database is damaged: {data.detail}",
                "Check the disk. The next start moves the file aside and recovers its rows.",
            )
        case "newer":
            yield (
                _PROBLEM,
                "A newer version of comfy-ui wrote the database.",
                "Update comfy-ui, or choose another folder with --data-dir.",
            )
        case "foreign":
            yield (
                _PROBLEM,
                "The database was not written by a release of comfy-ui.",
                "Move it away, or choose another folder with --data-dir.",
            )
        case "unreadable":
            yield _PROBLEM, f"The database cannot be read: {data.detail}", "Check its permissions."
        case "none":
            pass


def _port(machine: Machine) -> Judged:
    port, app_runs = machine.port, machine.data.in_use
    if port.ours:
        yield _OK, f"The app listens on port {port.port}.", ""
    elif port.free:
        yield _OK, f"Port {port.port} is free.", ""
    elif app_runs:
        yield _OK, f"Port {port.port} is in use; an app with this data folder is running.", ""
    else:
        yield (
            _PROBLEM,
            f"Port {port.port} is in use by another program.",
            f"Start with --port {port.port + 1}, or end that program.",
        )


# --- servers and presets ----------------------------------------------------------------------


def _servers(machine: Machine) -> Judged:
    if machine.demo:
        yield (
            _NOTE,
            "The demo engine draws placeholder images.",
            "Connect a ComfyUI: set COMFYUI_URL, or enter its address on Status.",
        )
    for server in machine.servers:
        yield from _server(server, machine.gpus)


def _server(server: ServerFacts, gpus: Sequence[Gpu]) -> Judged:
    match server.verdict:
        case HealthVerdict.REFUSED:
            yield _PROBLEM, f"{server.url} refuses: {server.error}", server.advice
            return
        case HealthVerdict.UNREACHABLE:
            yield _unreachable(server)
            return
        case HealthVerdict.STUCK:
            yield _PROBLEM, f"{server.url} answers, but no job moves.", server.advice
    answers = f"{server.url}: ComfyUI {server.version or 'of unknown version'}"
    if server.pytorch:
        answers += f", PyTorch {server.pytorch}"
    if server.latency_s is not None and server.latency_s > _SLOW_S:
        yield (
            _NOTE,
            f"{answers}, answers after {server.latency_s:.1f} s",
            "It is slow to answer: the network, or a job that takes all of its CPU.",
        )
    elif server.latency_s is not None:
        yield _OK, f"{answers}, answers in {server.latency_s * 1000:.0f} ms", ""
    else:
        yield _OK, answers, ""
    if server.verdict is not HealthVerdict.STUCK:
        yield _OK, f"Queue: {server.running} running, {server.pending} waiting", ""
    for device in server.devices:
        if device.type == "cpu":
            yield _on_cpu(server, gpus)
        else:
            memory = f"{_size(device.free_bytes)} of {_size(device.total_bytes)} free"
            yield _OK, f"Computes on {device.name}, {memory}", ""


def _unreachable(server: ServerFacts) -> tuple[CheckLevel, str, str]:
    if server.port_open is False:
        advice = "Start ComfyUI, or set COMFYUI_URL to its address."
        if not server.configured:
            advice += " Until then the app shows demo images."
        return _PROBLEM, f"Nothing listens at {server.url}.", advice
    if server.port_open:
        return (
            _PROBLEM,
            f"Something listens at {server.url}, but it does not answer as ComfyUI: {server.error}",
            "Check that this is ComfyUI's port; if ComfyUI is just starting, try again.",
        )
    return _PROBLEM, f"{server.url} cannot be reached: {server.error}", server.advice


def _on_cpu(server: ServerFacts, gpus: Sequence[Gpu]) -> tuple[CheckLevel, str, str]:
    able = [gpu for gpu in gpus if gpu.vendor != "intel"]
    if not server.local or not able:
        return _NOTE, "ComfyUI computes on the CPU, which is very slow.", ""
    if "+cpu" in server.pytorch:
        advice = "Install the build of PyTorch for your GPU into ComfyUI's Python environment."
    else:
        advice = "Start ComfyUI without --cpu, and check the driver and PyTorch's build."
    return _PROBLEM, f"ComfyUI computes on the CPU, although there is {able[0].name}.", advice


def _presets(presets: PresetFacts | None) -> Judged:
    if presets is None:
        yield _NOTE, "Not checked: no ComfyUI has answered.", ""
        return
    ready = presets.total - len(presets.lacking)
    text = f"{ready} of {presets.total} presets are ready."
    if ready == 0:
        yield (
            _PROBLEM,
            text,
            "Download the models of one: comfy-ui download PRESET, or the Status tab.",
        )
    else:
        yield _OK, text, ""
    # Presets that lack least are the nearest to being ready.
    nearest = sorted(presets.lacking, key=lambda p: (len(p.nodes), len(p.models), p.id))
    for preset in nearest[:_SHOWN]:
        parts = [*preset.other]
        if preset.nodes:
            parts.append(f"nodes {_list(preset.nodes)}")
        if preset.models:
            parts.append(f"models {_list(preset.models)}")
        command = "download" if preset.models and not preset.nodes else "check"
        yield _NOTE, f"{preset.id} lacks {'; '.join(parts)}", f"comfy-ui {command} {preset.id}"
    if len(nearest) > _SHOWN:
        yield (
            _NOTE,
            f"{len(nearest) - _SHOWN} more presets lack something.",
            "comfy-ui models lists all missing model files.",
        )
    for error in presets.broken:
        yield _PROBLEM, error, "Correct the file or remove it."


# --- models and language model ----------------------------------------------------------------


def _model_paths(machine: Machine) -> Judged:
    named = [folder for folder in machine.models if folder.source == "setting"]
    there = [folder for folder in machine.models if folder.exists]
    for folder in named:
        if not folder.exists:
            yield (
                _PROBLEM,
                f"{folder.path} of COMFY_UI_MODELS_DIR does not exist.",
                "Set it to ComfyUI's models folder, or unset it.",
            )
        elif not folder.recognized:
            yield (
                _NOTE,
                f"{folder.path} has no folder that ComfyUI's models folder has.",
                "Set COMFY_UI_MODELS_DIR to the folder that contains 'checkpoints'.",
            )
    for folder in there:
        if folder.recognized:
            yield _model_path(folder)
        if folder.unusable:
            yield (
                _PROBLEM,
                f"{folder.path} has files that cannot be loaded: {_list(folder.unusable)}",
                "They are links without a target, empty, or not readable. Download them again.",
            )
    if not there and not named and not machine.demo:
        if any(server.local and server.version for server in machine.servers):
            yield (
                _NOTE,
                "ComfyUI's models folders were not found on this machine.",
                "Its address may lead to another machine. If not, set COMFY_UI_MODELS_DIR.",
            )
        elif any(server.version for server in machine.servers):
            yield _OK, "The models are on ComfyUI's machine; download them there.", ""
        else:
            yield _NOTE, "Not checked: no ComfyUI has answered.", ""


def _model_path(folder: ModelPath) -> tuple[CheckLevel, str, str]:
    if not folder.readable:
        return _PROBLEM, f"{folder.path} cannot be read.", "Correct its permissions."
    if not folder.writable:
        return (
            _NOTE,
            f"{folder.path} cannot be written, so nothing can be downloaded into it.",
            "Run the app under ComfyUI's account, or correct the permissions.",
        )
    return _OK, f"{folder.path} is writable.", ""


def _language_model(facts: LanguageModelFacts, hints: Mapping[str, str]) -> Judged:
    match facts.state:
        case "rules":
            yield _OK, "Enhance uses the built-in rules, as set.", ""
        case "no_extra":
            text = "Enhance uses the built-in rules: the extra 'ai' is missing."
            yield _NOTE, text, hints.get("ai", "")
        case "none":
            yield (
                _NOTE,
                "Enhance uses ComfyUI's text encoder or the rules: there is no language model.",
                "Start Ollama or LM Studio, or set OPENAI_BASE_URL.",
            )
        case "failed":
            yield _PROBLEM, f"{facts.url}: {facts.error}", facts.hint
        case "reachable":
            yield _model_of(facts)


def _model_of(facts: LanguageModelFacts) -> tuple[CheckLevel, str, str]:
    if facts.names is None:
        return _NOTE, f"{facts.url} answers, but does not list its models.", ""
    if not facts.names:
        return _PROBLEM, f"{facts.url} has no model.", "Load one there, such as: ollama pull qwen3"
    # Ollama lists 'qwen3:latest' and answers to 'qwen3' too.
    if facts.name and not {facts.name, f"{facts.name}:latest"} & {*facts.names}:
        return (
            _PROBLEM,
            f"{facts.url} does not list the model {facts.name}.",
            f"Set COMFY_UI_LLM_MODEL to one that it has: {_list(facts.names)}",
        )
    return _OK, f"{facts.url} has {facts.name or _list(facts.names)}.", ""


# --- words ------------------------------------------------------------------------------------


def _list(names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _dotted(version: tuple[int, ...]) -> str:
    """
    >>> _dotted((580, 65, 6))
    '580.65.06'
    """
    return ".".join(f"{part:02}" for part in version)
