"""The command line and configuration that the managed ComfyUI is started with."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...errors import EngineError
from ...private_files import make_folder, write_private
from ...settings import Settings
from ..engine_paths import EnginePaths, Installation, disk_error, read_json
from ..packs.pack_folders import InstalledPack

__all__ = [
    "FIRST_PORT",
    "HOST",
    "MEMORY_FLAGS",
    "ServerOptions",
    "free_port",
    "prepare_folders",
    "server_command",
]

HOST: Final = "127.0.0.1"  # loopback only: ComfyUI has no login
FIRST_PORT: Final = 8188
_PORTS: Final = 200
MEMORY_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "auto": (),
    "high": ("--highvram",),
    "normal": ("--normalvram",),
    "low": ("--lowvram",),
    "none": ("--novram",),
    "cpu": ("--cpu",),
}
# Model folders by ComfyUI's name; of several, the last is the one for new files.
_MODEL_FOLDERS: Final[Mapping[str, Sequence[str]]] = {
    **{
        name: (name,)
        for name in (
            "audio_encoders",
            "checkpoints",
            "clip_vision",
            "controlnet",
            "diffusers",
            "embeddings",
            "gligen",
            "hypernetworks",
            "latent_upscale_models",
            "loras",
            "model_patches",
            "photomaker",
            "style_models",
            "upscale_models",
            "vae",
            "vae_approx",
        )
    },
    "diffusion_models": ("unet", "diffusion_models"),
    "text_encoders": ("clip", "text_encoders"),
}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to start ComfyUI: its use of GPU memory, and further options."""

    memory: str = "auto"
    extra: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings, paths: EnginePaths) -> ServerOptions:
        """Return the options of the settings. Without one for memory, the page's choice counts."""
        memory: str = settings.engine_memory
        if "engine_memory" not in settings.model_fields_set:
            chosen = read_json(paths.options_file).get("memory")
            memory = str(chosen) if chosen in MEMORY_FLAGS else memory
        return cls(memory, tuple(shlex.split(settings.engine_options)))


def server_command(
    python: Path,
    source: Path,
    paths: EnginePaths,
    *,
    port: int,
    device: str,
    options: ServerOptions,
    work: Path | None = None,
) -> list[str]:
    """Return the command that starts ComfyUI.

    Args:
        python: the Python of its environment.
        source: the folder with its ``main.py``.
        paths: the engine's folders.
        port: the port to listen on.
        device: the device that PyTorch computes on.
        options: memory and further options.
        work: other working folders than the usual ones.
    """
    memory = "cpu" if device == "cpu" else options.memory
    work = work or paths.work
    folders = (
        argument
        for name in ("input", "output", "temp", "user")
        for argument in (f"--{name}-directory", str(work / name))
    )
    return [
        str(python),
        "-u",
        str(source / "main.py"),
        *("--listen", HOST),
        *("--port", str(port)),
        "--disable-auto-launch",
        *("--extra-model-paths-config", str(paths.model_paths)),
        *folders,
        *("--preview-method", "auto"),
        *MEMORY_FLAGS[memory],
        *options.extra,
    ]


def python_of(installation: Installation, home: Path) -> Path:
    """Return the Python of a version whose folder is ``home``."""
    return home / installation.python  # an absolute path stays as it is


def prepare_folders(
    paths: EnginePaths, work: Path | None = None, *, packs: Sequence[InstalledPack] = ()
) -> None:
    """Create the working and model folders, and the file that names them and ``packs`` to ComfyUI.

    Raises:
        StorageError: the disk refuses.
    """
    work = work or paths.work
    try:
        for name in ("input", "output", "temp", "user", "custom_nodes"):
            make_folder(work / name)
        for names in _MODEL_FOLDERS.values():
            (paths.models / names[-1]).mkdir(parents=True, exist_ok=True)
        write_private(paths.model_paths, model_paths_yaml(paths, packs).encode())
    except OSError as error:
        raise disk_error(paths.root, error) from error


def model_paths_yaml(paths: EnginePaths, packs: Sequence[InstalledPack] = ()) -> str:
    """Return the text of ``extra_model_paths.yaml``. JSON strings are YAML strings."""
    more = {name: (name,) for pack in packs for name in pack.source.model_folders}
    nodes = "\n".join(["custom_nodes", *(str(pack.search_folder) for pack in packs)])
    lines = ["comfy_ui_models:", f"  base_path: {json.dumps(str(paths.models))}"]
    lines += ["  is_default: true"]
    for key, names in {**more, **_MODEL_FOLDERS}.items():
        lines.append(f"  {key}: {json.dumps(chr(10).join(names))}")
    lines += ["comfy_ui_work:", f"  base_path: {json.dumps(str(paths.work))}"]
    lines += [f"  custom_nodes: {json.dumps(nodes)}", ""]
    return "\n".join(lines)


def free_port(first: int = FIRST_PORT) -> int:
    """Return the first free port of the loopback address from ``first`` on; 0: any.

    Raises:
        EngineError: none of the next ports is free.
    """
    if first == 0:
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            return int(listener.getsockname()[1])
    for port in range(first, first + _PORTS):
        with socket.socket() as listener:
            try:
                listener.bind((HOST, port))
            except OSError:
                continue
        with socket.socket() as caller:
            # Another program may listen on all addresses, which some systems let us bind besides.
            if caller.connect_ex((HOST, port)) != 0:
                return port
    raise EngineError(f"None of the ports {first} to {first + _PORTS - 1} is free.")
