"""The worker: claims jobs, hands them to one ComfyUI, tells what happens, brings the files home.

It knows the queue only through :class:`.queue.JobQueue`, and the server only through its client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from ..errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    GenerationCancelledError,
    InvalidWorkflowError,
    JobLostError,
    ServerRejectedError,
    StorageError,
)
from ..library.result_files import FileStore
from ..library.uploads import UploadStore
from ..protocol.outputs import OutputFile, Outputs, collect_outputs
from ..protocol.progress import Phase, Progress
from ..storage.records import Job, JobError, JobStatus
from ..storage.single_thread import SingleThread
from .active_job import ActiveJob, JobReturnedError
from .output_download import OutputDownloader
from .placement import ServerOffer
from .queue import JobQueue, JobReport, Why
from .server import Server, with_names
from .server_monitor import ServerMonitor

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 10.0
_SILENCE_S: Final = 5.0  # how long an unanswered question is not yet worth a word
_STOP_S: Final = 5.0  # how long one request to stop may take to show
_ABANDON_S: Final = 8.0  # how long a server may be out of reach for a request to stop


class Worker:
    """Keeps ``concurrency`` jobs at the server, as long as there are any.

    :meth:`run` goes on until it is cancelled; then the jobs stay at the server, and whoever opens
    the queue next finds them there.

    ``patience_s`` is for one of several servers: its jobs go to others when it has been out of
    reach for so long (see :meth:`.queue.JobQueue.give_back`). None: it is the only one.
    """

    def __init__(
        self,
        *,
        queue: JobQueue,
        server: Server,
        files: FileStore,
        inputs: UploadStore,
        file_thread: SingleThread,
        concurrency: int,
        patience_s: float | None = None,
    ) -> None:
        self._queue = queue
        self._server = server
        self._client = server.client
        self._watch = (
            ServerMonitor(queue, server, patience_s=patience_s, mine=self._prompt_ids)
            if patience_s is not None
            else None
        )
        self._fetcher = OutputDownloader(self._client, files, file_thread, self._reconnect)
        self._inputs = inputs
        self._concurrency = concurrency
        self._runs: dict[str, ActiveJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    async def run(self) -> None:
        if self._watch is None:
            await self._queue.announce(self._server.name, ServerOffer())
        else:
            _ = self._spawn(self._watch.run(self._leave))
        try:
            while True:
                try:
                    await self._take_jobs()
                except StorageError as error:  # the disk may have room again in a while
                    logger.error("No job could be taken: %s", error)  # noqa: TRY400 -- no bug
                    await asyncio.sleep(1.0)
                await self._wait_for_news()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take_jobs(self) -> None:
        self._freed.clear()
        free = self._concurrency - sum(run.busy for run in self._runs.values())
        for claim in await self._queue.claim(self._server.name, limit=free):
            run = self._runs[claim.job.id] = ActiveJob(claim)
            run.task = self._spawn(self._drive(run))
        for job_id in await self._queue.heartbeat(self._server.name):
            run_to_stop = self._runs.get(job_id)
            if run_to_stop and not run_to_stop.stop.is_set():
                run_to_stop.stop.set()
                _ = self._spawn(self._stop(run_to_stop))

    async def _wait_for_news(self) -> None:
        waits = [
            asyncio.ensure_future(self._queue.wait(self._server.name, timeout_s=HEARTBEAT_S)),
            asyncio.ensure_future(self._freed.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # A server that is one of several

    def _prompt_ids(self) -> set[str]:
        return {run.prompt_id for run in self._runs.values()}

    def _leave(self) -> None:
        for run in self._runs.values():
            if run.busy:  # what it has finished is only there
                run.leave.set()

    async def _give_back(self, run: ActiveJob, why: Why) -> None:
        """Return if the job has to stay here.

        Raises:
            GaveBackError: it is another's now.
        """
        if self._watch is None or run.stop.is_set():
            return
        if why == "unheard" and await self._watch.look():
            return
        try:
            given = await self._queue.give_back(self._server.name, run.job.id, why)
        except StorageError as error:  # it cannot be written down, so it stays
            logger.warning("Job %s: %s", run.job.id, error)
            return
        if given:
            raise JobReturnedError

    # One job

    async def _drive(self, run: ActiveJob) -> None:
        """From the claim to the last report, whatever happens between."""
        end: JobReport | None
        try:
            end = await self._finish(run)
        except JobReturnedError:
            end = None
        except Exception as error:  # our own fault: it costs neither the other jobs nor a result
            logger.exception("Job %s", run.job.id)
            end = JobReport(job_id=run.job.id, status=JobStatus.UNFETCHED, error=JobError.of(error))
        try:
            if end is not None:
                await self._queue.publish(self._server.name, end)
        finally:
            if self._runs.get(run.job.id) is run:  # it may be back already
                del self._runs[run.job.id]
            self._freed.set()

    async def _finish(self, run: ActiveJob) -> JobReport:
        """The last report of a job: run it unless that is done, then fetch what it made."""
        job_id = run.job.id
        outputs = run.job.outputs
        try:
            if outputs is not None and run.inherited:
                await self._fetcher.require_its_server(run)
            if outputs is None:
                outputs = await self._execute(run)
                await self._tell(run, status=JobStatus.FETCHING, outputs=outputs)
                run.busy = False
                self._freed.set()
            return await self._fetcher.fetch(run, outputs)
        except GenerationCancelledError as error:
            as_wanted = run.stop.is_set() and not run.abandoned.is_set()
            told = None if as_wanted else JobError.of(error)
            return JobReport(job_id=job_id, status=JobStatus.CANCELLED, error=told)
        except JobLostError as error:
            if run.stop.is_set():  # as wanted: it will not run
                return JobReport(job_id=job_id, status=JobStatus.CANCELLED)
            await self._give_back(run, "lost")
            return JobReport(job_id=job_id, status=JobStatus.LOST, error=JobError.of(error))
        except ComfyHeadlessError as error:
            status = JobStatus.FAILED if outputs is None else JobStatus.UNFETCHED
            return JobReport(job_id=job_id, status=status, error=JobError.of(error))

    async def _execute(self, run: ActiveJob) -> Outputs:
        """Hand the job over, unless the server has it, and wait for its end.

        What the server has is never given up because it cannot be asked: a proxy may be down for
        an hour, or a key have changed until the next start.
        """
        while True:
            try:
                if run.job.status is JobStatus.CLAIMED:
                    await self._send(run)
                return await self._completion(run)
            except JobLostError:
                if not run.inherited or run.stop.is_set():
                    raise
                # The one that has it is not ours any more. Should it be so again, it is asked for
                # this prompt_id, so what it made is found.
                run.inherited, run.job = False, replace(run.job, status=JobStatus.CLAIMED)
            except InvalidWorkflowError:
                if run.takes_second_try():  # uploads may be gone from the server since
                    self._server.forget_inputs()
                    continue
                await self._give_back(run, "refused")  # another may have what this one lacks
                raise
            except (ComfyUIConnectionError, ServerRejectedError) as error:
                if run.job.status is JobStatus.CLAIMED:
                    if not run.may_be_at_server:
                        await self._give_back(run, "unheard")
                    if not error.retryable and not run.in_doubt:
                        raise
                if run.abandoned.is_set():
                    raise _abandoned() from error
                if run.leave.is_set():
                    await self._give_back(run, "unreachable")
                await self._reconnect(run, error)

    async def _completion(self, run: ActiveJob) -> Outputs:
        """Wait for the end at the server, or until nobody wants to wait any more."""
        waiting = asyncio.ensure_future(
            self._client.wait_for_completion(
                run.prompt_id, on_progress=lambda progress: self._progress(run, progress)
            )
        )
        abandoned = asyncio.ensure_future(run.abandoned.wait())
        leaving = asyncio.ensure_future(run.leave.wait())
        try:
            while not waiting.done():
                await asyncio.wait(
                    {waiting, abandoned, leaving}, return_when=asyncio.FIRST_COMPLETED
                )
                if run.abandoned.is_set() and not waiting.done():
                    raise _abandoned()
                if run.leave.is_set() and not waiting.done():
                    await self._give_back(run, "unreachable")
                    run.leave.clear()  # nobody can take it over now: asked again at the next look
                    leaving = asyncio.ensure_future(run.leave.wait())
            result = waiting.result()
            files = result.files or await self._previews(run)
            return Outputs(tuple(files), tuple(result.texts))
        finally:
            for task in (waiting, abandoned, leaving):
                task.cancel()
            await asyncio.gather(waiting, abandoned, leaving, return_exceptions=True)

    async def _previews(self, run: ActiveJob) -> tuple[OutputFile, ...]:
        """What a workflow shows that saves nothing: the server keeps it until it restarts."""
        entry = await self._client.history(run.prompt_id)
        return collect_outputs(entry.outputs, include_temp=True).files if entry else ()

    async def _send(self, run: ActiveJob) -> None:
        if not await self._is_at_server(run):
            if run.stop.is_set():
                raise GenerationCancelledError("Cancelled before it was sent.")
            graph = await self._graph_for_server(run)
            run.may_be_at_server = True
            try:
                given = await self._client.queue_prompt(
                    graph,
                    prompt_id=run.prompt_id,
                    extra_data={"extra_pnginfo": {"comfy_ui": _recall(run.job)}},
                )
            except ComfyUIOfflineError:  # nobody was there to hear it
                run.may_be_at_server = run.resumed
                raise
            run.job = replace(run.job, prompt_id=given)  # Comfy Cloud gives ids of its own
        await self._tell(run, status=JobStatus.SENT)

    async def _is_at_server(self, run: ActiveJob) -> bool:
        """Whether an earlier attempt, perhaps of a process that was killed, got there."""
        run.in_doubt = run.may_be_at_server
        if run.in_doubt and await self._client.has_job(run.prompt_id, timeout=_SILENCE_S):
            return True
        run.in_doubt = False
        return False

    async def _graph_for_server(self, run: ActiveJob) -> dict[str, Any]:
        """The graph, with the files that people sent for it at the server under its names."""
        names = await asyncio.to_thread(self._inputs.used_by, run.job.graph)
        run.has_uploads = bool(names)
        return with_names(run.job.graph, await self._server.give(self._inputs, names))

    async def _stop(self, run: ActiveJob) -> None:
        """See to it that a job ends which is at the server; :meth:`_send` holds back the others.

        Asked again and again: it may be on its way there. A server that cannot be asked for a
        while is given up, and the job with it: nobody should have to look at it for ever.
        """
        heard_at = time.monotonic()
        while run.busy and run.task and not run.task.done():
            try:
                if run.job.status is JobStatus.SENT:
                    await self._client.cancel(run.prompt_id, timeout=_STOP_S)
                if not run.task.done():
                    await self._client.queue()  # cancel() does not tell whether it was heard
                heard_at = time.monotonic()
            except ComfyHeadlessError as error:
                logger.info("Job %s cannot be cancelled yet: %s", run.job.id, error)
                if time.monotonic() - heard_at > _ABANDON_S:
                    run.abandoned.set()
            await asyncio.wait({run.task}, timeout=0.1)

    # News

    async def _progress(self, run: ActiveJob, progress: Progress) -> None:
        run.connected()
        if self._watch is not None and progress.phase is Phase.RECONNECTING:
            self._watch.doubt()
        await self._queue.publish(
            self._server.name, JobReport(job_id=run.job.id, progress=progress)
        )

    async def _reconnect(self, run: ActiveJob, error: ComfyHeadlessError) -> None:
        logger.info("Job %s waits for the server: %s", run.job.id, error)
        self._server.forget_inputs()
        if self._watch is not None:
            self._watch.doubt()
        report = JobReport(job_id=run.job.id, phase=Phase.RECONNECTING, error=JobError.of(error))
        await self._queue.publish(self._server.name, report)
        await run.pause()

    async def _tell(
        self, run: ActiveJob, *, status: JobStatus, outputs: Outputs | None = None
    ) -> None:
        run.job = replace(run.job, status=status)
        report = JobReport(
            job_id=run.job.id,
            status=status,
            prompt_id=run.prompt_id,
            outputs=outputs,
        )
        await self._queue.publish(self._server.name, report)


def _abandoned() -> GenerationCancelledError:
    return GenerationCancelledError(
        "ComfyUI could not be reached to stop the job.",
        hint="It may still be running if ComfyUI is.",
    )


def _recall(job: Job) -> dict[str, Any]:
    """What is written into the files themselves, so that they can be made again."""
    return {"preset": job.preset, "values": dict(job.values)}
