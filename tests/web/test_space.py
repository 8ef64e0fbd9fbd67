"""The app as a Hugging Face Space starts it: requirements.txt, then the repository, app.py."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import new_environment

pytestmark = pytest.mark.slow

START_S = 120.0
REPOSITORY = ("app.py", "comfy_ui", "comfy_headless", "workflows", "assets", "README.md")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running Space."""
    folder = tmp_path_factory.mktemp("space")
    python = new_environment(folder / "venv", "-r", ROOT / "requirements.txt")
    home = folder / "app"
    home.mkdir()
    for name in REPOSITORY:  # requirements.txt was installed before this was copied
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, home / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("COMFY", "GRADIO", "PY"))}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "app.py"],
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **inherited,
                "SPACE_ID": "somebody/comfy-ui",
                "OAUTH_CLIENT_ID": "id",
                "OAUTH_CLIENT_SECRET": "secret",
                "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
                "HOME": str(folder),
                "COMFY_UI_PORT": str(port),
                "NO_PROXY": "127.0.0.1,localhost",
            },
        )
    try:
        yield _ready(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.terminate()
        process.wait(20)


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return url
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"The Space did not start:\n{log.read_text(errors='replace')}")


def test_space_starts_with_requirements_txt_only(space: str) -> None:
    with urllib.request.urlopen(space, timeout=20) as answer:
        page = answer.read().decode()
        headers = answer.headers
    assert "window.comfy" in page
    (connect,) = re.findall(r'"props":{[^{}]*"elem_id":"reconnect"[^{}]*}', page)
    assert '"visible":false' in connect, "visitors do not change the server"
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'self' https://huggingface.co" in policy
    assert headers["x-frame-options"] is None


def test_space_cookie_is_partitioned_for_frames(space: str) -> None:
    request = urllib.request.Request(space, headers={"accept": "text/html"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        (cookie,) = [
            value
            for value in answer.headers.get_all("set-cookie") or []
            if value.startswith("comfy_ui_browser=")
        ]
    for part in ("HttpOnly", "SameSite=None", "Secure", "Partitioned"):
        assert part in cookie


def test_space_login_with_offline_provider_is_403(space: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{space}/login/huggingface", timeout=20)
    with caught.value as answer:
        assert answer.status == 403
        assert b"cannot be reached" in answer.read()
