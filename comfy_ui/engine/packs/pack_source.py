"""Where a node pack comes from: a pinned one of ``packs.toml``, or the admin's choice."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from ...errors import ValidationError, closest

__all__ = ["PackSource", "choose_pack", "known_packs"]

NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,79}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PINS: Final = {"sha256": re.compile(r"[0-9a-f]{64}"), "tree": _COMMIT}
_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
# Forges with the same addresses of repositories and archives; where each redirects downloads to.
_FORGES: Final = {"github.com": "codeload.github.com", "codeberg.org": "codeberg.org"}
_EXAMPLE: Final = "Such as: https://github.com/OWNER/NAME@COMMIT, with all 40 digits of the commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSource:
    """An archive with a node pack; ``packs.toml`` explains the fields.

    ``sha256`` is the digest of the archive, ``tree`` the Git tree id of its content. ``kind`` is
    ``archive`` for a file on this machine.
    """

    name: str
    location: str
    kind: Literal["url", "archive"] = "url"
    repository: str = ""
    commit: str = ""
    tree: str | None = None
    sha256: str | None = None
    license: str = ""
    purpose: str = ""
    size_bytes: int | None = None
    requirements: tuple[str, ...] = ()
    min_comfyui: str = ""
    model_folders: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What makes it another one than before: its commit, digest or location, in 12 digits."""
        pin = self.commit or self.sha256 or self.tree
        return (pin or hashlib.sha256(self.location.encode()).hexdigest())[:12]

    @property
    def is_pinned(self) -> bool:
        """Whether its content is known before it is fetched."""
        return self.tree is not None or self.sha256 is not None

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that a download may come from."""
        host = urlsplit(self.location).netloc.lower() if self.kind == "url" else ""
        return frozenset({host, _FORGES.get(host, "")} - {""})

    @property
    def warning(self) -> str:
        """What an admin must know before it is installed."""
        license_text = f"license {self.license}" if self.license else "license unknown"
        text = (
            f"{self.name} ({license_text}) is code of others. It runs with the rights of your "
            "account: it can read and change your files and use the network."
        )
        if not self.is_pinned:
            text += " Its content cannot be compared with a known one."
        return text


@cache
def known_packs() -> tuple[PackSource, ...]:
    """Return the node packs of ``packs.toml``."""
    text = Path(__file__).with_name("packs.toml").read_text(encoding="utf-8")
    lists = ("requirements", "model_folders")
    return tuple(
        PackSource(
            **{**entry, **{name: tuple(entry.get(name, ())) for name in lists}},
            location=_archive(entry["repository"], entry["commit"]),
        )
        for entry in tomllib.loads(text)["pack"]
    )


def choose_pack(text: str, source: str | None = None) -> PackSource:
    """Choose a node pack.

    Args:
        text: a name of ``packs.toml``, or ``https://github.com/OWNER/NAME@COMMIT``, to which
            ``#tree=`` with the commit's Git tree id can be added.
        source: an archive on this machine with the pack, or an https address of one with
            ``#sha256=`` at its end; for example if the forge cannot be reached.

    Raises:
        ValidationError: there is no such pack or file, or it names no commit.
    """
    text = text.strip()
    packs = {pack.name: pack for pack in known_packs()}
    chosen = packs.get(text) or (_by_commit(text) if "://" in text else None)
    if source is not None and (chosen or NAME.fullmatch(text)):
        return _from_archive(source, chosen or PackSource(name=text, location=source))
    if chosen is None:
        raise ValidationError(
            f"comfy-ui knows no node pack '{text[:100]}'.",
            hint=closest(text, packs) or _EXAMPLE,
        )
    return chosen


def _archive(repository: str, commit: str) -> str:
    return f"{repository}/archive/{commit}.zip"


def _by_commit(text: str) -> PackSource:
    address, pins = _pins(text)
    repository, _, commit = address.partition("@")
    repository = repository.rstrip("/").removesuffix(".git")
    parts = urlsplit(repository)
    path = parts.path.strip("/").split("/")
    if parts.scheme != "https" or parts.netloc not in _FORGES or len(path) != 2:
        raise ValidationError(
            f"'{text[:200]}' is not a repository at {' or '.join(_FORGES)}.", hint=_EXAMPLE
        )
    if not all(NAME.fullmatch(part) for part in path):
        raise ValidationError(f"'{text[:200]}' is not the address of a repository.", hint=_EXAMPLE)
    if not _COMMIT.fullmatch(commit):
        raise ValidationError("A node pack is installed from a commit only.", hint=_EXAMPLE)
    same = (p for p in known_packs() if (p.repository, p.commit) == (repository, commit))
    return next(
        same,
        PackSource(
            name=path[1],
            location=_archive(repository, commit),
            repository=repository,
            commit=commit,
            tree=pins.get("tree"),
            sha256=pins.get("sha256"),
        ),
    )


def _from_archive(source: str, pack: PackSource) -> PackSource:
    """The pack, from another place; what pins its content stays."""
    location, pins = _pins(source)
    sha256 = pins.get("sha256")
    tree = pins.get("tree") or pack.tree
    if location.startswith("https://"):
        if not (sha256 or tree):
            raise ValidationError(
                "The archive has no #sha256= at its end, so its content would be unknown.",
                hint="Such as: https://mirror.example/NAME.zip#sha256=DIGEST",
            )
        return replace(pack, location=location, sha256=sha256, tree=tree)
    path = Path(location).expanduser().absolute()
    if not path.is_file() or not path.name.lower().endswith(_ARCHIVES):
        raise ValidationError(
            f"{path} is not an archive.", hint=f"It must end in {', '.join(_ARCHIVES)}."
        )
    # The digest distinguishes two contents of one file, and keeps later changes of it out.
    sha256 = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(pack, location=str(path), kind="archive", sha256=sha256, tree=tree)


def _pins(text: str) -> tuple[str, dict[str, str]]:
    """Split an address from ``#sha256=`` or ``#tree=`` at its end.

    Raises:
        ValidationError: there is something else behind the ``#``.
    """
    address, _, fragment = text.partition("#")
    if not fragment:
        return address, {}
    name, _, value = fragment.partition("=")
    if name not in _PINS or not _PINS[name].fullmatch(value):
        raise ValidationError(
            f"'#{fragment[:80]}' pins no content.",
            hint="Write #sha256= with 64 digits, or #tree= with 40.",
        )
    return address, {name: value}
