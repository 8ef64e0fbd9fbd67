"""Flows that upload and download files."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import ComfyUIConnectionError, OutputMissingError
from ...protocol.job import JobState
from ...protocol.outputs import SOCKET_FOLDER, OutputFile
from ...protocol.retry import Backoff
from .. import endpoints
from ..operations import Asker, Fetch, Flow, bad_answer, no_answer, work
from ..response_models import UploadedFile
from ..tracking.job_telemetry import Telemetry
from ..transport.request import ApiResponse, is_page, rejection
from .files import MAX_FILE_BYTES, DownloadTarget, target_path
from .upload_sources import UploadSource, prepare_upload

# The file of a finished job is worth waiting for: at least this many attempts, because one may be a
# long silence, and at least this long, because refusals come quickly.
_PATIENT = Backoff(base_s=0.2, cap_s=2.0, attempts=None)
_ATTEMPTS, _PATIENT_S = 6, 10.0
_MAX_ATTEMPTS = 200  # with some progress each
_KEPT_BYTES = 256 * 2**20


class FileTransfers:
    """The flows of files, for one client. Remembers its uploads."""

    def __init__(self, asker: Asker, telemetry: Telemetry, pictures: SocketPictures) -> None:
        self._asker = asker
        self._telemetry = telemetry
        self._pictures = pictures
        self._uploaded: dict[tuple[str, ...], UploadedFile] = {}

    def upload(
        self,
        source: UploadSource,
        *,
        filename: str | None,
        subfolder: str,
        type: endpoints.Folder,  # noqa: A002 -- ComfyUI's own word
        overwrite: bool,
    ) -> Flow[UploadedFile]:
        """Upload a file, unless the same bytes were uploaded before and are still there.

        A file that the server has is not uploaded again.
        """
        if isinstance(source, OutputFile):
            return (yield from self.use_output(source))
        prepared = yield from work(lambda: prepare_upload(source, filename=filename))
        key = (prepared.digest, prepared.part.filename, subfolder, type)
        if not (yield from self._is_there(self._uploaded.get(key))):
            self._uploaded[key] = yield from self._asker.ask(
                endpoints.upload(prepared.part, subfolder=subfolder, type=type, overwrite=overwrite)
            )
        return self._uploaded[key]

    def use_output(self, file: OutputFile) -> Flow[UploadedFile]:
        """The value of a loader node's input for a file of a result."""
        if file.type != SOCKET_FOLDER:  # loaders read every folder of the server
            return UploadedFile.at(file.filename, subfolder=file.subfolder, type=file.type)
        content = yield from self.read(file)
        return (
            yield from self.upload(
                content, filename=file.filename, subfolder="", type="input", overwrite=False
            )
        )

    def _is_there(self, uploaded: UploadedFile | None) -> Flow[bool]:
        """Check that an upload still exists: users clear the server's input folder."""
        if uploaded is None:
            return False
        try:
            yield from self._asker.ask(
                endpoints.exists(
                    uploaded.filename, subfolder=uploaded.subfolder, type=uploaded.type
                )
            )
        except OutputMissingError:
            return False
        return True

    def upload_mask(
        self,
        source: UploadSource,
        original: OutputFile | UploadedFile,
        *,
        filename: str | None,
        subfolder: str,
        type: endpoints.Folder,  # noqa: A002
    ) -> Flow[UploadedFile]:
        """Upload a mask and check that the server wrote it.

        ComfyUI answers 200 and writes nothing if the original is missing.
        """
        local = (yield from self.read(source)) if isinstance(source, OutputFile) else source
        prepared = yield from work(lambda: prepare_upload(local, filename=filename))
        reference = {name: getattr(original, name) for name in ("filename", "subfolder", "type")}
        uploaded = yield from self._asker.ask(
            endpoints.upload_mask(prepared.part, reference, subfolder=subfolder, type=type)
        )
        yield from self._asker.ask(
            endpoints.exists(uploaded.filename, subfolder=uploaded.subfolder, type=uploaded.type)
        )
        return uploaded

    def download(
        self,
        file: OutputFile | UploadedFile,
        to: str | Path | None,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> Flow[bytes | Path]:
        """Download a file to memory, into the folder ``to``, or to exactly the path ``to``."""
        if to is None:
            return (yield from self.read(file, max_bytes))
        return (yield from self._write(file, target_path(file.filename, to), max_bytes))

    def read(self, file: OutputFile | UploadedFile, max_bytes: int = MAX_FILE_BYTES) -> Flow[bytes]:
        """Download a file to memory."""
        download = DownloadTarget(max_bytes=max_bytes)
        yield from self.receive(file, download)
        return download.content()

    def _write(self, file: OutputFile | UploadedFile, path: Path, max_bytes: int) -> Flow[Path]:
        """Replace what exists at that path once all has arrived."""
        download = DownloadTarget(folder=path.parent, max_bytes=max_bytes)
        try:
            yield from self.receive(file, download)
            return (yield from work(lambda: download.move_to(path)))
        finally:
            download.discard()

    def save(self, files: Sequence[OutputFile], folder: Path) -> Flow[list[Path]]:
        """Download files into a folder, under free names."""
        paths = []
        for file in files:
            download = DownloadTarget(folder=folder)
            try:
                yield from self.receive(file, download)
                name = file.filename
                paths.append((yield from work(lambda: download.move_into(folder, name))))  # noqa: B023
            finally:
                download.discard()
        return paths

    def receive(self, file: OutputFile | UploadedFile, download: DownloadTarget) -> Flow[None]:
        """Download a file, resuming with further requests if interrupted.

        Raises:
            OutputMissingError: the server has no such file.
        """
        prompt_id = file.prompt_id if isinstance(file, OutputFile) else None
        with self._telemetry.fetching(prompt_id) as span:
            if file.type == SOCKET_FOLDER:
                yield from self._hand_over(file, download)
            else:
                yield from self._view(file, download)
            span.set_attribute("comfyui.bytes", download.received)

    def _hand_over(self, file: OutputFile | UploadedFile, download: DownloadTarget) -> Flow[None]:
        """Take an image that came over the socket: the server does not have it."""
        content = self._pictures.get(file)
        if content is None:
            raise OutputMissingError(
                f"The image '{file.filename}' was sent once, to the client that queued the job.",
                hint="Run it again, or use SaveImage instead of SaveImageWebsocket.",
            )
        yield from work(lambda: download.write(content))

    def _view(self, file: OutputFile | UploadedFile, download: DownloadTarget) -> Flow[None]:
        call = endpoints.view(file.filename, subfolder=file.subfolder, type=file.type)
        failures = 0
        started = self._asker.clock()
        for attempt in itertools.count(1):
            before = download.received
            try:
                resumed = call
                if headers := download.resume_headers:
                    resumed = replace(call, headers={**call.headers, **headers})
                answer: ApiResponse = yield Fetch(resumed, download)
                if answer.status in (200, 206) and not is_page(answer):
                    download.check()
                    return
                if answer.status in call.accepts:
                    call.parse(answer)
                error = rejection(answer) or download.not_a_file(answer)
                trouble = bad_answer(answer, error, idempotent=True)
            except ComfyUIConnectionError as error:
                trouble = no_answer(error, idempotent=True)
            if attempt >= _MAX_ATTEMPTS:
                raise trouble.error
            if download.received > before:  # only attempts without progress count
                failures, started = 0, self._asker.clock()
            failures += 1
            named = trouble.retry_after_s is not None
            patience_s = self._asker.timeout_s if named else _PATIENT_S
            deadline = None if failures < _ATTEMPTS else started + patience_s
            yield self._asker.pause(_PATIENT, failures, trouble, deadline=deadline)


class SocketPictures:
    """Images that ``SaveImageWebsocket`` nodes sent over the socket instead of saving them.

    Keeps the newest ones, up to ``kept_bytes``. The server has none of them.
    """

    def __init__(self, *, kept_bytes: int = _KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._held_bytes = 0
        self._pictures: dict[tuple[str, ...], bytes] = {}
        self._lock = threading.Lock()  # event loops in several threads

    def take(self, before: JobState, after: JobState, now: float) -> None:  # noqa: ARG002
        """Keep what a job has received; an observer of a tracked job."""
        if after.sent is before.sent:
            return
        with self._lock:
            for file, content in after.sent_since(before):
                self._pictures[file.key] = content
                self._held_bytes += len(content)
            while self._held_bytes > self._kept_bytes and len(self._pictures) > 1:
                self._held_bytes -= len(self._pictures.pop(next(iter(self._pictures))))

    def get(self, file: object) -> bytes | None:
        """The bytes of a file that came over the socket; None if it did not, or was dropped."""
        if not isinstance(file, OutputFile) or file.type != SOCKET_FOLDER:
            return None
        return self._pictures.get(file.key)
