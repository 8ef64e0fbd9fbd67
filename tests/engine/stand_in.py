"""A small ComfyUI to install: its source answers ComfyUI's API, its uv and PyTorch are scripts."""

from __future__ import annotations

import hashlib
import shutil
import stat
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from comfy_ui.engine.engine_paths import EnginePaths
from comfy_ui.engine.installing.git_tree import BlobHash, GitTree
from comfy_ui.engine.packs.pack_folders import pack_folder
from comfy_ui.engine.packs.pack_source import PackSource, choose_pack
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
parser.add_argument("--extra-model-paths-config", type=Path)
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
import json, runpy, traceback
for line in options.extra_model_paths_config.read_text().splitlines():
    folders = json.loads(line.partition(":")[2]) if line.startswith("  custom_nodes:") else ""
    packs = [pack for folder in folders.split() for pack in Path(folder).glob("*/__init__.py")]
    for pack in packs:
        try:
            runpy.run_path(str(pack), {"in_service": in_service})
            print("Imported", pack.parent.name, flush=True)
        except Exception as error:
            level = chr(27) + "[33m[WARNING]" + chr(27) + "[0m "
            print(level + traceback.format_exc(), flush=True)
            message = f"Cannot import {pack.parent} module for custom nodes: {error}"
            print(level + message, flush=True)
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


def pack_archive(folder: Path, name: str, code: str = "", requirements: str = "") -> PackSource:
    """An archive of a node pack whose ``__init__.py`` is ``code``, pinned by its content."""
    path = folder / f"{name}.zip"
    content = {"__init__.py": f"{code}\n", "nodes/data.txt": name}
    if requirements:
        content["requirements.txt"] = requirements
    tree = GitTree()
    with zipfile.ZipFile(path, "w") as zipped:
        for inside, text in content.items():
            blob = BlobHash(len(text))
            blob.update(text.encode())
            tree.add(PurePosixPath(inside), blob.digest())
            zipped.writestr(f"{name}-abc/{inside}", text)
    return replace(choose_pack(name, str(path)), sha256=None, tree=tree.id, license="MIT")


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

    def plan(
        self, source: Source, *, packs: Sequence[PackSource] = (), **facts: Any
    ) -> InstallPlan:
        values: dict[str, Any] = {
            "system": "Linux",
            "machine": "x86_64",
            "python": "3.12.1",
            "free_bytes": 100 * 10**9,
            "uv": str(self.uv),
            **facts,
        }
        return make_plan(HostFacts(**values), source, self.paths, packs=packs)

    def plan_packs(self, *packs: PackSource, **facts: Any) -> InstallPlan:
        """A copy of the version in use with these packs."""
        current = self.paths.current()
        assert current is not None
        source = Source(
            kind="folder",
            location=str(self.paths.home(current) / "ComfyUI"),
            version=current.version,
        )
        new = frozenset(pack.name for pack in packs if pack_folder(self.paths, pack) is None)
        host = HostFacts(
            system="Linux",
            machine="x86_64",
            python="3.12.1",
            free_bytes=10**11,
            uv=str(self.uv),
            new_packs=new,
            **facts,
        )
        return make_plan(host, source, self.paths, packs=packs, base=current)

    def close(self) -> None:
        if self.paths.root.exists():
            stop_server(self.paths)


def wait_until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.02)
