"""``ComfyClient``: blocking calls to a ComfyUI server, over HTTP alone."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import httpx

from ..errors import ComfyHeadlessError
from ..protocol.durations import NodeDurations
from ..protocol.object_info import NodeRegistry
from ..protocol.outputs import OutputFile
from ..protocol.progress import Preview, Progress
from ..protocol.queue_and_history import HistoryEntry, QueueSnapshot
from . import endpoints
from .batch import BatchJob, Followed, batch_jobs, collect, ran_too_long, run_in_turn
from .callbacks import OnProgress, OnResult, call_back
from .flow_runner import run_flow
from .operations import Flow
from .parts import (
    CANCEL_TIMEOUT_S,
    CLEANUP_TIMEOUT_S,
    DEFAULT_CONCURRENCY,
    DEFAULT_PRESETS,
    ClientParts,
    check_timeout,
    choose_breaker,
    prompt_id_or_new,
)
from .response_models import (
    Blueprint,
    Capabilities,
    JobInfo,
    LogLine,
    ModelFile,
    SystemStats,
    Template,
    UploadedFile,
    UserFile,
)
from .result import Result
from .server_check import ServerCheck, check_server
from .submission import check_prompt_id
from .tracking.job_scopes import submitting, waiting
from .tracking.job_tracking import LOOK_S, note_device
from .tracking.polling_session import PollingSession
from .tracking.presence import present_jobs
from .tracking.tracked_job import TrackedJob, no_trace
from .transfer.files import MAX_FILE_BYTES, DownloadTarget
from .transfer.upload_sources import UploadSource
from .transport.circuit_breakers import CircuitBreaker
from .transport.environment import Environment, FromSettings
from .transport.http_transport import SyncTransport, checked_transport
from .transport.options import ClientOptions
from .transport.request import ApiRequest
from .transport.server_address import Certificate, Verify, make_server_address
from .workflow_source import WorkflowSource

T = TypeVar("T")
SyncResult = Result[list[Path]]
"""The result of a job of :class:`ComfyClient`."""
SyncEvent = Progress | Preview | OutputFile | SyncResult
"""An event of ``ComfyClient.stream`` and ``ComfyClient.attach``."""


class ComfyClient:
    """A blocking client of one ComfyUI server.

    Progress comes from polling the queue, so it has phases and queue positions but no steps and no
    previews; :class:`.ComfyWSClient` has those. Safe to use from several threads. Use the client as
    a context manager, or call :meth:`close`.

    Args:
        host: a host name or IP address, or anything that ``url`` accepts. Without an address, the
            first one of ``COMFYUI_URL``, else ``localhost``.
        port: the port to use if the address has none; 8188 by default.
        url: the address as pasted from a browser or a terminal: ``https://gpu.example.com/comfy/``,
            ``192.168.1.100:8188``, ``[::1]:8188``; or the base of a Comfy API v2, such as
            ``https://cloud.comfy.org/api/v2``. Takes precedence over ``host``.
        base_url: the same as ``url``.
        timeout: seconds of silence after which a request fails; None: no limit. A job may take
            longer than that. By default ``COMFY_UI_TIMEOUT_S``, else 300.
        headers: extra headers of every request.
        token: a bearer token; for Comfy Cloud, the API key. None: ``COMFYUI_TOKEN``, for the
            servers of ``COMFYUI_URL`` only; an empty one sends none.
        api_key_comfy_org: the Comfy API key that pays for partner nodes, sent only with jobs that
            have one. None: ``COMFY_UI_API_KEY_COMFY_ORG``, for the servers of ``COMFYUI_URL`` only.
        verify: how to check the server's certificate: True uses the bundled authorities, False
            accepts any certificate, a path names a PEM file or a folder of them, and an
            ``ssl.SSLContext`` is used unchanged. None: ``COMFY_UI_VERIFY_TLS``, True by default.
        cert: a client certificate: a PEM file, or the pair (certificate, key).
        trust_env: use the proxies and the ``.netrc`` of the environment.
        guarded: protect against SSRF, for addresses that come from other users. Link-local
            addresses and the metadata services of clouds are treated as closed ports, whichever
            name resolves to them. Excludes ``trust_env``.
        options: proxy, limits of connections and retries.
        breaker: a circuit breaker. By default, all clients of this process with the same address,
            credentials and proxy share one. False turns it off.
        http: an httpx transport of your own, which replaces all of the above that concerns
            connections; ``httpx.MockTransport`` in tests.
        durations: what earlier runs on this server took, for the percentage and the remaining
            time. By default the client starts with none and guesses.

    Raises:
        InvalidAddressError: the address names no host, or another kind of server.
        ValidationError: a certificate cannot be read, a value is out of its range, or ``http`` is
            not a blocking transport.

    Every method raises ComfyUIConnectionError (or its subclasses ComfyUIOfflineError and
    AuthenticationError) if there is no usable answer, and ServerRejectedError if the server refuses
    the request.

    Example::

        with ComfyClient("192.168.1.100") as client:
            client.generate_image("a lighthouse at dusk", seed=7).save("pictures")
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        url: str | None = None,
        base_url: str | None = None,
        timeout: float | FromSettings | None = FromSettings.TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        api_key_comfy_org: str | None = None,
        verify: Verify | None = None,
        cert: Certificate | None = None,
        trust_env: bool = False,
        guarded: bool = False,
        options: ClientOptions | None = None,
        breaker: CircuitBreaker | Literal[False] | None = None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        durations: NodeDurations | None = None,
    ) -> None:
        environment = Environment()
        self._server = make_server_address(
            host,
            port,
            url=url if url is not None else base_url,
            timeout=timeout,
            headers=headers,
            token=token,
            api_key_comfy_org=api_key_comfy_org,
            verify=verify,
            cert=cert,
            trust_env=trust_env,
            guarded=guarded,
            options=options,
            environment=environment,
        )
        parts = ClientParts.for_server(self._server, environment, durations)
        self._asker = parts.asker
        self._telemetry = parts.telemetry
        self._tracking = parts.tracking
        self._transfers = parts.transfers
        self._sources = parts.sources
        self._durations = parts.durations
        self._api = parts.api
        self._breaker = choose_breaker(breaker, self._server, has_network=http is None)
        self._transport = SyncTransport(
            self._server, breaker=self._breaker, http=checked_transport(http, httpx.BaseTransport)
        )
        self._uploading = threading.Lock()
        self._session = PollingSession(
            parts.asker, parts.tracking, self._drive, durations=parts.durations
        )

    @property
    def url(self) -> str:
        """The server's address, without credentials."""
        return self._server.address.base_url

    @property
    def parallel_jobs(self) -> int | None:
        """How many jobs the server runs at a time, by ``#jobs=`` at the end of its address."""
        return self._server.address.parallel_jobs

    @property
    def durations(self) -> NodeDurations:
        """How long the server's nodes took; polling alone learns nothing new."""
        return self._durations

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The circuit breaker of this client; None without one."""
        return self._breaker

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    # -- running workflows

    def queue_prompt(
        self,
        workflow: WorkflowSource,
        *,
        values: Mapping[str, Any] | None = None,
        prompt_id: str | None = None,
        front: bool = False,
        extra_data: Mapping[str, Any] | None = None,
        strict: bool = True,
        resubmit: bool = True,
    ) -> str:
        """Queue a workflow exactly once and return its prompt_id.

        A post without an answer is never simply repeated: the client looks for the job in the queue
        and the history first. If Ctrl+C interrupts the call and the prompt_id was generated, the
        client cancels the job.

        Args:
            workflow: a graph (dict), a preset's id, a JSON file (path, text or bytes) in either
                format, or an image or video that carries a workflow.
            values: the values to change in it: by the params of a preset; in any other workflow by
                a control's id (``steps``), a role (``negative``), a node, by id, title or class,
                and an input (``KSampler.seed``, ``12.text``), or an input alone (``denoise``), see
                :func:`.apply_values`. A Path, bytes, an open file, an image in memory or a URL is
                uploaded first; another str, or an OutputFile of an earlier result, names a file
                that the server has.
            prompt_id: a canonical lowercase UUID; generated by default.
            front: run the job before all that are waiting.
            extra_data: sent along with the job; ``{"extra_pnginfo": {…}}`` is written into its
                files.
            strict: True: if the server would leave out invalid outputs and run the rest, queue
                nothing and raise. False: run the rest, with a warning.
            resubmit: whether to post the job again if the server stopped before it answered and
                does not have the job, or is full (429). The job may be what stops the server.

        Raises:
            ValidationError: a value is unknown, or does not fit.
            InvalidWorkflowError: the server refuses the workflow; ``problems`` lists the reasons
                node by node (MissingNodesError, MissingModelsError if nothing else is wrong).
            JobLostError: without ``resubmit``: the server stopped when it received the job, and
                does not have it now.
            ComfyUIConnectionError: no answer, and the job could not be looked for.
        """
        generated, prompt_id = prompt_id is None, prompt_id_or_new(prompt_id)
        runnable, extra = self._drive(self._sources.for_job(workflow, values, extra_data))
        job = self._session.new_job(prompt_id, runnable)
        flow = self._tracking.submit(
            job,
            runnable,
            front=front,
            extra_data=extra,
            strict=strict,
            resubmit=resubmit,
        )
        cancel = self._cancel_briefly if generated else None
        with submitting(job, runnable, self._session, self._telemetry, cancel):
            self._drive(flow)
        return job.prompt_id

    def wait_for_completion(
        self,
        prompt_id: str,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
    ) -> SyncResult:
        """Wait for the end of a job, queued by this client or by another.

        Args:
            prompt_id: a job that this server has, or has had.
            on_progress: called with a :class:`.Progress` on each change; its ``progress`` runs from
                0 to 100 over the whole graph. An exception in it is logged, and the wait continues.
            timeout: seconds to wait at most; None: as long as the server answers.
            cancel_on_exit: cancel the job if the wait ends before it: by the time-out, Ctrl+C
                or an error.

        Raises:
            GenerationTimeoutError: not finished in time; the job keeps running.
            GenerationFailedError: a node raised (OutOfMemoryError: it ran out of memory).
            GenerationCancelledError: the job was interrupted or deleted.
            JobLostError: the server no longer has it.
        """
        check_timeout(timeout)
        if on_progress is not None:
            self._drive(self._tracking.learn_device(self._durations))
        job, clock = self._session.job(prompt_id), self._asker.clock
        with self._waiting(job, cancel_on_exit=cancel_on_exit):
            for changes in self._session.changes(job, timeout_s=timeout, cancels=cancel_on_exit):
                if on_progress is not None and (progress := changes.progress(clock())):
                    call_back("on_progress", on_progress, progress)
            return self._result(job)

    def run(
        self,
        workflow: WorkflowSource,
        *,
        values: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
    ) -> SyncResult:
        """Queue a workflow and wait for its result.

        Args:
            workflow: anything that :meth:`queue_prompt` accepts.
            values: the values to change in it, see :meth:`queue_prompt`.
            on_progress: see :meth:`wait_for_completion`.
            timeout: seconds to wait at most.
            cancel_on_exit: False: the job keeps running after a time-out or Ctrl+C. True: it is
                cancelled then.

        Raises:
            InvalidWorkflowError, ValidationError: see :meth:`queue_prompt`.
            GenerationFailedError, GenerationTimeoutError, GenerationCancelledError, JobLostError:
                see :meth:`wait_for_completion`.

        Example::

            result = client.run("exported.json", values={"steps": 8, "KSampler.seed": 7})
        """
        check_timeout(timeout)
        if on_progress is not None:
            self._drive(self._tracking.learn_device(self._durations))
        prompt_id = self.queue_prompt(workflow, values=values)
        return self.wait_for_completion(
            prompt_id, on_progress=on_progress, timeout=timeout, cancel_on_exit=cancel_on_exit
        )

    def resume(
        self,
        prompt_id: str,
        workflow: WorkflowSource | None = None,
        *,
        values: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
    ) -> SyncResult:
        """Wait for a job again after this process crashed, and queue it if it never arrived.

        Save the id before queueing: ``queue_prompt(workflow, prompt_id=…)``. A job that never
        reached the server, or that the server lost in a restart, is queued under that
        id. Comfy Cloud assigns its own ids: there, save the id that ``queue_prompt`` returned
        and leave ``workflow`` out.

        Args:
            prompt_id: the id under which the job was, or was to be, queued.
            workflow: what to queue if the server has no trace of the job; None: nothing.
            values: the values to change in ``workflow``, see :meth:`queue_prompt`.
            on_progress: see :meth:`wait_for_completion`.
            timeout: seconds to wait at most; None: as long as the server answers.
            cancel_on_exit: see :meth:`wait_for_completion`.

        Raises:
            JobLostError: there is no trace of the job and no workflow to queue.
            ValidationError: ``prompt_id`` is not a canonical lowercase UUID.
        """
        check_timeout(timeout)
        if not self._server.assigns_ids:
            check_prompt_id(prompt_id)
        if not self.has_job(prompt_id):
            if workflow is None:
                raise no_trace(prompt_id)
            prompt_id = self.queue_prompt(workflow, values=values, prompt_id=prompt_id)
        return self.wait_for_completion(
            prompt_id, on_progress=on_progress, timeout=timeout, cancel_on_exit=cancel_on_exit
        )

    def stream(
        self,
        workflow: WorkflowSource,
        *,
        values: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
    ) -> Iterator[SyncEvent]:
        """Queue a workflow and iterate over its events.

        Yields a Progress on each change, a Preview for each preview image, an OutputFile for each
        file that the server reports, and the Result at the end. The job is queued by the first
        step of the loop, and it keeps running if the loop ends early.

        Args:
            workflow: anything that :meth:`queue_prompt` accepts.
            values: the values to change in it, see :meth:`queue_prompt`.
            timeout: seconds to wait at most; None: as long as the server answers.
            cancel_on_exit: cancel the job if the loop ends before it.

        Raises:
            GenerationFailedError, GenerationTimeoutError, GenerationCancelledError, JobLostError:
                see :meth:`wait_for_completion`.

        """
        check_timeout(timeout)
        self._drive(self._tracking.learn_device(self._durations))
        prompt_id = self.queue_prompt(workflow, values=values)
        yield from self.attach(prompt_id, timeout=timeout, cancel_on_exit=cancel_on_exit)

    def attach(
        self, prompt_id: str, *, timeout: float | None = None, cancel_on_exit: bool = False
    ) -> Iterator[SyncEvent]:
        """Iterate over the events of a job that is already queued, by another process for example.

        Args:
            prompt_id: a job that this server has, or has had.
            timeout: seconds to wait at most; None: as long as the server answers.
            cancel_on_exit: cancel the job if the loop ends before it.

        Yields and raises what :meth:`stream` does.
        """
        check_timeout(timeout)
        self._drive(self._tracking.learn_device(self._durations))
        job, clock = self._session.job(prompt_id), self._asker.clock
        with self._waiting(job, cancel_on_exit=cancel_on_exit):
            for changes in self._session.changes(job, timeout_s=timeout, cancels=cancel_on_exit):
                yield from changes.events(clock(), self._read)
            result = self._result(job)
        yield result

    def run_batch(
        self,
        workflows: Iterable[WorkflowSource],
        *,
        prompt_ids: Sequence[str] | None = None,
        resume: bool = False,
        concurrency: int = DEFAULT_CONCURRENCY,
        job_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        on_result: OnResult[SyncResult] | None = None,
        cancel_on_exit: bool = False,
    ) -> list[SyncResult | ComfyHeadlessError]:
        """Run many workflows and return their results in order.

        A workflow that fails has its error in place of a result; the others still run.

        Args:
            workflows: anything that :meth:`queue_prompt` accepts.
            prompt_ids: an id for each workflow, see :meth:`queue_prompt`; generated by default.
                Save them first to be able to resume the batch after a crash.
            resume: wait for the jobs that the server has already and queue only the others, as
                :meth:`resume` does for one. Needs ``prompt_ids``.
            concurrency: how many jobs to keep in the server's queue at a time.
            job_timeout: seconds that each job may run; its time in the queue does not count. A job
                that takes longer is cancelled, so that the others go on, and has a
                GenerationTimeoutError in place of a result. None: no limit.
            on_progress: see :meth:`wait_for_completion`; ``prompt_id`` tells the jobs apart.
            on_result: called with the index of a workflow and its result or error, as soon as it
                is there. An exception in it is logged, and the batch continues.
            cancel_on_exit: cancel the jobs in the server's queue if the call is interrupted.

        Raises:
            ValidationError: ``prompt_ids`` are not one valid id for each workflow.

        Example::

            for outcome in client.run_batch([first, second]):
                if isinstance(outcome, Exception):
                    print(outcome)
                else:
                    outcome.save("pictures")
        """
        outcomes = self.as_completed(
            workflows,
            prompt_ids=prompt_ids,
            resume=resume,
            concurrency=concurrency,
            job_timeout=job_timeout,
            on_progress=on_progress,
            cancel_on_exit=cancel_on_exit,
        )
        return collect(outcomes, on_result)

    def as_completed(
        self,
        workflows: Iterable[WorkflowSource],
        *,
        prompt_ids: Sequence[str] | None = None,
        resume: bool = False,
        concurrency: int = DEFAULT_CONCURRENCY,
        job_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        cancel_on_exit: bool = False,
    ) -> Iterator[tuple[int, SyncResult | ComfyHeadlessError]]:
        """Run many workflows and iterate over their results as they arrive.

        Yields the index of a workflow with its result or error. Jobs are queued between two
        steps of the loop.

        Args:
            workflows: anything that :meth:`queue_prompt` accepts.
            prompt_ids: see :meth:`run_batch`.
            resume: see :meth:`run_batch`.
            concurrency: how many jobs to keep in the server's queue at a time.
            job_timeout: see :meth:`run_batch`.
            on_progress: see :meth:`wait_for_completion`; ``prompt_id`` tells the jobs apart.
            cancel_on_exit: cancel the jobs in the server's queue if the loop ends early.

        Raises:
            ValidationError: ``prompt_ids`` are not one valid id for each workflow.

        Example::

            for index, outcome in client.as_completed(graphs):
                if not isinstance(outcome, Exception):
                    outcome.save(f"pictures/{index}")
        """
        check_timeout(job_timeout, "job_timeout")
        jobs = batch_jobs(workflows, prompt_ids, resume=resume)
        assigns_ids = self._server.assigns_ids
        lookup = present_jobs(self._asker, prompt_ids or (), lists_history=not assigns_ids)
        present = self._drive(lookup) if resume else set()

        def start(job: BatchJob) -> Followed:
            prompt_id = job.prompt_id
            if prompt_id is None or prompt_id not in present:
                prompt_id = self.queue_prompt(job.workflow, prompt_id=prompt_id)
            tracked = self._session.job(prompt_id)
            wait = self._waiting(tracked, cancel_on_exit=cancel_on_exit)
            return Followed(tracked, wait, longest_run_s=job_timeout)

        def advance(followed: Sequence[Followed]) -> None:
            deadline = min(one.deadline for one in followed)
            self._session.poll([one.job for one in followed], deadline=deadline)
            if on_progress is not None:
                for one in followed:
                    if progress := one.changes.progress(self._asker.clock()):
                        call_back("on_progress", on_progress, progress)

        def finish(one: Followed) -> SyncResult:
            if one.longest_run_s is None or one.job.settled:
                return self._result(one.job)
            if not cancel_on_exit:  # which cancels it, too
                self._cancel_briefly(one.job)
            raise ran_too_long(one.job, one.longest_run_s)

        yield from run_in_turn(
            jobs, start, advance, finish, concurrency=concurrency, clock=self._asker.clock
        )

    def generate_image(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["image"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
        **values: Any,
    ) -> SyncResult:
        """Generate images with a preset.

        Args:
            prompt: what to draw.
            preset: a preset's id; see ``list_presets()``.
            on_progress: see :meth:`wait_for_completion`.
            timeout: seconds to wait at most; None: as long as the server answers.
            cancel_on_exit: see :meth:`wait_for_completion`.
            **values: other parameters of the preset: ``width=``, ``height=`` (pixels), ``seed=``,
                ``steps=`` and so on; ``loras=[("ink", 0.8)]``; ``controlnets=[{"type": "canny",
                "image": "room.png"}]`` and ``references=["moss.png"]``;
                files as in :meth:`queue_prompt`.

        Raises:
            UnknownPresetError: there is no such preset.
            ValidationError: a value does not fit its parameter.
            MissingModelsError, MissingNodesError: the server lacks something; the error says where
                to get it.

        Example::

            result = client.generate_image("a red fox", width=1024, height=1024, seed=7)
            result.save("pictures")
        """
        return self.run(
            preset,
            values={"prompt": prompt, **values},
            on_progress=on_progress,
            timeout=timeout,
            cancel_on_exit=cancel_on_exit,
        )

    def generate_video(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["video"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
        **values: Any,
    ) -> SyncResult:
        """Generate a video with a preset.

        Args:
            prompt: what to show.
            preset: a preset's id; see ``list_video_presets()``.
            on_progress: see :meth:`wait_for_completion`.
            timeout: seconds to wait at most; None: as long as the server answers.
            cancel_on_exit: see :meth:`wait_for_completion`.
            **values: other parameters of the preset: ``width=``, ``height=`` (pixels), ``frames=``,
                ``fps=`` and so on; files as in :meth:`queue_prompt`.

        Raises:
            UnknownPresetError, ValidationError, MissingModelsError, MissingNodesError: see
                :meth:`generate_image`.
        """
        return self.run(
            preset,
            values={"prompt": prompt, **values},
            on_progress=on_progress,
            timeout=timeout,
            cancel_on_exit=cancel_on_exit,
        )

    def generate_audio(
        self,
        prompt: str,
        *,
        preset: str = DEFAULT_PRESETS["audio"],
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
        **values: Any,
    ) -> SyncResult:
        """Generate music or sound with a preset.

        Args:
            prompt: what to play.
            preset: the id of a preset that produces audio; see ``list_presets()``.
            on_progress: see :meth:`wait_for_completion`.
            timeout: seconds to wait at most; None: as long as the server answers.
            cancel_on_exit: see :meth:`wait_for_completion`.
            **values: other parameters of the preset; files as in :meth:`queue_prompt`.

        Raises:
            UnknownPresetError, ValidationError, MissingModelsError, MissingNodesError: see
                :meth:`generate_image`.
        """
        return self.run(
            preset,
            values={"prompt": prompt, **values},
            on_progress=on_progress,
            timeout=timeout,
            cancel_on_exit=cancel_on_exit,
        )

    # -- stopping

    def cancel(self, prompt_id: str, *, timeout: float | None = CANCEL_TIMEOUT_S) -> bool:
        """Stop a job, pending or running, and wait until it has stopped. Affects no other job.

        Args:
            prompt_id: the job to stop.
            timeout: seconds to wait for it to stop; None: no limit.

        Returns:
            True if the job does not run to its end. False if it had already ended, or if a node
            that cannot be interrupted is still running after ``timeout`` seconds; it stops after
            that node.
        """
        check_timeout(timeout)
        timeout_s = math.inf if timeout is None else timeout
        return self._drive(self._tracking.cancel(self._session.job(prompt_id), timeout_s=timeout_s))

    def unqueue(self, prompt_id: str) -> bool:
        """Remove a pending job from the server's queue; a running one is not affected.

        Args:
            prompt_id: the job.

        Returns:
            True if the server does not have the job any more. False if it has started, or has
            ended already.
        """
        return self._drive(self._tracking.unqueue(prompt_id))

    def interrupt(self, prompt_id: str) -> None:
        """Send one interrupt for a running job, without waiting; prefer :meth:`cancel`.

        A pending job is not affected. Comfy Cloud stops all running jobs of the account.
        """
        self._ask(endpoints.interrupt(prompt_id))

    # -- the queue and the history

    def queue(self) -> QueueSnapshot:
        """Return the prompt_ids of all jobs, running and pending, of all clients.

        Example::

            snapshot = client.queue()
            print(len(snapshot.running), len(snapshot.pending))
        """
        return self._ask(endpoints.queue())

    def history(self, prompt_id: str) -> HistoryEntry | None:
        """Return how a job ended; None if it is unknown, or has not ended.

        Args:
            prompt_id: the job.
        """
        return self._ask(endpoints.history(prompt_id))

    def recent(self, *, max_items: int = 100) -> dict[str, HistoryEntry]:
        """Return the jobs that ended last, by prompt_id, oldest first.

        Args:
            max_items: how many at most.
        """
        return self._ask(endpoints.recent(max_items))

    def forget(self, prompt_id: str) -> None:
        """Remove a finished job from the server's history, which is kept in memory.

        Its files stay on the server. An unknown id is not an error.
        """
        self._ask(endpoints.forget(prompt_id))

    def jobs(
        self, *, status: Iterable[endpoints.JobStatus] = (), limit: int = 100, offset: int = 0
    ) -> list[JobInfo]:
        """Return jobs of all states, newest first.

        Needs a ComfyUI with ``/api/jobs`` (about 0.30); see :meth:`capabilities`.

        Args:
            status: only jobs of these states: ``pending``, ``in_progress``, ``completed``,
                ``failed``, ``cancelled``; none: all.
            limit: how many at most.
            offset: how many to skip.

        Raises:
            ServerRejectedError: 404, the server has no such route.
        """
        return self._ask(endpoints.jobs(status=status, limit=limit, offset=offset))

    def job(self, prompt_id: str) -> JobInfo | None:
        """Return one job of any state; None if it is unknown, or the server has no ``/api/jobs``.

        Args:
            prompt_id: the job.
        """
        return self._ask(endpoints.job(prompt_id))

    def has_job(self, prompt_id: str, *, timeout: float | None = LOOK_S) -> bool:
        """Check whether the server has, or has had and not forgotten, a job.

        Made for a job that may not have reached the server. The client looks twice, two seconds
        apart, because the post may still be on its way; only then does it return False. Works with
        every version of ComfyUI.

        Args:
            prompt_id: the id under which it was, or was to be, queued.
            timeout: seconds that the server may take for each answer, at most the client's own
                ``timeout``, which None stands for.

        Raises:
            ComfyUIConnectionError, ServerRejectedError: the server gave no answer.
        """
        check_timeout(timeout)
        silence_s = math.inf if timeout is None else timeout
        return self._drive(self._tracking.has(prompt_id, silence_s=silence_s))

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
        """Upload an image and return a value for LoadImage's ``image`` input.

        The same bytes under the same name are uploaded once per client. The server picks another
        name if other bytes have this one.

        Args:
            source: a path, URL, bytes, open file or image in memory, see :data:`.UploadSource`.
            filename: the name on the server; by default the file's own, or one derived from its
                bytes.
            subfolder: a folder below the one that ``type`` names.
            type: ``input``, ``temp`` or ``output``.
            overwrite: replace another file of that name.

        Raises:
            ValidationError: the file cannot be read, or is empty.

        Example::

            photo = client.upload_image("photo.jpg")
            graph["10"]["inputs"]["image"] = photo
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
        """Upload a sound file and return a value for LoadAudio's ``audio`` input.

        Args:
            source: a path, URL, bytes, open file or image in memory, see :data:`.UploadSource`.
            filename: the name on the server; by default the file's own.
            subfolder: a folder below the one that ``type`` names.
            type: ``input``, ``temp`` or ``output``.
            overwrite: replace another file of that name.

        Raises:
            ValidationError: the file cannot be read, or is empty.
        """
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
        """Upload a video and return a value for LoadVideo's ``file`` input.

        Files are read in pieces, so a large video costs little memory.

        Args:
            source: a path, URL, bytes, open file or image in memory, see :data:`.UploadSource`.
            filename: the name on the server; by default the file's own.
            subfolder: a folder below the one that ``type`` names.
            type: ``input``, ``temp`` or ``output``.
            overwrite: replace another file of that name.

        Raises:
            ValidationError: the file cannot be read, or is empty.
        """
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
        """Upload a mask for an image that the server has.

        The server stores a copy of ``original`` with the alpha channel of ``source``.

        Args:
            source: an image of the same size as ``original``, with an alpha channel.
            original: a file from a result or an upload.
            filename: the name on the server; by default the file's own.
            subfolder: a folder below the one that ``type`` names.
            type: ``input``, ``temp`` or ``output``.

        Raises:
            OutputMissingError: the server wrote nothing, because it does not have the original.
            ValidationError: the file cannot be read, or is empty.
        """
        return self._drive(
            self._transfers.upload_mask(
                source, original, filename=filename, subfolder=subfolder, type=type
            )
        )

    @overload
    def download(
        self,
        file: OutputFile | UploadedFile,
        to: None = None,
        *,
        max_bytes: int = ...,
    ) -> bytes: ...

    @overload
    def download(
        self,
        file: OutputFile | UploadedFile,
        to: str | Path,
        *,
        max_bytes: int = ...,
    ) -> Path: ...

    def download(
        self,
        file: OutputFile | UploadedFile,
        to: str | Path | None = None,
        *,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> bytes | Path:
        """Download a file, byte for byte as the server has it.

        A transfer that is cut off resumes where it broke, and the length is checked.

        Args:
            file: a file from a result or an upload.
            to: None returns the bytes. A folder: store the file there under its own name. Any
                other path: store it exactly there, replacing what exists.
            max_bytes: the largest file.

        Returns:
            The bytes, or the path of the stored file.

        Raises:
            ComfyUIConnectionError: the file is larger, or did not arrive.
            OutputMissingError: the server does not have the file, or no longer.
            StorageError: the file cannot be written.
        """
        return self._drive(self._transfers.download(file, to, max_bytes))

    def receive(self, file: OutputFile | UploadedFile, target: DownloadTarget) -> None:
        """Download a file into a target, for programs that store it themselves.

        Nothing is written to the disk until then, unless the file is large: the program calls
        its ``finish()`` or ``move_to()`` in the thread where it also hashes or reads the file.

        Args:
            file: a file from a result or an upload.
            target: takes the file; call its ``discard()`` if this raises.

        Raises:
            ComfyUIConnectionError: the file is larger than the target's limit, or did not arrive.
            OutputMissingError: the server does not have the file, or no longer.
            StorageError: the file cannot be written.
        """
        self._drive(self._transfers.receive(file, target))

    # -- what the server has

    def object_info(self, node: str | None = None, *, fresh: bool = False) -> NodeRegistry:
        """Return the server's node classes with their inputs and outputs.

        Args:
            node: the class to return; None: all of them. An unknown class gives an empty registry.
            fresh: fetch all classes again instead of using those fetched before.
        """
        return self._drive(self._sources.object_info(node, fresh=fresh))

    def model_paths(self) -> dict[str, list[str]]:
        """Return where the server looks for model files: for each folder, paths on its machine.

        Raises:
            ServerRejectedError: the server is too old to say.
        """
        return self._ask(endpoints.model_paths())

    def models(self, folder: str | None = None) -> list[str]:
        """Return the model files in a folder below ``models/``.

        Args:
            folder: ``checkpoints``, ``loras`` and so on; None: return the names of the folders.

        Raises:
            ServerRejectedError: 404, there is no such folder.

        Example::

            client.models("loras")  # ["detail.safetensors", "style/ink.safetensors"]
        """
        return self._ask(endpoints.models(folder))

    def model_files(self, folder: str) -> list[ModelFile]:
        """Return the files of a folder below ``models/`` with size and time.

        Raises:
            ServerRejectedError: there is no such folder, or the server is too old to list it.
        """
        return self._ask(endpoints.model_files(folder))

    def model_metadata(self, folder: str, filename: str) -> dict[str, Any]:
        """Return the metadata that training scripts write into a ``.safetensors`` file.

        For a LoRA these are, for instance, ``ss_base_model_version`` and ``modelspec.title``. Empty
        if there are none.

        Args:
            folder: ``loras``, ``checkpoints`` and so on.
            filename: as :meth:`models` lists it.
        """
        return self._ask(endpoints.model_metadata(folder, filename))

    def model_preview(self, folder: str, filename: str, *, path_index: int = 0) -> bytes | None:
        """Return the picture beside a model file, as WebP; None if there is none.

        Args:
            folder: ``loras``, ``checkpoints`` and so on.
            filename: as :meth:`models` lists it.
            path_index: :attr:`ModelFile.path_index`, for servers with several paths of a folder.
        """
        return self._ask(endpoints.model_preview(folder, filename, path_index))

    def embeddings(self) -> list[str]:
        """Return the names of the textual-inversion embeddings, without their suffixes."""
        return self._ask(endpoints.embeddings())

    def system_stats(self) -> SystemStats:
        """Return versions, devices and memory (in bytes)."""
        return self._ask(endpoints.system_stats())

    def features(self) -> dict[str, Any]:
        """Return the feature flags that the server announces, unchecked."""
        return self._ask(endpoints.features())

    def capabilities(self) -> Capabilities:
        """Find out which newer routes the server has, by asking each. Changes nothing there.

        Raises:
            AuthenticationError: the server requires a login, so a route's absence is not certain.
        """
        return self._drive(self._tracking.capabilities())

    def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Ask the server to free memory. It does so as soon as no job is running.

        Args:
            unload_models: remove the models from the GPU's memory.
            free_memory: drop the results of nodes that are cached, too.
        """
        self._ask(endpoints.free(unload_models=unload_models, free_memory=free_memory))

    def templates(self) -> dict[str, list[str]]:
        """Return the names of the workflow templates that node packs bring, by pack."""
        return self._ask(endpoints.templates())

    def template(self, pack: str, name: str) -> dict[str, Any]:
        """Return a template of a node pack, in editor format.

        Args:
            pack: the node pack's name, a key of :meth:`templates`.
            name: the template's name.

        Raises:
            ServerRejectedError: 404, there is no such template.
        """
        return self._ask(endpoints.template(pack, name))

    def official_templates(self) -> list[Template]:
        """Return the workflow templates that come with ComfyUI; empty if they are not installed."""
        return self._ask(endpoints.official_templates())

    def official_template(self, name: str) -> dict[str, Any]:
        """Return a template that comes with ComfyUI, in editor format.

        Args:
            name: the ``name`` of an entry of :meth:`official_templates`.

        Raises:
            ServerRejectedError: 404, there is no such template.
        """
        return self._ask(endpoints.official_template(name))

    def blueprints(self) -> list[Blueprint]:
        """Return the subgraph blueprints that ComfyUI and its node packs offer, by name."""
        return self._ask(endpoints.blueprints())

    def blueprint(self, blueprint_id: str) -> dict[str, Any]:
        """Return a subgraph blueprint in editor format.

        Args:
            blueprint_id: the ``id`` of an entry of :meth:`blueprints`.

        Raises:
            ServerRejectedError: there is no such blueprint.
        """
        return self._ask(endpoints.blueprint(blueprint_id))

    def logs(self) -> list[LogLine]:
        """Return the last lines of the server's log, oldest first, without terminal colors."""
        return self._ask(endpoints.logs())

    def ping(self) -> int:
        """Return the number of running and pending jobs: the cheapest request there is."""
        return self._ask(endpoints.ping())

    def look(self) -> ServerCheck:
        """Check the server's state and queue. Raises nothing: an error is part of the answer.

        Made for monitoring; :class:`.ComfyHealth` builds its report on it.
        """
        check = self._drive(check_server(self._asker))
        if check.stats is not None:
            note_device(check.stats, self._durations)
        return check

    def wait_until_ready(self, *, timeout: float | None = None, every: float = 1.0) -> None:
        """Wait until a server that is starting answers.

        Args:
            timeout: seconds to wait at most; None: no limit.
            every: seconds between two attempts.

        Raises:
            ComfyUIConnectionError: no answer after ``timeout`` seconds. Raised at once if waiting
                cannot help, because of a login or a certificate.
        """
        self._drive(self._asker.until_answered(endpoints.ping(), timeout_s=timeout, every_s=every))

    # -- the user's folder on the server

    def userdata(self, folder: str = "workflows") -> list[UserFile]:
        """Return the files below a folder of the user's data, recursively.

        Args:
            folder: saved workflows by default. An absent folder has no files.
        """
        return self._ask(endpoints.userdata(folder))

    def read_userdata(self, path: str) -> bytes:
        """Return the bytes of a file of the user's data.

        Args:
            path: ``workflows/mine.json``, for example.

        Raises:
            ServerRejectedError: 404, there is no such file.
        """
        return self._ask(endpoints.read_userdata(path))

    def write_userdata(self, path: str, content: bytes, *, overwrite: bool = True) -> None:
        """Store a file in the user's data.

        Args:
            path: ``workflows/mine.json``, for example.
            content: its bytes.
            overwrite: replace a file that exists.

        Raises:
            ServerRejectedError: 409, the file exists and ``overwrite`` is False.
        """
        self._ask(endpoints.write_userdata(path, content, overwrite=overwrite))

    def delete_userdata(self, path: str) -> bool:
        """Delete a file of the user's data.

        Args:
            path: ``workflows/mine.json``, for example.

        Returns:
            Whether the file existed.
        """
        return self._ask(endpoints.delete_userdata(path))

    # -- life cycle

    def close(self) -> None:
        """Close all connections. Jobs keep running on the server.

        A closed client raises ComfyUIConnectionError on every call.
        """
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

    # -- tracking

    def _cancel_briefly(self, job: TrackedJob) -> None:
        self._drive(self._tracking.cancel(job, timeout_s=CLEANUP_TIMEOUT_S))

    def _waiting(self, job: TrackedJob, *, cancel_on_exit: bool) -> AbstractContextManager[None]:
        return waiting(job, self._telemetry, self._cancel_briefly if cancel_on_exit else None)

    def _result(self, job: TrackedJob) -> SyncResult:
        self._session.drop(job)
        return job.result(self._save, self._read)

    def _read(self, file: OutputFile) -> bytes:
        return self.download(file)

    def _save(self, files: Sequence[OutputFile], folder: Path) -> list[Path]:
        return self._drive(self._transfers.save(files, folder))

    # -- running flows

    def _ask(self, call: ApiRequest[T]) -> T:
        return self._drive(self._asker.ask(call))

    def _drive(self, flow: Flow[T]) -> T:
        return run_flow(self._api.carry(flow), self._transport)
