"""LoRAs on a real ComfyUI on this machine with a checkpoint of SD 1.5."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui import ComfyWSClient, ValidationError
from comfy_ui.models.model_facts_reader import ModelFactsReader
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.worker_processes import WORKERS
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


async def test_generate_image_with_lora_tag_changes_graph_and_picture(
    other: ComfyWSClient, lora: str
) -> None:
    options: dict[str, Any] = {"preset": "sd15", "steps": 1, "width": 384, "height": 384, "seed": 5}
    plain = await other.generate_image("a bay", **options)
    changed = await other.generate_image(f"a bay <lora:{lora.upper()}:0.8:0.5>", **options)
    (loader,) = [n for n in changed.graph.values() if n["class_type"] == "LoraLoader"]
    assert Path(loader["inputs"]["lora_name"]).stem == lora
    assert (loader["inputs"]["strength_model"], loader["inputs"]["strength_clip"]) == (0.8, 0.5)
    assert changed.values["prompt"] == "a bay"
    assert await other.download(plain.images[0]) != await other.download(changed.images[0])
    off = await other.generate_image("a bay", loras=[(lora, 0)], **options)
    assert off.graph == plain.graph
    with pytest.raises(ValidationError, match="has no LoRA") as caught:
        await other.generate_image(f"a bay <lora:{lora}x>", **options)
    assert lora in caught.value.hint


async def test_model_facts_of_a_real_server_are_those_of_the_file(
    other: ComfyWSClient, lora: str
) -> None:
    (name,) = [name for name in await other.models("loras") if lora in name]
    reader = ModelFactsReader(lambda: other, ModelFolders)
    facts, _ = await reader.facts("loras", [name])
    assert (facts[name].family, facts[name].trigger_words) == ("SD1.5", ("live noise",))
    assert await reader.preview("loras", name) is None
    await reader.aclose()
    WORKERS.close()
