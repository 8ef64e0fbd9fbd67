"""Every tool, called by two versions of the MCP SDK as admin, user and guest."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from comfy_ui.web.api.program_endpoints import NAMES
from comfy_ui.workflow import compile_workflow
from tests.environments import new_environment
from tests.security.support import GRADIO, PASSWORDS, served

pytestmark = [*GRADIO, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("mcp_sdk_client.py")
IN_EVERY_MODE = pytest.mark.parametrize("mode", ["local", "shared", "space"], indirect=True)
WITH_LOGINS = pytest.mark.parametrize("mode", ["shared", "space"], indirect=True)
SDKS = ("mcp==1.30.0", "mcp==2.3.0")


class SdkClient:
    """A running ``mcp_sdk_client.py`` with one SDK: importing that takes seconds."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [python, SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )

    def call_every_tool(self, url: str, name: str | None) -> dict[str, Any]:
        """Call every tool at ``url`` with the login of ``name``, and return what was seen."""
        requests, responses = self._pipes
        requests.write(json.dumps([url, basic(name), graph()]) + "\n")
        requests.flush()
        return dict(json.loads(responses.readline()))

    def end(self) -> None:
        requests, responses = self._pipes
        requests.close()
        self._process.wait(20)
        responses.close()

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


@pytest.fixture(scope="module")
def sdks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SdkClient]]:
    """A client for each SDK, in its own environment: all of them call the same apps."""
    folder = tmp_path_factory.mktemp("sdk")
    clients = {sdk: SdkClient(new_environment(folder / sdk[5:], sdk)) for sdk in SDKS}
    yield clients
    for client in clients.values():
        client.end()


@pytest.fixture(params=SDKS)
def sdk(request: Any, sdks: dict[str, SdkClient]) -> SdkClient:
    return sdks[request.param]


@pytest.fixture(scope="module")
def mode(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(mode: str, tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[str]:
    """An app in each mode, with logins unless it is local."""
    local = {"users": False, "host": "127.0.0.1"} if mode == "local" else {}
    with ExitStack() as stack:
        patched = stack.enter_context(patch.context())
        if mode == "space":
            patched.setenv("SPACE_ID", "anna/comfy-ui")
        page = stack.enter_context(served(tmp_path_factory.mktemp(mode), patch, **local))
        yield f"http://127.0.0.1:{page.server_port}/mcp"


def basic(name: str | None) -> str:
    if name is None:
        return ""
    pair = f"{name}:{PASSWORDS.get(name, 'wrong')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def graph() -> dict[str, Any]:
    """A graph that no preset can produce."""
    size = {"width": 384, "height": 384}
    workflow = compile_workflow("sd15", prompt="a dune", seed=3, steps=4, **size)
    samples = next(number for number, node in workflow.items() if node["class_type"] == "KSampler")
    save_latent = {
        "class_type": "SaveLatent",
        "inputs": {"samples": [samples, 0], "filename_prefix": "x"},
    }
    return {**workflow, "99": save_latent}


@IN_EVERY_MODE
def test_mcp_sdk_admin_calls_every_tool(
    sdk: SdkClient, mode: str, url: str, record_property: Callable[[str, object], None]
) -> None:
    name = None if mode == "local" else "anna"
    seen = sdk.call_every_tool(url, name)
    assert "failed" not in seen, seen["failed"]
    assert seen["tools"] == sorted(NAMES)
    for tool in NAMES:
        assert not seen[tool]["failed"], (tool, seen[tool]["text"])
        assert json.loads(seen[tool]["text"]) == seen[tool]["data"]
    assert any(preset["id"] == "sd15" for preset in seen["presets"]["data"]["result"])
    assert seen["enhance"]["data"]["original"] == "a cat"
    assert seen["progress"][-1] == [100.0, 100.0, "succeeded"]
    assert seen["generate"]["data"]["phase"] == seen["run_workflow"]["data"]["phase"] == "succeeded"
    assert seen["job"]["data"]["files"][0]["id"] == seen["generate"]["data"]["files"][0]["id"]
    assert seen["cancel"]["data"] == {"cancelled": False}
    assert [seen[tool]["data"]["paused"] for tool in ("pause", "resume")] == [True, False]
    (link,) = seen["generate"]["links"]
    headers = {"authorization": basic(name)} if name else {}
    picture = httpx.get(link, headers=headers, trust_env=False)
    assert picture.content.startswith(b"\x89PNG")
    record_property("tools called as an admin", len(NAMES))


@WITH_LOGINS
def test_mcp_sdk_user_is_refused_run_workflow_only(
    sdk: SdkClient, url: str, record_property: Callable[[str, object], None]
) -> None:
    seen = sdk.call_every_tool(url, "vera")
    assert "failed" not in seen, seen["failed"]
    assert [tool for tool in NAMES if seen[tool]["failed"]] == ["run_workflow"]
    assert "Only admins" in seen["run_workflow"]["text"]
    record_property("tools called as a user", len(NAMES))


@WITH_LOGINS
@pytest.mark.parametrize("name", [None, "unknown"])
def test_mcp_sdk_without_login_cannot_connect(sdk: SdkClient, url: str, name: str | None) -> None:
    assert list(sdk.call_every_tool(url, name)) == ["failed"]
