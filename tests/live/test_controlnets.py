"""ControlNets on a real ComfyUI: the prepared image, and that it accepts the graphs."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image, ImageDraw

from comfy_ui import ComfyWSClient, GenerationFailedError, ValidationError, compile_workflow
from comfy_ui.client.tracking.small_job import run_small_job
from comfy_ui.workflow.conditioning.control_types import preprocess_graph
from tests.safetensors import write_safetensors

pytestmark = pytest.mark.live


def _here(paths: Iterable[str]) -> Path | None:
    """The first of the server's folders that is on this machine."""
    return next((Path(path) for path in paths if Path(path).is_dir()), None)


def square() -> Image.Image:
    image = Image.new("RGB", (160, 120), "black")
    ImageDraw.Draw(image).rectangle((40, 30, 120, 90), fill="white")
    return image


@pytest.mark.timeout(300)
async def test_preprocess_canny_draws_the_edges_and_leaves_no_job(other: ComfyWSClient) -> None:
    image = await other.upload_image(square(), subfolder="comfy-ui", type="temp")
    before = {*await other.recent()}
    graph = preprocess_graph("canny", image, await other.object_info())
    outputs = await run_small_job(other, graph, timeout_s=240)
    assert outputs is not None
    (file,) = outputs.files
    with Image.open(io.BytesIO(await other.download(file)), formats=["PNG"]) as picture:
        edges = np.asarray(picture.convert("L")) > 128
    assert edges.shape == (120, 160)
    assert edges[28:34, 60:100].any()
    assert edges[50:70, 37:43].any()
    assert not edges[50:70, 60:100].any()
    assert {*await other.recent()} <= before


@pytest.mark.timeout(300)
async def test_run_with_controlnet_is_accepted_once_the_server_has_its_model(
    other: ComfyWSClient,
) -> None:
    """The server validates the whole graph before it loads the files, which are no models."""
    paths = await other.model_paths()
    folders = [_here(paths.get(folder, ())) for folder in ("checkpoints", "controlnet")]
    name = f"live_{uuid4().hex}_sd15_canny.safetensors"
    files = [folder / name for folder in folders if folder is not None]
    if len(files) < len(folders):
        pytest.skip("needs the server's models folder on this machine")
    source = compile_workflow("sd15", prompt="a bay", steps=1, seed=5)
    picture = await other.upload_image(square(), filename=f"{name}.png")
    control = {"image": picture, "type": "canny", "model": name}
    values = {"CheckpointLoaderSimple.ckpt_name": name, "controlnets": [control]}
    with pytest.raises(ValidationError):
        await other.run(source, values=values)
    for file in files:
        write_safetensors(file, {"x": np.zeros(1, np.float32)})
    try:
        await other.object_info(fresh=True)
        with pytest.raises(GenerationFailedError) as caught:
            await other.run(source, values=values)
        assert caught.value.node_type in {"CheckpointLoaderSimple", "ControlNetLoader"}
    finally:
        for file in files:
            file.unlink()
