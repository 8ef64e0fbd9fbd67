"""Inpainting and outpainting on a real ComfyUI with a checkpoint of any family."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageChops

from comfy_ui import ComfyWSClient

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]  # a step takes a minute on a busy CPU

SIDE = 256


@pytest.fixture
async def checkpoint(other: ComfyWSClient) -> str:
    names = await other.models("checkpoints")
    if not names:
        pytest.skip("needs a checkpoint")
    return names[0]


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


async def run(client: ComfyWSClient, preset: str, **values: object) -> Image.Image:
    """The result of two steps."""
    result = await client.run(preset, values={"prompt": "a red door", "steps": 2, **values})
    with Image.open(io.BytesIO(await client.download(result.images[0]))) as picture:
        return picture.convert("RGB")


def changed(one: Image.Image, other: Image.Image) -> tuple[int, int, int, int] | None:
    return ImageChops.difference(one, other).getbbox()


async def test_run_inpaint_keeps_pixels_outside_the_mask(
    other: ComfyWSClient, checkpoint: str
) -> None:
    original = Image.radial_gradient("L").convert("RGB").resize((SIDE, SIDE))
    masked = original.copy()
    alpha = Image.new("L", original.size, 255)
    alpha.paste(0, (96, 96, 160, 160))
    masked.putalpha(alpha)
    result = await run(other, "sdxl_inpaint", image=png(masked), model=checkpoint, grow_mask=6)
    area = changed(result, original)
    assert area is not None
    assert min(area[:2]) >= 96 - 6
    assert max(area[2:]) <= 160 + 6


async def test_run_outpaint_grows_the_image_and_keeps_the_original(
    other: ComfyWSClient, checkpoint: str
) -> None:
    size = SIDE - 3, SIDE  # not a multiple of 8
    original = Image.radial_gradient("L").convert("RGB").resize(size)
    sides = {"right": 64, "bottom": 32, "feathering": 16}
    result = await run(other, "sdxl_outpaint", image=png(original), model=checkpoint, **sides)
    assert result.size == (size[0] + 64, size[1] + 32)
    kept = 0, 0, size[0] - 16, size[1] - 16
    assert changed(result.crop(kept), original.crop(kept)) is None
    added = result.crop((size[0], 0, size[0] + 64, size[1]))
    assert len(added.getcolors(maxcolors=1 << 24) or ()) > 50  # not the gray of the frame
