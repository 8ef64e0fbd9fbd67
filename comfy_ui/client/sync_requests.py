"""Everything a server can be asked in one go, blocking."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx

from ..errors import ComfyHeadlessError
from ..protocol.object_info import NodeRegistry
from ..protocol.outputs import OutputFile
from ..protocol.queue_and_history import HistoryEntry, QueueSnapshot
from . import endpoints
from .client_options import Base, target_path
from .file_uploads import UploadSource
from .operations import Fetch, Flow, Pause, Step, Work
from .response_models import (
    Capabilities,
    JobInfo,
    LogLine,
    SystemStats,
    Template,
    UploadedFile,
    UserFile,
)
from .server_check import ServerCheck, look
from .tracking import LOOK_S
from .transport.http_transport import Breaker, SyncTransport
from .transport.request import ApiRequest
from .transport.server_address import ServerAddress

T = TypeVar("T")


class SyncServer(Base):
    """The single questions of :class:`ComfyClient`, and how it drives a flow."""

    def _connect(
        self,
        endpoint: ServerAddress,
        breaker: Breaker | None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
    ) -> None:
        http = cast("httpx.BaseTransport | None", http)
        self._transport = SyncTransport(endpoint, breaker=breaker, http=http)
        self._uploading = threading.Lock()

    # -- the queue and what has run

    def queue(self) -> QueueSnapshot:
        """Everybody's jobs, running and pending."""
        return self._ask(endpoints.queue())

    def history(self, prompt_id: str) -> HistoryEntry | None:
        """How a job ended; None when the server does not know, or not yet."""
        return self._ask(endpoints.history(prompt_id))

    def recent(self, *, max_items: int = 100) -> dict[str, HistoryEntry]:
        """The jobs that ended last, oldest first."""
        return self._ask(endpoints.recent(max_items))

    def forget(self, prompt_id: str) -> None:
        """Drop a finished job from the server's history, which it keeps in memory."""
        self._ask(endpoints.forget(prompt_id))

    def jobs(
        self, *, status: Iterable[endpoints.JobStatus] = (), limit: int = 100, offset: int = 0
    ) -> list[JobInfo]:
        """Jobs of all states, newest first. Needs a core with ``/api/jobs``."""
        return self._ask(endpoints.jobs(status=status, limit=limit, offset=offset))

    def job(self, prompt_id: str) -> JobInfo | None:
        """One job of any state. Needs a core with ``/api/jobs``."""
        return self._ask(endpoints.job(prompt_id))

    def has_job(self, prompt_id: str, *, timeout: float = LOOK_S) -> bool:
        """Whether the server has, or has had and not forgotten, a job of this id.

        For one of which you do not know whether it got there. It is looked for twice, two seconds
        apart, as it may still be on its way; only then is False certain. Any server does.

        Args:
            prompt_id: as it was, or was to be, queued.
            timeout: seconds for which the server may leave this unanswered; never more than
                ``timeout`` of the client.

        Raises:
            ComfyUIConnectionError, ServerRejectedError: it could not be found out.
        """
        return self._drive(self._following.has(prompt_id, silence_s=timeout))

    def interrupt(self, prompt_id: str) -> None:
        """Tell the server once to stop this job, if it is running. See :meth:`cancel`.

        Comfy Cloud stops all running jobs of its user then.
        """
        self._ask(endpoints.interrupt(prompt_id))

    # -- files

    def upload_image(
        self,
        source: UploadSource,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002 -- ComfyUI's own word
        overwrite: bool = False,
    ) -> UploadedFile:
        """Upload a picture; what comes back is the value for LoadImage's ``image``.

        The same bytes under the same name go up once per client. The server chooses another name
        if its own is taken by other bytes.

        Args:
            source: a path, bytes, or a file opened in binary mode.
            filename: its name at the server; by default its own, or one made of its bytes.
            subfolder: below the server's folder ``type``.
            type: input, temp or output.
            overwrite: replace another file of that name.

        Raises:
            ValidationError: the file cannot be read, or is empty.
        """
        with self._uploading:
            return self._drive(
                self._transfers.upload(
                    source, filename=filename, subfolder=subfolder, type=type, overwrite=overwrite
                )
            )

    def upload_audio(
        self,
        source: UploadSource,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002
        overwrite: bool = False,
    ) -> UploadedFile:
        """As :meth:`upload_image`, for LoadAudio."""
        return self.upload_image(
            source, filename=filename, subfolder=subfolder, type=type, overwrite=overwrite
        )

    def upload_video(
        self,
        source: UploadSource,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002
        overwrite: bool = False,
    ) -> UploadedFile:
        """As :meth:`upload_image`, for LoadVideo."""
        return self.upload_image(
            source, filename=filename, subfolder=subfolder, type=type, overwrite=overwrite
        )

    def upload_mask(
        self,
        source: UploadSource,
        original: OutputFile | UploadedFile,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002
    ) -> UploadedFile:
        """Store ``original`` with the alpha channel of ``source``, a picture of the same size.

        Raises:
            OutputMissingError: the server wrote nothing, for want of the original.
        """
        return self._drive(
            self._transfers.upload_mask(
                source, original, filename=filename, subfolder=subfolder, type=type
            )
        )

    def download(
        self, file: OutputFile | UploadedFile, to: str | Path | None = None
    ) -> bytes | Path:
        """Fetch a file as the server has it.

        Args:
            file: from a result, or an upload.
            to: None: gives the bytes. A folder: stored there under its own name. Else exactly that
                path, replacing what is there. Gives the path then.

        A cut connection is taken up where it broke; the length is checked.

        Raises:
            OutputMissingError: the server does not have it (any more).
            StorageError: it cannot be written.
        """
        if to is None:
            return self._drive(self._transfers.read(file))
        return self._drive(self._transfers.write(file, target_path(file.filename, to)))

    # -- what the server has

    def object_info(self, node: str | None = None, *, fresh: bool = False) -> NodeRegistry:
        """All node classes (fetched once, then kept; ``fresh`` fetches again), or the one named."""
        if node is not None:
            return self._ask(endpoints.object_info(node))
        return self._drive(self._sources.library(fresh=fresh))

    def model_paths(self) -> dict[str, list[str]]:
        """Where the server looks for each folder's model files: paths of its own machine."""
        return self._ask(endpoints.model_paths())

    def models(self, folder: str | None = None) -> list[str]:
        """Model files in a folder below ``models/``; without one, the folders."""
        return self._ask(endpoints.model_folders() if folder is None else endpoints.models(folder))

    def embeddings(self) -> list[str]:
        """Names of textual-inversion embeddings."""
        return self._ask(endpoints.embeddings())

    def system_stats(self) -> SystemStats:
        """Versions, devices and memory."""
        return self._ask(endpoints.system_stats())

    def features(self) -> dict[str, Any]:
        """What the server says it can; an open dict."""
        return self._ask(endpoints.features())

    def capabilities(self) -> Capabilities:
        """What the server can beyond an old core, found by asking its routes."""
        return self._drive(self._following.capabilities())

    def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Have the server free memory, as soon as no job runs."""
        self._ask(endpoints.free(unload_models=unload_models, free_memory=free_memory))

    def templates(self) -> dict[str, list[str]]:
        """Workflow templates that node packs bring: ``{pack: [name, …]}``."""
        return self._ask(endpoints.templates())

    def template(self, pack: str, name: str) -> dict[str, Any]:
        """One of them, in editor format."""
        return self._ask(endpoints.template(pack, name))

    def official_templates(self) -> list[Template]:
        """The workflow templates that come with ComfyUI; see :class:`Template`."""
        return self._ask(endpoints.official_templates())

    def official_template(self, name: str) -> dict[str, Any]:
        """One of them, in editor format."""
        return self._ask(endpoints.official_template(name))

    def logs(self) -> list[LogLine]:
        """The last lines of the server's log."""
        return self._ask(endpoints.logs())

    def ping(self) -> int:
        """The number of jobs running and pending: the cheapest sign of life."""
        return self._ask(endpoints.ping())

    def look(self) -> ServerCheck:
        """The server's state and queue, or the error met; for monitors, see ``ComfyHealth``."""
        return self._drive(look(self._asker))

    def wait_until_ready(self, *, timeout: float | None = None, every: float = 1.0) -> None:
        """Wait for a server that is still starting, asking it ``every`` second.

        Raises:
            ComfyUIConnectionError: it does not answer after ``timeout`` seconds (None: never).
        """
        self._drive(self._asker.until_answered(endpoints.ping(), timeout_s=timeout, every_s=every))

    # -- the user's folder on the server

    def userdata(self, folder: str = "workflows") -> list[UserFile]:
        """Files below a folder, saved workflows by default."""
        return self._ask(endpoints.userdata(folder))

    def read_userdata(self, path: str) -> bytes:
        """A file of the user's folder, ``workflows/mine.json`` for instance."""
        return self._ask(endpoints.read_userdata(path))

    def write_userdata(self, path: str, content: bytes, *, overwrite: bool = True) -> None:
        """Store a file there. ServerRejectedError (409): it exists and ``overwrite`` is off."""
        self._ask(endpoints.write_userdata(path, content, overwrite=overwrite))

    def delete_userdata(self, path: str) -> bool:
        """Whether there was such a file."""
        return self._ask(endpoints.delete_userdata(path))

    # -- life

    def close(self) -> None:
        """Close all connections. Jobs go on at the server."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- driving

    def _ask(self, call: ApiRequest[T]) -> T:
        return self._drive(self._asker.ask(call))

    def _drive(self, flow: Flow[T]) -> T:
        """Run a flow: do each step, and send it what came of it."""
        try:
            step = next(flow)
            while True:
                try:
                    came: Any = self._do(step)
                except ComfyHeadlessError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(came)
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            flow.close()

    def _do(self, step: Step) -> Any:
        match step:
            case ApiRequest():
                return self._transport.send(step)
            case Fetch(call, download):
                return self._transport.send(call, download)
            case Work(function):
                return function()
            case Pause(seconds):
                time.sleep(seconds)
        return None
