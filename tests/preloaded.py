"""A process that has imported Gradio, and forks of it: apps of tests, and pytest's workers.

Imports, presets and templates cost four seconds of CPU time, and each of them would pay that again.
A fork server of ``multiprocessing`` would pay it once per worker, as only its parent can use it.

``python tests/preloaded.py -u -c CODE`` is Python for execnet: what runs is a fork.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

ADDRESS = "PRELOADED_PYTHON"  # the variable that says where the process listens
_ROOT = Path(__file__).resolve().parents[1]
_started: list[int] = []


class Fork:
    """Code that runs in a fork, with standard input, output and errors of its own.

    Attributes:
        pid: of the process.
    """

    def __init__(
        self, code: str, environment: Mapping[str, str], folder: Path, files: tuple[int, int, int]
    ) -> None:
        self._life = socket.socket(socket.AF_UNIX)
        self._life.connect(start())
        socket.send_fds(self._life, [b"\n"], files)
        request = {"code": code, "environment": {**environment}, "folder": str(folder)}
        self._life.sendall(json.dumps(request).encode() + b"\n")
        self.pid = int.from_bytes(self._life.recv(8, socket.MSG_WAITALL), "big")

    def is_alive(self) -> bool:
        """The process has the other end, and its end is that of the connection."""
        return not select.select([self._life], [], [], 0)[0]

    def join(self, timeout_s: float | None = None) -> None:
        select.select([self._life], [], [], timeout_s)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def close(self) -> None:
        self._life.close()

    def _send(self, number: int) -> None:
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def start() -> str:
    """Start the process, unless there is one, and return where it listens.

    It ends with the process that has started it.
    """
    if address := os.environ.get(ADDRESS):
        return address
    folder = tempfile.TemporaryDirectory(prefix="preloaded-")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder.name}/socket")
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    os.environ[ADDRESS] = f"{folder.name}/socket"
    _started.append(server.pid)

    def end() -> None:
        assert server.stdin is not None
        server.stdin.close()
        server.wait()
        folder.cleanup()

    atexit.register(end)
    return os.environ[ADDRESS]


def pids() -> list[int]:
    """Return the process, if this one has started it."""
    return _started


def _preload() -> None:
    """Do what each fork would do again: import Gradio, parse presets, compile templates."""
    gc.disable()  # a third of the time of an import would be a search for garbage
    for name in ("cli.main", "demo.demo_server", "web.page", "web.serve"):
        import_module(f"comfy_ui.{name}")
    import_module("openai")

    from comfy_ui.web.components.templates import TEMPLATES_DIR, _environment
    from comfy_ui.workflow.presets.preset_store import list_presets

    list_presets()
    for template in TEMPLATES_DIR.glob("*.html"):
        _environment().get_template(template.name)
    gc.freeze()  # nor does one in a fork look at these objects, which would copy their memory
    gc.enable()


def _serve(listener: socket.socket) -> None:
    """Fork for each connection, until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for pytest
    signal.signal(signal.SIGCHLD, _reap)
    sys.path[0] = str(_ROOT)
    _preload()
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                _run(connection)
                threading._shutdown()  # type: ignore[attr-defined]
                atexit._run_exitfuncs()
                sys.stdout.flush()
            finally:  # not as Python ends: taking all modules to pieces takes half a second
                os._exit(0)
        connection.close()


def _reap(*_: object) -> None:
    """Let ended forks go, whose CPU time counts as that of this process's children."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run(connection: socket.socket) -> None:
    """Be the process that was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, buffering, closefd=False)  # noqa: SIM115
        for number, mode, buffering in ((0, "r", -1), (1, "w", 1), (2, "w", 1))
    )
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["-c"]
    sys.modules["__main__"] = main = ModuleType("__main__")
    connection.sendall(os.getpid().to_bytes(8, "big"))
    try:
        exec(request["code"], vars(main))
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001 -- such as that of Ctrl+C
        traceback.print_exc()


if __name__ == "__main__":
    if "-c" in sys.argv:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fork has got it too
        Fork(sys.argv[-1], os.environ, Path.cwd(), (0, 1, 2)).join()
    else:
        _serve(socket.socket(fileno=int(sys.argv[1])))
