"""Images sent over the WebSocket: results like any other while their client lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient, OutputFile
from comfy_ui.client.transfer.file_transfers import SocketPictures
from comfy_ui.demo import DemoServer
from comfy_ui.errors import OutputMissingError
from comfy_ui.protocol.job import new_job
from tests.client.support import image_graph, open_client, saved


def sending(batch: int = 2, color: int = 1) -> dict[str, Any]:
    graph = image_graph(color)
    graph["1"]["inputs"]["batch_size"] = batch
    graph["2"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}
    return graph


async def test_websocket_images_are_downloaded_and_saved_as_results(
    engine: DemoServer, tmp_path: Path
) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        result = await client.run(sending())
        assert [file.type for file in result.images] == ["websocket"] * 2
        data = await client.download(result.images[0])
        assert isinstance(data, bytes)
        assert data.startswith(b"\x89PNG")
        paths = await saved(result, tmp_path)
        assert [path.name for path in paths] == ["2_00001_.png", "2_00002_.png"]
        assert paths[0].read_bytes() == data
        again = await client.run(sending(color=2))
        assert await client.download(again.images[0]) != data
        assert await client.download(result.images[0]) == data


async def test_stream_yields_each_websocket_image_before_result(engine: DemoServer) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        events = [event async for event in client.stream(sending())]
    files = [event for event in events if isinstance(event, OutputFile)]
    assert files == events[-1].files
    assert len(files) == 2


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_download_websocket_image_with_other_client_raises_with_hint(
    kind: str, engine: DemoServer
) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        (file, *_) = (await client.run(sending())).images
    async with open_client(kind, engine.url) as other:
        with pytest.raises(OutputMissingError, match="sent once") as caught:
            await other.download(file)
        assert "SaveImage" in caught.value.hint


def test_socket_pictures_beyond_limit_drops_oldest() -> None:
    pictures = SocketPictures(kept_bytes=250)
    state = new_job("a", now=0)
    states = [state]
    for number in range(4):
        sent = {"2": tuple(bytes([n]) * 100 for n in range(number + 1))}
        states.append(type(state)(prompt_id="a", created_at=0, run=state.run, sent=sent))
        pictures.take(states[-2], states[-1], 0.0)
    files = [file for file, _ in states[-1].sent_since(state)]
    assert [pictures.get(file) is not None for file in files] == [False, False, True, True]
    assert pictures.get(files[3]) == bytes([3]) * 100
    assert pictures.get(OutputFile("2_00004_.png", "a", "output", "2", "image")) is None
