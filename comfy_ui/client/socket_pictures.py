"""Pictures that a node sends over the socket in place of saving them (``SaveImageWebsocket``)."""

from __future__ import annotations

from ..protocol.job import JobState
from ..protocol.outputs import SOCKET_FOLDER, OutputFile

_KEPT_BYTES = 256 * 2**20


class SocketPictures:
    """The newest ones that a client has received; the server has none of them."""

    def __init__(self, *, kept_bytes: int = _KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._held_bytes = 0
        self._pictures: dict[tuple[str, ...], bytes] = {}

    def take(self, before: JobState, after: JobState, now: float) -> None:  # noqa: ARG002
        """Keep what a job has received; an observer of
        :class:`~comfy_ui.client.tracked_job.Job`.
        """
        if after.sent is before.sent:
            return
        for file, content in after.sent_since(before):
            self._pictures[file.key] = content
            self._held_bytes += len(content)
        while self._held_bytes > self._kept_bytes and len(self._pictures) > 1:
            self._held_bytes -= len(self._pictures.pop(next(iter(self._pictures))))

    def get(self, file: object) -> bytes | None:
        """The bytes of a file, if it came over the socket and is still here."""
        if not isinstance(file, OutputFile) or file.type != SOCKET_FOLDER:
            return None
        return self._pictures.get(file.key)
