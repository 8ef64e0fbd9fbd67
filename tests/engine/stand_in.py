"""A small ComfyUI to install: its source answers ComfyUI's API, its uv and PyTorch are scripts."""

from __future__ import annotations

import hashlib
import shutil
import stat
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comfy_ui.engine.engine_paths import EnginePaths
from comfy_ui.engine.planning.install_plan import HostFacts, InstallPlan, make_plan
from comfy_ui.engine.planning.release_source import Source
from comfy_ui.engine.supervision.supervisor import stop_server

ROOT = Path(__file__).resolve().parent.parent.parent

MAIN = """
import argparse, sys, threading
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--listen")
parser.add_argument("--output-directory")
options, _ = parser.parse_known_args()
here = Path(__file__).parent
fault = (here / "fault.txt").read_text() if (here / "fault.txt").exists() else ""
in_service = "staging" not in (options.output_directory or "")
print("Starting", flush=True)
if fault == "crash" or (fault == "crash in service" and in_service):
    print("ModuleNotFoundError: No module named 'missing_part'", flush=True)
    sys.exit(1)
if fault == "no driver":
    sys.exit("RuntimeError: Found no NVIDIA driver on your system.")
if fault == "hang":
    threading.Event().wait()
from comfy_ui.demo import DemoServer
with DemoServer(host=options.listen, port=options.port, speed="instant"):
    print("To see the GUI go to: http://127.0.0.1", flush=True)
    threading.Event().wait()
"""

TORCH = """
__version__ = "2.11.0+cpu"
class cuda:
    is_available = staticmethod(lambda: False)
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
"""

# Creates what the real uv does as far as the installer looks at it, or fails as the real one.
UV = """#!{python}
import os, stat, sys, time
from pathlib import Path
here = Path({here!r})
fault = (here / "uv_fault.txt").read_text() if (here / "uv_fault.txt").exists() else ""
(here / "uv_calls.txt").open("a").write(" ".join(sys.argv[1:]) + chr(10))
if sys.argv[1] == "venv":
    target = Path(sys.argv[-1]) / "bin" / "python"
    target.parent.mkdir(parents=True)
    target.write_text("#!/bin/sh\\nPYTHONPATH={site}:{root} exec {python} \\"$@\\"\\n")
    target.chmod(0o755)
elif fault == "full":
    sys.exit("error: failed to write: No space left on device (os error 28)")
elif fault == "offline":
    sys.exit("error: Failed to fetch: `https://index.example/torch/`. dns error")
elif fault == "hang":
    (here / "uv_hangs").touch()
    while True: time.sleep(1)
"""


def write_source(folder: Path, version: str = "1.0", fault: str = "") -> Path:
    """The source folder of the stand-in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(MAIN)
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    (folder / "requirements.txt").write_text("torch\n")
    (folder / "nodes").mkdir(exist_ok=True)
    (folder / "nodes" / "data.bin").write_bytes(bytes(200_000))
    if fault:
        (folder / "fault.txt").write_text(fault)
    return folder


def archive(folder: Path, version: str = "1.0", *, fault: str = "", kind: str = "zip") -> Source:
    """An archive of the stand-in, as a forge makes it: with one folder at its top."""
    source = write_source(folder / f"ComfyUI-{version}-{fault.replace(' ', '-')}", version, fault)
    path = folder / f"{source.name}.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for file in sorted(source.rglob("*")):
                zipped.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz") as packed:
            packed.add(source, source.name)
    shutil.rmtree(source)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    size = path.stat().st_size
    return Source(
        kind="archive", location=str(path), version=version, sha256=digest, size_bytes=size
    )


class Host:
    """A machine to install on, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = EnginePaths(folder / "engine", folder / "models")
        site = folder / "site"
        site.mkdir()
        (site / "torch.py").write_text(TORCH)
        self.uv = folder / "uv"
        script = UV.format(python=sys.executable, here=str(folder), site=site, root=ROOT)
        self.uv.write_text(script)
        self.uv.chmod(self.uv.stat().st_mode | stat.S_IEXEC)

    def set_uv_fault(self, fault: str) -> None:
        (self.folder / "uv_fault.txt").write_text(fault)

    @property
    def uv_calls(self) -> list[str]:
        path = self.folder / "uv_calls.txt"
        return path.read_text().splitlines() if path.exists() else []

    def plan(self, source: Source, **facts: Any) -> InstallPlan:
        values: dict[str, Any] = {
            "system": "Linux",
            "machine": "x86_64",
            "python": "3.12.1",
            "free_bytes": 100 * 10**9,
            "uv": str(self.uv),
            **facts,
        }
        return make_plan(HostFacts(**values), source, self.paths)

    def close(self) -> None:
        if self.paths.root.exists():
            stop_server(self.paths)


def wait_until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.02)
