"""Start and stop the demo engine: a socket, an event loop in a thread, and an :class:`Engine`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

from ..errors import ComfyHeadlessError, ValidationError
from .engine import Core, Engine
from .engine_folders import Folders
from .fault_switches import Faults
from .http.routes import build_app

Speed = Literal["instant"] | float
START_TIMEOUT_S = 30.0
MAX_UPLOAD_BYTES = 100 * 1024 * 1024


class DemoServer:
    """The demo engine on a port of this machine.

    It runs in its own thread, so the same object serves sync and async code::

        async with DemoServer(speed="instant") as server: ...
        with DemoServer(speed="instant").in_thread() as server: ...

    Args:
        port: 0 picks a free one; once started, :attr:`port` and :attr:`url` have the actual one.
        speed: sampler steps per second, or ``"instant"``, which also paints large images smaller
            and enlarges them.
        folder: holds ``input/``, ``output/`` and ``temp/``. By default a temporary folder that
            is removed when the server stops.
        core: ``"0.3.64"`` hides the features of newer cores (``/api/jobs``, UUIDs only, …).
        max_upload_bytes: larger bodies are answered 413.
        faults: deliberate failures, see :class:`Faults`; may be replaced while running.

    Raises:
        ComfyHeadlessError: on start, if the port is taken.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        speed: Speed = "instant",
        folder: Path | str | None = None,
        core: Core = "0.33.0",
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
        faults: Faults | None = None,
    ) -> None:
        if speed != "instant" and not speed > 0:
            raise ValidationError(
                f"The speed {speed!r} is not valid.",
                hint="Use 'instant' or a number of steps per second, for instance 8.",
            )
        self.host = host
        self.port = port
        self._speed = speed
        self._folder = Path(folder) if folder is not None else None
        self._temporary: Path | None = None
        self._core: Core = core
        self._max_upload_bytes = max_upload_bytes
        self._faults = faults or Faults()
        self._life: _Life | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def folder(self) -> Path:
        """The folder of its files while it runs."""
        return self.engine.folders.root

    @property
    def engine(self) -> Engine:
        """The running engine, for white-box tests.

        Raises:
            ComfyHeadlessError: it is not running.
        """
        if self._life is None:
            raise ComfyHeadlessError("The demo engine is not running.", hint="Start it first.")
        return self._life.engine

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        if self._life is not None:
            self._life.engine.faults = faults

    # -- life cycle

    def start(self) -> None:
        """Start listening; returns once requests are answered."""
        if self._life is not None:
            return
        if self._folder is None and self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="comfy-ui-demo-"))
        folders = Folders(self._folder or self._temporary or Path())
        folders.clear_temp()
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._life = _Life(
            listener,
            folders=folders,
            step_s=0.0 if self._speed == "instant" else 1.0 / float(self._speed),
            core=self._core,
            faults=self._faults,
            max_upload_bytes=self._max_upload_bytes,
        )
        self._life.begin()

    def stop(self) -> None:
        """Stop, close connections cleanly and remove the temporary folder."""
        self._end(abruptly=False)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def kill(self) -> None:
        """Stop as a crash would: connections break, queue and history are lost."""
        self._end(abruptly=True)

    def restart_now(self, *, keep_queue: bool = False, keep_history: bool = False) -> None:
        """Kill and start again on the same port, with the same files but an empty temp/."""
        saved = self.engine.queue.saved()
        self.kill()
        self.start()
        self.engine.queue.restore(saved, queue=keep_queue, history=keep_history)

    async def restart(self, *, keep_queue: bool = False, keep_history: bool = False) -> None:
        """Restart without blocking the event loop; see :meth:`restart_now`."""
        await asyncio.to_thread(self.restart_now, keep_queue=keep_queue, keep_history=keep_history)

    def _end(self, *, abruptly: bool) -> None:
        life, self._life = self._life, None
        if life is not None:
            life.end(abruptly=abruptly)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # asyncio sets TCP_NODELAY only on sockets created with the protocol's number. Without it,
        # each small message may wait 40 ms for an acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise ComfyHeadlessError(
                f"Port {self.port} of {self.host} cannot be used: {error.strerror}.",
                hint="Another program may be using it; choose another port.",
            ) from error
        return listener

    def in_thread(self) -> Self:
        """Return itself, for ``with`` in sync code. It always runs in a thread."""
        return self

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)


async def stop_accepting(*servers: asyncio.Server) -> None:
    """Close listening servers without losing a connection that is being accepted.

    On Python 3.11, asyncio forgets the socket of a connection that arrives while the server closes.
    """
    for server in servers:
        for listener in server.sockets:
            server.get_loop().remove_reader(listener)
    for _ in range(3):  # turns of the loop: accepted, got a transport, handed to the protocol
        await asyncio.sleep(0)
    for server in servers:
        server.close()


class _Life:
    """One run of the server, from start to stop."""

    def __init__(self, listener: socket.socket, *, max_upload_bytes: int, **options: Any) -> None:
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        # aiohttp reads files in it; named, so that its threads are known as the engine's
        self._loop.set_default_executor(ThreadPoolExecutor(4, thread_name_prefix="demo-server"))
        self.engine = Engine(loop=self._loop, **options)
        self._runner = web.AppRunner(
            build_app(self.engine, max_upload_bytes=max_upload_bytes),
            access_log=None,
            keepalive_timeout=75,  # aiohttp's own default, with which ComfyUI serves
            shutdown_timeout=1,
        )
        self._started = threading.Event()
        self._ending = asyncio.Event()
        self._abruptly = False
        self._thread = threading.Thread(target=self._run, name="demo-server", daemon=True)

    def begin(self) -> None:
        self.engine.start()
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S) or not self._thread.is_alive():
            self.end(abruptly=True)
            raise ComfyHeadlessError("The demo engine did not start.")

    def end(self, *, abruptly: bool) -> None:
        self._abruptly = abruptly
        with contextlib.suppress(RuntimeError):  # the loop may have ended on its own
            if abruptly:  # before the engine stops: a crash does not report the interrupted job
                self._loop.call_soon_threadsafe(self._abort_connections)
            self._loop.call_soon_threadsafe(self._ending.set)
        self.engine.stop()
        self._thread.join(timeout=10)
        self._listener.close()

    def _abort_connections(self) -> None:
        for connection in list(self._runner.server.connections if self._runner.server else ()):
            if connection.transport is not None:
                connection.transport.abort()

    async def _serve(self) -> None:
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 -- setup() created it
        server = await self._loop.create_server(self._runner.server, sock=self._listener)
        self._started.set()
        await self._ending.wait()
        await stop_accepting(server)
        if self._abruptly:
            self._abort_connections()
        await self._runner.cleanup()
        self._abort_connections()

    async def _cancel_leftover_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(self._cancel_leftover_tasks())
        finally:
            self._started.set()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
