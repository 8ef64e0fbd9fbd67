"""The WebSocket of the async client: one for all jobs, live progress, and safe without it."""

# ruff: noqa: ASYNC110 -- tests may poll, and read small files

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui import compile_workflow
from comfy_ui.client import ComfyWSClient, OutputFile, Preview, Progress, Result
from comfy_ui.client.transport import websocket
from comfy_ui.client.transport.server_address import make_server_address
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import GenerationTimeoutError, MissingFeatureError
from tests.client.support import (
    EMPTY_QUEUE,
    Request,
    ScriptedServer,
    history_of,
    image_graph,
    response,
)
from tests.client.test_both_clients import sleeper, until_running


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clientIds of all connections that were tried."""
    tried: list[str] = []
    real = websocket._connect

    async def connect(endpoint: Any, client_id: str) -> Any:
        tried.append(client_id)
        return await real(endpoint, client_id)

    monkeypatch.setattr(websocket, "_connect", connect)
    return tried


@pytest.fixture
async def client(engine: DemoServer) -> AsyncIterator[ComfyWSClient]:
    engine.faults = Faults(test_nodes=True)
    async with ComfyWSClient(url=engine.url) as client:
        yield client
    names = [task.get_name() for task in asyncio.all_tasks() if "comfy-ui" in task.get_name()]
    assert names == []


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_ws_client_documented_example_runs(
    engine: DemoServer, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = image_graph()
    async with ComfyWSClient(port=engine.port) as ws:
        prompt_id = await ws.queue_prompt(workflow)
        result = await ws.wait_for_completion(
            prompt_id, on_progress=lambda p: print(f"Progress: {p.progress}%")
        )
    assert result["images"]
    assert "Progress: 100.0%" in capsys.readouterr().out


async def test_f23_run_slow_async_on_progress_does_not_block_socket(
    client: ComfyWSClient,
) -> None:
    seen: list[float] = []

    async def slow(progress: Progress) -> None:
        await asyncio.sleep(0.2)
        seen.append(progress.progress)

    result = await client.run(sleeper(0.5), on_progress=slow)
    assert result.images
    assert seen == sorted(seen)
    assert seen[-1] == 100


async def test_stream_yields_progress_then_file_then_result(client: ComfyWSClient) -> None:
    events = [event async for event in client.stream(sleeper(0.5))]
    progress = [event for event in events if isinstance(event, Progress)]
    assert any(event.steps == 10 and event.node_title == "DemoSleep" for event in progress)
    assert [type(event) for event in events].count(OutputFile) == 1
    assert isinstance(events[-1], Result)
    assert events[-1].files == [event for event in events if isinstance(event, OutputFile)]


async def test_stream_closed_early_leaves_job_running(client: ComfyWSClient) -> None:
    async for event in client.stream(sleeper(0.5)):
        assert isinstance(event, Progress)
        prompt_id = event.prompt_id
        break
    events = [event async for event in client.attach(prompt_id)]
    assert isinstance(events[-1], Result)


async def test_run_many_jobs_at_once_share_one_socket(
    client: ComfyWSClient, sockets: list[str]
) -> None:
    async with asyncio.timeout(60):
        results = await asyncio.gather(*(client.run(image_graph(n)) for n in range(60)))
    assert len({result.images[0].filename for result in results}) == 60
    assert len(sockets) == 1


async def test_run_instant_job_sends_one_request(
    client: ComfyWSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.run(image_graph(1))
    sent: list[str] = []
    real = client._connections.here().transport.send

    async def send(call: Any) -> Any:
        sent.append(call.where)
        return await real(call)

    monkeypatch.setattr(client._connections.here().transport, "send", send)
    assert (await client.run(image_graph(2))).images
    assert sent == ["POST /prompt"]


async def test_wait_for_completion_cancelled_leaves_no_task_and_job_running(
    client: ComfyWSClient,
) -> None:
    await client.run(image_graph())
    before = asyncio.all_tasks()
    prompt_id = await client.queue_prompt(sleeper(1.0))
    waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
    await until_running(client, prompt_id)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await eventually(lambda: not asyncio.all_tasks() - before)
    assert (await client.wait_for_completion(prompt_id)).images


async def test_wait_for_completion_two_waiters_get_same_result(client: ComfyWSClient) -> None:
    prompt_id = await client.queue_prompt(sleeper(0.3))
    with pytest.raises(GenerationTimeoutError):
        await client.wait_for_completion(prompt_id, timeout=0.05)
    one, two = await asyncio.gather(
        client.wait_for_completion(prompt_id), client.wait_for_completion(prompt_id)
    )
    assert one.files == two.files


async def test_f1_socket_cut_is_replaced_under_fresh_client_id(
    client: ComfyWSClient, sockets: list[str]
) -> None:
    prompt_id = await client.queue_prompt(sleeper(1.5))
    waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
    await until_running(client, prompt_id)
    client._session._feed.cycle()
    await eventually(lambda: len(sockets) == 2)
    assert (await waiting).images
    assert sockets[0] != sockets[1]
    seen: list[Progress] = []
    await client.run(sleeper(0.3, color=2), on_progress=seen.append)
    assert any(progress.steps for progress in seen)


async def test_f1_socket_open_but_silent_is_detected_and_replaced(
    client: ComfyWSClient, sockets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.polling.WATCHDOG_S", 0.3)
    monkeypatch.setattr("comfy_ui.client.tracking.session._DEAF_S", 0.3)
    await client.run(image_graph(1))
    hear = client._session._feed._on_message

    def only_the_second(client_id: str, message: Any) -> None:
        if client_id != sockets[0]:
            hear(client_id, message)

    client._session._feed._on_message = only_the_second
    assert (await client.run(image_graph(2))).images
    await eventually(lambda: client._session._feed.client_id is None)
    seen: list[Progress] = []
    await client.run(sleeper(0.3), on_progress=seen.append)
    assert len(sockets) == 2
    assert any(progress.steps for progress in seen)


async def test_f6_socket_oversized_frame_closes_socket_not_job(
    client: ComfyWSClient, sockets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert websocket.MAX_FRAME_BYTES == 64 * 1024 * 1024
    monkeypatch.setattr(websocket, "MAX_FRAME_BYTES", 150)
    assert (await client.run(image_graph(), timeout=20)).images
    assert (await client.run(image_graph(2), timeout=20)).images
    assert len(sockets) == 1


async def test_f7_socket_ping_timeout_is_at_least_a_minute() -> None:
    assert websocket.PING_TIMEOUT_S >= 60


def polled_only(status: int) -> Any:
    def handler(request: Request) -> bytes:
        if request.path.startswith("/ws"):
            return response(status=status)
        if request.path == "/queue":
            return response(EMPTY_QUEUE)
        if request.path.startswith("/history/"):
            return response(history_of(request.path.rpartition("/")[2]))
        return response({"prompt_id": "x", "number": 1, "node_errors": {}})

    return handler


@pytest.mark.parametrize("status", [401, 403, 404, 502])
async def test_f8_run_without_socket_follows_job_by_polling(
    status: int, sockets: list[str]
) -> None:
    with ScriptedServer(polled_only(status)) as server:
        async with ComfyWSClient(url=server.url) as client:
            for _ in range(3):
                assert (await client.run(image_graph(), timeout=10)).images
            if status in (401, 403):
                assert client._session._feed.refused
                assert len(sockets) == 1


async def test_f8_socket_reconnect_backs_off_with_full_jitter(
    sockets: list[str],
) -> None:
    ceilings: list[float] = []

    class Dice(random.Random):
        def uniform(self, a: float, b: float) -> float:
            assert a == 0  # full jitter, so that clients do not reconnect at the same time
            ceilings.append(b)
            return 0.0

    endpoint = make_server_address(url="http://127.0.0.1:9")
    socket = websocket.Socket(
        endpoint, on_message=lambda *_: None, on_change=lambda _: None, rng=Dice()
    )
    assert await socket.ready() is None  # after one attempt
    await eventually(lambda: len(ceilings) > 8)
    await socket.close()
    assert ceilings[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert len(set(sockets)) == len(sockets)  # F1: each with its own clientId


async def test_f5_queue_prompt_without_socket_sends_client_id() -> None:
    with ScriptedServer(polled_only(404)) as server:
        async with ComfyWSClient(url=server.url) as client:
            await client.run(image_graph(), timeout=10)
        posts = [request for request in server.requests if request.path == "/prompt"]
    assert b'"client_id":"' in posts[0].body


async def test_generate_image_previews_reach_on_progress(engine: DemoServer) -> None:
    previews: list[bytes] = []
    async with ComfyWSClient(url=engine.url) as client:
        await client.generate_image(
            "a lake",
            preset="sd15",
            steps=4,
            on_progress=lambda p: previews.append(p.preview) if p.preview else None,
        )
    assert previews
    assert all(preview.startswith(b"\xff\xd8") for preview in previews)


async def test_stream_yields_each_preview_once_as_an_event(engine: DemoServer) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        graph = compile_workflow("sd15", prompt="a lake", steps=4)
        previews = [e async for e in client.stream(graph) if isinstance(e, Preview)]
    assert previews
    assert all(preview.image.startswith(b"\xff\xd8") for preview in previews)
    assert {(preview.media_type, preview.node_title) for preview in previews} == {
        ("image/jpeg", "Sampler")
    }
    assert len({preview.image for preview in previews}) == len(previews)


def test_ws_client_without_websockets_raises_missing_feature_on_construction() -> None:
    code = (
        "import sys; sys.modules['websockets'] = None\n"
        "from comfy_ui.client import ComfyClient, ComfyWSClient\n"
        "ComfyClient().close()\n"
        "try: ComfyWSClient()\n"
        "except Exception as error: print(type(error).__name__, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{MissingFeatureError.__name__} ")
    assert "comfy-ui[websocket]" in done.stdout


def test_import_client_does_not_import_websockets() -> None:
    code = "import sys, comfy_ui.client; print('websockets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- cancelled while the post is under way


class SlowPost:
    """A server that answers the post late, when the job is queued already."""

    def __init__(self) -> None:
        self.queued: list[str] = []
        self.posted = threading.Event()

    def __call__(self, request: Request) -> bytes:
        if request.path.startswith("/ws"):
            return response(status=404)
        if request.method == "GET":
            pending = [[1, prompt_id, {}, {}, []] for prompt_id in self.queued]
            queue = {"queue_running": [], "queue_pending": pending}
            return response(queue if request.path == "/queue" else {})
        body = json.loads(request.body or b"{}")
        if request.path == "/prompt":
            self.queued.append(body["prompt_id"])
            self.posted.set()
            time.sleep(0.3)
            return response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})
        if request.path == "/queue":
            self.queued = [id_ for id_ in self.queued if id_ not in body["delete"]]
        return response(b"", status=404 if request.path.startswith("/api") else 200)


@pytest.mark.parametrize("at_once", [True, False])
async def test_run_cancelled_during_post_removes_job_from_queue(at_once: bool) -> None:
    handler = SlowPost()
    with ScriptedServer(handler) as server:
        async with ComfyWSClient(url=server.url) as client:
            task = asyncio.create_task(client.run(image_graph()))
            await asyncio.to_thread(handler.posted.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if not at_once:
                await eventually(lambda: not handler.queued)
        assert handler.queued == []
    assert [task for task in asyncio.all_tasks() if "comfy-ui" in task.get_name()] == []


async def test_queue_prompt_cancelled_with_own_prompt_id_keeps_job_queued() -> None:
    handler = SlowPost()
    with ScriptedServer(handler) as server:
        async with ComfyWSClient(url=server.url) as client:
            mine = str(uuid4())
            task = asyncio.create_task(client.queue_prompt(image_graph(), prompt_id=mine))
            await asyncio.to_thread(handler.posted.wait, 5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert handler.queued == [mine]
