"""Files of a result as bytes, images and arrays, and in notebooks."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from comfy_ui.client import ComfyClient, ComfyWSClient, OutputFile, Result
from comfy_ui.demo import DemoServer
from comfy_ui.errors import MissingFeatureError, ValidationError
from tests.client.support import Awaited, image_graph, open_client
from tests.client.test_both_clients import listed
from tests.graphs import node

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@BOTH
async def test_output_file_of_a_result_or_event_is_read(kind: str, engine: DemoServer) -> None:
    async with open_client(kind, engine.url) as client:
        real = client.client if isinstance(client, Awaited) else client
        events = await listed(real.stream(image_graph(0x0000FF)))
        file, in_event = events[-1].images[0], next(e for e in events if isinstance(e, OutputFile))
        content = await client.download(file)
        read = [await asyncio.to_thread(each.bytes) for each in (file, in_event)]
        image = await asyncio.to_thread(file.pil)
        pixels = await asyncio.to_thread(file.numpy)
    assert read == [content, content]
    assert image.size == (16, 16)
    assert pixels.shape == (16, 16, 3)
    assert (pixels == (0, 0, 255)).all()


def test_numpy_without_numpy_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingFeatureError) as caught:
        OutputFile("a.png").numpy()
    assert caught.value.hint == "Install it with: pip install numpy"


async def test_output_file_of_a_client_with_an_async_transport_names_the_way_out(
    engine: DemoServer,
) -> None:
    async with ComfyWSClient(url=engine.url, http=httpx.AsyncHTTPTransport()) as client:
        (file,) = (await client.run(image_graph())).images
        with pytest.raises(ValidationError, match=r"await client\.download"):
            file.bytes()
        assert file._repr_png_() is None
        assert await client.download(file)


@BOTH
async def test_run_takes_images_in_memory_as_values(kind: str, engine: DemoServer) -> None:
    graph = {
        "1": node("LoadImage", image="x.png"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="t"),
    }
    pixels = np.full((8, 8, 3), (0, 128, 255), np.uint8)
    async with open_client(kind, engine.url) as client:
        first = await client.run(graph, values={"image": pixels})
        second = await client.run(graph, values={"LoadImage.image": Image.fromarray(pixels)})
        assert await client.upload_image(first.images[0]) == f"{first.images[0].filename} [output]"
        for result in (first, second):
            assert (await asyncio.to_thread(result.images[0].numpy) == pixels).all()


@pytest.mark.parametrize("duplicate", [lambda v: pickle.loads(pickle.dumps(v)), copy.copy])
def test_output_file_without_client_raises_with_the_way_out(duplicate: Any) -> None:
    file = OutputFile("a.png", kind="image").readable_by(lambda _: b"content", "id")
    assert file.bytes() == b"content"
    assert duplicate(file) == file
    assert duplicate(file).prompt_id == "id"
    with pytest.raises(ValidationError, match=r"client\.download"):
        duplicate(file).bytes()
    assert duplicate(file)._repr_png_() is None


def test_output_file_in_a_notebook_is_an_element_with_its_content() -> None:
    def shown(name: str, content: bytes = b"content") -> tuple[bytes | None, str | None]:
        file = OutputFile(name).readable_by(lambda _: content, "id")
        return file._repr_png_(), file._repr_html_()

    assert shown("a.png") == (b"content", None)
    png, html = shown('"><b>.webp')
    assert png is None
    assert html == '<img src="data:image/webp;base64,Y29udGVudA==" alt="&quot;&gt;&lt;b&gt;.webp">'
    assert "<video" in str(shown("a.mp4")[1])
    assert "<audio" in str(shown("a.flac")[1])
    assert shown("a.glb") == (None, "<p>a.glb</p>")
    assert shown("a.mp4", b"x" * (2**25 + 1)) == (None, "<p>a.mp4</p>")


def test_result_in_a_notebook_shows_its_files_and_texts(engine: DemoServer) -> None:
    with ComfyClient(url=engine.url) as client:
        result = client.run(image_graph())
        assert "data:image/png;base64," in result._repr_html_()


def test_result_and_output_file_have_short_reprs() -> None:
    file = OutputFile("a.png", "sub", "temp", kind="image")
    assert repr(file) == "<OutputFile 'sub/a.png' image in temp>"
    result = Result("id", [file, file], ["x"], 1.26, False, lambda *_: [], {"1": {}}, {"seed": 1})
    assert repr(result) == "<Result id: 2 × image, 1 × text, 1.3 s>"
