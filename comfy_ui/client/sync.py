"""``ComfyClient``: blocking calls, HTTP alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from ..errors import ComfyHeadlessError
from ..protocol.job import new_job
from ..protocol.outputs import OutputFile
from ..protocol.progress import Progress
from . import endpoints
from .client_options import (
    CANCEL_TIMEOUT_S,
    DEFAULT_CONCURRENCY,
    DEFAULT_PRESETS,
    FAREWELL_S,
    log_callback_error,
    prompt_id_or_new,
)
from .result import Result
from .submission import check_prompt_id
from .sync_requests import SyncServer
from .tracked_job import JobChanges, TrackedJob, no_trace
from .transport.http_transport import Breaker
from .transport.server_address import ServerAddress
from .workflow_source import WorkflowSource

SyncResult = Result[list[Path]]
SyncEvent = Progress | OutputFile | SyncResult
OnProgress = Callable[[Progress], Any]

_KEPT_JOBS = 2000


class ComfyClient(SyncServer):
    """A ComfyUI server, asked by blocking calls.

    Progress comes from polling the queue, so it knows phases and places, not steps. Safe to use
    from several threads. Use it as a context manager, or :meth:`close` it.

    Args:
        host: host name, or anything that ``url`` takes.
        port: used where the address names none.
        url: an address as people paste it; wins over ``host``. ``base_url`` is the same.
        timeout: the longest silence of the server, in seconds. Jobs may take longer.
        headers: sent with every request.
        token: a bearer token; for Comfy Cloud, the API key.
        verify: False trusts any certificate; else a PEM file, a folder of them, or an SSLContext.
        cert: client certificate: a PEM file, or (certificate, key).
        trust_env: use the proxies and the ``.netrc`` of the environment.
        guarded: for addresses that somebody else gave you. Link-local addresses and those where
            clouds keep the keys of a machine count as closed, whatever name leads there and
            whenever; not together with ``trust_env``.
        breaker: a circuit breaker; by default, with the extra ``health`` installed, the one that
            all clients of this server in this process share. False: none.
        http: carries the requests in place of a network, for tests.

    Every method raises ComfyUIConnectionError (also ComfyUIOfflineError, AuthenticationError) when
    the server does not answer as one, and ServerRejectedError when it refuses.
    """

    def _connect(
        self,
        endpoint: ServerAddress,
        breaker: Breaker | None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
    ) -> None:
        super()._connect(endpoint, breaker, http)
        self._jobs: dict[str, TrackedJob] = {}

    # -- running workflows

    def queue_prompt(
        self,
        workflow: WorkflowSource,
        *,
        prompt_id: str | None = None,
        front: bool = False,
        extra_data: Mapping[str, Any] | None = None,
        strict: bool = True,
    ) -> str:
        """Queue a workflow, exactly once, and give its prompt_id.

        Args:
            workflow: a graph (dict), a preset's id, a JSON file (path, text or bytes) in either
                format, or a picture or video that carries a workflow.
            prompt_id: a canonical lowercase UUID; made if absent.
            front: run it before all that wait.
            extra_data: goes with the job; ``{"extra_pnginfo": {…}}`` is written into its files.
            strict: when the server would leave invalid outputs out and run the rest, queue nothing
                and raise. False: run the rest, with a warning.

        Raises:
            InvalidWorkflowError: the server refuses it; ``problems`` says why, node by node
                (MissingNodesError, MissingModelsError where that is all).
        """
        ours, prompt_id = prompt_id is None, prompt_id_or_new(prompt_id)
        runnable = self._drive(self._sources.read(workflow))
        call = endpoints.submit(
            runnable.graph,
            prompt_id=prompt_id,
            # A job without one would be told to everybody.
            client_id=str(uuid4()),
            front=front,
            extra_data=runnable.extra_data(extra_data),
        )
        job = self._keep(
            TrackedJob(new_job(prompt_id, now=self._asker.clock(), graph=runnable.graph))
        )
        try:
            with self._telemetry.submitting(job, runnable.graph):
                self._drive(self._following.submit(job, call, strict=strict))
        except ComfyHeadlessError:
            self._jobs.pop(prompt_id, None)
            raise
        except KeyboardInterrupt:
            if ours:  # nobody will learn of the job
                self._drive(self._following.cancel(job, timeout_s=FAREWELL_S))
            raise
        if job.prompt_id != prompt_id:
            self._jobs[job.prompt_id] = self._jobs.pop(prompt_id, job)
        return job.prompt_id

    def wait_for_completion(
        self,
        prompt_id: str,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> SyncResult:
        """Follow a job to its end, whoever queued it.

        Args:
            prompt_id: of any job this server has, or has had.
            on_progress: called with each change; an error in it is logged, the job goes on.
            timeout: seconds to wait at most; None: as long as the server answers.

        Raises:
            GenerationTimeoutError: not finished in time; the job goes on.
            GenerationFailedError: a node raised (OutOfMemoryError: for want of memory).
            GenerationCancelledError: it was interrupted or deleted, by anyone.
            JobLostError: the server no longer knows it.
        """
        job, clock = self._job(prompt_id), self._asker.clock
        with self._telemetry.waiting(job):
            for changes in self._changes(job, timeout=timeout):
                if on_progress is not None and (progress := changes.progress(clock())):
                    try:
                        on_progress(progress)
                    except Exception as error:  # noqa: BLE001 -- see log_callback_error
                        log_callback_error(error)
            return self._result(job)

    def run(
        self,
        workflow: WorkflowSource,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> SyncResult:
        """Queue a workflow and wait for its end. A time-out leaves the job running."""
        prompt_id = self.queue_prompt(workflow)
        return self.wait_for_completion(prompt_id, on_progress=on_progress, timeout=timeout)

    def resume(
        self,
        prompt_id: str,
        workflow: WorkflowSource | None = None,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> SyncResult:
        """Take up a job after a crash of this process: follow it, wherever it is by now.

        Note the id down before queueing: ``queue_prompt(workflow, prompt_id=…)``. A job that never
        reached the server is queued now, under that id. So is one that the server has forgotten in
        a restart of its own: it then runs again. Comfy Cloud gives ids of its own: there, note down
        what ``queue_prompt`` gave, and leave ``workflow`` out.

        Args:
            prompt_id: under which it was queued, or was to be.
            workflow: what to queue if the server has no trace of it; None: nothing.
            on_progress: see :meth:`wait_for_completion`.
            timeout: see there.

        Raises:
            JobLostError: there is no trace of it, and no workflow to queue.
        """
        if not self.has_job(check_prompt_id(prompt_id)):
            if workflow is None:
                raise no_trace(prompt_id)
            prompt_id = self.queue_prompt(workflow, prompt_id=prompt_id)
        return self.wait_for_completion(prompt_id, on_progress=on_progress, timeout=timeout)

    def stream(
        self, workflow: WorkflowSource, *, timeout: float | None = None
    ) -> Iterator[SyncEvent]:
        """Queue a workflow and give what happens: Progress, OutputFile, at last the Result.

        Leaving the loop early leaves the job running.
        """
        return self.attach(self.queue_prompt(workflow), timeout=timeout)

    def attach(self, prompt_id: str, *, timeout: float | None = None) -> Iterator[SyncEvent]:
        """The same for a job that is already queued, by another process for instance."""
        job, clock = self._job(prompt_id), self._asker.clock
        with self._telemetry.waiting(job):
            for changes in self._changes(job, timeout=timeout):
                yield from changes.files()
                if progress := changes.progress(clock()):
                    yield progress
            result = self._result(job)
        yield result

    def run_batch(
        self, workflows: Iterable[WorkflowSource], *, concurrency: int = DEFAULT_CONCURRENCY
    ) -> list[SyncResult | ComfyHeadlessError]:
        """Run many workflows, ``concurrency`` of them in the server's queue at a time.

        The results are in order. Where one failed, its error stands in the place of its result.
        """
        results: dict[int, SyncResult | ComfyHeadlessError] = {}
        waiting = list(enumerate(workflows))[::-1]
        active: dict[int, tuple[TrackedJob, ExitStack]] = {}
        while waiting or active:
            while waiting and len(active) < max(1, concurrency):
                index, workflow = waiting.pop()
                try:
                    job = self._job(self.queue_prompt(workflow))
                except ComfyHeadlessError as error:
                    results[index] = error
                else:
                    wait = ExitStack()
                    wait.enter_context(self._telemetry.waiting(job))
                    active[index] = job, wait
            due = self._drive(self._following.tend([job for job, _ in active.values()]))
            settled = [index for index, (job, _) in active.items() if job.settled]
            for index in settled:
                job, wait = active.pop(index)
                try:
                    with wait:
                        results[index] = self._result(job)
                except ComfyHeadlessError as error:
                    results[index] = error
            if active and not settled:
                time.sleep(max(0.0, due - self._asker.clock()))
        return [results[index] for index in sorted(results)]

    def generate_image(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["image"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        **values: Any,
    ) -> SyncResult:
        """Run a preset with this prompt and these values (``width=``, ``seed=``, …).

        Values that are files (a Path, bytes, an open file) are uploaded; a text names a file that
        the server has.

        Raises:
            UnknownPresetError, ValidationError: no such preset; a value that does not fit it.
        """
        graph = self._drive(self._sources.generation(preset, prompt, values))
        return self.run(graph, on_progress=on_progress, timeout=timeout)

    def generate_video(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["video"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        **values: Any,
    ) -> SyncResult:
        """As :meth:`generate_image`, with a preset that makes videos."""
        graph = self._drive(self._sources.generation(preset, prompt, values))
        return self.run(graph, on_progress=on_progress, timeout=timeout)

    def generate_audio(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["audio"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        **values: Any,
    ) -> SyncResult:
        """As :meth:`generate_image`, with a preset that makes sound."""
        graph = self._drive(self._sources.generation(preset, prompt, values))
        return self.run(graph, on_progress=on_progress, timeout=timeout)

    # -- stopping

    def cancel(self, prompt_id: str, *, timeout: float = CANCEL_TIMEOUT_S) -> bool:
        """Stop this job and no other, pending or running, and see to it.

        True: it does not run to its end. False: it had ended before, or a node that cannot be
        interrupted is still at work after ``timeout`` seconds; the server has been told.
        """
        return self._drive(self._following.cancel(self._job(prompt_id), timeout_s=timeout))

    # -- following

    def _changes(self, job: TrackedJob, *, timeout: float | None) -> Iterator[JobChanges]:
        """One item for each look at the job; the last when it is settled."""
        changes, clock = JobChanges(job), self._asker.clock
        deadline = None if timeout is None else clock() + timeout
        while True:
            settled = job.settled
            yield changes
            if settled:
                return
            if deadline is not None and timeout is not None and clock() >= deadline:
                raise job.timed_out(timeout)
            due = self._drive(self._following.tend([job], deadline=deadline))
            if not job.settled:
                due = due if deadline is None else min(due, deadline)
                time.sleep(max(0.0, due - clock()))

    def _result(self, job: TrackedJob) -> SyncResult:
        self._jobs.pop(job.prompt_id, None)
        return job.result(self._save)

    def _save(self, files: Sequence[OutputFile], folder: Path) -> list[Path]:
        return self._drive(self._transfers.save(files, folder))

    def _job(self, prompt_id: str) -> TrackedJob:
        known = self._jobs.get(prompt_id)
        if known is not None:
            return known
        return TrackedJob(new_job(prompt_id, now=self._asker.clock(), accepted=True))

    def _keep(self, job: TrackedJob) -> TrackedJob:
        """Remember the graph of a job queued here, which tells what its progress means."""
        self._jobs[job.prompt_id] = job
        while len(self._jobs) > _KEPT_JOBS:
            del self._jobs[next(iter(self._jobs))]
        return job
