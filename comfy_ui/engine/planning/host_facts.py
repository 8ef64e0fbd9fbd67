"""Collect the facts about this machine that an installation depends on. Nothing is changed."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ...doctor.gpu_probe import probe_gpus
from ...doctor.inspect_machine import free_bytes
from ...features import FEATURES
from ...settings import Settings
from ..engine_paths import EnginePaths
from ..installing.python_environment import find_uv
from .install_plan import HostFacts
from .release_source import Source

__all__ = ["collect"]

_CONNECT_S: Final = 5.0
_INDEX_S: Final = 20.0
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_SMALL_PACKAGE: Final = "einops"  # ComfyUI requires it; only its metadata is read


def collect(
    settings: Settings,
    source: Source,
    paths: EnginePaths,
    *,
    reach: Callable[[Source, str | None], Iterator[str]] | None = None,
) -> HostFacts:
    """Return the facts; takes a few seconds, more without a network.

    ``reach`` yields the names of what cannot be reached, given the source and the path of uv.
    """
    system = platform.system()
    environment = settings.engine_python
    uv = find_uv() if FEATURES["engine"] else None
    return HostFacts(
        system=system,
        machine=platform.machine(),
        python=platform.python_version(),
        gpus=probe_gpus(system),
        macos=tuple(int(n) for n in platform.mac_ver()[0].split(".") if n.isdigit()),
        free_bytes=free_bytes(paths.root),
        uv=str(uv) if uv else None,
        unreachable=tuple(
            (reach or unreachable)(source, str(uv) if uv and environment is None else None)
        ),
        environment=str(environment.expanduser().absolute()) if environment else None,
    )


def unreachable(source: Source, uv: str | None) -> Iterator[str]:
    """Yield the hosts and indexes that do not answer."""
    if source.kind == "url" and not any(os.environ.get(name) for name in _PROXIES):
        for host in source.hosts:
            name, _, port = host.partition(":")
            try:
                socket.create_connection((name, int(port or 443)), timeout=_CONNECT_S).close()
            except OSError:
                yield name
    if uv is not None and not _index_answers(uv):
        yield "the package index"


def _index_answers(uv: str) -> bool:
    """Whether uv can read a small package's metadata from the configured index."""
    try:
        done = subprocess.run(  # noqa: S603 -- a constant command
            [uv, "pip", "compile", "--no-deps", "--quiet", "--no-header", "--refresh", "-"],
            input=_SMALL_PACKAGE,
            cwd=Path.home(),  # not a project, whose settings uv would read
            env={**os.environ, "UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"},
            capture_output=True,
            text=True,
            timeout=_INDEX_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
