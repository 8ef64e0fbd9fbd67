"""A pool of worker processes, started on first use.

A thread cannot be ended, and a hostile file could hold it for minutes. A worker process has limits
for CPU time and memory, and is killed when its caller is cancelled or the app stops. It is reused.

``anyio.to_process`` is not used: it runs the app's main module again in each worker, which fails
for ``python -m comfy_ui``, leaves a process behind that is cancelled while it starts, and does not
say how a process ended.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from ..errors import ComfyHeadlessError, WorkLimitError
from ..user_turns import UserTurns
from .worker_main import Limits, serve

__all__ = [
    "DECODING_VIDEO",
    "ENCODING_VIDEO",
    "LIBRARY_WORKERS",
    "VIDEO_WORKERS",
    "WORKERS",
    "Limits",
    "WorkerProcesses",
    "work_limited_to",
]

T = TypeVar("T")

_SERVE: Final = f"from {serve.__module__} import serve; serve()"
_SECRET: Final = re.compile("TOKEN|KEY|PASS|SECRET|AUTH", re.IGNORECASE)

_USUAL: Final = Limits()
DECODING_VIDEO: Final = Limits(cpu_s=60, wall_s=120.0)
ENCODING_VIDEO: Final = Limits(cpu_s=900, wall_s=1800.0)
"""A minute of HD video."""


class _Allowance:
    """The limits of the calls of one request, until it ends: tasks that it started may go on."""

    __slots__ = ("limits",)

    def __init__(self, limits: Limits | None) -> None:
        self.limits: Limits | None = limits


_ALLOWANCE: Final = ContextVar[_Allowance | None]("limits of a request's work", default=None)


@contextlib.contextmanager
def work_limited_to(limits: Limits) -> Iterator[None]:
    """Lower the limits of all calls in the ``with`` block, and of those in tasks it starts."""
    allowance = _Allowance(limits)
    token = _ALLOWANCE.set(allowance)
    try:
        yield
    finally:
        allowance.limits = None
        _ALLOWANCE.reset(token)


class WorkerProcesses:
    """A small pool of worker processes.

    Args:
        most: the maximum number of processes; by default two, or three with more cores.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most or min(max(os.cpu_count() or 1, 2), 3)
        self._threads = ThreadPoolExecutor(self._most, thread_name_prefix="worker process")
        self._places = threading.BoundedSemaphore(self._most)
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._calls: set[_WorkerCall] = set()
        self._turns = UserTurns()

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        user_id: str = "",
        limits: Limits = _USUAL,
        on_progress: Callable[[float], None] | None = None,
    ) -> T:
        """Call ``function`` in a worker process and return its result.

        Cancelling kills the process. Function, arguments, result and exceptions are pickled, so
        the function belongs into a module that does not import Gradio.

        Args:
            user_id: calls of the same user run one after the other; empty for no user.
            limits: of this call; those of :func:`work_limited_to` count, too.
            on_progress: called in the event loop with what ``report_progress`` receives.

        Raises:
            WorkLimitError: the call exceeded its limits, or the process crashed.
        """
        if (allowance := _ALLOWANCE.get()) is not None and allowance.limits is not None:
            limits = limits.within(allowance.limits)
        loop = asyncio.get_running_loop()

        def report(fraction: float) -> None:
            if on_progress is not None:
                loop.call_soon_threadsafe(on_progress, fraction)

        async with self._turns.of(user_id):
            call = _WorkerCall(function, arguments, limits, report)
            future = self._threads.submit(self._answer, call)
            try:
                result: T = await asyncio.wrap_future(future)
                return result
            except asyncio.CancelledError:
                call.kill()
                raise

    def call(self, function: Callable[..., T], *arguments: Any, limits: Limits = _USUAL) -> T:
        """Call ``function`` in a worker process and wait for its result, in a thread of the caller.

        Raises:
            WorkLimitError: as :meth:`run`.
        """
        result: T = self._answer(_WorkerCall(function, arguments, limits))
        return result

    def close(self) -> None:
        """Kill all processes. A later call starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
            calls = [*self._calls]
        for call in calls:
            call.kill()
        for process in idle:
            process.close()

    def _answer(self, call: _WorkerCall) -> Any:
        with self._places:
            succeeded, result = self._reply(call)
        if not succeeded:
            raise result
        return result

    def _reply(self, call: _WorkerCall) -> tuple[bool, Any]:
        with self._lock:
            process = self._idle.pop() if self._idle else None
            self._calls.add(call)
        answered = False
        try:
            if process is None or not process.alive:
                if process is not None:
                    process.close()
                process = _Process()
            reply = call.answer(process)
            answered = True
        finally:
            with self._lock:
                self._calls.discard(call)
                if reusable := answered and not call.killed and process is not None:
                    self._idle.append(process)
            if not reusable and process is not None:
                process.close()
        return reply


class _WorkerCall:
    """One call, which another thread may kill."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        limits: Limits,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._request = function, arguments, limits
        self._on_progress = on_progress
        self._wall_s = limits.wall_s
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self.killed = False

    def answer(self, process: _Process) -> tuple[bool, Any]:
        with self._lock:
            if self.killed:
                raise _stopped()
            self._process = process
        try:
            with _killed_after(process, self._wall_s):
                return process.ask(self._request, self._on_progress)
        except (OSError, EOFError, pickle.UnpicklingError) as error:  # the process has ended
            if self.killed:
                raise _stopped() from error
            process.kill()
            raise WorkLimitError(
                "This takes too long or too much memory.", hint="Use a smaller file or workflow."
            ) from error
        finally:
            with self._lock:
                self._process = None

    def kill(self) -> None:
        with self._lock:
            self.killed = True
            if self._process is not None:
                self._process.kill()


@contextlib.contextmanager
def _killed_after(process: _Process, wall_s: float) -> Iterator[None]:
    """Kill a process that does not answer in time, where it cannot set an alarm itself."""
    if sys.platform != "win32":  # serve() sets one: a thread would cost as much as the call
        yield
        return
    timer = threading.Timer(wall_s, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Process:
    """A process that answers one request after the other."""

    def __init__(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not _SECRET.search(k)}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = "1"
        self._popen = subprocess.Popen(  # noqa: S603 -- our own code
            [sys.executable, "-P", "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl+C is for the app, which then ends its workers
        )

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def ask(
        self, request: tuple[Any, ...], on_progress: Callable[[float], None]
    ) -> tuple[bool, Any]:
        requests, replies = self._popen.stdin, self._popen.stdout
        assert requests is not None  # noqa: S101 -- both are pipes
        assert replies is not None  # noqa: S101
        pickle.dump(request, requests, protocol=5)
        requests.flush()
        while isinstance(reply := pickle.load(replies), float):  # noqa: S301 -- written by serve()
            on_progress(reply)
        succeeded, result = reply
        return succeeded, result

    def kill(self) -> None:
        self._popen.kill()

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a request that was not sent completely
                    pipe.close()


def _stopped() -> ComfyHeadlessError:
    return ComfyHeadlessError("This was stopped.", retryable=True)


WORKERS: Final = WorkerProcesses()
"""The worker processes for users' files and workflows."""
LIBRARY_WORKERS: Final = WorkerProcesses(1)
"""The process for results, of its own: users' files must not delay the results of others."""
VIDEO_WORKERS: Final = WorkerProcesses(1)
"""The process that encodes videos, for minutes: one after the other, as each uses all cores."""
atexit.register(WORKERS.close)
atexit.register(VIDEO_WORKERS.close)
atexit.register(LIBRARY_WORKERS.close)
