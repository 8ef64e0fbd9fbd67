"""A job on Comfy Cloud (v1), against a fake with its paths, API key and messages."""

# ruff: noqa: ASYNC110 -- tests may poll

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trustme
from aiohttp import WSMsgType, web

from comfy_ui.errors import AuthenticationError, ServerRejectedError
from tests.client.support import history_of, image_graph, open_client, saved

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
KEY = "comfyui-key"
PNG = b"\x89PNG" + bytes(100)


class Cloud:
    """A fake Comfy Cloud: messages go to every socket of the user, files lie on another host."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.seen: list[tuple[str, str]] = []
        self.keys_elsewhere: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.credits = True
        self.hold = False
        self.storage = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/ws", self._socket)
        app.router.add_post("/api/prompt", self._prompt)
        app.router.add_get("/api/queue", self._queue)
        app.router.add_post("/api/queue", self._delete)
        app.router.add_post("/api/interrupt", self._interrupt)
        app.router.add_get("/api/history_v2/{id}", self._history)
        app.router.add_get("/api/view", self._view)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append((request.method, request.path))
        key = request.query.get("token") if request.path == "/ws" else None
        if (key or request.headers.get("x-api-key")) != KEY:
            return web.json_response({"code": "unauthorized", "message": "no key"}, status=401)
        return await handler(request)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        self.sockets.append(connection)
        async for message in connection:
            assert message.type is WSMsgType.TEXT
        self.sockets.remove(connection)
        return connection

    async def _prompt(self, request: web.Request) -> web.Response:
        if not self.credits:
            return web.json_response({"code": "payment", "message": "no credits"}, status=402)
        assert (await request.json())["prompt"]
        prompt_id = str(uuid4())  # of its own
        self.jobs[prompt_id] = "pending"
        task = asyncio.create_task(self._run(prompt_id))
        self._tasks.add(task)
        return web.json_response({"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    async def _run(self, prompt_id: str) -> None:
        await asyncio.sleep(0.1)
        self.jobs[prompt_id] = "running"
        await self._tell("notification", {"value": "Allocating a machine"})
        await self._tell("execution_start", {"prompt_id": str(uuid4())})  # of another job
        await self._tell("executing", {"node": "2", "prompt_id": prompt_id})
        while self.hold and self.jobs[prompt_id] == "running":
            await asyncio.sleep(0.01)
        if self.jobs[prompt_id] == "running":
            self.jobs[prompt_id] = "done"
            await self._tell("executing", {"node": None, "prompt_id": prompt_id})

    async def _tell(self, kind: str, data: dict[str, Any]) -> None:
        for connection in self.sockets:
            await connection.send_str(json.dumps({"type": kind, "data": data}))

    async def _queue(self, _: web.Request) -> web.Response:
        listed = {
            status: [[1, id_, {}, {}, []] for id_, is_ in self.jobs.items() if is_ == status]
            for status in ("running", "pending")
        }
        return web.json_response({f"queue_{status}": jobs for status, jobs in listed.items()})

    async def _delete(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json())["delete"]:
            if self.jobs.get(prompt_id) in ("pending", "running"):
                del self.jobs[prompt_id]
        return web.Response()

    async def _interrupt(self, _: web.Request) -> web.Response:
        self.jobs.clear()  # all of this user's
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if self.jobs.get(prompt_id) != "done":
            return web.json_response({"code": "not_found", "message": "unknown"}, status=404)
        return web.json_response(history_of(prompt_id))

    async def _view(self, request: web.Request) -> web.Response:
        name = request.query["filename"]
        return web.Response(status=302, headers={"location": f"{self.storage}/{name}?signed=1"})

    async def stored(self, request: web.Request) -> web.Response:
        """The other host."""
        self.keys_elsewhere += [v for n, v in request.headers.items() if "key" in n.lower()]
        assert request.query["signed"] == "1"
        return web.Response(body=PNG)


@pytest.fixture
async def cloud(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[tuple[Cloud, str, Path]]:
    """``cloud.comfy.org`` on this machine, over TLS; its address, and the authority to trust."""
    authority = trustme.CA()
    fake = Cloud()
    elsewhere = web.Application()
    elsewhere.router.add_get("/{name}", fake.stored)
    runners, ports = [], []
    for app in (fake.app(), elsewhere):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("cloud.comfy.org", "storage.invalid").configure_cert(context)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        ports.append(runner.addresses[0][1])
        runners.append(runner)
    fake.storage = f"https://storage.invalid:{ports[1]}"
    real = socket.getaddrinfo

    def here(host: Any, *args: Any, **kwargs: Any) -> Any:
        ours = host in ("cloud.comfy.org", "storage.invalid")
        return real("127.0.0.1" if ours else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    pem = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(pem))
    yield fake, f"https://cloud.comfy.org:{ports[0]}", pem
    for runner in runners:
        await runner.cleanup()


@BOTH
async def test_run_on_comfy_cloud_returns_and_saves_result(
    kind: str, cloud: tuple[Cloud, str, Path], tmp_path: Path
) -> None:
    server, url, pem = cloud
    phases: list[str] = []
    async with open_client(kind, url, token=KEY, verify=pem) as client:
        result = await client.run(
            image_graph(), timeout=20, on_progress=lambda p: phases.append(p.phase)
        )
        assert server.jobs == {result.prompt_id: "done"}  # under the server's own id
        assert await client.download(result.images[0]) == PNG
        (path,) = await saved(result, tmp_path / "saved")
        assert path.read_bytes() == PNG
        again = await client.wait_for_completion(result.prompt_id)
        assert again.files == result.files
    assert phases[-1] == "succeeded"
    assert server.keys_elsewhere == []
    assert {path for _, path in server.seen if not path.startswith("/api/")} <= {"/ws"}
    assert (("GET", "/ws") in server.seen) == (kind == "async")


@BOTH
async def test_cancel_on_comfy_cloud_leaves_other_jobs(
    kind: str, cloud: tuple[Cloud, str, Path]
) -> None:
    server, url, pem = cloud
    server.hold = True
    async with open_client(kind, url, token=KEY, verify=pem) as client:
        mine, other = [await client.queue_prompt(image_graph(n)) for n in range(2)]
        while list(server.jobs.values()) != ["running", "running"]:
            await asyncio.sleep(0.01)
        assert await client.cancel(mine)
        assert server.jobs == {other: "running"}
        assert ("POST", "/api/interrupt") not in server.seen
        server.hold = False
        assert (await client.wait_for_completion(other, timeout=20)).images


@BOTH
async def test_run_on_comfy_cloud_wrong_key_and_no_credits_raise_different_errors(
    kind: str, cloud: tuple[Cloud, str, Path]
) -> None:
    server, url, pem = cloud
    async with open_client(kind, url, token="wrong", verify=pem) as client:
        with pytest.raises(AuthenticationError):
            await client.run(image_graph(), timeout=20)
    server.credits = False
    async with open_client(kind, url, token=KEY, verify=pem) as client:
        with pytest.raises(ServerRejectedError, match="credits") as caught:
            await client.run(image_graph(), timeout=20)
        assert caught.value.status == 402
