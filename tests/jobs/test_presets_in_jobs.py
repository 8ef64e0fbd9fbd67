"""Every shipped preset and each of its variants, from values to a result of the right kind."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.storage.records import JobRequest, LibraryItem, Phase
from comfy_ui.workflow.fields.field_types import FILE_ROLES
from comfy_ui.workflow.presets.preset_store import Preset, list_presets
from tests.jobs.support import last

pytestmark = pytest.mark.slow

RUNS = [
    (preset, variant)
    for preset in list_presets()
    if not preset.custom_nodes  # the engine has ComfyUI's own nodes alone
    for variant in (None, *preset.variants)
]
# The least work that a preset allows, since only the pipeline is tested.
SMALL = {
    "width": 256, "height": 256, "frames": 1, "duration": 1, "batch": 1, "steps": 1,
}  # fmt: skip
SUFFIXES = {
    "image": {".png", ".webp"},
    "video": {".mp4", ".webm"},
    "audio": {".flac", ".mp3", ".opus"},
    "3d": {".glb"},
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DemoServer]:
    with DemoServer(speed="instant").in_thread() as server:
        yield server


@pytest.fixture
async def service(engine: DemoServer, tmp_path: Path) -> AsyncIterator[JobService]:
    async with (
        ComfyWSClient(url=engine.url) as client,
        open_jobs(client=client, data_dir=tmp_path / "data") as jobs,
    ):
        await client.upload_image(_picture(), filename="given.png", overwrite=True)
        await client.upload_video(_video(), filename="given.mp4", overwrite=True)
        yield jobs


def _picture() -> bytes:
    content = io.BytesIO()
    picture = Image.new("RGBA", (128, 96), "teal")
    picture.putalpha(Image.linear_gradient("L").resize((128, 96)))  # a mask
    picture.save(content, "PNG")
    return content.getvalue()


def _video() -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for color in ("teal", "navy"):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), color))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return content.getvalue()


def _values(preset: Preset, variant: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {"variant": variant} if variant else {}
    for param in preset.params:
        if param.role in FILE_ROLES:
            values[param.id] = "given.mp4" if param.role == "video" else "given.png"
        elif param.role == "prompt":
            values[param.id] = "a lighthouse"
        elif param.id == "megapixels":
            values[param.id] = 0.25
        elif param.role in SMALL:
            values[param.id] = max(SMALL[param.role], param.min or 0)
    return values


@pytest.mark.parametrize(
    ("preset", "variant"), RUNS, ids=[f"{p.id}{'-' + v if v else ''}" for p, v in RUNS]
)
async def test_preset_run_gives_result_of_its_kind(
    service: JobService, preset: Preset, variant: str | None
) -> None:
    request = JobRequest(preset=preset.id, values=_values(preset, variant), user_id="ann")
    job = await service.submit(request)
    snapshot = await last(service.follow(job.id, "ann"))
    assert snapshot.phase is Phase.SUCCEEDED, snapshot.error
    (item, *_) = snapshot.items
    assert item.path.suffix in SUFFIXES[preset.kind]
    _open(item, preset.kind)


def _open(item: LibraryItem, kind: str) -> None:
    """Decode the file, so that a broken one raises."""
    if kind == "image":
        with Image.open(item.path) as picture:
            picture.load()
    elif kind == "3d":
        assert item.path.read_bytes().startswith(b"glTF")
    else:
        with av.open(str(item.path)) as container:
            stream = container.streams.video[0] if kind == "video" else container.streams.audio[0]
            assert next(container.decode(stream)) is not None
            assert container.duration
