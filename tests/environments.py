"""New virtual environments for tests that need other packages than their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import cache_from_source
from pathlib import Path

import uv


def new_environment(folder: Path, *requirements: str | Path) -> Path:
    """Create an environment with ``requirements`` in ``folder`` and return its Python.

    Raises:
        AssertionError: The packages are neither in uv's cache nor within reach.
    """
    run_uv("venv", "--python", sys.executable, folder)
    return fill_environment(folder, *requirements)


def fill_environment(folder: Path, *requirements: str | Path) -> Path:
    """Leave ``requirements``, and nothing else, in an environment and return its Python.

    Raises:
        AssertionError: The packages are neither in uv's cache nor within reach.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if requirements:
        run_uv("pip", "install", "--exact", "--python", python, *requirements)
        _share_compiled(next(folder.glob("[Ll]ib/**/site-packages")))
    return python


def run_uv(*args: str | Path) -> None:
    """Run uv. Fails with its message."""
    env = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    done = subprocess.run(
        [uv.find_uv_bin(), *map(str, args), "--quiet"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _share_compiled(packages: Path) -> None:
    """Take over what this environment has compiled, which for Gradio takes half a minute.

    Python checks the time and size of each source, which are the same for files from uv's cache,
    and compiles the others.
    """
    ours = Path(sysconfig.get_path("purelib"))
    for source in packages.rglob("*.py"):
        copy = Path(cache_from_source(str(source)))
        compiled = ours / copy.relative_to(packages)
        if compiled.exists() and not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copy2(compiled, copy)
