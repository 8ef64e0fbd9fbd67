"""A throw-away S3 server: rclone, which serves a folder whose subfolders are buckets."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

KEY_ID: Final = "test-key-id"
SECRET: Final = "canary-of-the-bucket"
BUCKET: Final = "results"
_RCLONE: Final = Path(sys.executable).parent / "rclone"


class S3Server:
    """Serves ``folder`` at ``url`` with the credentials above. It can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / BUCKET).mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to use the server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._process = subprocess.Popen(
            [
                _RCLONE,
                *("serve", "s3", self.folder, "--addr", f"127.0.0.1:{self._port}"),
                *("--auth-key", f"{KEY_ID},{SECRET}", "--config", "/dev/null"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            time.sleep(0.05)
        raise TimeoutError("rclone does not answer")

    def stop(self) -> None:
        """Kill the server, as a machine that fails."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def object(self, key: str) -> Path:
        """Return the file of an object."""
        return self.folder / BUCKET / key


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server until the context ends."""
    server = S3Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
