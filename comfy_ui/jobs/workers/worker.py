"""The worker: runs jobs on one server, reports progress, and downloads the results."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Literal

from ...errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    EngineError,
    GenerationCancelledError,
    InvalidWorkflowError,
    JobLostError,
    ServerRejectedError,
    StorageError,
    is_silence,
)
from ...library.result_files import ResultFiles
from ...library.uploads import UploadStore, upload_names
from ...protocol._replace import fast_replace
from ...protocol.outputs import OutputFile, Outputs, collect_outputs
from ...protocol.progress import Phase, Progress
from ...protocol.queue_and_history import GROUP_KEY
from ...storage.records import Job, JobError, JobStatus
from ...storage.single_thread import SingleThread
from ..placement import ServerOffer
from ..queue import JobQueue, JobReport, ReturnReason
from ..spending import require_spending
from . import job_trace, stall_watch
from .active_job import ActiveJob, Flag, JobReturnedError, cancelled, wait_for_any
from .output_download import OutputDownloader
from .server import Server, with_upload_names
from .server_death import accuse, death_error
from .server_monitor import ServerMonitor
from .stall_watch import StallWatch

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 10.0
_LOOKUP_TIMEOUT_S: Final = 5.0
_CANCEL_TIMEOUT_S: Final = 5.0
_WITHDRAW_TIMEOUT_S: Final = 5.0
_ABANDON_S: Final = 8.0  # a cancelled job is given up after the server was unreachable so long
_CANCEL_INTERVAL_S: Final = 0.1
# Constant, not a Backoff: a failed write to the local disk costs little, and waiting jobs must go
# on as soon as there is room again.
_STORAGE_RETRY_S: Final = 1.0
_STARTING: Final = JobError.of(
    EngineError("ComfyUI is starting.", hint="The job runs when it has started.")
)
_STARTED: Final = frozenset({Phase.LOADING, Phase.RUNNING, Phase.SAVING})


class Worker:
    """Keeps up to ``concurrency`` jobs at one server: one runs, the others stand ready.

    A server that runs several at a time, and may refuse more, gets exactly as many.

    :meth:`run` continues until it is cancelled. Jobs then stay at the server, and the next process
    resumes them.

    ``patience_s``: how long one of several servers may be unreachable before its jobs move to
    others (see :meth:`.queue.JobQueue.return_job`). None: it is the only server.
    """

    def __init__(
        self,
        *,
        queue: JobQueue,
        server: Server,
        files: ResultFiles,
        uploads: UploadStore,
        file_thread: SingleThread,
        concurrency: int,
        limit_bytes: Callable[[str], int | None],
        find_source: Callable[[Job], Awaitable[Path | None]],
        patience_s: float | None = None,
    ) -> None:
        self._queue = queue
        self._server = server
        self._client = server.client
        self._monitor = (
            ServerMonitor(queue, server, patience_s=patience_s, own_prompt_ids=self._prompt_ids)
            if patience_s is not None
            else None
        )
        self._downloader = OutputDownloader(
            self._client,
            files,
            file_thread,
            self._reconnect,
            self._report_joining,
            on_storage_away=self._wait_for_storage,
            limit_bytes=limit_bytes,
            find_source=find_source,
        )
        self._uploads = uploads
        self._concurrency = server.parallel_jobs or concurrency
        self._active: dict[str, ActiveJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: asyncio.Task[None] | None = None  # waits for work until there is some
        self._slot_free = Flag()
        self._posting = asyncio.Lock()  # else the second of two jobs may arrive first
        self._idle_since = time.monotonic()  # when a job ended last

    async def run(self) -> None:
        """Run jobs until cancelled."""
        if self._monitor is None:
            await self._queue.announce(
                self._server.name, ServerOffer(parallel_jobs=self._server.parallel_jobs or 1)
            )
        else:
            _ = self._spawn(self._monitor.run(self._leave_server))
        _ = self._spawn(self._watch_progress())
        try:
            while True:
                try:
                    await self._claim_jobs()
                except StorageError as error:  # temporary, as on a full disk
                    logger.error("No job could be claimed: %s", error)  # noqa: TRY400 -- no bug
                    await asyncio.sleep(_STORAGE_RETRY_S)
                await self._wait_for_work()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _claim_jobs(self) -> None:
        self._slot_free.clear()
        free = self._concurrency - sum(active.busy for active in self._active.values())
        for job, handover in await self._queue.claim(self._server.name, limit=free):
            active = self._active[job.id] = ActiveJob(job, handover)
            active.task = self._spawn(self._run_job(active))
        for job_id in await self._queue.heartbeat(self._server.name):
            cancelled = self._active.get(job_id)
            if cancelled and not cancelled.stop.is_set():
                cancelled.stop.set()
                _ = self._spawn(self._cancel_at_server(cancelled))
        for job_id in await self._queue.withdrawals(self._server.name):
            if job_id in self._active:
                self._active[job_id].withdraw.set()

    async def _wait_for_work(self) -> None:
        if self._work is None:
            waiting = self._queue.wait_for_work(self._server.name, timeout_s=HEARTBEAT_S)
            self._work = self._spawn(waiting)
        # Returns at once if there was news during the last claim, which may have missed it.
        await wait_for_any(self._slot_free, task=self._work)
        if self._work.done():
            self._work = None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # One of several servers

    def _prompt_ids(self) -> set[str]:
        return {active.prompt_id for active in self._active.values()}

    def _leave_server(self) -> None:
        for active in self._active.values():
            if active.busy:  # only this server has the files of a finished job
                active.leave.set()

    async def _move_job(
        self, active: ActiveJob, reason: Literal["unheard", "refused", "unreachable"]
    ) -> None:
        """Return a job to the queue if another worker can run it.

        Raises:
            JobReturnedError: the job was returned.
        """
        if self._monitor is None or active.stop.is_set():
            return
        if reason == "unheard" and await self._monitor.check():
            return
        try:
            await self._return_job(active, reason)
        except StorageError as error:  # the job stays here
            logger.warning("Job %s: %s", active.job.id, error)

    async def _return_job(self, active: ActiveJob, reason: ReturnReason) -> None:
        if await self._queue.return_job(self._server.name, active.job.id, reason):
            raise JobReturnedError

    # One job

    async def _run_job(self, active: ActiveJob) -> None:
        """Run a claimed job and publish its last report, whatever happens."""
        traced = job_trace.recorded(active.job, self._server.name, new=not active.resumed)
        with traced as outcome:
            await self._run_to_end(active, outcome)

    async def _run_to_end(self, active: ActiveJob, record: Callable[[str], None]) -> None:
        end: JobReport | None
        try:
            end = await self._complete(active)
        except JobReturnedError:
            end = None
            record("returned")
        except Exception as error:  # a bug here must not affect other jobs or lose a result
            logger.exception("Job %s", active.job.id)
            end = JobReport(
                job_id=active.job.id, status=JobStatus.UNFETCHED, error=JobError.of(error)
            )
        try:
            if end is not None:
                record(str(end.status))
                await self._queue.publish(self._server.name, end)
        finally:
            if self._active.get(active.job.id) is active:  # it may have been claimed again
                del self._active[active.job.id]
            self._free_slot(active)

    async def _complete(self, active: ActiveJob) -> JobReport:
        """Run a job unless it ran before, then download its files; return its last report."""
        job_id = active.job.id
        outputs = active.job.outputs
        try:
            if outputs is not None and active.inherited:
                await self._downloader.require_same_server(active)
            if outputs is None:
                outputs = await self._execute(active)
                self._free_slot(active)  # the next job is claimed while this is stored
                await self._report_status(active, status=JobStatus.FETCHING, outputs=outputs)
            return await self._downloader.fetch(active, outputs)
        except GenerationCancelledError as error:
            confirmed = active.stop.is_set() and not active.abandoned.is_set()
            reason = None if confirmed else JobError.of(error)
            return JobReport(job_id=job_id, status=JobStatus.CANCELLED, error=reason)
        except JobLostError as error:
            if not error.finished:
                error = await self._recover(active, error)
            if active.stop.is_set():  # a cancelled job need not run
                return JobReport(job_id=job_id, status=JobStatus.CANCELLED)
            return JobReport(job_id=job_id, status=JobStatus.LOST, error=JobError.of(error))
        except ComfyHeadlessError as error:
            status = JobStatus.FAILED if outputs is None else JobStatus.UNFETCHED
            return JobReport(job_id=job_id, status=status, error=JobError.of(error))

    def _free_slot(self, active: ActiveJob) -> None:
        if active.busy:
            active.busy = False
            self._idle_since = time.monotonic()
        self._slot_free.set()

    async def _recover(self, active: ActiveJob, error: JobLostError) -> JobLostError:
        """Return a lost job to the queue; return the error of one that may not run again.

        Raises:
            JobReturnedError: the job was returned.
        """
        # Without a lost connection, the job was deleted at the server. It is submitted again as
        # often as after a death, so that a server that loses every job does not get it endlessly.
        deleted = active.server_lost_at is None and not active.resumed
        if not deleted and active.accused is None:
            lost = [a for a in self._active.values() if a.busy and a.may_be_at_server]
            accuse(lost, idle_since=self._idle_since)
        died = deleted or active.accused
        while not active.stop.is_set():
            try:
                await self._return_job(active, "died" if died else "lost")
            except StorageError as storage_error:  # temporary, as on a full disk
                logger.warning("Job %s: %s", active.job.id, storage_error)
                await asyncio.sleep(_STORAGE_RETRY_S)
            else:
                break
        return error if deleted else death_error(active.job.values, prompt_id=active.prompt_id)

    async def _execute(self, active: ActiveJob) -> Outputs:
        """Send the job, unless the server has it, and wait for its end.

        A job at the server is never given up because the server is unreachable: a proxy may be
        down for an hour, or a token may have changed.
        """
        while True:
            try:
                if active.job.status is JobStatus.CLAIMED:
                    if self._server.absence() is not None:
                        await self._wait_for_start(active)
                    if active.withdraw.is_set() and not active.may_be_at_server:
                        await self._give_back(active)
                    await self._send(active)
                return await self._completion(active)
            except JobLostError:
                if not active.inherited or active.stop.is_set():
                    raise
                # The server that has it is not connected. The job keeps its prompt_id, so its
                # results are found if that server is connected again.
                active.inherited = False
                active.job = fast_replace(active.job, status=JobStatus.CLAIMED)
            except InvalidWorkflowError:
                if active.may_resend_uploads():  # the server may have lost the uploads
                    self._server.forget_uploads()
                    continue
                await self._move_job(active, "refused")  # another may have the missing nodes
                raise
            except StorageError as error:
                if not error.retryable:
                    raise
                if active.withdraw.is_set():
                    await self._give_back(active)
                await self._wait_for_storage(active, error)
            except (ComfyUIConnectionError, ServerRejectedError) as error:
                if isinstance(error, ServerRejectedError) and error.is_full:
                    await self._wait_for_room(active, error)
                    continue
                if active.job.status is JobStatus.CLAIMED:
                    if not active.may_be_at_server:
                        await self._move_job(active, "unheard")
                    if not error.retryable and not active.in_doubt:
                        raise
                if active.abandoned.is_set():
                    raise _abandoned() from error
                if active.leave.is_set():
                    await self._move_job(active, "unreachable")
                await self._reconnect(active, error)

    async def _completion(self, active: ActiveJob) -> Outputs:
        """Wait until the job ends at the server, is abandoned, or moves to another server."""
        waiting = asyncio.ensure_future(
            self._client.wait_for_completion(
                active.prompt_id, on_progress=lambda progress: self._progress(active, progress)
            )
        )
        try:
            if active.job.status is JobStatus.CLAIMED:  # stored while the server works
                await self._report_status(active, status=JobStatus.SENT)
            while not waiting.done():
                await wait_for_any(active.abandoned, active.leave, active.withdraw, task=waiting)
                if waiting.done():
                    break
                if active.abandoned.is_set():
                    raise _abandoned()
                if active.leave.is_set():
                    await self._move_job(active, "unreachable")
                    active.leave.clear()  # no other worker can run it yet
                if active.withdraw.is_set():
                    await self._withdraw(active)
            result = waiting.result()
            files = result.files or await self._previews(active)
            return Outputs(tuple(files), tuple(result.texts))
        finally:
            await cancelled(waiting)

    async def _withdraw(self, active: ActiveJob) -> None:
        """Take a job back from the server's queue, unless it has started.

        Raises:
            JobReturnedError: the job waits here again.
        """
        active.withdraw.clear()
        if active.started or active.stop.is_set():
            return
        try:
            async with asyncio.timeout(_WITHDRAW_TIMEOUT_S):
                absent = await self._client.unqueue(active.prompt_id)
        except (ComfyHeadlessError, TimeoutError) as error:  # the next heartbeat tries again
            logger.info("Job %s cannot be taken back yet: %s", active.job.id, error)
            return
        if absent and not active.started:
            await self._give_back(active)

    async def _give_back(self, active: ActiveJob) -> None:
        try:
            await self._return_job(active, "withdrawn")
        except StorageError as error:  # as lost, it is returned later
            logger.warning("Job %s: %s", active.job.id, error)
            active.withdraw.clear()

    async def _previews(self, active: ActiveJob) -> tuple[OutputFile, ...]:
        """Return the preview files of a workflow that saves nothing."""
        entry = await self._client.history(active.prompt_id)
        return collect_outputs(entry.outputs, include_temp=True).files if entry else ()

    async def _send(self, active: ActiveJob) -> None:
        if not await self._is_at_server(active):
            if active.stop.is_set():
                raise GenerationCancelledError("Cancelled before it was sent.")
            await self._require_spending(active.job)
            graph = await self._graph_for_server(active)
            active.may_be_at_server, active.server_answers = True, True
            active.server_lost_at = None
            try:
                async with self._posting:
                    prompt_id = await self._client.queue_prompt(
                        graph,
                        prompt_id=active.prompt_id,
                        extra_data=_extra_data(active.job),
                        resubmit=False,  # a job that stops its server is counted
                    )
            except ComfyUIOfflineError:  # the request was not sent
                active.may_be_at_server = active.resumed or active.unanswered
                raise
            except ComfyUIConnectionError:
                active.unanswered = True
                raise
            active.sent_at = time.monotonic()
            active.job = fast_replace(active.job, prompt_id=prompt_id)  # Comfy Cloud chooses ids

    async def _require_spending(self, job: Job) -> None:
        """Check a job again that was queued while no server could name its partner nodes."""
        if not job.may_spend:
            registry = await self._server.node_registry(max_age_s=math.inf)
            require_spending(job, [registry] if registry is not None else [])

    async def _is_at_server(self, active: ActiveJob) -> bool:
        """Whether an earlier attempt, perhaps of a killed process, reached the server."""
        active.in_doubt = active.may_be_at_server
        if active.in_doubt and await self._client.has_job(
            active.prompt_id, timeout=_LOOKUP_TIMEOUT_S
        ):
            return True
        active.in_doubt = False
        if active.unanswered and active.server_lost_at is not None:
            raise JobLostError("ComfyUI stopped when it received the job.")
        return False

    async def _graph_for_server(self, active: ActiveJob) -> dict[str, Any]:
        """Send the uploads of a job; return its graph with the server's names of them."""
        names = []
        if upload_names(active.job.graph):
            names = await asyncio.to_thread(self._uploads.used_by, active.job.graph)
        active.has_uploads = bool(names)
        return with_upload_names(
            active.job.graph, await self._server.send_uploads(self._uploads, names)
        )

    async def _cancel_at_server(self, active: ActiveJob) -> None:
        """Cancel a job at the server until it ends; :meth:`_send` does not send it any more.

        The request is repeated, because the job may still be on its way to the server. If the
        server stays unreachable, the job is abandoned.
        """
        reached_at = time.monotonic()
        while active.busy and active.task and not active.task.done():
            try:
                if active.job.status is JobStatus.SENT:
                    await self._client.cancel(active.prompt_id, timeout=_CANCEL_TIMEOUT_S)
                if not active.task.done():
                    await (
                        self._client.queue()
                    )  # raises if the server is unreachable, unlike cancel()
                reached_at = time.monotonic()
            except ComfyHeadlessError as error:
                logger.info("Job %s cannot be cancelled yet: %s", active.job.id, error)
                if time.monotonic() - reached_at > _ABANDON_S:
                    active.abandoned.set()
            await asyncio.wait({active.task}, timeout=_CANCEL_INTERVAL_S)

    # Reports

    async def _watch_progress(self) -> None:
        """Report why a started job makes no progress; the next progress clears that."""
        watch = StallWatch()
        while True:
            await asyncio.sleep(stall_watch.CHECK_S)
            for active in [*self._active.values()]:
                silent_s = time.monotonic() - active.progress_at
                if not (active.busy and active.started) or silent_s < stall_watch.CHECK_S:
                    continue
                check = await self._server.look()
                trouble = watch.trouble(check, silent_s=silent_s, now=time.monotonic())
                if trouble is not None:
                    report = JobReport(job_id=active.job.id, error=trouble)
                    await self._queue.publish(self._server.name, report)

    async def _progress(self, active: ActiveJob, progress: Progress) -> None:
        active.connected()
        active.progress_at = time.monotonic()
        if progress.phase in _STARTED:
            active.started = True
        if active.started and progress.phase is Phase.QUEUED:  # not heard of it again yet
            return
        if progress.phase is not Phase.RECONNECTING:
            active.server_answers = True
        else:
            active.server_lost()
            if self._monitor is not None:
                self._monitor.request_check()
        await self._queue.publish(
            self._server.name, JobReport(job_id=active.job.id, progress=progress)
        )

    async def _report_joining(self, active: ActiveJob, fraction: float) -> None:
        text = f"Joining the videos: {fraction:.0%}"
        await self._queue.publish(
            self._server.name, JobReport(job_id=active.job.id, phase=Phase.SAVING, text=text)
        )

    async def _wait_for_start(self, active: ActiveJob) -> None:
        """Wait while the server is off on purpose; the job is the reason to start it."""
        report = JobReport(job_id=active.job.id, phase=Phase.RECONNECTING, error=_STARTING)
        await self._queue.publish(self._server.name, report)
        while not (active.stop.is_set() or active.withdraw.is_set()):
            if self._server.absence() is None:
                break
            active.connected()  # nothing was asked, so the pauses stay short
            await active.pause()
        self._server.forget_uploads()

    async def _reconnect(self, active: ActiveJob, error: ComfyHeadlessError) -> None:
        logger.info("Job %s waits for the server: %s", active.job.id, error)
        if is_silence(error):  # busy, as while it loads a model: StallWatch reports if for long
            await active.pause()
            return
        self._server.forget_uploads()
        if isinstance(error, ComfyUIOfflineError):
            active.server_lost()
        if self._monitor is not None:
            self._monitor.request_check()
        report = JobReport(job_id=active.job.id, phase=Phase.RECONNECTING, error=JobError.of(error))
        await self._queue.publish(self._server.name, report)
        await active.pause()

    async def _wait_for_room(self, active: ActiveJob, error: ServerRejectedError) -> None:
        """Wait until a server that has refused a job or a poll may accept it."""
        if active.job.status is JobStatus.CLAIMED:  # it was refused, so it is not there
            active.may_be_at_server = active.resumed or active.unanswered
            report = JobReport(job_id=active.job.id, error=JobError.of(error))
            await self._queue.publish(self._server.name, report)
        await active.pause(at_least_s=error.retry_after_s or 0.0)

    async def _wait_for_storage(self, active: ActiveJob, error: StorageError) -> None:
        """Report why the files of a job wait, then pause."""
        logger.warning("Job %s waits for the file storage: %s", active.job.id, error)
        report = JobReport(job_id=active.job.id, error=JobError.of(error))
        await self._queue.publish(self._server.name, report)
        await active.pause()

    async def _report_status(
        self, active: ActiveJob, *, status: JobStatus, outputs: Outputs | None = None
    ) -> None:
        active.job = fast_replace(active.job, status=status)
        report = JobReport(
            job_id=active.job.id,
            status=status,
            prompt_id=active.prompt_id,
            text="",  # that of the last node
            outputs=outputs,
        )
        await self._queue.publish(self._server.name, report)


def _abandoned() -> GenerationCancelledError:
    return GenerationCancelledError(
        "ComfyUI could not be reached to stop the job.",
        hint="It may still be running if ComfyUI is.",
    )


def _extra_data(job: Job) -> dict[str, Any]:
    group = {GROUP_KEY: job.group_id} if job.group_id else {}
    return {"extra_pnginfo": {"comfy_ui": _reuse_metadata(job)}, **group}


def _reuse_metadata(job: Job) -> dict[str, Any]:
    """Return the metadata that ComfyUI writes into the files, to reuse the settings."""
    return {"preset": job.preset, "values": dict(job.values)}
