"""Inpainting changes only the painted part of an image; outpainting adds to it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image, ImageChops

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.storage.records import JobRequest, Phase
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.http.upload_routes import UploadRoutes
from comfy_ui.workflow.presets.preset_store import get_preset
from tests.jobs.support import last

SIDE = 128
KEPT = (0, 0, SIDE, SIDE // 2 - 8)  # a preset may grow the mask, to blend
PAINTED = (0, SIDE // 2, SIDE, SIDE)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("name", ["sdxl_inpaint", "flux_fill_inpaint"])
async def test_inpaint_preset_changes_only_the_painted_area(name: str, tmp_path: Path) -> None:
    original = Image.radial_gradient("L").resize((SIDE, SIDE)).convert("RGB")
    mask = Image.new("L", original.size, 0)
    mask.paste(255, PAINTED)
    preset = get_preset(name)
    with DemoServer(speed="instant").in_thread() as server:
        async with (
            ComfyWSClient(url=server.url) as client,
            open_jobs(client=client, data_dir=tmp_path) as service,
        ):
            services: Any = SimpleNamespace(jobs=service, library=service.library, client=client)
            uploads = UploadRoutes(services, Access(AccessMode.SHARED, b"secret"))
            sent = await uploads.accept(_png(original), "image", "eve")
            painted = await uploads.paint(sent, "eve", mask=_png(mask))
            values = {"prompt": "a wooden bench", "image": painted, "seed": 7, "steps": 2}
            allowed = uploads.check(preset, values, "eve")
            job = await service.submit(
                JobRequest(user_id="eve", preset=name, values=values, uploads=allowed)
            )
            end = await last(service.follow(job.id, "eve"))
    assert end.phase is Phase.SUCCEEDED, end.error
    (item,) = end.items
    with Image.open(item.path) as result:
        assert result.size == original.size
        changed = ImageChops.difference(result.convert("RGB"), original)
    assert changed.crop(KEPT).getbbox() is None
    assert changed.crop(PAINTED).getbbox() is not None


@pytest.mark.parametrize(
    "preset", ["sdxl_outpaint", "flux_fill_outpaint", "qwen_image_edit_outpaint"]
)
async def test_outpaint_preset_grows_the_image_and_keeps_the_original(
    preset: str,
) -> None:
    original = Image.radial_gradient("L").resize((SIDE + 3, SIDE)).convert("RGB")  # not of 8
    with DemoServer(speed="instant").in_thread() as server:
        async with ComfyWSClient(url=server.url) as client:
            name = await client.upload_image(_png(original), filename="a.png")
            sides = {"left": 64, "bottom": 32, "feathering": 8}
            values = {"prompt": "a hill", "image": str(name), "steps": 2, **sides}
            result = await client.run(preset, values=values)
            content = await client.download(result.images[0])
    with Image.open(io.BytesIO(content)) as grown:
        assert grown.size == (SIDE + 3 + 64, SIDE + 32)
        kept = grown.convert("RGB").crop((64 + 8, 0, 64 + SIDE + 3, SIDE - 8))
        added = grown.convert("RGB").crop((0, 0, 64, SIDE))
    assert ImageChops.difference(kept, original.crop((8, 0, SIDE + 3, SIDE - 8))).getbbox() is None
    assert len(set(added.get_flattened_data())) > 2
