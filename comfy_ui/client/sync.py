"""``ComfyClient``: blocking calls, HTTP alone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from uuid import uuid4

import httpx

from ..errors import ComfyHeadlessError
from ..protocol.answers import HistoryEntry, QueueSnapshot
from ..protocol.job import new_job
from ..protocol.nodes import NodeLibrary
from ..protocol.outputs import OutputFile
from ..protocol.progress import Progress
from . import routes
from .base import (
    CANCEL_TIMEOUT_S,
    DEFAULT_CONCURRENCY,
    DEFAULT_PRESETS,
    Base,
    log_callback_error,
    prompt_id_or_new,
    target_path,
)
from .calls import Call
from .capabilities import Capabilities
from .endpoint import Endpoint
from .flows import Fetch, Flow, Pause, Work
from .jobs import Changes, Job
from .result import Result
from .sources import WorkflowSource
from .transport import Breaker, SyncTransport
from .uploads import UploadSource
from .values import JobInfo, LogLine, SystemStats, UploadedFile, UserFile

T = TypeVar("T")

SyncResult = Result[list[Path]]
SyncEvent = Progress | OutputFile | SyncResult
OnProgress = Callable[[Progress], Any]

_KEPT_JOBS = 2000


class ComfyClient(Base):
    __doc__ = f"""{Base.__doc__}
    Blocking; progress comes from polling the queue, so it knows phases and places, not steps.
    Safe to use from several threads. Use it as a context manager, or :meth:`close` it.
    """

    def _connect(
        self,
        endpoint: Endpoint,
        breaker: Breaker | None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
    ) -> None:
        http = cast("httpx.BaseTransport | None", http)
        self._transport = SyncTransport(endpoint, breaker=breaker, http=http)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._uploading = threading.Lock()

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
        prompt_id = prompt_id_or_new(prompt_id)
        runnable = self._drive(self._sources.read(workflow))
        call = routes.submit(
            runnable.graph,
            prompt_id=prompt_id,
            # A job without one would be told to everybody.
            client_id=str(uuid4()),
            front=front,
            extra_data=runnable.extra_data(extra_data),
        )
        job = self._keep(Job(new_job(prompt_id, now=self._asker.clock(), graph=runnable.graph)))
        try:
            self._drive(self._following.submit(job, call, strict=strict))
        except ComfyHeadlessError:
            self._jobs.pop(prompt_id, None)
            raise
        return prompt_id

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
        for event in self._follow(self._job(prompt_id), timeout=timeout):
            if isinstance(event, Result):
                return event
            if on_progress is not None and isinstance(event, Progress):
                try:
                    on_progress(event)
                except Exception as error:  # noqa: BLE001 -- see log_callback_error
                    log_callback_error(error)
        raise AssertionError  # a stream ends with a result or an error

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

    def stream(
        self, workflow: WorkflowSource, *, timeout: float | None = None
    ) -> Iterator[SyncEvent]:
        """Queue a workflow and give what happens: Progress, OutputFile, at last the Result.

        Leaving the loop early leaves the job running.
        """
        return self.attach(self.queue_prompt(workflow), timeout=timeout)

    def attach(self, prompt_id: str, *, timeout: float | None = None) -> Iterator[SyncEvent]:
        """The same for a job that is already queued, by another process for instance."""
        return self._follow(self._job(prompt_id), timeout=timeout)

    def run_batch(
        self, workflows: Iterable[WorkflowSource], *, concurrency: int = DEFAULT_CONCURRENCY
    ) -> list[SyncResult | ComfyHeadlessError]:
        """Run many workflows, ``concurrency`` of them in the server's queue at a time.

        The results are in order. Where one failed, its error stands in the place of its result.
        """
        results: dict[int, SyncResult | ComfyHeadlessError] = {}
        waiting = list(enumerate(workflows))[::-1]
        active: dict[int, Job] = {}
        while waiting or active:
            while waiting and len(active) < max(1, concurrency):
                index, workflow = waiting.pop()
                try:
                    active[index] = self._job(self.queue_prompt(workflow))
                except ComfyHeadlessError as error:
                    results[index] = error
            due = self._drive(self._following.tend(list(active.values())))
            settled = [index for index, job in active.items() if job.settled]
            for index in settled:
                try:
                    results[index] = self._result(active.pop(index))
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

    def interrupt(self, prompt_id: str) -> None:
        """Tell the server once to stop this job, if it is running. See :meth:`cancel`."""
        self._ask(routes.interrupt(prompt_id))

    # -- the queue and what has run

    def queue(self) -> QueueSnapshot:
        """Everybody's jobs, running and pending."""
        return self._ask(routes.queue())

    def history(self, prompt_id: str) -> HistoryEntry | None:
        """How a job ended; None when the server does not know, or not yet."""
        return self._ask(routes.history(prompt_id))

    def recent(self, *, max_items: int = 100) -> dict[str, HistoryEntry]:
        """The jobs that ended last, oldest first."""
        return self._ask(routes.recent(max_items))

    def forget(self, prompt_id: str) -> None:
        """Drop a finished job from the server's history, which it keeps in memory."""
        self._ask(routes.forget(prompt_id))

    def jobs(
        self, *, status: Iterable[routes.JobStatus] = (), limit: int = 100, offset: int = 0
    ) -> list[JobInfo]:
        """Jobs of all states, newest first. Needs a core with ``/api/jobs``."""
        return self._ask(routes.jobs(status=status, limit=limit, offset=offset))

    def job(self, prompt_id: str) -> JobInfo | None:
        """One job of any state. Needs a core with ``/api/jobs``."""
        return self._ask(routes.job(prompt_id))

    # -- files

    def upload_image(
        self,
        source: UploadSource,
        *,
        filename: str | None = None,
        subfolder: str = "",
        type: routes.Folder = "input",  # noqa: A002 -- ComfyUI's own word
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
        type: routes.Folder = "input",  # noqa: A002
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
        type: routes.Folder = "input",  # noqa: A002
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
        type: routes.Folder = "input",  # noqa: A002
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

    def object_info(self, node: str | None = None, *, fresh: bool = False) -> NodeLibrary:
        """All node classes (fetched once, then kept; ``fresh`` fetches again), or the one named."""
        if node is not None:
            return self._ask(routes.object_info(node))
        return self._drive(self._sources.library(fresh=fresh))

    def models(self, folder: str | None = None) -> list[str]:
        """Model files in a folder below ``models/``; without one, the folders."""
        return self._ask(routes.model_folders() if folder is None else routes.models(folder))

    def embeddings(self) -> list[str]:
        """Names of textual-inversion embeddings."""
        return self._ask(routes.embeddings())

    def system_stats(self) -> SystemStats:
        """Versions, devices and memory."""
        return self._ask(routes.system_stats())

    def features(self) -> dict[str, Any]:
        """What the server says it can; an open dict."""
        return self._ask(routes.features())

    def capabilities(self) -> Capabilities:
        """What the server can beyond an old core, found by asking its routes."""
        return self._drive(self._following.capabilities())

    def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Have the server free memory, as soon as no job runs."""
        self._ask(routes.free(unload_models=unload_models, free_memory=free_memory))

    def templates(self) -> dict[str, list[str]]:
        """Workflow templates that node packs bring: ``{pack: [name, …]}``."""
        return self._ask(routes.templates())

    def template(self, pack: str, name: str) -> dict[str, Any]:
        """One of them, in editor format."""
        return self._ask(routes.template(pack, name))

    def logs(self) -> list[LogLine]:
        """The last lines of the server's log."""
        return self._ask(routes.logs())

    def ping(self) -> int:
        """The number of jobs running and pending: the cheapest sign of life."""
        return self._ask(routes.ping())

    def wait_until_ready(self, *, timeout: float | None = None, every: float = 1.0) -> None:
        """Wait for a server that is still starting, asking it ``every`` second.

        Raises:
            ComfyUIConnectionError: it does not answer after ``timeout`` seconds (None: never).
        """
        self._drive(self._asker.until_answered(routes.ping(), timeout_s=timeout, every_s=every))

    # -- the user's folder on the server

    def userdata(self, folder: str = "workflows") -> list[UserFile]:
        """Files below a folder, saved workflows by default."""
        return self._ask(routes.userdata(folder))

    def read_userdata(self, path: str) -> bytes:
        """A file of the user's folder, ``workflows/mine.json`` for instance."""
        return self._ask(routes.read_userdata(path))

    def write_userdata(self, path: str, content: bytes, *, overwrite: bool = True) -> None:
        """Store a file there. ServerRejectedError (409): it exists and ``overwrite`` is off."""
        self._ask(routes.write_userdata(path, content, overwrite=overwrite))

    def delete_userdata(self, path: str) -> bool:
        """Whether there was such a file."""
        return self._ask(routes.delete_userdata(path))

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

    def _ask(self, call: Call[T]) -> T:
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

    def _do(self, step: Any) -> Any:
        match step:
            case Call():
                return self._transport.send(step)
            case Fetch(call, download):
                return self._transport.fetch(call, download)
            case Work(function):
                return function()
            case Pause(seconds):
                time.sleep(seconds)
        return None

    def _follow(self, job: Job, *, timeout: float | None) -> Iterator[SyncEvent]:
        changes, clock = Changes(job), self._asker.clock
        deadline = None if timeout is None else clock() + timeout
        while True:
            if progress := changes.progress(clock()):
                yield progress
            yield from changes.files()
            if job.settled:
                yield self._result(job)
                return
            if deadline is not None and timeout is not None and clock() >= deadline:
                raise job.timed_out(timeout)
            due = self._drive(self._following.tend([job]))
            if not job.settled:
                due = due if deadline is None else min(due, deadline)
                time.sleep(max(0.0, due - clock()))

    def _result(self, job: Job) -> SyncResult:
        self._jobs.pop(job.prompt_id, None)
        return job.result(self._save)

    def _save(self, files: Sequence[OutputFile], folder: Path) -> list[Path]:
        return self._drive(self._transfers.save(files, folder))

    def _job(self, prompt_id: str) -> Job:
        known = self._jobs.get(prompt_id)
        if known is not None:
            return known
        return Job(new_job(prompt_id, now=self._asker.clock(), accepted=True))

    def _keep(self, job: Job) -> Job:
        """Remember the graph of a job queued here, which tells what its progress means."""
        self._jobs[job.prompt_id] = job
        while len(self._jobs) > _KEPT_JOBS:
            self._jobs.popitem(last=False)
        return job
