"""The floor: the least that any client must do for a job, with aiohttp and nothing around it.

One socket, one POST, wait for ``execution_success``, one GET for each file. It recovers from
nothing, so whatever a real client adds is the price of being reliable.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any, Self

import aiohttp


class RawClient:
    """Use as an async context manager; the socket stays open between jobs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._id = uuid.uuid4().hex
        self._ended: dict[str, asyncio.Future[None]] = {}
        self._files: dict[str, list[dict[str, str]]] = {}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(self._url)
        self._socket = await self._http.ws_connect(f"/ws?clientId={self._id}", max_msg_size=2**28)
        await self._socket.send_json(
            {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._reader.cancel()
        await self._socket.close()
        await self._http.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            message = json.loads(frame.data)
            data = message["data"]
            if message["type"] == "executed":
                self._files.setdefault(data["prompt_id"], []).extend(data["output"]["images"])
            elif message["type"] == "execution_success":
                self._ended[data["prompt_id"]].set_result(None)

    async def run(self, graph: dict[str, Any]) -> list[bytes]:
        """The bytes of all files of one job."""
        prompt_id = str(uuid.uuid4())
        self._ended[prompt_id] = asyncio.get_running_loop().create_future()
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": self._id}
        async with self._http.post("/prompt", json=body) as answer:
            await answer.read()
        await self._ended[prompt_id]
        del self._ended[prompt_id]
        found = []
        for file in self._files.pop(prompt_id):
            async with self._http.get("/view", params=file) as answer:
                found.append(await answer.read())
        return found
