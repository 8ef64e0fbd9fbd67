"""Result files on disk: the original bytes, named by their content, and their thumbnails.

::

    incoming/   incomplete downloads
    files/ab/abcdef….png    originals, byte for byte as ComfyUI wrote them
    thumbs/ab/abcdef….webp  thumbnails
    thumbs/ab/abcdef….strip.webp, …peaks.json    timelines of videos and sounds

Every function blocks and runs in the library's file thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mimetypes
import os
import re
import shutil
import time
import uuid
import zipfile
from collections.abc import Container, Generator, Iterable, Mapping
from io import RawIOBase
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ..client.transfer.files import DownloadTarget, safe_name
from ..errors import StorageError
from ..protocol.outputs import OutputFile, kind_of
from ..storage.file_stores.file_store import FileStore
from ..storage.records import Kind, LibraryItem, StoredFile
from ..worker_processes.process_pool import LIBRARY_WORKERS, Limits
from .result_decoding import write_thumbnail

logger = logging.getLogger(__name__)

_DECODING: Final = Limits(cpu_s=10, wall_s=15.0)  # the app waits for it when it stops

_TIMELINES: Final[dict[Kind, str]] = {
    "video": ".strip.webp",
    "audio": ".peaks.json",
    "3d": ".turntable.webp",
}

YOUNG_S: Final = 3600.0
"""A younger file may belong to a job that is being stored."""


class ResultFiles:
    """Original files and thumbnails, written into the folder of a file store and kept by it."""

    def __init__(self, store: FileStore) -> None:
        self.store = store
        self.folder = store.folder
        self._incoming = store.folder / "incoming"

    def check(self) -> None:
        """Write a file and delete it, and ask the file store.

        Raises:
            OSError: the folder cannot be written to.
            StorageError: the file store cannot be used.
        """
        path = self.incoming()
        path.write_bytes(b"-")
        path.unlink()
        self.store.check()

    def incoming(self) -> Path:
        """Return a new path for a download."""
        return self._incoming / uuid.uuid4().hex

    def download_target(self, max_bytes: int) -> DownloadTarget:
        """Return a target for a download, for :meth:`place`."""
        return DownloadTarget(folder=self._incoming, max_bytes=max_bytes)

    def place(self, downloaded: Path, file: OutputFile) -> Path:
        """Move a complete download to the path of its content; :meth:`keep` stores it.

        Raises:
            OSError: the disk refuses; no file is left behind.
        """
        try:
            return self._move_in(downloaded, file)
        finally:
            downloaded.unlink(missing_ok=True)

    def adopt(self, downloaded: Path, file: OutputFile) -> StoredFile:
        """Move a complete download into the store and create its thumbnail.

        Raises:
            OSError: the disk refuses; no file is left behind.
            StorageError: the file store cannot be used.
        """
        return self.keep(self.place(downloaded, file), file)

    def write(self, content: bytes, file: OutputFile) -> StoredFile:
        """Store bytes as a file.

        Raises:
            OSError: the disk refuses; no file is left behind.
            StorageError: the file store cannot be used.
        """
        path = self.incoming()
        path.write_bytes(content)
        return self.adopt(path, file)

    def import_file(self, original: Path, file: OutputFile) -> StoredFile:
        """Link or copy a file into the store; the original stays unchanged.

        A link on the same disk takes no space.

        Raises:
            OSError: the file cannot be read, or the disk refuses; no file is left behind.
            StorageError: the file store cannot be used.
        """
        temporary = self.incoming()
        try:
            try:
                os.link(original, temporary)
            except OSError:  # another disk, or one without links
                shutil.copyfile(original, temporary)
            path = self._place(_digest(temporary), file)
            if not path.exists():
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return self.keep(path, file, refresh=False)

    def path_of(self, original: Path, file: OutputFile) -> str:
        """Return where :meth:`import_file` puts a file, relative to the data folder."""
        return self._key(self._place(_digest(original), file))

    def unnamed(self, named: Container[str]) -> list[str]:
        """Return the keys of the original files that are not in ``named``."""
        return sorted(key for key in self.store.list("files/") if key not in named)

    def recover(self, key: str) -> tuple[StoredFile, float]:
        """Return the record of an original file whose row was lost, and its modification time."""
        path, modified_at = self.store.local(key), self.store.modified_at(key)
        name = f"recovered_{path.stem[:12]}{path.suffix}"
        file = OutputFile(name, node="import", kind=kind_of(name))
        return self.keep(path, file, refresh=False), modified_at

    def keep(self, path: Path, file: OutputFile, *, refresh: bool = True) -> StoredFile:
        """Store the original that is at ``path``, and its thumbnail; return its record.

        It can be called again after an error: the file stays.

        Raises:
            OSError: the disk refuses.
            StorageError: the file store cannot be used.
        """
        name, part = safe_name(file.filename), path.parent.name
        thumbnail = self.folder.joinpath("thumbs", part, f"{path.stem}.webp")
        size = _thumbnail(path, thumbnail, file.kind)
        key = f"files/{part}/{path.name}"
        drawn = f"thumbs/{part}/{thumbnail.name}" if thumbnail.exists() else None
        self.store.save(key, refresh=refresh)
        if drawn is not None:
            self.store.save(drawn, refresh=refresh)
        return StoredFile(
            source="/".join(file.key),
            kind=file.kind,
            filename=name,
            media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
            path=key,
            thumbnail=drawn,
            width=size[0] if size else None,
            height=size[1] if size else None,
            size_bytes=path.stat().st_size,
        )

    def _move_in(self, downloaded: Path, file: OutputFile) -> Path:
        with downloaded.open("rb+") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            os.fsync(content.fileno())
        path = self._place(digest, file)
        if (
            not path.exists() or path.stat().st_nlink > 1
        ):  # a hard link of an import: utime() would change the original
            downloaded.replace(path)
        os.utime(path)  # not purged while its job is being stored
        return path

    def _place(self, digest: str, file: OutputFile) -> Path:
        path = self.folder.joinpath("files", digest[:2], f"{digest}{_suffix(file.filename)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def fetch(self, path: Path) -> Path:
        """Return the path of a result or of what was drawn for it, once the file is there.

        If the store does not have it, neither is it at the path.

        Raises:
            StorageError: the file store cannot be used, or its file is damaged.
        """
        return self.store.local(self._key(path))

    def save_drawn(self, path: Path) -> None:
        """Keep what was drawn for a result at ``path``.

        Raises:
            StorageError: the file store cannot be used.
        """
        self.store.save(self._key(path))

    def link(self, item: LibraryItem) -> str | None:
        """Return a signed address that downloads a result, or None to send it through the app."""
        return self.store.link(
            self._key(item.path), filename=safe_name(item.filename), media_type=item.media_type
        )

    def timeline(self, path: Path) -> Path:
        """Return where the strip, peaks or turntable of an original are kept."""
        suffix = _TIMELINES[kind_of(path.name)]
        return self.folder / "thumbs" / path.parent.name / f"{path.stem}{suffix}"

    def remove(self, keys: Iterable[str]) -> None:
        """Delete files, with their thumbnails, that no row uses any more."""
        for key in keys:
            digest = PurePosixPath(key).stem
            try:
                if time.time() - self.store.modified_at(key) < YOUNG_S:
                    continue
                self.store.delete(key)
                for drawn in self.store.list(f"thumbs/{digest[:2]}/{digest}."):
                    self.store.delete(drawn)
            except FileNotFoundError:
                continue
            except (OSError, StorageError) as error:
                logger.warning("The file %s could not be deleted: %s", key, error)


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _suffix(filename: str) -> str:
    suffix = PurePosixPath(filename).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""


def _thumbnail(path: Path, thumbnail: Path, kind: Kind) -> tuple[int, int] | None:
    """Write the thumbnail; return the size in pixels, or None for files without an image."""
    if kind not in {"image", "video"} and path.suffix != ".glb":
        return None
    try:
        return LIBRARY_WORKERS.call(write_thumbnail, path, thumbnail, kind, limits=_DECODING)
    except Exception as error:  # noqa: BLE001 -- a decoder may raise anything, and no result is lost over a thumbnail
        logger.info("No thumbnail of %s: %s", path.name, error)
        return None


# Zip

METADATA_FILE: Final = "comfy-ui.json"
"""The file of a ZIP that says how its files were made."""


class _Pipe(RawIOBase):
    """A writable file that keeps only the bytes since the last :meth:`take`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    # Narrower than in RawIOBase: zipfile passes nothing else.
    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        content, self._parts = b"".join(self._parts), []
        return content


def zip_chunks(
    files: Iterable[tuple[str, Path, Mapping[str, Any]]], *, chunk_bytes: int = 1 << 20
) -> Generator[bytes, None, None]:
    """Yield a ZIP file of ``(name, path, facts)``, in chunks of about ``chunk_bytes``.

    :data:`METADATA_FILE` has the name, the SHA-256 and the facts of each file. Nothing is
    compressed, because images and videos already are. Equal names get a number. Missing files are
    skipped.
    """
    pipe = _Pipe()
    used = {METADATA_FILE}
    listed: list[dict[str, Any]] = []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, path, facts in files:
            try:
                source = path.open("rb")
            except FileNotFoundError:
                logger.warning("Skipped in the ZIP file: %s is missing at %s", name, path)
                continue
            unused, digest = _unused(safe_name(name), used), hashlib.sha256()
            with source, archive.open(unused, "w", force_zip64=True) as target:
                while chunk := source.read(chunk_bytes):
                    digest.update(chunk)
                    target.write(chunk)
                    yield pipe.take()
            listed.append({"file": unused, "sha256": digest.hexdigest(), **facts})
        archive.writestr(METADATA_FILE, json.dumps(listed, ensure_ascii=False, indent=2))
    yield pipe.take()


def _unused(name: str, used: set[str]) -> str:
    stem, dot, suffix = name.rpartition(".")
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{stem} ({number}).{suffix}" if dot else f"{name} ({number})"
    used.add(candidate)
    return candidate
