"""An MCP client with the Python SDK: calls every tool and prints the results as JSON.

Run as a program. Each input line is one session: a JSON list of the URL of ``/mcp``, an
``Authorization`` header or nothing, and a graph; each output line is the results as JSON, or
``{"failed": traceback}``. Supports the first and the second version of the SDK.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def session(url: str, headers: dict[str, str]) -> Any:
    try:
        from mcp import Client
        from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
    except ImportError:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with (
            streamablehttp_client(url, headers=headers) as (incoming, outgoing, _),
            ClientSession(incoming, outgoing) as opened,
        ):
            await opened.initialize()
            yield opened
    else:
        async with (
            create_mcp_http_client(headers=headers) as http,
            Client(streamable_http_client(url, http_client=http)) as opened,
        ):
            yield opened


async def main(url: str, authorization: str, graph: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": authorization} if authorization else {}
    seen: dict[str, Any] = {"progress": []}

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen["progress"].append([progress, total, message])

    async with session(url, headers) as client:

        async def call(name: str, callback: Any = None, **arguments: Any) -> Any:
            result = await client.call_tool(name, arguments, progress_callback=callback)
            dumped = result.model_dump(by_alias=True, mode="json")
            return {
                "failed": bool(dumped["isError"]),
                "data": dumped.get("structuredContent"),
                "text": dumped["content"][0]["text"],
                "links": [
                    one["uri"] for one in dumped["content"] if one["type"] == "resource_link"
                ],
            }

        seen["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        seen["presets"] = await call("presets")
        seen["enhance"] = await call("enhance", prompt="a cat")
        small = {"width": 384, "height": 384, "steps": 4}
        seen["generate"] = await call(
            "generate", on_progress, preset="sd15", prompt="a dune", values=small
        )
        job = seen["generate"]["data"]["job"]
        seen["job"] = await call("job", job_id=job)
        seen["cancel"] = await call("cancel", job_id=job)
        seen["pause"] = await call("pause")
        seen["resume"] = await call("resume")
        seen["run_workflow"] = await call("run_workflow", workflow=graph)
        small = {"width": 256, "height": 256, "frames": 9, "fps": 8, "steps": 1}
        made = await call("generate", preset="wan22_5b", prompt="a dune", values=small)
        video = made["data"]["job"]
        seen["extend"] = await call("extend", job_id=video, values={"frames": 5})
        seen["trim"] = await call("trim", job_id=video, start_s=0.25, end_s=0.75)
    return seen


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            answer = asyncio.run(main(*json.loads(line)))
        except Exception:  # noqa: BLE001 -- the SDKs raise many classes, exception groups too
            answer = {"failed": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
