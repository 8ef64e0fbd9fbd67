"""The server to measure against: the embedded engine in a process of its own, or COMFYUI_URL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

_SERVE = """
import json, sys
from comfy_ui.demo import DemoServer, Faults
speed = "instant" if sys.argv[1] == "instant" else float(sys.argv[1])
folder = sys.argv[3] if len(sys.argv) > 3 else None
faults = Faults(node_s=json.loads(sys.argv[2]))
with DemoServer(speed=speed, folder=folder, faults=faults).in_thread() as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def embedded(
    speed: float | str = "instant",
    folder: Path | None = None,
    *,
    node_s: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[str]:
    """Its URL; ``folder`` holds its files, if given.

    ``speed`` is in steps a second, and ``node_s`` are the extra seconds of nodes by their class.

    It ends with the block, also when this process is killed: its stdin closes.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _SERVE,
            str(speed),
            json.dumps(dict(node_s)),
            *([str(folder)] if folder else []),
        ],
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
def chosen(*, node_s: Mapping[str, float] = MappingProxyType({})) -> Iterator[str]:
    """COMFYUI_URL where it is set, else the embedded engine at full speed, but for ``node_s``."""
    if url := os.environ.get("COMFYUI_URL"):
        yield url
    else:
        with embedded(node_s=node_s) as url:
            yield url
