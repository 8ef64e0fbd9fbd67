"""A real server that a test may kill."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from urllib.error import URLError
from urllib.request import urlopen


class OwnServer:
    """A ComfyUI that belongs to one test: ``COMFYUI_START`` with a port in place of ``{port}``.

    The command must stay in the foreground, and is ended with everything it started.
    """

    def __init__(self, command: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = shlex.split(command.format(port=self.port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, patience_s: float = 120.0) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            try:
                with urlopen(f"{self.url}/prompt", timeout=5):
                    return
            except (URLError, OSError):
                assert self._process.poll() is None, "COMFYUI_START ended by itself"
                time.sleep(0.2)
        raise AssertionError("COMFYUI_START does not answer")

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a crash would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
