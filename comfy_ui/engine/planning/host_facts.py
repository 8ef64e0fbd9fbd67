"""Collect the facts about this machine that an installation depends on. Nothing is changed."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ...doctor.gpu_probe import probe_gpus
from ...doctor.inspect_machine import free_bytes
from ...features import FEATURES
from ...settings import Settings
from ..engine_paths import EnginePaths
from ..installing.python_environment import find_uv
from ..packs.pack_folders import pack_folder
from ..packs.pack_source import PackSource
from .install_plan import HostFacts
from .release_source import Source
from .stack_choice import TORCH_INDEX

__all__ = ["collect"]

_CONNECT_S: Final = 5.0
_INDEX_S: Final = 20.0
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class PackageIndex(NamedTuple):
    """An index that uv takes packages from."""

    name: str
    package: str
    """One that it must have; only its metadata is read."""
    options: tuple[str, ...] = ()
    """Those of uv that choose the index."""


_PACKAGE_INDEX: Final = PackageIndex("the package index", "einops")  # ComfyUI requires it
# All of PyTorch's builds are on one host.
_TORCH_INDEX: Final = PackageIndex(TORCH_INDEX, "torch", ("--torch-backend", "cpu"))


def collect(
    settings: Settings,
    source: Source,
    paths: EnginePaths,
    *,
    packs: Sequence[PackSource] = (),
    copies: bool = False,
    reach: Callable[[Sequence[str], Sequence[PackageIndex]], Iterator[str]] | None = None,
) -> HostFacts:
    """Return the facts; takes a few seconds, more without a network.

    ``packs``: the node packs of the version. ``copies``: it is a copy of the installed one.
    ``reach`` yields the names of what cannot be reached, given hosts and indexes.
    """
    system = platform.system()
    environment = settings.engine_python
    uv = find_uv() if FEATURES["engine"] else None
    new_packs = [pack for pack in packs if pack_folder(paths, pack) is None]
    hosts = sorted(source.hosts.union(*(pack.hosts for pack in new_packs)))
    indexes: list[PackageIndex] = []
    if copies:
        indexes += [_PACKAGE_INDEX] if any(pack.requirements for pack in new_packs) else []
    elif environment is None and uv is not None:
        indexes.append(_PACKAGE_INDEX)
        mirror = urlsplit(settings.torch_index or "")  # no address: "default", or a folder
        if system != "Darwin" and mirror.scheme == "https":
            hosts.append(mirror.netloc)
        elif system != "Darwin" and settings.torch_index is None:
            indexes.append(_TORCH_INDEX)
    return HostFacts(
        system=system,
        machine=platform.machine(),
        python=platform.python_version(),
        gpus=probe_gpus(system),
        macos=tuple(int(n) for n in platform.mac_ver()[0].split(".") if n.isdigit()),
        free_bytes=free_bytes(paths.root),
        uv=str(uv) if uv else None,
        unreachable=tuple((reach or unreachable)(hosts, indexes)),
        new_packs=frozenset(pack.name for pack in new_packs),
        environment=str(environment.expanduser().absolute()) if environment else None,
    )


def unreachable(hosts: Sequence[str], indexes: Sequence[PackageIndex]) -> Iterator[str]:
    """Yield the hosts and indexes that do not answer."""
    if not any(os.environ.get(name) for name in _PROXIES):
        for host in hosts:
            name, _, port = host.partition(":")
            try:
                socket.create_connection((name, int(port or 443)), timeout=_CONNECT_S).close()
            except OSError:
                yield name
    yield from (index.name for index in indexes if not _answers(index))


def _answers(index: PackageIndex) -> bool:
    """Whether uv can read a package's metadata from an index."""
    command = [str(find_uv()), "pip", "compile", "--no-deps", "--quiet", "--no-header", "--refresh"]
    try:
        done = subprocess.run(  # noqa: S603 -- constants
            [*command, *index.options, "-"],
            input=index.package,
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
