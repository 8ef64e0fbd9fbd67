"""Result files on disk: the original bytes, named by their content, and their thumbnails.

::

    incoming/   downloads that are not complete; emptied at start
    files/ab/abcdef….png    originals, byte for byte as ComfyUI wrote them
    thumbs/ab/abcdef….webp  small pictures of them

Everything here blocks and runs in the studio's file thread.
"""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import os
import re
import shutil
import time
import uuid
import zipfile
from collections.abc import Container, Generator, Iterable
from importlib.util import find_spec
from io import RawIOBase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..client.files import safe_name
from ..protocol.outputs import OutputFile, kind_of
from ..storage.records import Kind, StoredFile

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

THUMBNAIL_SIDE: Final = 512
"""Longest side of a thumbnail, in pixels: sharp in a phone's two-column gallery."""

YOUNG_S: Final = 3600.0
"""A file younger than this may belong to a job that is just being stored."""


class FileStore:
    """Originals and thumbnails below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"

    def prepare(self) -> None:
        """Make the folders and drop what a killed process left half done."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        for name in ("incoming", "files", "thumbs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def incoming(self) -> Path:
        """A path for a download, not used before."""
        return self._incoming / uuid.uuid4().hex

    def adopt(self, arrived: Path, file: OutputFile) -> StoredFile:
        """Move a complete download to its place and make its thumbnail.

        Raises:
            OSError: the disk refused; nothing is left behind.
        """
        try:
            path = self._move_in(arrived, file)
        finally:
            arrived.unlink(missing_ok=True)
        return self._stored(path, file)

    def take_in(self, original: Path, file: OutputFile) -> StoredFile:
        """Enter a file of somebody else's, byte for byte; it stays where and as it is.

        On the same disk it is linked, which takes no space; else it is copied.

        Raises:
            OSError: it cannot be read, or the disk refused; nothing is left behind.
        """
        arriving = self.incoming()
        try:
            try:
                os.link(original, arriving)
            except OSError:  # another disk, or one without links
                shutil.copyfile(original, arriving)
            with arriving.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            path = self._place(digest, file)
            if not path.exists():
                arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)
        return self._stored(path, file)

    def unnamed(self, named: Container[str]) -> list[str]:
        """The originals that are not among ``named``, as paths relative to the data folder."""
        found = (
            path.relative_to(self.folder).as_posix() for path in (self.folder / "files").glob("*/*")
        )
        return sorted(path for path in found if path not in named)

    def enter_again(self, relative: str) -> tuple[StoredFile, float]:
        """An original whose record was lost, and when it was stored. Its name was lost too."""
        path = self.folder / relative
        name = f"recovered_{path.stem[:12]}{path.suffix}"
        file = OutputFile(name, node="import", kind=kind_of(name))
        return self._stored(path, file), path.stat().st_mtime

    def _stored(self, path: Path, file: OutputFile) -> StoredFile:
        name = safe_name(file.filename)
        thumbnail = self.folder / "thumbs" / path.parent.name / f"{path.stem}.webp"
        size = _picture(path, thumbnail, file.kind)
        return StoredFile(
            source="/".join(file.key),
            kind=file.kind,
            filename=name,
            media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
            path=path.relative_to(self.folder).as_posix(),
            thumbnail=thumbnail.relative_to(self.folder).as_posix() if thumbnail.exists() else None,
            width=size[0] if size else None,
            height=size[1] if size else None,
            size_bytes=path.stat().st_size,
        )

    def _move_in(self, arrived: Path, file: OutputFile) -> Path:
        with arrived.open("rb+") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            os.fsync(content.fileno())
        path = self._place(digest, file)
        if not path.exists() or path.stat().st_nlink > 1:  # an import's: its time is not ours
            arrived.replace(path)
        os.utime(path)  # young again, also where it was before
        return path

    def _place(self, digest: str, file: OutputFile) -> Path:
        path = self.folder / "files" / digest[:2] / f"{digest}{_suffix(file.filename)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def remove(self, paths: Iterable[str]) -> None:
        """Delete files, and their thumbnails, that nothing in the database names any more."""
        for relative in paths:
            path = self.folder / relative
            digest = path.stem
            try:
                if time.time() - path.stat().st_mtime < YOUNG_S:
                    continue
                path.unlink()
                (self.folder / "thumbs" / digest[:2] / f"{digest}.webp").unlink(missing_ok=True)
            except FileNotFoundError:
                continue
            except OSError as error:
                logger.warning("The file %s could not be deleted: %s", path, error)


def _suffix(filename: str) -> str:
    suffix = PurePosixPath(filename).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""


def _picture(path: Path, thumbnail: Path, kind: Kind) -> tuple[int, int] | None:
    """Write the thumbnail and give the original's size; None where there is nothing to see."""
    look = {"image": _open_image, "video": _first_frame}.get(kind)
    if look is None:
        return None
    try:
        image = look(path)
        if image is None:
            return None
        with image:
            size = image.size
            if not thumbnail.exists():
                _write_thumbnail(image, thumbnail)
            return size
    except Exception as error:  # noqa: BLE001 -- a decoder may raise anything, and no result is lost over a thumbnail
        logger.info("No thumbnail of %s: %s", path.name, error)
        return None


def _open_image(path: Path) -> Image:
    from PIL import Image

    return Image.open(path)


def _first_frame(path: Path) -> Image | None:
    if find_spec("av") is None:
        return None
    import av

    with av.open(str(path)) as container:
        frame: Any = next(container.decode(video=0), None)
        return frame.to_image() if frame else None


def _write_thumbnail(image: Image, thumbnail: Path) -> None:
    from PIL import ImageOps

    image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))  # JPEG only: decodes at a smaller scale
    upright = ImageOps.exif_transpose(image)
    mode = "RGBA" if "A" in upright.getbands() or "transparency" in upright.info else "RGB"
    small = upright.convert(mode)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    thumbnail.parent.mkdir(parents=True, exist_ok=True)
    half_done = thumbnail.with_suffix(".part")
    small.save(half_done, "WEBP", quality=80)
    half_done.replace(thumbnail)


# Zip


class _Pipe(RawIOBase):
    """A file that only remembers what was written since it was last asked."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    # Narrower than its base: zipfile gives nothing else.
    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def zip_pieces(
    files: Iterable[tuple[str, Path]], *, piece_bytes: int = 1 << 20
) -> Generator[bytes, None, None]:
    """A ZIP file of ``(name, path)`` pairs, in pieces of about ``piece_bytes``.

    Nothing is compressed: pictures and videos are already. Equal names get a number. A file that
    is gone from the disk is left out.
    """
    pipe = _Pipe()
    used: set[str] = set()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            try:
                source = path.open("rb")
            except FileNotFoundError:
                logger.warning("Left out of the zip: %s is gone from %s", name, path)
                continue
            with source, archive.open(_unused(name, used), "w", force_zip64=True) as target:
                while piece := source.read(piece_bytes):
                    target.write(piece)
                    yield pipe.take()
    yield pipe.take()


def _unused(name: str, used: set[str]) -> str:
    stem, dot, suffix = name.rpartition(".")
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{stem} ({number}).{suffix}" if dot else f"{name} ({number})"
    used.add(candidate)
    return candidate
