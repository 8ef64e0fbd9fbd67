"""Information read from a real ComfyUI, and each kind of output file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui import OutputMissingError
from tests import graphs

pytestmark = pytest.mark.live


async def test_system_stats_and_features_are_read(client: Any) -> None:
    stats = await client.system_stats()
    assert stats.comfyui_version[0].isdigit()
    assert stats.devices
    assert await client.features()


async def test_object_info_reads_every_node_and_single_nodes(client: Any) -> None:
    library = await client.object_info()
    assert len(library) > 100
    for class_type in library:  # each is read on use: none may raise
        assert library[class_type].class_type == class_type
    one = await client.object_info("EmptyImage")
    assert one["EmptyImage"].inputs == library["EmptyImage"].inputs


async def test_models_and_queue_are_read(client: Any) -> None:
    assert isinstance(await client.models("checkpoints"), list)
    assert not (await client.queue()).pending


async def test_free_drops_cache_and_next_job_runs(client: Any) -> None:
    graph = graphs.instant()
    await client.run(graph)
    await client.free()
    assert (await client.run(graphs.instant())).images


async def test_history_has_finished_job_and_none_for_unknown(client: Any) -> None:
    result = await client.run(graphs.instant())
    assert await client.history(result.prompt_id) is not None
    assert await client.history(str(uuid4())) is None


async def test_logs_are_read(client: Any) -> None:
    assert await client.logs()


async def test_run_video_is_listed_as_video(client: Any) -> None:
    graph = graphs.instant(batch=4)
    graph["2"] = graphs.node("CreateVideo", images=["1", 0], fps=4.0)
    graph["3"] = graphs.node(
        "SaveVideo", video=["2", 0], filename_prefix="t", format="mp4", codec="h264"
    )
    (video,) = (await client.run(graph)).videos
    assert video.filename.endswith(".mp4")
    assert (await client.download(video))[4:8] == b"ftyp"


async def test_run_audio_is_listed_as_audio(client: Any) -> None:
    if "EmptyAudio" not in await client.object_info():
        pytest.skip("this core has no EmptyAudio")
    graph = {
        "1": graphs.node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2),
        "2": graphs.node("SaveAudio", audio=["1", 0], filename_prefix=f"t{uuid4().hex[:6]}"),
    }
    (sound,) = (await client.run(graph)).audio
    assert (await client.download(sound))[:4] == b"fLaC"


async def test_run_text_output_is_listed_as_text(client: Any) -> None:
    graph = {"1": graphs.node("PreviewAny", source=["2", 0])}
    graph["2"] = graphs.node("PrimitiveString", value="héllo")
    assert list((await client.run(graph)).texts) == ["héllo"]


async def test_run_preview_images_are_not_in_files(client: Any) -> None:
    graph = graphs.instant()
    graph["3"] = graphs.node("PreviewImage", images=["1", 0])
    result = await client.run(graph)
    assert [file.type for file in result.files] == ["output"]


async def test_download_missing_file_raises_with_hint(client: Any) -> None:
    result = await client.run(graphs.instant())
    with pytest.raises(OutputMissingError) as caught:
        await client.download(replace(result.files[0], filename="gone.png"))
    assert caught.value.hint


async def test_download_big_file_to_disk_is_complete(client: Any, tmp_path: Any) -> None:
    graph = graphs.slow(links=1, size=1024)
    (file,) = (await client.run(graph)).images
    path = tmp_path / "out.png"
    await client.download(file, to=path)
    assert path.read_bytes() == await client.download(file)
