"""The examples of the page Programs, executed, and the MCP protocol."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from comfy_ui.web.api import mcp
from comfy_ui.web.api.program_endpoints import NAMES
from comfy_ui.worker_processes.process_pool import WORKERS
from comfy_ui.workflow import compile_workflow
from tests.conftest import ROOT
from tests.security.support import GRADIO, PASSWORDS, PageClient, served
from tests.workflow.test_guest_workflow import nested_subgraphs

pytestmark = GRADIO

TEXT = (ROOT / "docs" / "use" / "programs.md").read_text(encoding="utf-8")
VERA = ("vera", PASSWORDS["vera"])


def example(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)[number]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[str]:
    """The app in local mode."""
    folder = tmp_path_factory.mktemp("local")
    with served(folder, patch, users=False, host="127.0.0.1") as page:
        yield f"http://localhost:{page.server_port}"


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "NO_PROXY": "localhost,127.0.0.1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_programs_python_example_runs(local: str, tmp_path: Path) -> None:
    code = example("python").replace("http://localhost:7860", local)
    output = run([sys.executable, "-c", code], tmp_path)
    assert "succeeded 100.0 %" in output
    (picture,) = tmp_path.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_programs_video_example_runs(local: str, tmp_path: Path) -> None:
    code = example("python", 2).replace("http://localhost:7860", local)
    assert "\n/files/" in run([sys.executable, "-c", code], tmp_path)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_programs_javascript_example_runs(local: str, tmp_path: Path) -> None:
    (tmp_path / "example.mjs").write_text(example("js").replace("http://localhost:7860", local))
    phase, url = run(["node", "example.mjs"], tmp_path).split()
    assert phase == "succeeded"
    assert httpx.get(url, trust_env=False).content.startswith(b"\x89PNG")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_programs_curl_examples_run(local: str, tmp_path: Path) -> None:
    output = run(["bash", "-c", example("sh").replace("http://localhost:7860", local)], tmp_path)
    last = [line for line in output.splitlines() if line.startswith("data: [")][-1]
    assert json.loads(last[6:])[0]["phase"] == "succeeded"
    assert output.count("event: generating") >= 2, "progress is sent during the run"
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    response = run(
        ["bash", "-c", example("sh", 1).replace("http://localhost:7860", local)], tmp_path
    )
    assert json.loads(response)["name"].endswith(".png")


def test_gradio_client_logs_in(shared: Any) -> None:
    from gradio_client import Client

    url = f"http://127.0.0.1:{shared.server_port}"
    client = Client(url, auth=VERA, verbose=False, download_files=False)
    try:
        assert any(preset["id"] == "sd15" for preset in client.predict(api_name="/presets"))
    finally:
        client.close()


class McpClient:
    """An MCP client over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.headers = {"accept": "application/json, text/event-stream"}

    def post(self, message: Any) -> httpx.Response:
        return self._client.post("/mcp", json=message, headers=self.headers)

    def request(self, method: str, **params: Any) -> Any:
        message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        answer = self.post(message).json()
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
        return answer.get("result", answer.get("error"))


@pytest.fixture(scope="module")
def mcp_client(shared: Any) -> Iterator[McpClient]:
    url = f"http://127.0.0.1:{shared.server_port}"
    with httpx.Client(base_url=url, auth=VERA, timeout=60, trust_env=False) as client:
        yield McpClient(client)


def test_mcp_initialize_returns_a_session(mcp_client: McpClient) -> None:
    program = {"name": "t", "version": "1"}
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": program}
    answer = mcp_client.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert answer.json()["result"]["protocolVersion"] == "2025-06-18"
    assert len(answer.headers["mcp-session-id"]) > 64
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert mcp_client.post(note).status_code == 202
    assert mcp_client.request("ping") == {}


def test_mcp_tools_list_matches_the_endpoints(mcp_client: McpClient) -> None:
    tools = {tool["name"]: tool for tool in mcp_client.request("tools/list")["tools"]}
    assert set(tools) == set(NAMES)
    for tool in tools.values():
        assert tool["inputSchema"]["type"] == "object"
        assert "request" not in tool["inputSchema"]["properties"]
        assert len(tool["description"]) > 40
    assert tools["generate"]["inputSchema"]["required"] == ["preset"]


def test_mcp_presets_are_written_as_json_once(
    mcp_client: McpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mcp_client.request("tools/call", name="presets")
    monkeypatch.setattr(mcp, "json", None)
    assert mcp_client.request("tools/call", name="presets") == first
    listed = first["structuredContent"]["result"]
    assert json.loads(first["content"][0]["text"]) == {"result": listed}
    assert "sd15" in {preset["id"] for preset in listed}


def test_program_endpoints_short_calls_run_two_at_a_time(shared: Any) -> None:
    limits = {fn.api_name: fn.concurrency_limit for fn in shared.fns.values()}
    for name in ("presets", "job", "cancel", "pause", "resume"):
        assert limits[name] == 2, name


TWICE = """
import json, sys
from gradio_client import Client
client = Client(sys.argv[1], verbose=False)
def file(call, **values):
    return client.submit(**call, values=values).result()["files"][0]
for call in json.loads(sys.argv[2]):
    words = {"prompt": "a {red|blue|green|white} {fox|owl}", "steps": 1}
    first = file(call, **words)
    print(json.dumps([first, file(call, **words, seed=first["seed"])]))
"""


def test_generate_endpoint_expands_wildcards_and_returns_the_seed(
    local: str, tmp_path: Path
) -> None:
    graph = compile_workflow("sd15", prompt="a cat", steps=1, seed=5)
    calls = [
        {"api_name": "/generate", "preset": "sd15"},
        {"api_name": "/run_workflow", "workflow": graph},
    ]
    output = run([sys.executable, "-c", TWICE, local, json.dumps(calls)], tmp_path)
    for line in output.splitlines():
        first, again = json.loads(line)
        assert re.fullmatch(r"a (red|blue|green|white) (fox|owl)", first["prompt"])
        assert again["prompt"] == first["prompt"]
        assert again["seed"] == first["seed"] or first["seed"] is None


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("generate", {"preset": "sd15", "prompt": "a cat", "values": {"steps": 1}}),
        ("run_workflow", {"workflow": compile_workflow("sd15", prompt="a cat", steps=1, seed=5)}),
    ],
)
def test_endpoints_same_idempotency_key_creates_one_job(
    local: str, endpoint: str, body: dict[str, Any]
) -> None:
    def job(**headers: str) -> str:
        sent = client.post(f"call/v2/{endpoint}", json=body, headers=headers).json()
        events = client.get(f"call/{endpoint}/{sent['event_id']}").text
        return str(json.loads(events.partition("data: ")[2].splitlines()[0])[0]["job"])

    one, other = f"{endpoint} one", f"{endpoint} other"
    with httpx.Client(base_url=f"{local}/gradio_api/", timeout=60, trust_env=False) as client:
        first = job(**{"Idempotency-Key": one})
        assert job(**{"idempotency-key": one}) == first
        assert len({first, job(**{"Idempotency-Key": other}), job(), job()}) == 4


def test_generate_endpoint_runs_the_arrays_of_a_prompt_as_a_group(local: str) -> None:
    def call(endpoint: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        sent = client.post(f"call/v2/{endpoint}", json=body).json()
        events = client.get(f"call/{endpoint}/{sent['event_id']}").text
        lines = [line[6:] for line in events.splitlines() if line.startswith("data: [")]
        return [json.loads(line)[0] for line in lines]

    body = {"preset": "sd15", "prompt": "[[red, green]] kite", "values": {"steps": 1}}
    with httpx.Client(base_url=f"{local}/gradio_api/", timeout=60, trust_env=False) as client:
        answers = call("generate", body)
        last = answers[-1]
        assert {file["prompt"] for file in last["files"]} == {"red kite", "green kite"}
        assert (last["done"], last["progress"]) == (True, 100.0)
        assert {answer["job"] for answer in answers if answer["done"]} == {last["job"]}
        assert len({answer["job"] for answer in answers}) == 2
        (group,) = {answer["group"] for answer in answers}
        (state,) = call("job", {"job_id": group})
        assert (state["size"], state["succeeded"], state["done"]) == (2, 2, True)
        assert state["jobs"] == [*dict.fromkeys(answer["job"] for answer in answers)]
        assert call("cancel", {"job_id": group}) == [{"cancelled": False}]


def test_enhance_endpoint_depends_on_the_preset(local: str, tmp_path: Path) -> None:
    code = (
        "import json, sys; from gradio_client import Client;"
        "ask = Client(sys.argv[1], verbose=False).predict;"
        "print(json.dumps([ask('waves', 'balanced', preset, api_name='/enhance')['prompt']"
        " for preset in ('ace_step_15', 'sdxl')]))"
    )
    tune, picture = json.loads(run([sys.executable, "-c", code, local], tmp_path))
    assert "bpm" in tune
    assert "bpm" not in picture


def test_mcp_generate_returns_an_image_and_sends_progress(
    mcp_client: McpClient, shared: Any
) -> None:
    params = {
        "name": "generate",
        "arguments": {"preset": "sd15", "prompt": "a cat"},
        "_meta": {"progressToken": "p"},
    }
    text = mcp_client.post(
        {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}
    ).text
    messages = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    *progress, last = messages
    assert {m["method"] for m in progress} == {"notifications/progress"}
    assert progress[-1]["params"] == {
        "progressToken": "p", "progress": 100.0, "total": 100, "message": "succeeded",
    }  # fmt: skip
    assert last["id"] == 9
    result = last["result"]
    assert not result["isError"]
    (link,) = [part for part in result["content"] if part["type"] == "resource_link"]
    picture = httpx.get(link["uri"], auth=VERA, trust_env=False)
    assert Image.open(io.BytesIO(picture.content)).size == (512, 512)
    assert httpx.get(link["uri"], trust_env=False).status_code == 401


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "nothing"}, "no tool"),
        ({"name": "generate", "arguments": {}}, "preset"),
        ({"name": "generate", "arguments": {"preset": 3}}, "string"),
        ({"name": "job", "arguments": {"job_id": "x", "request": {}}}, "request"),
        ({"name": "generate", "arguments": {"preset": "none", "prompt": "x"}}, "no preset"),
    ],
)
def test_mcp_tools_call_invalid_arguments_return_a_message(
    mcp_client: McpClient, params: dict[str, Any], message: str
) -> None:
    assert message in json.dumps(mcp_client.request("tools/call", **params))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"id": 1}', b"\xff"])
def test_mcp_invalid_request_is_a_protocol_error(mcp_client: McpClient, body: bytes) -> None:
    headers = {**mcp_client.headers, "content-type": "application/json"}
    answer = mcp_client._client.post("/mcp", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in {-32700, -32600, -32602}
    assert mcp_client.request("no/such")["code"] == -32601


@pytest.mark.parametrize("path", ["/mcp", "/gradio_api/call/v2/run_workflow"])
def test_run_workflow_of_an_admin_runs_in_a_process_that_ends_with_the_caller(
    anna: PageClient, path: str
) -> None:
    workflow = {"workflow": nested_subgraphs(9, 8)}  # takes minutes
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    mcp_call = {**message, "params": {"name": "run_workflow", "arguments": workflow}}

    def wait_for_calls(count: int) -> None:
        deadline = time.monotonic() + 10
        while len(WORKERS._calls) != count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(WORKERS._calls) == count

    def call() -> None:
        with contextlib.suppress(httpx.TimeoutException):
            if path == "/mcp":
                anna.client.post(path, json=mcp_call, timeout=1)
            else:
                event_id = anna.client.post(path, json=workflow).json()["event_id"]
                anna.client.get(f"{path}/{event_id}", timeout=1)

    wait_for_calls(0)  # the app starts a process
    caller = threading.Thread(target=call)
    caller.start()
    wait_for_calls(1)
    caller.join()
    wait_for_calls(0)


def test_extend_and_trim_continue_and_cut_the_video_of_a_job(
    vera: PageClient, viktor: PageClient
) -> None:
    small = {"width": 256, "height": 256, "frames": 9, "fps": 8, "steps": 1}
    job = vera.call("generate", "wan22_5b", "a river", small)[-1]["job"]
    longer = vera.call("extend", job, "it freezes", {"frames": 5}, None)[-1]
    assert (longer["phase"], longer["done"]) == ("succeeded", True)
    (file,) = longer["files"]  # joined bit by bit
    assert file["prompt"] == "it freezes"
    states = vera.call("trim", longer["job"], 0.5, 1.0, file["id"])
    part = states[-1]
    assert (part["phase"], part["progress"], part["done"]) == ("succeeded", 100.0, True)
    assert part["files"][0]["filename"].endswith("_part.mp4")
    assert vera.call("job", part["job"])[-1]["files"] == part["files"]
    for answer in (
        viktor.call("trim", job, 0.0, 1.0, None),
        viktor.call("extend", job, "", None, None),
        vera.call("trim", job, 0.0, 1.0, 99_999),
        vera.call("trim", job, 5.0, 6.0, None),
    ):
        assert answer[-1]["error"], answer


def test_mcp_without_login_is_401(shared: Any) -> None:
    with PageClient.open(shared) as guest:
        assistant = McpClient(guest.client)
        for method in ("initialize", "tools/list", "tools/call"):
            assert assistant.post({"jsonrpc": "2.0", "id": 1, "method": method}).status_code == 401


def test_mcp_run_workflow_by_user_is_refused(
    mcp_client: McpClient,
) -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "/etc/passwd"}}}
    result = mcp_client.request("tools/call", name="run_workflow", arguments={"workflow": graph})
    assert result["isError"]
    assert "Only admins" in result["content"][0]["text"]
