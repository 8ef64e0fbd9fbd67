"""Small JSON files in the data folder that only the owner of this installation may read.

Random tokens are stored in them as digests.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError as PydanticValidationError

from ...errors import StorageError
from ...private_files import make_folder, restrict, write_private

__all__ = ["PrivateJson", "token_digest"]

T = TypeVar("T")


class PrivateJson(Generic[T]):
    """One value in a file, read again after each change by another process.

    Args:
        path: the file.
        kind: checks and converts the value.
        noun: what it holds, in the plural, for errors.
    """

    def __init__(self, path: Path, kind: TypeAdapter[T], noun: str) -> None:
        self.path = path
        self._kind = kind
        self._noun = noun
        self._value: T | None = None
        self._stamp: tuple[int, int] | None = None

    def read(self) -> T | None:
        """Return the value; None without a file.

        Raises:
            StorageError: the file cannot be read, or holds something else.
        """
        try:
            about = self.path.stat()
            if self._stamp != (about.st_mtime_ns, about.st_size):
                restrict(self.path)
                self._value = self._kind.validate_json(self.path.read_bytes())
                self._stamp = about.st_mtime_ns, about.st_size
        except FileNotFoundError:
            self._value, self._stamp = None, None
        except (OSError, PydanticValidationError) as error:
            raise StorageError(
                f"The {self._noun} in {self.path} cannot be read.", hint="Fix or remove the file."
            ) from error
        return self._value

    def write(self, value: T) -> None:
        """Replace the file at once: a reader finds the old value or the new one.

        Raises:
            StorageError: the file cannot be written.
        """
        try:
            make_folder(self.path.parent)
            write_private(self.path, self._kind.dump_json(value, indent=2))
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error


def token_digest(token: str) -> str:
    """Return what is stored of a random token, which needs no slow hash: its SHA-256 as hex."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
