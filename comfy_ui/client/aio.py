"""``ComfyWSClient``: awaited calls, progress pushed over one WebSocket."""

# ruff: noqa: ASYNC109 -- the time-out is part of the documented interface

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx

from ..errors import ComfyHeadlessError
from ..protocol.job import CancelRequested
from ..protocol.outputs import OutputFile
from ..protocol.progress import Progress
from . import endpoints
from .aio_requests import AsyncServer
from .client_options import (
    CANCEL_TIMEOUT_S,
    DEFAULT_CONCURRENCY,
    DEFAULT_PRESETS,
    FAREWELL_S,
    log_callback_error,
    prompt_id_or_new,
)
from .result import Result
from .session import Session
from .submission import check_prompt_id
from .tracked_job import JobChanges, TrackedJob, no_trace
from .transport.http_transport import Breaker
from .transport.server_address import ServerAddress
from .workflow_source import WorkflowSource

AsyncResult = Result[Awaitable[list[Path]]]
AsyncEvent = Progress | OutputFile | AsyncResult
OnProgress = Callable[[Progress], Any]


class ComfyWSClient(AsyncServer):
    """A ComfyUI server, asked by awaited calls within one event loop.

    Progress with steps and previews comes over a WebSocket, one however many jobs. Without one (a
    proxy lets none through) jobs are followed by polling. Use it as an async context manager, or
    await :meth:`close`.

    Takes the arguments of :class:`.ComfyClient`, and raises what that raises.

    Raises:
        MissingFeatureError: the extra ``websocket`` is not installed.
    """

    def _connect(
        self,
        endpoint: ServerAddress,
        breaker: Breaker | None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
    ) -> None:
        super()._connect(endpoint, breaker, http)
        self._hub = Session(
            endpoint,
            self._asker,
            self._following,
            self._drive,
            telemetry=self._telemetry,
            observer=self._pictures.take,
        )
        self._farewells: set[asyncio.Task[bool]] = set()

    # -- running workflows

    async def queue_prompt(
        self,
        workflow: WorkflowSource,
        *,
        prompt_id: str | None = None,
        front: bool = False,
        extra_data: Mapping[str, Any] | None = None,
        strict: bool = True,
    ) -> str:
        """As :meth:`.ComfyClient.queue_prompt`. The socket is opened before anything is posted.

        Cancelling the task takes the job back unless the caller gave its ``prompt_id``: nobody
        would know of it. That goes on in the background; :meth:`close` waits a moment for it.
        """
        ours, prompt_id = prompt_id is None, prompt_id_or_new(prompt_id)
        runnable = await self._drive(self._sources.read(workflow))
        job = await self._hub.new_job(prompt_id, runnable.graph)
        call = endpoints.submit(
            runnable.graph,
            prompt_id=prompt_id,
            client_id=job.client_id,
            front=front,
            extra_data=runnable.extra_data(extra_data),
        )
        try:
            with self._telemetry.submitting(job, runnable.graph):
                await self._drive(self._following.submit(job, call, strict=strict))
        except ComfyHeadlessError:
            self._hub.drop(job)
            raise
        except asyncio.CancelledError:
            if ours:
                self._take_back(job)
            raise
        if job.prompt_id != prompt_id:
            self._hub.renamed(job, prompt_id)
        return job.prompt_id

    async def wait_for_completion(
        self,
        prompt_id: str,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> AsyncResult:
        """As :meth:`.ComfyClient.wait_for_completion`.

        ``on_progress`` may be a plain or an async function. It is called with the newest state:
        what came and went while it was busy is left out.
        """
        job, clock = self._hub.job(prompt_id), self._asker.clock
        with self._telemetry.waiting(job):
            moments = self._changes(job, timeout=timeout, end_only=on_progress is None)
            async with aclosing(moments):
                async for changes in moments:
                    if on_progress is not None and (progress := changes.progress(clock())):
                        try:
                            came = on_progress(progress)
                            if inspect.isawaitable(came):
                                await came
                        except Exception as error:  # noqa: BLE001 -- see log_callback_error
                            log_callback_error(error)
            return self._result(job)

    async def run(
        self,
        workflow: WorkflowSource,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> AsyncResult:
        """As :meth:`.ComfyClient.run`. Cancelling the task leaves the job running, too."""
        prompt_id = await self.queue_prompt(workflow)
        return await self.wait_for_completion(prompt_id, on_progress=on_progress, timeout=timeout)

    async def resume(
        self,
        prompt_id: str,
        workflow: WorkflowSource | None = None,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> AsyncResult:
        """As :meth:`.ComfyClient.resume`."""
        if not await self.has_job(check_prompt_id(prompt_id)):
            if workflow is None:
                raise no_trace(prompt_id)
            prompt_id = await self.queue_prompt(workflow, prompt_id=prompt_id)
        return await self.wait_for_completion(prompt_id, on_progress=on_progress, timeout=timeout)

    async def stream(
        self, workflow: WorkflowSource, *, timeout: float | None = None
    ) -> AsyncGenerator[AsyncEvent, None]:
        """As :meth:`.ComfyClient.stream`. Only the newest state is given, however slow the loop."""
        prompt_id = await self.queue_prompt(workflow)
        async with aclosing(self.attach(prompt_id, timeout=timeout)) as events:
            async for event in events:
                yield event

    async def attach(
        self, prompt_id: str, *, timeout: float | None = None
    ) -> AsyncGenerator[AsyncEvent, None]:
        """As :meth:`.ComfyClient.attach`."""
        job, clock = self._hub.job(prompt_id), self._asker.clock
        with self._telemetry.waiting(job):
            async with aclosing(self._changes(job, timeout=timeout)) as moments:
                async for changes in moments:
                    for file in changes.files():
                        yield file
                    if progress := changes.progress(clock()):
                        yield progress
            result = self._result(job)
        yield result

    async def run_batch(
        self, workflows: Iterable[WorkflowSource], *, concurrency: int = DEFAULT_CONCURRENCY
    ) -> list[AsyncResult | ComfyHeadlessError]:
        """As :meth:`.ComfyClient.run_batch`."""
        free = asyncio.Semaphore(max(1, concurrency))

        async def run(workflow: WorkflowSource) -> AsyncResult | ComfyHeadlessError:
            async with free:
                try:
                    return await self.run(workflow)
                except ComfyHeadlessError as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(workflow)) for workflow in workflows]
        return [task.result() for task in tasks]

    async def generate_image(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["image"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        **values: Any,
    ) -> AsyncResult:
        """As :meth:`.ComfyClient.generate_image`."""
        graph = await self._drive(self._sources.generation(preset, prompt, values))
        return await self.run(graph, on_progress=on_progress, timeout=timeout)

    async def generate_video(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["video"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        **values: Any,
    ) -> AsyncResult:
        """As :meth:`.ComfyClient.generate_video`."""
        graph = await self._drive(self._sources.generation(preset, prompt, values))
        return await self.run(graph, on_progress=on_progress, timeout=timeout)

    async def generate_audio(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["audio"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        **values: Any,
    ) -> AsyncResult:
        """As :meth:`.ComfyClient.generate_audio`."""
        graph = await self._drive(self._sources.generation(preset, prompt, values))
        return await self.run(graph, on_progress=on_progress, timeout=timeout)

    # -- stopping

    async def cancel(self, prompt_id: str, *, timeout: float = CANCEL_TIMEOUT_S) -> bool:
        """As :meth:`.ComfyClient.cancel`."""
        job = self._hub.job(prompt_id)
        job.apply(CancelRequested(), self._asker.clock())
        try:
            async with asyncio.timeout(timeout):
                with self._hub.watching(job, end_only=True) as ended:
                    if not job.settled:
                        await ended.wait()
        except TimeoutError:
            return False
        return job.was_stopped

    def _take_back(self, job: TrackedJob) -> None:
        task = asyncio.create_task(
            self._drive(self._following.cancel(job, timeout_s=CANCEL_TIMEOUT_S)),
            name="comfy-ui farewell",
        )
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    # -- life

    async def close(self) -> None:
        """As :meth:`.ComfyClient.close`. No task is left."""
        if self._farewells:
            _, late = await asyncio.wait(self._farewells, timeout=FAREWELL_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._hub.close()
        await super().close()

    # -- following

    async def _changes(
        self, job: TrackedJob, *, timeout: float | None, end_only: bool = False
    ) -> AsyncGenerator[JobChanges, None]:
        """One item for each moment at which something is new; the last when the job is settled."""
        changes, clock = JobChanges(job), self._asker.clock
        deadline = None if timeout is None else clock() + timeout
        with self._hub.watching(job, end_only=end_only) as changed:
            while True:
                changed.clear()
                settled = job.settled
                yield changes
                if settled:
                    return
                if deadline is None or timeout is None:
                    await changed.wait()
                    continue
                try:
                    async with asyncio.timeout(deadline - clock()):
                        await changed.wait()
                except TimeoutError:
                    raise job.timed_out(timeout) from None

    def _result(self, job: TrackedJob) -> AsyncResult:
        self._hub.drop(job)
        return job.result(self._save)

    async def _save(self, files: Sequence[OutputFile], folder: Path) -> list[Path]:
        return await self._drive(self._transfers.save(files, folder))
