"""Everything a server can be asked in one go, awaited."""

# ruff: noqa: ASYNC109 -- the time-out is part of the documented interface

from __future__ import annotations

import asyncio
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
from .transport.http_transport import AsyncTransport, Breaker
from .transport.request import ApiRequest
from .transport.server_address import ServerAddress
from .uncancellable import in_thread

T = TypeVar("T")


class AsyncServer(Base):
    """The single questions of :class:`ComfyWSClient`, and how it drives a flow."""

    def _connect(
        self,
        endpoint: ServerAddress,
        breaker: Breaker | None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
    ) -> None:
        http = cast("httpx.AsyncBaseTransport | None", http)
        self._transport = AsyncTransport(endpoint, breaker=breaker, http=http)
        self._uploading = asyncio.Lock()

    # -- the queue and what has run

    async def queue(self) -> QueueSnapshot:
        """As :meth:`.ComfyClient.queue`."""
        return await self._ask(endpoints.queue())

    async def history(self, prompt_id: str) -> HistoryEntry | None:
        """As :meth:`.ComfyClient.history`."""
        return await self._ask(endpoints.history(prompt_id))

    async def recent(self, *, max_items: int = 100) -> dict[str, HistoryEntry]:
        """As :meth:`.ComfyClient.recent`."""
        return await self._ask(endpoints.recent(max_items))

    async def forget(self, prompt_id: str) -> None:
        """As :meth:`.ComfyClient.forget`."""
        await self._ask(endpoints.forget(prompt_id))

    async def jobs(
        self, *, status: Iterable[endpoints.JobStatus] = (), limit: int = 100, offset: int = 0
    ) -> list[JobInfo]:
        """As :meth:`.ComfyClient.jobs`."""
        return await self._ask(endpoints.jobs(status=status, limit=limit, offset=offset))

    async def job(self, prompt_id: str) -> JobInfo | None:
        """As :meth:`.ComfyClient.job`."""
        return await self._ask(endpoints.job(prompt_id))

    async def has_job(self, prompt_id: str, *, timeout: float = LOOK_S) -> bool:
        """As :meth:`.ComfyClient.has_job`."""
        return await self._drive(self._following.has(prompt_id, silence_s=timeout))

    async def interrupt(self, prompt_id: str) -> None:
        """As :meth:`.ComfyClient.interrupt`."""
        await self._ask(endpoints.interrupt(prompt_id))

    # -- files

    async def upload_image(
        self,
        source: UploadSource,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002 -- ComfyUI's own word
        overwrite: bool = False,
    ) -> UploadedFile:
        """As :meth:`.ComfyClient.upload_image`."""
        async with self._uploading:
            return await self._drive(
                self._transfers.upload(
                    source, filename=filename, subfolder=subfolder, type=type, overwrite=overwrite
                )
            )

    async def upload_audio(
        self,
        source: UploadSource,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002
        overwrite: bool = False,
    ) -> UploadedFile:
        """As :meth:`.ComfyClient.upload_audio`."""
        return await self.upload_image(
            source, filename=filename, subfolder=subfolder, type=type, overwrite=overwrite
        )

    async def upload_video(
        self,
        source: UploadSource,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002
        overwrite: bool = False,
    ) -> UploadedFile:
        """As :meth:`.ComfyClient.upload_video`."""
        return await self.upload_image(
            source, filename=filename, subfolder=subfolder, type=type, overwrite=overwrite
        )

    async def upload_mask(
        self,
        source: UploadSource,
        original: OutputFile | UploadedFile,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: endpoints.Folder = "input",  # noqa: A002
    ) -> UploadedFile:
        """As :meth:`.ComfyClient.upload_mask`."""
        return await self._drive(
            self._transfers.upload_mask(
                source, original, filename=filename, subfolder=subfolder, type=type
            )
        )

    async def download(
        self, file: OutputFile | UploadedFile, to: str | Path | None = None
    ) -> bytes | Path:
        """As :meth:`.ComfyClient.download`."""
        if to is None:
            return await self._drive(self._transfers.read(file))
        return await self._drive(self._transfers.write(file, target_path(file.filename, to)))

    # -- what the server has

    async def object_info(self, node: str | None = None, *, fresh: bool = False) -> NodeRegistry:
        """As :meth:`.ComfyClient.object_info`."""
        if node is not None:
            return await self._ask(endpoints.object_info(node))
        return await self._drive(self._sources.library(fresh=fresh))

    async def model_paths(self) -> dict[str, list[str]]:
        """As :meth:`.ComfyClient.model_paths`."""
        return await self._ask(endpoints.model_paths())

    async def models(self, folder: str | None = None) -> list[str]:
        """As :meth:`.ComfyClient.models`."""
        return await self._ask(
            endpoints.model_folders() if folder is None else endpoints.models(folder)
        )

    async def embeddings(self) -> list[str]:
        """As :meth:`.ComfyClient.embeddings`."""
        return await self._ask(endpoints.embeddings())

    async def system_stats(self) -> SystemStats:
        """As :meth:`.ComfyClient.system_stats`."""
        return await self._ask(endpoints.system_stats())

    async def features(self) -> dict[str, Any]:
        """As :meth:`.ComfyClient.features`."""
        return await self._ask(endpoints.features())

    async def capabilities(self) -> Capabilities:
        """As :meth:`.ComfyClient.capabilities`."""
        return await self._drive(self._following.capabilities())

    async def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """As :meth:`.ComfyClient.free`."""
        await self._ask(endpoints.free(unload_models=unload_models, free_memory=free_memory))

    async def templates(self) -> dict[str, list[str]]:
        """As :meth:`.ComfyClient.templates`."""
        return await self._ask(endpoints.templates())

    async def template(self, pack: str, name: str) -> dict[str, Any]:
        """As :meth:`.ComfyClient.template`."""
        return await self._ask(endpoints.template(pack, name))

    async def official_templates(self) -> list[Template]:
        """As :meth:`.ComfyClient.official_templates`."""
        return await self._ask(endpoints.official_templates())

    async def official_template(self, name: str) -> dict[str, Any]:
        """As :meth:`.ComfyClient.official_template`."""
        return await self._ask(endpoints.official_template(name))

    async def logs(self) -> list[LogLine]:
        """As :meth:`.ComfyClient.logs`."""
        return await self._ask(endpoints.logs())

    async def ping(self) -> int:
        """As :meth:`.ComfyClient.ping`."""
        return await self._ask(endpoints.ping())

    async def look(self) -> ServerCheck:
        """As :meth:`.ComfyClient.look`."""
        return await self._drive(look(self._asker))

    async def wait_until_ready(self, *, timeout: float | None = None, every: float = 1.0) -> None:
        """As :meth:`.ComfyClient.wait_until_ready`."""
        await self._drive(
            self._asker.until_answered(endpoints.ping(), timeout_s=timeout, every_s=every)
        )

    # -- the user's folder on the server

    async def userdata(self, folder: str = "workflows") -> list[UserFile]:
        """As :meth:`.ComfyClient.userdata`."""
        return await self._ask(endpoints.userdata(folder))

    async def read_userdata(self, path: str) -> bytes:
        """As :meth:`.ComfyClient.read_userdata`."""
        return await self._ask(endpoints.read_userdata(path))

    async def write_userdata(self, path: str, content: bytes, *, overwrite: bool = True) -> None:
        """As :meth:`.ComfyClient.write_userdata`."""
        await self._ask(endpoints.write_userdata(path, content, overwrite=overwrite))

    async def delete_userdata(self, path: str) -> bool:
        """As :meth:`.ComfyClient.delete_userdata`."""
        return await self._ask(endpoints.delete_userdata(path))

    # -- life

    async def close(self) -> None:
        """As :meth:`.ComfyClient.close`."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- driving

    async def _ask(self, call: ApiRequest[T]) -> T:
        return await self._drive(self._asker.ask(call))

    async def _drive(self, flow: Flow[T]) -> T:
        """Run a flow: do each step, and send it what came of it."""
        try:
            step = next(flow)
            while True:
                try:
                    came: Any = await self._do(step)
                except ComfyHeadlessError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(came)
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            flow.close()

    async def _do(self, step: Step) -> Any:
        match step:
            case ApiRequest():
                return await self._transport.send(step)
            case Fetch(call, download):
                return await self._transport.send(call, download)
            case Work(function):
                return await in_thread(function)
            case Pause(seconds):
                await asyncio.sleep(seconds)
        return None
