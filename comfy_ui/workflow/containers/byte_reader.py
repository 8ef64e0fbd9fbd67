"""Bounded reads from untrusted files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

MAX_TEXT_BYTES = 32 * 1024 * 1024
"""Maximum bytes of text read from one file, unpacked; large workflows have a few megabytes."""
MAX_DEPTH = 6
"""Maximum nesting depth that is read."""
MAX_TAGS = 10_000
"""Maximum entries read from one list."""
_MAX_READS = 200_000  # chunks, boxes, pages, tags; an hour of video has some ten thousand

Fields = Iterator[tuple[str, str]]
"""Keys and texts in file order."""


class BrokenFileError(ValueError):
    """The file is truncated, malformed, or has more parts than any real file."""


class ByteSource:
    """A file read in pieces of bounded size and number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads = 0
        self.size = file.seek(0, 2)
        file.seek(0)

    def take(self, count: int) -> bytes:
        """Read exactly ``count`` bytes.

        Raises:
            BrokenFileError: the file has fewer, or a limit is exceeded.
        """
        self._reads += 1
        if not 0 <= count <= MAX_TEXT_BYTES or self._reads > _MAX_READS:
            raise BrokenFileError(f"a part of {count} bytes")
        data = self._file.read(count)
        if len(data) != count:
            raise BrokenFileError("cut short")
        return data

    def take_at(self, start: int, count: int) -> bytes:
        """Read exactly ``count`` bytes from ``start``."""
        self.seek(start)
        return self.take(count)

    def seek(self, start: int) -> None:
        """Move to ``start``."""
        if not 0 <= start <= self.size:
            raise BrokenFileError(f"an offset beyond the end: {start}")
        self._file.seek(start)

    def skip(self, count: int) -> None:
        """Skip ``count`` bytes."""
        self.seek(self.tell() + count)

    def tell(self) -> int:
        """Return the current position."""
        return self._file.tell()


def as_text(data: bytes) -> str:
    """Decode as UTF-8 if valid, else as Latin-1, which accepts any bytes."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
