"""A web service that streams previews and the result of each prompt as server-sent events.

pip install fastapi uvicorn
uvicorn examples.fastapi_previews:app
curl -N "localhost:8000/images?prompt=a+quiet+harbor"
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from comfy_ui import ComfyHeadlessError, ComfyWSClient, OutputFile, Preview, Progress, Result


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with ComfyWSClient() as client:  # one socket for all requests
        app.state.comfy = client
        yield


app = FastAPI(lifespan=lifespan)


def sse(event: str, **data: Any) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


async def events(client: ComfyWSClient, prompt: str) -> AsyncIterator[str]:
    # A browser that leaves closes the stream, and cancel_on_exit frees the GPU.
    stream = client.stream("sd15", values={"prompt": prompt, "steps": 8}, cancel_on_exit=True)
    try:
        async with aclosing(stream) as updates:
            async for update in updates:
                match update:
                    case Progress(progress=percent, queue_position=position):
                        yield sse("progress", percent=percent, position=position)
                    case Preview(image=image, media_type=media_type):
                        data = b64encode(image).decode()
                        yield sse("preview", src=f"data:{media_type};base64,{data}")
                    case OutputFile(filename=name):
                        yield sse("file", name=name)
                    case Result():
                        image = await client.download(update.images[0])
                        data = b64encode(image).decode()
                        yield sse("result", src=f"data:image/png;base64,{data}", seed=update.seed)
    except ComfyHeadlessError as error:
        yield sse("error", message=error.message, hint=error.hint)


@app.get("/images")
async def images(prompt: str) -> StreamingResponse:
    return StreamingResponse(events(app.state.comfy, prompt), media_type="text/event-stream")
