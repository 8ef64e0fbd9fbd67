"""Where the source of ComfyUI comes from: a pinned release, or what the owner has chosen."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from ...errors import ValidationError, closest

__all__ = ["Release", "Source", "choose_source", "load_releases"]

_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FORGE: Final = "github.com"
_FORGE_STORE: Final = "codeload.github.com"  # archives are redirected there


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release of ComfyUI in ``releases.toml``. Without a ``sha256`` it is never downloaded."""

    version: str
    url: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An archive or folder with the source of ComfyUI.

    ``sha256`` is None only for a source that the owner of the machine has chosen.
    """

    kind: Literal["url", "archive", "folder"]
    location: str
    version: str = ""
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that a download may come from."""
        host = urlsplit(self.location).netloc.lower() if self.kind == "url" else ""
        stores = {_FORGE_STORE} if host == _FORGE else set()
        return frozenset({host, *stores} - {""})

    @property
    def label(self) -> str:
        """The source for people: its release, or the last part of its location."""
        return f"ComfyUI {self.version}" if self.version else f"ComfyUI from {self.location}"


@cache
def load_releases() -> tuple[Release, ...]:
    """Return the releases of ``releases.toml``, the default first."""
    text = Path(__file__).with_name("releases.toml").read_text(encoding="utf-8")
    return tuple(Release(**entry) for entry in tomllib.loads(text)["release"])


def choose_source(
    setting: str | None, version: str | None, *, releases: Sequence[Release] | None = None
) -> Source:
    """Choose the source: the one of the setting, or a pinned release.

    Args:
        setting: ``COMFY_UI_ENGINE_SOURCE``: an https address, an archive or a folder. ``#sha256=``
            with a digest at its end pins an archive.
        version: the release, by default the first.
        releases: the releases to choose from.

    Raises:
        ValidationError: there is no such release, file or folder, or the release is not pinned.
    """
    if setting:
        return _chosen_by_owner(setting, version)
    releases = load_releases() if releases is None else releases
    versions = [release.version for release in releases]
    version = (version or versions[0]).removeprefix("v")
    release = next((release for release in releases if release.version == version), None)
    if release is None:
        raise ValidationError(
            f"Release {version} of ComfyUI is not in the list.",
            hint=f"{closest(version, versions)} Or set COMFY_UI_ENGINE_SOURCE to its archive.",
        )
    if not _SHA256.fullmatch(release.sha256):
        raise ValidationError(
            f"Release {version} of ComfyUI has no pinned SHA-256, so it is not downloaded.",
            hint=f"To trust its archive, set COMFY_UI_ENGINE_SOURCE={release.url}, or to a copy "
            "on this machine.",
        )
    return Source(
        kind="url",
        location=release.url,
        version=version,
        sha256=release.sha256,
        size_bytes=release.size_bytes,
    )


def _chosen_by_owner(setting: str, version: str | None) -> Source:
    location, _, digest = setting.partition("#sha256=")
    if digest and not _SHA256.fullmatch(digest):
        raise ValidationError(f"'{digest[:80]}' is not a SHA-256.", hint="It has 64 hex digits.")
    pinned = digest or None
    named = version or ""
    if urlsplit(location).scheme in {"http", "https"}:
        if urlsplit(location).scheme != "https" or urlsplit(location).username:
            raise ValidationError(
                "COMFY_UI_ENGINE_SOURCE is not a plain https address.",
                hint="Download the archive and give its path.",
            )
        return Source(kind="url", location=location, version=named, sha256=pinned)
    path = Path(location).expanduser().absolute()
    if path.is_dir():
        return Source(kind="folder", location=str(path), version=named)
    if path.is_file() and path.name.endswith(_ARCHIVES):
        size = path.stat().st_size
        return Source(
            kind="archive", location=str(path), version=named, sha256=pinned, size_bytes=size
        )
    raise ValidationError(
        f"COMFY_UI_ENGINE_SOURCE is '{location}', which is no folder and no archive.",
        hint=f"Archives end in {', '.join(_ARCHIVES)}.",
    )
