"""LoRAs on a real ComfyUI on this machine with a checkpoint of SD 1.5."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image

from comfy_ui import ComfyWSClient, Result, ValidationError, compile_workflow
from comfy_ui.models.model_facts_reader import ModelFactsReader
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.worker_processes.process_pool import WORKERS
from tests.safetensors import random_sd15_lora

pytestmark = pytest.mark.live


@pytest.fixture
async def lora(other: ComfyWSClient) -> AsyncIterator[str]:
    """The name of a random LoRA in a subfolder of the server's folder."""
    folders = [Path(path) for path in (await other.model_paths()).get("loras", ())]
    here = [folder for folder in folders if folder.is_dir()]
    if not here or not await other.models("checkpoints"):
        pytest.skip("needs a checkpoint, and the server's models folder on this machine")
    path = random_sd15_lora(here[0] / "live tests" / f"noise_{uuid4().hex}.safetensors")
    yield path.stem
    path.unlink()
    path.parent.rmdir()


@pytest.mark.timeout(600)  # a step takes a minute on a busy CPU
async def test_run_with_lora_tag_changes_graph_and_picture(other: ComfyWSClient, lora: str) -> None:
    source = compile_workflow("sd15", prompt="a bay", steps=1, seed=5)
    small = {"width": 64, "height": 64}
    plain = await other.run(source, values=small)
    changed = await other.run(
        source, values={**small, "prompt": f"a bay <lora:{lora.upper()}:0.8:0.5>"}
    )
    (loader,) = [n for n in changed.graph.values() if n["class_type"] == "LoraLoader"]
    assert Path(loader["inputs"]["lora_name"]).stem == lora
    assert (loader["inputs"]["strength_model"], loader["inputs"]["strength_clip"]) == (0.8, 0.5)
    assert changed.values["prompt"] == "a bay"
    pictures = [await pixels(other, result) for result in (plain, changed)]
    assert pictures[0] != pictures[1]
    off = await other.run(source, values={**small, "loras": [(lora, 0)]})
    assert off.graph == plain.graph
    with pytest.raises(ValidationError, match="has no LoRA") as caught:
        await other.run(source, values={"prompt": f"a bay <lora:{lora}x>"})
    assert lora in caught.value.hint


async def pixels(client: ComfyWSClient, result: Result) -> bytes:
    """The image without its metadata, which has the graph."""
    content = await client.download(result.images[0])
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return image.tobytes()


async def test_model_facts_of_a_real_server_are_those_of_the_file(
    other: ComfyWSClient, lora: str
) -> None:
    (name,) = [name for name in await other.models("loras") if lora in name]
    reader = ModelFactsReader(lambda: other, ModelFolders)
    facts, _, _ = await reader.facts("loras", [name])
    assert (facts[name].family, facts[name].trigger_words) == ("SD1.5", ("live noise",))
    assert await reader.preview("loras", name) is None
    await reader.aclose()
    WORKERS.close()
