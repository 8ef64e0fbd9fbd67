"""What a real ComfyUI tells about itself, and the kinds of files it makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui import OutputMissingError
from tests import graphs

pytestmark = pytest.mark.live


async def test_it_tells_version_devices_and_features(client: Any) -> None:
    stats = await client.system_stats()
    assert stats.comfyui_version[0].isdigit()
    assert stats.devices
    assert await client.features()


async def test_its_nodes_are_read_whole_and_one_by_one(client: Any) -> None:
    library = await client.object_info()
    assert len(library) > 100
    for class_type in library:  # each is read on use: none may raise
        assert library[class_type].class_type == class_type
    one = await client.object_info("EmptyImage")
    assert one["EmptyImage"].inputs == library["EmptyImage"].inputs


async def test_models_and_the_queue_can_be_asked_for(client: Any) -> None:
    assert isinstance(await client.models("checkpoints"), list)
    assert not (await client.queue()).pending


async def test_freeing_memory_drops_the_cache_and_the_next_job_runs(client: Any) -> None:
    graph = graphs.instant()
    await client.run(graph)
    await client.free()
    assert (await client.run(graphs.instant())).images


async def test_the_history_has_a_finished_job_and_not_an_unknown_one(client: Any) -> None:
    result = await client.run(graphs.instant())
    assert await client.history(result.prompt_id) is not None
    assert await client.history(str(uuid4())) is None


async def test_the_log_can_be_read(client: Any) -> None:
    assert await client.logs()


async def test_a_video_is_a_video_though_the_server_lists_it_among_images(client: Any) -> None:
    graph = graphs.instant(batch=4)
    graph["2"] = graphs.node("CreateVideo", images=["1", 0], fps=4.0)
    graph["3"] = graphs.node(
        "SaveVideo", video=["2", 0], filename_prefix="t", format="mp4", codec="h264"
    )
    (video,) = (await client.run(graph)).videos
    assert video.filename.endswith(".mp4")
    assert (await client.download(video))[4:8] == b"ftyp"


async def test_sound_is_sound(client: Any) -> None:
    if "EmptyAudio" not in await client.object_info():
        pytest.skip("this core has no EmptyAudio")
    graph = {
        "1": graphs.node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2),
        "2": graphs.node("SaveAudio", audio=["1", 0], filename_prefix=f"t{uuid4().hex[:6]}"),
    }
    (sound,) = (await client.run(graph)).audio
    assert (await client.download(sound))[:4] == b"fLaC"


async def test_text_outputs_are_texts(client: Any) -> None:
    graph = {"1": graphs.node("PreviewAny", source=["2", 0])}
    graph["2"] = graphs.node("PrimitiveString", value="héllo")
    assert list((await client.run(graph)).texts) == ["héllo"]


async def test_temporary_pictures_are_left_out_unless_asked_for(client: Any) -> None:
    graph = graphs.instant()
    graph["3"] = graphs.node("PreviewImage", images=["1", 0])
    result = await client.run(graph)
    assert [file.type for file in result.files] == ["output"]


async def test_a_missing_file_is_told_as_such(client: Any) -> None:
    result = await client.run(graphs.instant())
    with pytest.raises(OutputMissingError) as caught:
        await client.download(replace(result.files[0], filename="gone.png"))
    assert caught.value.hint


async def test_a_big_file_is_streamed_to_disk_whole(client: Any, tmp_path: Any) -> None:
    graph = graphs.slow(links=1, size=1024)
    (file,) = (await client.run(graph)).images
    path = tmp_path / "out.png"
    await client.download(file, to=path)
    assert path.read_bytes() == await client.download(file)
