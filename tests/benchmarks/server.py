"""The server to measure against: the embedded engine in a process of its own, or COMFYUI_URL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SERVE = """
import sys, time
from comfy_ui.demo import DemoServer
speed = "instant" if sys.argv[1] == "instant" else float(sys.argv[1])
folder = sys.argv[2] if len(sys.argv) > 2 else None
with DemoServer(speed=speed, folder=folder).in_thread() as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def embedded(speed: float | str = "instant", folder: Path | None = None) -> Iterator[str]:
    """Its URL; ``folder`` holds its files, if given.

    It ends with the block, also when this process is killed: its stdin closes.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(speed), *([str(folder)] if folder else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the embedded engine did not start")
        yield url
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


@contextmanager
def chosen() -> Iterator[str]:
    """COMFYUI_URL where it is set, else the embedded engine at full speed."""
    if url := os.environ.get("COMFYUI_URL"):
        yield url
    else:
        with embedded() as url:
            yield url
