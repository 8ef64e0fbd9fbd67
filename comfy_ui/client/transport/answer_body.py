"""The body of an answer, bounded in size and time, and decompressed in steps."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from .request import ApiRequest, Receiver, too_large

_PACE_BYTES: Final = 64 * 1024
_STEP_BYTES: Final = 2**20
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


class SlowAnswerError(httpx.ReadTimeout):
    """The server keeps sending, but too slowly."""

    def __init__(self, message: str = "the answer takes too long") -> None:
        super().__init__(message)


class AnswerBody:
    """Collects the body of an answer, or hands it to a receiver.

    Args:
        call: the request; its ``max_bytes`` limits a collected body.
        headers: those of the answer.
        receiver: takes the body, however large.
        now: monotonic seconds.

    Raises:
        httpx.DecodingError: the body is compressed in an unknown way.
    """

    def __init__(
        self,
        call: ApiRequest[Any],
        headers: Mapping[str, str],
        receiver: Receiver | None,
        *,
        now: float,
    ) -> None:
        self._call, self._receiver = call, receiver
        self._chunks: list[bytes] = []
        self._received_bytes = self._size_bytes = 0
        self._decompressor = _decompressor(headers)
        self._next_pace_bytes = _PACE_BYTES
        self.deadline = now + call.body_s
        """When the body must be complete. Every 64 KB for a receiver postpone it."""
        self.blocking = self._decompressor is not None or (
            receiver is not None and receiver.blocking
        )
        """Whether :meth:`add` is to run in a thread."""

    def add(self, chunk: bytes, now: float) -> None:
        """Take the next bytes as the server sent them.

        Raises:
            SlowAnswerError: the deadline has passed.
            ComfyUIConnectionError: the body is larger than allowed, compressed or not.
            httpx.DecodingError: the compressed bytes are invalid.
        """
        if now > self.deadline:
            raise SlowAnswerError
        self._received_bytes += len(chunk)
        if self._receiver is None:
            self._require_small(self._received_bytes)
        elif self._received_bytes >= self._next_pace_bytes:
            self._next_pace_bytes = self._received_bytes + _PACE_BYTES
            self.deadline = now + self._call.body_s
        if self._decompressor is None:
            self._put(chunk)
        else:
            for content in _decompressed(self._decompressor, chunk):
                self._put(content)

    def content(self) -> bytes:
        """The collected body."""
        return b"".join(self._chunks)

    def _put(self, content: bytes) -> None:
        if self._receiver is not None:
            self._receiver.write(content)
            return
        self._size_bytes += len(content)
        self._require_small(self._size_bytes)
        self._chunks.append(content)

    def _require_small(self, size_bytes: int) -> None:
        if size_bytes > self._call.max_bytes:
            raise too_large(self._call.where, self._call.max_bytes)


def _decompressor(headers: Mapping[str, str]) -> zlib._Decompress | None:
    """The decompressor of a body that the server compressed, though no request asks for it."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return None
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise httpx.DecodingError(f"unknown content encoding {encoding[:40]!r}")
    return zlib.decompressobj(_GZIP_OR_ZLIB)


def _decompressed(decompressor: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """Yield the content of a chunk, at most a megabyte at a time."""
    while not decompressor.eof:
        try:
            content = decompressor.decompress(chunk, _STEP_BYTES)
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error
        if content:
            yield content
        chunk = decompressor.unconsumed_tail
        if not chunk and len(content) < _STEP_BYTES:
            return
