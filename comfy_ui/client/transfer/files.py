"""Local files at both ends of a transfer: safe names, downloads that resume, upload sources."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ...errors import ComfyUIConnectionError, StorageError
from ..transport.request import ApiResponse, is_page, page_error

_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>:\"|?*]")
# Bidirectional controls, which make "gpj.exe" look like "exe.jpg", and other characters that are
# not seen. The two joiners stay: Persian words and emoji need them.
_INVISIBLE = re.compile(
    "[\x80-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0001-\U000e007f]"
)
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_RESERVE_BYTES = 100 * 10**6  # a completely full disk breaks more than a download
_ROOM_STEP_BYTES = 64 * 2**20
_SMALL_BYTES = 4 * 2**20
MAX_FILE_BYTES = 100 * 10**9
_LONGEST_NAME_BYTES = 200  # file systems allow 255; room is left for " (1)" and a temporary suffix


def safe_name(name: str) -> str:
    """A plain file name for any system, never a path, from a name that a server sent.

    >>> safe_name("../../etc/passwd")
    'passwd'
    """
    name = _UNSAFE.sub("_", without_invisible(name).replace("\\", "/").rpartition("/")[2])
    # A lone surrogate cannot be encoded; a dot in front would hide the file.
    name = name.encode("utf-8", "replace").decode().lstrip(".").rstrip(". ")
    if not name or _RESERVED.match(name):
        name = f"file_{name}".rstrip("_")
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, suffix = name, ""
    suffix = f".{suffix}" if suffix else ""
    room = _LONGEST_NAME_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + suffix


def without_invisible(text: str) -> str:
    """Remove bidirectional controls and other invisible characters.

    >>> without_invisible("photo\\u202egpj.exe")
    'photogpj.exe'
    """
    return text if text.isascii() else _INVISIBLE.sub("", text)


def target_path(filename: str, to: str | Path) -> Path:
    """Where a download goes: into ``to`` if that is a folder, else exactly there."""
    path = Path(to).expanduser()
    return path / safe_name(filename) if path.is_dir() else path


class DownloadTarget:
    """A download of one file, resumed in further requests if interrupted.

    After a cut it requests the missing part only, if the server's ETag shows that the file is still
    the same; else it starts again. A small file is written once it is complete.

    Args:
        folder: where to write a temporary file; None: keep the bytes in memory.
        max_bytes: the largest file.

    Raises:
        ComfyUIConnectionError: the file is larger.
        StorageError: the disk refuses, or would be full.
    """

    def __init__(self, *, folder: Path | None = None, max_bytes: int = MAX_FILE_BYTES) -> None:
        self.received = 0
        self._folder, self._max_bytes = folder, max_bytes
        self._room_until = 0  # this many bytes fit on the disk
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._etag: str | None = None
        self._expected: int | None = None

    @property
    def blocking(self) -> bool:
        """Whether :meth:`write` uses the disk."""
        if self._folder is None:
            return False
        return self._expected is None or self._expected > _SMALL_BYTES

    @property
    def resume_headers(self) -> dict[str, str]:
        """The range that the next request asks for."""
        if not self.received or not self._etag:
            return {}
        return {"range": f"bytes={self.received}-", "if-range": self._etag}

    def begin(self, answer: ApiResponse) -> bool:
        """Take the head of an answer; False if it is not a file."""
        if answer.status == 206 and self._starts_where_we_are(answer):
            return True
        if answer.status != 200 or is_page(answer):
            return False
        self._restart()
        # A weak tag does not promise the same bytes.
        etag = answer.headers.get("etag", "")
        self._etag = etag if etag and not etag.startswith("W/") else None
        length = answer.headers.get("content-length", "")
        encoded = answer.headers.get("content-encoding", "identity") != "identity"
        self._expected = int(length) if length.isdigit() and not encoded else None
        self._require_small(self._expected or 0)
        return True

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._require_small(self.received + len(chunk))
        if self._folder is None or not self.blocking:
            self._memory += chunk
        else:
            with _disk(self._folder):
                if self.received + len(chunk) > self._room_until:
                    self._require_room(self._folder, len(chunk))
                self._open(self._folder).write(chunk)
        self.received += len(chunk)

    def check(self) -> None:
        """Raise ComfyUIConnectionError unless as many bytes arrived as the server announced."""
        if self._expected is not None and self.received != self._expected:
            raise ComfyUIConnectionError(
                f"Only {self.received} of {self._expected} bytes arrived.",
                hint="The connection was cut; try again.",
            )

    def not_a_file(self, answer: ApiResponse) -> ComfyUIConnectionError:
        """The error for an answer that is neither a file nor a refusal."""
        if is_page(answer):
            return page_error(answer)
        return ComfyUIConnectionError(
            f"The answer to {answer.where} is not a file ({answer.status}).", retryable=False
        )

    def content(self) -> bytes:
        """All bytes of a download to memory."""
        return bytes(self._memory)

    def finish(self) -> Path:
        """Write what is still in memory; return the temporary file, which the caller may move."""
        folder = cast("Path", self._folder)
        with _disk(folder):
            file = self._open(folder)  # creates the file of an empty download
            if self._memory:
                self._require_room(folder, len(self._memory))
                file.write(self._memory)
                self._memory.clear()
            file.close()
            self._file = None
        return cast("Path", self._path)

    def move_to(self, path: Path) -> Path:
        """Move the finished file to a path in one step, replacing what exists."""
        with _disk(path.parent):
            self.finish().replace(path)
        self._path = None
        return path

    def move_into(self, folder: Path, name: str) -> Path:
        """Move the finished file to a free name in a folder; keep one with the same bytes."""
        with _disk(folder):
            temporary = self.finish()
            for candidate in _candidates(folder, name):
                try:
                    candidate.open("xb").close()  # reserves the name
                except FileExistsError:
                    if _same_bytes(temporary, candidate):
                        return candidate
                    continue
                temporary.replace(candidate)
                self._path = None
                return candidate
        raise AssertionError  # the candidates are endless

    def discard(self) -> None:
        """Remove an unfinished file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk may refuse the last flush
                self._file.close()
            self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _starts_where_we_are(self, answer: ApiResponse) -> bool:
        return answer.headers.get("content-range", "").startswith(f"bytes {self.received}-")

    def _require_small(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise ComfyUIConnectionError(
                f"The answer to GET /view is larger than {self._max_bytes / 1e9:.3g} GB.",
                hint="Raise COMFY_UI_STORAGE_GB if files of that size are intended.",
                retryable=False,
            )

    def _require_room(self, folder: Path, chunk_bytes: int) -> None:
        step = chunk_bytes + _ROOM_STEP_BYTES
        needed = step if self._expected is None else self._expected - self.received
        if shutil.disk_usage(folder).free < needed + _RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room_until = self.received + step

    def _restart(self) -> None:
        self.received = self._room_until = 0
        self._memory.clear()
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def _open(self, folder: Path) -> BinaryIO:
        if self._file is None:
            path = folder / f".comfy-ui-{secrets.token_hex(8)}.part"
            # Not mkstemp: its files are private, whatever the user's umask says.
            try:
                self._file = path.open("xb")
            except FileNotFoundError:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = path.open("xb")
            self._path = path
        return self._file


def _candidates(folder: Path, name: str) -> Iterator[Path]:
    first = folder / safe_name(name)
    yield first
    number = 1
    while True:
        yield first.with_name(f"{first.stem} ({number}){first.suffix}")
        number += 1


def _same_bytes(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while chunk := a.read(1 << 20):
            if chunk != b.read(1 << 20):
                return False
    return True


def check_folder(folder: Path) -> None:
    """Check that files can be written into a folder, which need not exist yet.

    Raises:
        StorageError: they cannot, and why.
    """
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    try:
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # not created, or in use by another process
                path.rmdir()


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(folder, error) from error


def disk_error(path: Path, error: OSError) -> StorageError:
    """The error of a file or folder that cannot be written, with the reason and what to do."""
    reason, hint = error.strerror or str(error), "Choose another folder."
    if error.errno in _FULL:
        hint = "Free some space, or choose another folder."
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        existing = next((part for part in (path, *path.parents) if part.exists()), path)
        reason = f"'{existing}' is not a folder"
    return StorageError(f"Cannot write to '{path}': {reason}.", hint=hint)
