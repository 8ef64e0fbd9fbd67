"""A real ComfyUI at COMFYUI_URL, without any model. ``pytest -m live tests/live``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from comfy_ui import ComfyWSClient
from tests.live.support import OwnServer
from tests.shells import SHELLS, opened


@pytest.fixture
def url() -> str:
    if not (url := os.environ.get("COMFYUI_URL")):
        pytest.skip("needs a real ComfyUI at COMFYUI_URL")
    return url


@pytest.fixture(params=SHELLS)
async def client(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Any]:
    """Both clients in turn, with awaitable methods."""
    async with opened(request.param, url, timeout=60) as client:
        yield client


@pytest.fixture
async def other(url: str) -> AsyncIterator[ComfyWSClient]:
    """Another client of the same server."""
    async with ComfyWSClient(url=url, timeout=60) as client:
        yield client


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A running server that the test may kill, started by COMFYUI_START."""
    if not (command := os.environ.get("COMFYUI_START")):
        pytest.skip("needs COMFYUI_START: a command that runs a ComfyUI on port {port}")
    server = OwnServer(command)
    server.start()
    yield server
    server.kill()
