"""The app's stop, while it works."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.browser.support import running_app

LOCK = "comfy_ui.lock-journal"  # is there until the database is closed
UPLOAD = b"POST /uploads?role=image HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\nx"


def process_at(url: str) -> psutil.Process:
    port = urlsplit(url).port
    listening = (c for c in psutil.net_connections() if c.status == psutil.CONN_LISTEN)
    return psutil.Process(next(c.pid for c in listening if c.laddr[1] == port))


@pytest.mark.slow
def test_launch_stopped_during_jobs_and_an_upload_closes_the_database(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        running_app(data, COMFY_UI_DEMO="true", COMFY_UI_DEMO_SPEED="1") as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        for number in range(3):
            arguments = ["sd15", f"job {number}", {"steps": 50}]
            sent = client.post("/gradio_api/call/generate", json={"data": arguments})
            assert sent.status_code == 200
        at = urlsplit(url)
        with socket.create_connection((str(at.hostname), int(at.port or 0))) as upload:
            upload.sendall(UPLOAD)
            assert (data / LOCK).exists()
            process = process_at(url)
            process.terminate()
            process.wait(20)
    log = data.with_suffix(".log").read_text()
    assert "Traceback" not in log, log
    assert "cannot schedule" not in log
    assert not (data / LOCK).exists()
