"""Endless, bloated and trickled answers of a hostile server: cut off with a typed error."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.client import endpoints
from comfy_ui.client.transfer import files
from comfy_ui.client.transfer.files import DownloadTarget
from comfy_ui.client.transport.http_transport import AsyncTransport, SyncTransport
from comfy_ui.client.transport.request import ApiRequest
from comfy_ui.client.transport.server_address import make_server_address
from comfy_ui.errors import ComfyUIConnectionError, StorageError
from tests.client.hostile_server import (
    CLOSE,
    OK,
    Behavior,
    answering,
    endless,
    endless_head,
    gzip_bomb,
    hostile,
    trickle,
    trickled_head,
)
from tests.client.support import answer, image_graph, open_client

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
MB = 2**20


async def send(kind: str, url: str, call: ApiRequest[Any], receiver: Any = None) -> Any:
    """Send one request by either transport."""
    address = make_server_address(url=url, timeout=0.3)
    if kind == "sync":
        sync = SyncTransport(address)
        try:
            return await asyncio.to_thread(sync.send, call, receiver)
        finally:
            sync.close()
    transport = AsyncTransport(address)
    try:
        return await transport.send(call, receiver)
    finally:
        await transport.close()


@BOTH
@pytest.mark.parametrize(
    ("ask", "path", "limit_mb"),
    [
        (lambda client: client.ping(), "GET /prompt", 1),
        (lambda client: client.queue_prompt(image_graph()), "POST /prompt", 16),
        (lambda client: client.models("loras"), "GET /models/loras", 16),
    ],
    ids=["ping", "queue_prompt", "models"],
)
async def test_client_endless_answer_is_cut_off_at_limit_of_route(
    kind: str, ask: Callable[[Any], Awaitable[Any]], path: str, limit_mb: int
) -> None:
    async with hostile(endless) as server, open_client(kind, server.url) as client:
        with pytest.raises(
            ComfyUIConnectionError, match=rf"{path} is larger than \d+ MB"
        ) as caught:
            await ask(client)
        assert not caught.value.retryable
        assert server.sent_bytes < (limit_mb + 16) * MB, "and what sockets buffer"


@pytest.mark.slow
@BOTH
async def test_object_info_endless_answer_is_cut_off(kind: str) -> None:
    async with hostile(endless) as server, open_client(kind, server.url) as client:
        with pytest.raises(ComfyUIConnectionError, match="GET /object_info is larger than 64 MB"):
            await client.object_info()
        assert server.sent_bytes < 96 * MB


@BOTH
async def test_client_gzip_bomb_is_cut_off_while_others_run(kind: str) -> None:
    bomb = gzip_bomb(200 * MB)
    assert len(bomb) < 2 * MB
    longest = 0.0

    async def measure() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)

    async with hostile(answering(bomb)) as server, open_client(kind, server.url) as client:
        measuring = asyncio.create_task(measure())
        with pytest.raises(ComfyUIConnectionError, match="/features is larger than 16 MB"):
            await client.features()
        measuring.cancel()
    assert longest < 0.5


@BOTH
async def test_client_compressed_answer_is_read(kind: str) -> None:
    body = gzip.compress(json.dumps({"exec_info": {"queue_remaining": 3}}).encode())
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n" % len(body)
    async with (
        hostile(answering(head + CLOSE + body)) as server,
        open_client(kind, server.url) as client,
    ):
        assert await client.ping() == 3


@BOTH
@pytest.mark.parametrize("behave", [trickle, trickled_head, endless_head])
async def test_client_answer_that_never_ends_times_out(kind: str, behave: Behavior) -> None:
    call = replace(endpoints.ping(), body_s=0.3)
    async with hostile(behave) as server:
        started = time.monotonic()
        with pytest.raises(ComfyUIConnectionError, match="GET /prompt"):
            await send(kind, server.url, call)
        assert time.monotonic() - started < 5
        assert server.sent_bytes < 32 * MB


@BOTH
async def test_download_trickled_file_times_out(kind: str, tmp_path: Path) -> None:
    call = replace(endpoints.view("a.png", subfolder="", type="output"), body_s=0.3)
    async with hostile(trickle) as server:
        target = DownloadTarget(folder=tmp_path)
        with pytest.raises(ComfyUIConnectionError, match="GET /view in time"):
            await send(kind, server.url, call, target)
        target.discard()


def test_download_target_stops_before_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 200 * 10**6
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    target = DownloadTarget(folder=tmp_path)
    assert target.begin(answer(headers={}))
    target.write(b"x")
    free = 100 * 10**6
    for _ in range(64):
        target.write(bytes(MB))
    with pytest.raises(StorageError, match="No space left"):
        target.write(bytes(MB))
    target.discard()
    announced = DownloadTarget(folder=tmp_path)
    with pytest.raises(ComfyUIConnectionError, match="larger than 100 GB"):
        announced.begin(answer(headers={"content-length": str(10**12)}))


@BOTH
@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b"[" + b"[]," * (MB + 1) + b"0]", b"[" + b"0," * (5 * MB) + b"0]"],
    ids=["deep", "many lists", "many values"],
)
async def test_client_hostile_json_raises_typed_error(kind: str, body: bytes) -> None:
    head = OK + b"content-length: %d\r\n" % len(body)
    async with (
        hostile(answering(head + CLOSE + body)) as server,
        open_client(kind, server.url) as client,
    ):
        with pytest.raises(ComfyUIConnectionError, match="GET /models"):
            await client.models("loras")
