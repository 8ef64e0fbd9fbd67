"""Files of the data folder that only the account that runs the app can read."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["make_folder", "restrict", "write_private"]


def make_folder(folder: Path) -> None:
    """Create a folder that other accounts cannot enter.

    An existing folder keeps its permissions, because its owner may share it on purpose.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def restrict(path: Path) -> None:
    """Take the rights of other accounts away from a file, if there is one."""
    with suppress(OSError):  # it does not exist, or another account owns it
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def write_private(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write a file completely or not at all, also across a power cut.

    Raises:
        FileExistsError: the file exists and ``overwrite`` is False.
        OSError: the disk refuses; nothing was changed.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            temporary.unlink()
            raise
    try:
        if overwrite:
            temporary.replace(path)
        else:
            _link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, path: Path) -> None:
    """Give a file a second name that does not exist yet."""
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        source.replace(path)
