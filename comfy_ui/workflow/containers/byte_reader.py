"""Reading parts of a file without trusting what it says about itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

MAX_TEXT_BYTES = 32 * 1024 * 1024
"""How much text is read from one file, unpacked; large workflows have a few megabytes."""
MAX_DEPTH = 6
"""How deep parts within parts are followed."""
MAX_TAGS = 10_000
"""How many entries of one list are looked at."""
_MAX_READS = 200_000  # chunks, boxes, pages, tags; an hour of video has some ten thousand

Fields = Iterator[tuple[str, str]]
"""Keys and texts as they are found."""


class BrokenFileError(ValueError):
    """The file ends early, is not what it says it is, or has more parts than any real one."""


class ByteSource:
    """A file from which parts are taken, each of bounded size and all of bounded number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads = 0
        self.size = file.seek(0, 2)
        file.seek(0)

    def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes from here.

        Raises:
            BrokenFileError: there are fewer, or more than anybody should ask for.
        """
        self._reads += 1
        if not 0 <= count <= MAX_TEXT_BYTES or self._reads > _MAX_READS:
            raise BrokenFileError(f"a part of {count} bytes")
        data = self._file.read(count)
        if len(data) != count:
            raise BrokenFileError("cut short")
        return data

    def take_at(self, start: int, count: int) -> bytes:
        """Exactly ``count`` bytes from ``start``."""
        self.seek(start)
        return self.take(count)

    def seek(self, start: int) -> None:
        """Go on at ``start``."""
        if not 0 <= start <= self.size:
            raise BrokenFileError(f"a place beyond the end: {start}")
        self._file.seek(start)

    def skip(self, count: int) -> None:
        """Go on ``count`` bytes further."""
        self.seek(self.tell() + count)

    def tell(self) -> int:
        """Where it goes on."""
        return self._file.tell()


def as_text(data: bytes) -> str:
    """UTF-8 where it is that, else Latin-1, which can be any bytes."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
