"""The status of a server that misbehaves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.errors import ComfyUIConnectionError
from comfy_ui.jobs.workers import server as module
from comfy_ui.jobs.workers.server import Server
from comfy_ui.protocol.object_info import NodeRegistry
from tests.client.hostile_server import CLOSE, OK, Peer, hostile, trickle


async def test_server_status_trickling_server_is_offline_and_recovers(
    engine: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        answer = (await client.system_stats()).raw
    recovered = False

    async def behave(peer: Peer) -> None:
        if not recovered:
            await trickle(peer)
        elif peer.path == "/system_stats":
            await peer.send(OK + CLOSE + json.dumps(answer).encode())
        else:
            await peer.send(OK + CLOSE + b'{"queue_running": [], "queue_pending": []}')

    async with hostile(behave) as raw, ComfyWSClient(url=raw.url) as client:
        monkeypatch.setattr(module, "_CHECK_TIMEOUT_S", 0.1)
        server = Server(client)
        async with asyncio.timeout(10):
            status = await server.status()
        assert not status.online
        assert status.error is not None
        assert status.error.kind == ComfyUIConnectionError.__name__
        recovered = True
        monkeypatch.setattr(module, "_CHECK_TIMEOUT_S", 10.0)
        assert (await server.status()).online


async def test_server_node_registry_calls_at_once_share_one_request(engine: DemoServer) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        server, requests = Server(client), 0
        original = client.object_info

        async def counting(**options: Any) -> NodeRegistry:
            nonlocal requests
            requests += 1
            return await original(**options)

        client.object_info = counting  # type: ignore[method-assign]
        registries = await asyncio.gather(*(server.node_registry(max_age_s=5) for _ in range(20)))
        assert requests == 1
        assert all(registry is registries[0] for registry in registries)
        await server.node_registry(max_age_s=0.0)
        assert requests == 2
