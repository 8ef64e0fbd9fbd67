"""Presets, styles, wildcards and tags: files of the data folders of several apps, kept equal.

Everything reads and writes these files in the data folder, as it does without a database, and a
file that is copied there counts like one that the page has saved. Each app compares its
folder with the database every two seconds. What it had after the last time is in
``shared_files.json``, so that changes made while the app did not run differ from old files.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

import psycopg
from psycopg.rows import TupleRow
from pydantic import TypeAdapter, ValidationError as PydanticValidationError

from ...errors import StorageError
from ...private_files import make_folder, write_private
from ..postgres_database import CONNECT
from ..postgres_migrations import reason_of
from .folder_merge import FolderMerge, merge

__all__ = ["PostgresFolders"]

logger = logging.getLogger(__name__)

Connection: TypeAlias = psycopg.Connection[TupleRow]
_Stamp: TypeAlias = tuple[int, int, int]

_FOLDERS: Final = ("opened", "preset_versions", "presets", "styles", "tags", "tools", "wildcards")
_ENDINGS: Final = frozenset(
    {".csv", ".jpg", ".json", ".png", ".toml", ".txt", ".webp", ".yaml", ".yml"}
)
_MAX_BYTES: Final = 8 * 2**20
_MAX_FILES: Final = 20_000
_LOCK: Final = 0x636F6D66_75690004  # of a change of any file
_SYNC_EVERY_S: Final = 2.0
_WAIT_MS: Final = 10_000
_BASE: Final = "shared_files.json"
_DIGESTS: Final = TypeAdapter(dict[str, str])
_WRITE: Final = (
    "INSERT INTO shared_files (path, content, digest, version)"
    " VALUES (%s, %s, %s, (SELECT coalesce(max(version), 0) + 1 FROM shared_files))"
    " ON CONFLICT (path) DO UPDATE SET content = excluded.content, digest = excluded.digest,"
    " version = excluded.version"
)


class PostgresFolders:
    """Keeps the folders of a data folder and those of the other apps equal.

    Args:
        url: the database.
        folder: the data folder.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._connection: Connection | None = None
        self._version = 0
        self._shared: dict[str, str] = {}
        self._base: dict[str, str] = {}
        self._digests: dict[str, tuple[_Stamp, str]] = {}
        self._skipped: set[str] = set()  # files that stay as they are, in each folder

    def sync(self) -> bool:
        """Exchange what has changed; return whether files of the folder have. Blocks.

        Raises:
            StorageError: the database or the disk does not answer or refuses.
        """
        try:
            connection = self._connected()
            base = self._read_base()
            self._look(connection)
            here = self._scan()
            pushes = self._merged(base, here).push
            if pushes:
                with connection.transaction():
                    # One after the other, so versions are committed in order.
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                    self._look(connection)
                    for path in self._merged(base, here).push:
                        self._push(connection, path)
                self._look(connection)
            changes = self._merged(base, here)
            for path in changes.pull:
                self._pull(connection, path, replaced=path in changes.replaced)
            self._keep_base(base, self._scan() if pushes or changes.pull else here)
        except psycopg.errors.UndefinedTable as error:
            self.close()
            raise StorageError(
                "The schema of the database is too old for this version of the app.",
                hint="Run: comfy-ui db upgrade",
            ) from error
        except psycopg.Error as error:
            self.close()
            raise StorageError(
                f"The presets could not be exchanged: {reason_of(error)}",
                hint="Check COMFY_UI_DATABASE, and that the server runs.",
            ) from error
        except OSError as error:
            raise StorageError(f"The presets could not be exchanged: {error}.") from error
        return bool(changes.pull)

    async def keep_synced(self, apply: Callable[[], Awaitable[None]]) -> None:
        """Exchange changes until cancelled; ``apply`` is called when files here have changed."""
        works = True
        while True:
            await asyncio.sleep(_SYNC_EVERY_S)
            try:
                if await asyncio.to_thread(self.sync):
                    await apply()
                works = True
            except StorageError as error:
                if works:
                    logger.warning("%s", error)
                works = False

    def close(self) -> None:
        """Close the connection. May be called twice."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _merged(self, base: Mapping[str, str], here: Mapping[str, str]) -> FolderMerge:
        sides = (
            {path: digest for path, digest in side.items() if path not in self._skipped}
            for side in (base, here, self._shared)
        )
        return merge(*sides)

    def _connected(self) -> Connection:
        if self._connection is None:
            connect = {**CONNECT, "connect_timeout": 2}
            self._connection = psycopg.connect(self._url, autocommit=True, **connect)
            self._connection.execute(f"SET statement_timeout = {_WAIT_MS}")
        return self._connection

    def _look(self, connection: Connection) -> None:
        """Read the digests that have changed since the last time."""
        rows = connection.execute(
            "SELECT path, digest, version FROM shared_files WHERE version > %s ORDER BY version",
            (self._version,),
        ).fetchall()
        for path, digest, version in rows:
            self._version = version
            if digest and _is_shared(path):
                self._shared[path] = digest
            else:
                self._shared.pop(path, None)

    def _push(self, connection: Connection, path: str) -> None:
        """Store a file as it is now, or that it is deleted. A later change is one for next time."""
        try:
            content: bytes | None = (self._folder / path).read_bytes()
        except FileNotFoundError:
            content = None
        connection.execute(_WRITE, (path, content, "" if content is None else _digest(content)))

    def _pull(self, connection: Connection, path: str, *, replaced: bool) -> None:
        """Make a file as the others have it, unless it has changed again meanwhile."""
        target = self._folder / path
        known = self._digests.get(path)
        if (known[0] if known else None) != _stamp(target):
            return
        if replaced:
            kept = target.with_name(f"{target.name}.replaced")
            target.replace(kept)
            logger.warning("%s was changed by two apps; this one's is %s now.", path, kept.name)
        if path not in self._shared:
            target.unlink(missing_ok=True)
            self._digests.pop(path, None)
            return
        row = connection.execute(
            "SELECT content FROM shared_files WHERE path = %s", (path,)
        ).fetchone()
        if row is None or row[0] is None:  # deleted by now
            return
        make_folder(target.parent)
        write_private(target, bytes(row[0]))

    def _scan(self) -> dict[str, str]:
        """Return the digests of the files in the folder."""
        digests: dict[str, tuple[_Stamp, str]] = {}
        skipped: set[str] = set()
        for name in self._names():
            known = self._digests.get(name)
            if known is None and not _is_shared(name):
                continue
            path = f"{self._folder}/{name}"
            if (stamp := _stamp(path)) is None:
                continue
            if stamp[1] > _MAX_BYTES or len(digests) >= _MAX_FILES:
                if name not in self._skipped:
                    logger.warning("%s is too large, or one of too many, for other apps.", name)
                skipped.add(name)
                continue
            if known is None or known[0] != stamp:
                known = stamp, _digest(Path(path).read_bytes())
            digests[name] = known
        self._digests, self._skipped = digests, skipped
        return {name: digest for name, (_, digest) in digests.items()}

    def _names(self) -> Iterator[str]:
        """Yield all paths below the data folder, as strings: a Path costs more than a stat."""
        for top in _FOLDERS:
            for folder, folders, files in os.walk(self._folder / top, onerror=_raise):
                folders[:] = sorted(each for each in folders if not each.startswith("."))
                below = Path(folder).relative_to(self._folder).as_posix()
                yield from (f"{below}/{file}" for file in sorted(files))

    def _read_base(self) -> dict[str, str]:
        """Return what was equal last time; nothing if the data folder is another one, or is gone.

        Its files then count as new, instead of missing ones as deleted.
        """
        path = self._folder / _BASE
        if not path.exists():
            self._base = {}
        elif not self._base:
            with suppress(PydanticValidationError):
                self._base = _DIGESTS.validate_json(path.read_bytes())
        return self._base

    def _keep_base(self, old: Mapping[str, str], here: Mapping[str, str]) -> None:
        """Remember what is equal on both sides now, and of the rest what it was."""
        base = {
            path: digest for path, digest in old.items() if path in here or path in self._shared
        } | {path: digest for path, digest in here.items() if self._shared.get(path) == digest}
        if base != old:
            make_folder(self._folder)
            write_private(self._folder / _BASE, _DIGESTS.dump_json(base))
            self._base = base


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stamp(path: str | Path) -> _Stamp | None:
    try:
        about = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _raise(error: OSError) -> None:
    """Give up on a folder that cannot be read: its files must not count as deleted."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_shared(path: str) -> bool:
    """Whether a path is one of the files that apps share, and leads nowhere else."""
    parts = PurePosixPath(path).parts
    return (
        len(parts) > 1
        and parts[0] in _FOLDERS
        and PurePosixPath(path).suffix.lower() in _ENDINGS
        and not any(part.startswith(".") or "\\" in part or ":" in part for part in parts)
        and path == "/".join(parts)
    )
