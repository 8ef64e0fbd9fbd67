"""Nodes that read a file a person uploaded: what they check, and when they run again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from ..engine_folders import Folders


def fingerprint_of(name: str) -> Callable[[Folders, dict[str, Any]], str]:
    """The bytes of the file that an input names: overwriting it makes the node run again."""

    def fingerprint(folders: Folders, inputs: dict[str, Any]) -> str:
        path = folders.find(str(inputs.get(name, "")))
        return hashlib.sha1(path.read_bytes()).hexdigest() if path else ""  # noqa: S324

    return fingerprint


def must_exist(name: str, what: str) -> Callable[[Folders, dict[str, Any]], tuple[str, str] | None]:
    """Refuses before queueing when the file that an input names is not there."""

    def complaint(folders: Folders, inputs: dict[str, Any]) -> tuple[str, str] | None:
        value = inputs.get(name)
        if isinstance(value, list) or folders.find(str(value)) is not None:
            return None
        return name, f"Invalid {what} file: {value}"

    return complaint


def reads(name: str, what: str) -> dict[str, Any]:
    """The options of ``@node`` for a class that reads a file."""
    return {
        "fingerprint": fingerprint_of(name),
        "complaint": must_exist(name, what),
        "checks": frozenset({name}),
    }
