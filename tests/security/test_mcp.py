"""MCP by the official SDK's client, in the stateless and in the older protocol, in one process."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.exceptions import MCPError

from comfy_ui.storage.records import make_id
from comfy_ui.web.api.answers import OUTPUTS
from comfy_ui.web.api.mcp import _McpExchange
from comfy_ui.web.api.mcp_prompts import PROMPTS
from comfy_ui.web.api.program_endpoints import NAMES
from tests.security.support import GRADIO, PASSWORDS, served

pytestmark = GRADIO

SMALL = {"steps": 2, "width": 384, "height": 384}
ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[Any]:
    """The app with logins. A job of 50 steps takes ten seconds at least."""
    with served(tmp_path_factory.mktemp("mcp"), patch, demo_speed="5") as page:
        yield page


@pytest.fixture(scope="module")
def open_app(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[Any]:
    """The app in shared mode without logins: each caller is a guest."""
    with served(tmp_path_factory.mktemp("open"), patch, users=False) as page:
        yield page


@asynccontextmanager
async def client(
    page: Any, mode: str, name: str | None = None, *, key: str = ""
) -> AsyncIterator[Any]:
    headers = {"Idempotency-Key": key} if key else {}
    if name is not None:
        pair = base64.b64encode(f"{name}:{PASSWORDS[name]}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    url = f"http://127.0.0.1:{page.server_port}/mcp"
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as opened,
    ):
        yield opened


@ERAS
async def test_mcp_client_of_either_protocol_lists_tools_prompts_and_templates(
    shared: Any, mode: str
) -> None:
    async with client(shared, mode, "vera") as assistant:
        tools = {tool.name: tool for tool in (await assistant.list_tools()).tools}
        prompts = (await assistant.list_prompts()).prompts
        templates = (await assistant.list_resource_templates()).resource_templates
        text = await assistant.get_prompt("create", {"idea": "a quiet harbor"})
        with pytest.raises(MCPError, match="missing"):
            await assistant.get_prompt("create", {})
    assert set(tools) == set(NAMES)
    assert all(tool.output_schema["type"] == "object" for tool in tools.values())
    assert tools["presets"].annotations.read_only_hint
    assert {prompt.name for prompt in prompts} == set(PROMPTS)
    assert {template.name for template in templates} == {"result", "job"}
    assert "a quiet harbor" in text.messages[0].content.text


@ERAS
async def test_mcp_client_of_either_protocol_receives_progress_pictures_and_resources(
    shared: Any, mode: str
) -> None:
    progress: list[float] = []

    async def on_progress(now: float, total: float | None, message: str | None) -> None:
        progress.append(now)

    async with client(shared, mode, "vera") as assistant:
        arguments = {"preset": "sd15", "prompt": f"by {mode}", "values": SMALL}
        result = await assistant.call_tool("generate", arguments, progress_callback=on_progress)
        resources = (await assistant.list_resources()).resources
        (file,) = result.structured_content["files"]
        uri = f"comfy-ui://results/{file['id']}"
        (contents,) = (await assistant.read_resource(uri)).contents
        job = result.structured_content["job"]
        (state,) = (await assistant.read_resource(f"comfy-ui://jobs/{job}")).contents
        presets = await assistant.call_tool("presets", {})
    assert progress[-1] == 100
    assert [part.type for part in result.content] == ["text", "image", "resource_link"]
    assert base64.b64decode(result.content[1].data)[8:12] == b"WEBP"
    assert json.loads(result.content[0].text) == result.structured_content
    assert uri in {str(resource.uri) for resource in resources}
    assert base64.b64decode(contents.blob).startswith(b"\x89PNG")
    assert json.loads(state.text)["phase"] == "succeeded"
    assert set(OUTPUTS["generate"].model_fields) == set(result.structured_content)
    for preset in presets.structured_content["result"]:
        assert OUTPUTS["presets"].model_validate({"result": [preset]})


@ERAS
async def test_mcp_results_of_another_user_are_no_resources(shared: Any, mode: str) -> None:
    async with client(shared, mode, "vera") as vera, client(shared, mode, "viktor") as viktor:
        arguments = {"preset": "sd15", "prompt": "private", "values": SMALL}
        answer = (await vera.call_tool("generate", arguments)).structured_content
        number, job = answer["files"][0]["id"], answer["job"]
        for uri in (f"comfy-ui://results/{number}", f"comfy-ui://jobs/{job}"):
            with pytest.raises(MCPError, match="no such"):
                await viktor.read_resource(uri)
        listed = {str(one.uri) for one in (await viktor.list_resources()).resources}
        assert f"comfy-ui://results/{number}" not in listed


@ERAS
async def test_mcp_call_cancelled_by_the_client_cancels_its_job(shared: Any, mode: str) -> None:
    started = asyncio.Event()

    async def on_progress(now: float, total: float | None, message: str | None) -> None:
        started.set()

    async with client(shared, mode, "viktor", key=f"endless {mode}") as assistant:
        arguments = {"preset": "sd15", "prompt": f"endless {mode}", "values": {"steps": 50}}
        call = asyncio.create_task(
            assistant.call_tool("generate", arguments, progress_callback=on_progress)
        )
        async with asyncio.timeout(30):
            await started.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        job_id = make_id("user:viktor", f"endless {mode}")

        phase = "running"
        async with asyncio.timeout(30):
            while phase != "cancelled":
                state = await assistant.call_tool("job", {"job_id": job_id})
                phase = state.structured_content["phase"]


@ERAS
async def test_mcp_caller_without_a_login_finds_its_own_job_only(open_app: Any, mode: str) -> None:
    arguments = {"preset": "sd15", "prompt": "a guest's", "values": SMALL}
    async with client(open_app, mode) as mine, client(open_app, mode) as theirs:
        answer = (await mine.call_tool("generate", arguments)).structured_content
        job = answer["job"]
        again = await mine.call_tool("job", {"job_id": job})
        assert again.structured_content["files"][0]["id"] == answer["files"][0]["id"]
        bare = job.partition("~")[0]
        stolen = await theirs.call_tool("job", {"job_id": bare})
        assert stolen.is_error
        forged = await theirs.call_tool("job", {"job_id": f"{bare}~forged.identity"})
        assert forged.is_error


async def test_mcp_error_of_an_endpoint_is_a_result_with_a_sentence(shared: Any) -> None:
    async with client(shared, "auto", "vera") as assistant:
        result = await assistant.call_tool("generate", {"preset": "none", "prompt": "x"})
        assert result.is_error
        assert "no preset" in result.content[0].text
        with pytest.raises(MCPError, match="preset"):
            await assistant.call_tool("generate", {})


@ERAS
async def test_mcp_arrays_of_a_prompt_are_a_group_that_its_caller_finds(
    open_app: Any, mode: str
) -> None:
    arguments = {"preset": "sd15", "prompt": f"[[red, green]] {mode}", "values": SMALL}
    async with client(open_app, mode) as mine:
        answer = (await mine.call_tool("generate", arguments)).structured_content
        state = (await mine.call_tool("job", {"job_id": answer["group"]})).structured_content
    assert len(answer["files"]) == 2
    assert len(state["jobs"]) == 2
    assert OUTPUTS["job"].model_validate(state)


@pytest.mark.parametrize("streaming", [False, True])
async def test_mcp_exchange_ends_when_the_app_stops(streaming: bool) -> None:
    started, sent = asyncio.Event(), []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if streaming:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        started.set()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    stop_event = asyncio.Event()
    scope = {"type": "http", "headers": [], "app": SimpleNamespace(stop_event=stop_event)}
    manager: Any = SimpleNamespace(handle_request=endless)
    exchange = _McpExchange(manager, b"{}", session="", events=streaming)
    call = asyncio.create_task(exchange(scope, asyncio.Event().wait, send))
    async with asyncio.timeout(30):
        await started.wait()
        stop_event.set()
        await call
    assert sent[0]["status"] == (200 if streaming else 503)
    assert not sent[-1].get("more_body")
    assert not exchange.closed_by_client, "its job continues at the next start"
