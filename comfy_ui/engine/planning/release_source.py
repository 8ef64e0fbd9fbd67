"""Where the source of ComfyUI comes from: a pinned release, or what the owner has chosen."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from ...errors import ValidationError, closest

__all__ = ["Release", "Source", "choose_source", "load_releases"]

_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TREE: Final = re.compile(r"[0-9a-f]{40}")
_FORGE: Final = "github.com"
_FORGE_STORE: Final = "codeload.github.com"  # archives are redirected there


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release of ComfyUI; ``releases.toml`` explains the fields."""

    version: str
    commit: str
    tree: str
    size_bytes: int
    packages: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The source archive of the commit."""
        return f"https://{_FORGE}/Comfy-Org/ComfyUI/archive/{self.commit}.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An archive or folder with the source of ComfyUI.

    ``sha256`` is the digest of the archive, ``tree`` the Git tree id of its content. Both are None
    only for a source that the owner of the machine has chosen. ``size_bytes`` is approximate.
    """

    kind: Literal["url", "archive", "folder"]
    location: str
    version: str = ""
    sha256: str | None = None
    tree: str | None = None
    size_bytes: int | None = None
    packages: tuple[str, ...] = ()
    """Requirements that its ``requirements.txt`` does not list."""

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
    return tuple(
        Release(**{**entry, "packages": tuple(entry.get("packages", ()))})
        for entry in tomllib.loads(text)["release"]
    )


def choose_source(
    setting: str | None, version: str | None, *, releases: Sequence[Release] | None = None
) -> Source:
    """Choose the source: the one of the setting, or a pinned release.

    Args:
        setting: ``COMFY_UI_ENGINE_SOURCE``: an https address, an archive or a folder. ``#sha256=``
            with a digest at its end pins an archive.
        version: the release, by default the first. An archive of the setting must have its content.
        releases: the releases to choose from.

    Raises:
        ValidationError: there is no such release, file or folder, or the release is not pinned.
    """
    releases = load_releases() if releases is None else releases
    versions = [release.version for release in releases]
    version = (version or ("" if setting else versions[0])).removeprefix("v")
    release = next((release for release in releases if release.version == version), None)
    if setting:
        chosen = _chosen_by_owner(setting, version)
        if release is None:
            return chosen
        tree = None if chosen.kind == "folder" else release.tree
        return replace(chosen, tree=tree, packages=release.packages)
    if release is None:
        raise ValidationError(
            f"Release {version} of ComfyUI is not in the list.",
            hint=f"{closest(version, versions)} Or set COMFY_UI_ENGINE_SOURCE to its archive.",
        )
    if not _TREE.fullmatch(release.tree):
        raise ValidationError(
            f"Release {version} of ComfyUI has no pinned content, so it is not downloaded.",
            hint=f"To trust its archive, set COMFY_UI_ENGINE_SOURCE={release.url}, or to a copy "
            "on this machine.",
        )
    return Source(
        kind="url",
        location=release.url,
        version=version,
        tree=release.tree,
        size_bytes=release.size_bytes,
        packages=release.packages,
    )


def _chosen_by_owner(setting: str, version: str) -> Source:
    location, _, digest = setting.partition("#sha256=")
    if digest and not _SHA256.fullmatch(digest):
        raise ValidationError(f"'{digest[:80]}' is not a SHA-256.", hint="It has 64 hex digits.")
    pinned = digest or None
    if urlsplit(location).scheme in {"http", "https"}:
        if urlsplit(location).scheme != "https" or urlsplit(location).username:
            raise ValidationError(
                "COMFY_UI_ENGINE_SOURCE is not a plain https address.",
                hint="Download the archive and give its path.",
            )
        return Source(kind="url", location=location, version=version, sha256=pinned)
    path = Path(location).expanduser().absolute()
    if path.is_dir():
        return Source(kind="folder", location=str(path), version=version)
    if path.is_file() and path.name.endswith(_ARCHIVES):
        return Source(
            kind="archive",
            location=str(path),
            version=version,
            sha256=pinned,
            size_bytes=path.stat().st_size,
        )
    raise ValidationError(
        f"COMFY_UI_ENGINE_SOURCE is '{location}', which is no folder and no archive.",
        hint=f"Archives end in {', '.join(_ARCHIVES)}.",
    )
