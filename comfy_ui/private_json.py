"""Private documents that hold JSON, see :class:`~comfy_ui.private_files.Documents`.

Random tokens are stored in them as digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError as PydanticValidationError

from .errors import StorageError
from .private_files import Document, Documents

__all__ = ["PrivateJson", "token_digest"]

T = TypeVar("T")


class PrivateJson(Generic[T]):
    """One value in a document, read again after each change by another process.

    Args:
        documents: where the document is.
        name: its name.
        kind: checks and converts the value.
        noun: what it holds, in the plural, for errors.
    """

    def __init__(self, documents: Documents, name: str, kind: TypeAdapter[T], noun: str) -> None:
        self._documents = documents
        self._name = name
        self._kind = kind
        self._noun = noun
        self._cached: tuple[Document, T] | None = None

    def read(self) -> T | None:
        """Return the value, the same object until it changes; None without a document.

        Raises:
            StorageError: the document cannot be read, or holds something else.
        """
        document = self._documents.read(self._name)
        if document is None:
            return None
        cached = self._cached
        if cached is None or cached[0] is not document:
            cached = self._cached = document, self._parse(document.content)
        return cached[1]

    def refresh(self) -> None:
        """Let :meth:`read` return what other apps have written until now.

        Raises:
            StorageError: the document cannot be read.
        """
        self._documents.refresh()

    def update(
        self, change: Callable[[T | None], T], *, on_broken: Literal["raise", "replace"] = "raise"
    ) -> None:
        """Replace the value by what ``change`` makes of it; other processes wait meanwhile.

        ``change`` must not change the value that it is given. What it raises leaves all as it is.
        ``on_broken``: what to do with a document that holds something else.

        Raises:
            StorageError: the document cannot be read or written, or holds something else.
        """

        def change_content(content: bytes | None) -> bytes:
            try:
                value = None if content is None else self._parse(content)
            except StorageError:
                if on_broken == "raise":
                    raise
                value = None
            return self._kind.dump_json(change(value), indent=2)

        self._documents.update(self._name, change_content)

    def _parse(self, content: bytes) -> T:
        try:
            return self._kind.validate_json(content)
        except PydanticValidationError as error:
            raise StorageError(
                f"The {self._noun} in {self._documents.place(self._name)} cannot be read.",
                hint="Fix or remove the file."
                if not self._documents.shared
                else "Restore them from a backup of the database.",
            ) from error


def token_digest(token: str) -> str:
    """Return what is stored of a random token, which needs no slow hash: its SHA-256 as hex."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
