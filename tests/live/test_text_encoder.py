"""Enhance by a real ComfyUI's text encoder, up to the point where its weights are missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from comfy_ui import ComfyWSClient, LanguageModelError
from comfy_ui.prompts.language_models.llm import Question
from comfy_ui.prompts.language_models.text_encoder import find_encoder, write_text
from tests.safetensors import write_safetensors

pytestmark = pytest.mark.live


@pytest.fixture
async def encoder_file(other: ComfyWSClient) -> AsyncIterator[str]:
    """A file that is named like an encoder that can write, and has none of its weights."""
    folders = [Path(path) for path in (await other.model_paths()).get("text_encoders", ())]
    here = [folder for folder in folders if folder.is_dir()]
    if not here:
        pytest.skip("needs the server's models folder on this machine")
    path = here[0] / f"qwen_3_4b_{uuid4().hex}.safetensors"
    write_safetensors(path, {"nothing": np.zeros(1, np.float32)})
    yield path.name
    path.unlink()


async def test_write_text_without_weights_says_what_comfyui_says(
    other: ComfyWSClient, encoder_file: str
) -> None:
    if "TextGenerate" not in await other.object_info():
        pytest.skip("needs ComfyUI 0.33 or newer")
    encoder = await find_encoder(other)
    assert encoder is not None
    assert encoder.filename == encoder_file
    with pytest.raises(LanguageModelError, match=r"qwen_3_4b_\w+ \(ComfyUI\) cannot write: .+"):
        await write_text(encoder, Question("You write prompts.", "a fox"), timeout_s=60)
