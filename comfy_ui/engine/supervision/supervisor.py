"""Run the installed ComfyUI: start it, find it again, restart it after a crash, stop it."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ...client import ClientOptions, ComfyClient
from ...errors import ComfyHeadlessError, EngineError
from ...storage.records import Absence
from ..engine_paths import EnginePaths, exclusive
from ..installing.smoke_test import start_process
from ..packs.pack_folders import active_packs, crashed_pack, failed_pack, switch_off
from .process_identity import end_remembered, end_tree, remember, remembered
from .restart_policy import RestartPolicy
from .server_command import (
    FIRST_PORT,
    HOST,
    ServerOptions,
    free_port,
    prepare_folders,
    python_of,
    server_command,
)
from .server_log import explain_exit, read_tail, rotate

__all__ = ["ServerPhase", "ServerState", "Supervisor", "answers_at", "running_url", "stop_server"]

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.5
_ROTATE_S: Final = 30.0
_ANSWER_S: Final = 2.0
_LOG_BYTES: Final = 2**20


class ServerPhase(StrEnum):
    """What the managed ComfyUI is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    IDLE = "idle"
    """Stopped after idling, until there is a job: see :mod:`..idle_stop`."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state of the managed ComfyUI, with the reason of the last exit."""

    phase: ServerPhase = ServerPhase.STOPPED
    url: str = ""
    restarts: int = 0
    message: str = ""
    hint: str = ""


_STOPPED: Final = ServerState()
_COMING: Final = frozenset({ServerPhase.STARTING, ServerPhase.RESTARTING})
_ABSENCES: Final[Mapping[ServerPhase, Absence]] = {
    ServerPhase.IDLE: "idle",
    ServerPhase.STARTING: "starting",
}


class Supervisor:
    """Keeps one ComfyUI running, in a thread of its own.

    A process that a killed app has left is found again by its file. Only one supervisor restarts
    it; another one, for example in a terminal, only watches.

    Args:
        paths: the engine's folders.
        options: memory and further options.
        policy: when to restart it.
        poll_s: seconds between two looks at the process.
        first_port: the port to listen on if it is free, else the next free one; 0: any.
        now: the clock of the restarts, in seconds.
    """

    def __init__(
        self,
        paths: EnginePaths,
        options: ServerOptions | None = None,
        *,
        policy: RestartPolicy | None = None,
        poll_s: float = _POLL_S,
        first_port: int = FIRST_PORT,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self.options = options or ServerOptions()
        """How the next start is done."""
        self._policy = policy or RestartPolicy()
        self._poll_s = poll_s
        self._first_port = first_port
        self._now = now
        self._lock = ExitStack()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False
        self._answered = True  # a process that is found has answered before
        self._log_start = 0
        self.state = ServerState()

    @property
    def started_it(self) -> bool:
        """Whether this supervisor has started ComfyUI, and not found it."""
        return self._started

    @property
    def absence(self) -> Absence | None:
        """Why ComfyUI does not answer on purpose; None: it should."""
        return _ABSENCES.get(self.state.phase)

    def start(self) -> str:
        """Start ComfyUI, or find the one that runs; return its address without waiting for it.

        It gets the port that it had before, if that is free.

        Raises:
            EngineError: nothing is installed, or it cannot be started.
            StorageError: the disk refuses.
        """
        if self._thread is not None and self._thread.is_alive():
            return self.state.url
        self._policy.forget()
        self._stopping.clear()
        self._supervises = self._try_to_supervise()
        try:
            url = running_url(self._paths)
            if url is None:
                if not self._supervises:
                    raise EngineError(
                        "Another process is starting ComfyUI.", hint="Wait a moment and try again."
                    )
                before = self.state.url
                url = self._spawn(free_port(_port_of(before) if before else self._first_port))
            self.state = ServerState(ServerPhase.STARTING, url)
        except BaseException:
            self._lock.close()
            self.state = ServerState()
            raise
        self._thread = threading.Thread(target=self._run, name="engine supervisor", daemon=True)
        self._thread.start()
        return url

    def stop(self, *, only_ours: bool = False, state: ServerState = _STOPPED) -> None:
        """Stop ComfyUI. ``only_ours``: only if this supervisor has started it.

        ``state``: the state afterwards.
        """
        self._stopping.set()
        thread, self._thread = self._thread, None
        if self._started or not only_ours:
            stop_server(self._paths)
        if thread is not None:
            thread.join()
        if self._process is not None and not running_url(self._paths):
            self._process.wait()
            self._process = None
        self._lock.close()
        self._started = False
        self.state = state

    def wait_until_ready(self, cancel: threading.Event | None = None) -> None:
        """Wait until ComfyUI answers, as long as its process lives.

        Raises:
            EngineError: it has ended, or ``cancel`` was set.
        """
        cancel = cancel or threading.Event()
        while self.state.phase is not ServerPhase.READY:
            if self.state.phase in {ServerPhase.FAILED, ServerPhase.STOPPED}:
                raise EngineError(
                    self.state.message or "ComfyUI was stopped.", hint=self.state.hint
                )
            if cancel.wait(self._poll_s):
                raise EngineError("Waiting for ComfyUI was cancelled.")

    # --- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._watch()
        except Exception:
            logger.exception("The supervisor of ComfyUI failed.")
            self.state = replace(
                self.state, phase=ServerPhase.FAILED, message="The supervisor failed. See the log."
            )

    def _watch(self) -> None:
        rotate_at = self._now()
        while not self._stopping.wait(self._poll_s):
            if self._alive():
                if self.state.phase in _COMING and answers_at(self.state.url):
                    self.state = replace(self.state, phase=ServerPhase.READY, message="", hint="")
                    if not self._answered:
                        self._answered = True
                        self._report_packs()
                if self._supervises and self._now() >= rotate_at:
                    rotate_at = self._now() + _ROTATE_S
                    rotate(self._paths.server_log)
            elif not self._after_exit():
                return

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return remembered(self._paths.run_file) is not None

    def _after_exit(self) -> bool:
        """React to the end of the process; whether there is more to watch."""
        self._process = None
        if not self._paths.run_file.exists():  # `comfy-ui engine stop` in another terminal
            self.state = ServerState(message="ComfyUI was stopped.")
            return False
        message, hint = explain_exit(read_tail(self._paths.server_log))
        logger.warning("The managed ComfyUI has ended: %s", message)
        if not self._supervises and not self._take_over():
            return True  # the other supervisor restarts it
        if not self._answered:
            self._leave_out_packs(message)
        delay_s = self._policy.delay_s(self._now())
        if delay_s is None:
            self._give_up(f"ComfyUI ended repeatedly and is not restarted. {message}", hint)
            return False
        url = self.state.url
        self.state = ServerState(
            ServerPhase.RESTARTING, url, self.state.restarts + 1, message, hint
        )
        if self._stopping.wait(delay_s) or not self._paths.run_file.exists():
            return False
        try:
            url = self._spawn(free_port(_port_of(url)))
        except ComfyHeadlessError as error:
            self._give_up(error.message, error.hint)
            return False
        self.state = replace(self.state, url=url)
        return True

    def _leave_out_packs(self, message: str) -> None:
        """Start without the node pack that ComfyUI has crashed in before it answered.

        If the log names none, all of them are left out after the second crash.
        """
        packs = active_packs(self._paths, self._paths.current())
        guilty = crashed_pack(self._log, packs)
        left_out = [guilty] if guilty is not None else packs if self.state.restarts else []
        if not left_out:
            return
        names = ", ".join(pack.source.name for pack in left_out)
        logger.warning("ComfyUI is started without the node pack %s.", names)
        with suppress(OSError):  # a full disk: the restarts are limited anyway
            switch_off(self._paths, left_out, f"ComfyUI crashed at its start with it. {message}")

    def _report_packs(self) -> None:
        """Note the node pack that ComfyUI could not import; it runs without it."""
        packs = active_packs(self._paths, self._paths.current())
        if failed := failed_pack(self._log, packs):
            pack, reason = failed
            logger.warning("ComfyUI cannot import the node pack %s.", pack.source.name)
            with suppress(OSError):
                switch_off(self._paths, [pack], f"ComfyUI cannot import it: {reason}")

    @property
    def _log(self) -> str:
        """The log since the last start, as far as it is needed."""
        with suppress(OSError):
            size = self._paths.server_log.stat().st_size
            return read_tail(self._paths.server_log, min(_LOG_BYTES, size + 1 - self._log_start))
        return ""

    def _give_up(self, message: str, hint: str) -> None:
        self._paths.run_file.unlink(missing_ok=True)
        self.state = replace(self.state, phase=ServerPhase.FAILED, message=message, hint=hint)

    def _take_over(self) -> bool:
        self._supervises = self._try_to_supervise()
        return self._supervises

    def _try_to_supervise(self) -> bool:
        try:
            self._lock.enter_context(exclusive(self._paths.root / "supervisor.lock", ""))
        except EngineError:
            return False
        return True

    def _spawn(self, port: int) -> str:
        installation = self._paths.current()
        if installation is None:
            raise EngineError(
                "No ComfyUI is installed here.", hint="Install it: comfy-ui engine install"
            )
        packs = active_packs(self._paths, installation)
        prepare_folders(self._paths, packs=packs)
        rotate(self._paths.server_log)
        log = self._paths.server_log
        self._log_start = log.stat().st_size if log.exists() else 0
        home = self._paths.home(installation)
        command = server_command(
            python_of(installation, home),
            home / "ComfyUI",
            self._paths,
            port=port,
            device=installation.device,
            options=self.options,
        )
        process = start_process(command, home / "ComfyUI", self._paths.server_log)
        try:
            remember(self._paths.run_file, process.pid, port=port, name=installation.name)
        except OSError:
            end_tree(process.pid)
            process.wait()
            raise
        self._process, self._started, self._answered = process, True, False
        if not self._paths.run_file.exists():
            # It ended before its start time could be read.
            self._paths.run_file.write_text("{}", encoding="utf-8")
        return f"http://{HOST}:{port}"


def running_url(paths: EnginePaths) -> str | None:
    """Return the address of the managed ComfyUI if its process runs, ready or not."""
    facts = remembered(paths.run_file)
    port = facts.get("port") if facts else None
    return f"http://{HOST}:{port}" if isinstance(port, int) else None


def stop_server(paths: EnginePaths) -> bool:
    """Stop the managed ComfyUI, whichever process started it; whether it ran."""
    return end_remembered(paths.run_file)


def answers_at(url: str) -> bool:
    """Whether ComfyUI answers at an address within two seconds."""
    try:
        # Without the circuit breaker, which would let no attempt through for half a minute.
        with ComfyClient(
            url=url, timeout=_ANSWER_S, options=ClientOptions(max_retries=0), breaker=False
        ) as client:
            client.system_stats()
    except ComfyHeadlessError:
        return False
    return True


def _port_of(url: str) -> int:
    with suppress(ValueError):
        return int(url.rpartition(":")[2])
    return FIRST_PORT
