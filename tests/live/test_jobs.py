"""Jobs on a real ComfyUI: results, errors, progress and cancellation."""

from __future__ import annotations

import asyncio
import io
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from comfy_ui import (
    ComfyWSClient,
    GenerationCancelledError,
    GenerationFailedError,
    InvalidWorkflowError,
    MissingNodesError,
    OutputFile,
    read_metadata,
)
from tests import graphs

pytestmark = pytest.mark.live


async def test_run_instant_job_returns_image(client: Any) -> None:
    result = await client.run(graphs.instant(color=0x123456, prefix=f"live-{uuid4().hex}"))
    (file,) = result.images
    assert (file.type, file.kind, file.node) == ("output", "image", "2")
    with Image.open(io.BytesIO(await client.download(file))) as picture:
        assert picture.size == (64, 64)
        assert picture.convert("RGB").getpixel((0, 0)) == (0x12, 0x34, 0x56)


async def test_run_cached_job_returns_same_file_and_cached_flag(client: Any) -> None:
    graph = graphs.instant()
    first, again = await client.run(graph), await client.run(graph)
    assert not first.cached
    assert again.cached
    assert [f.filename for f in again.files] == [f.filename for f in first.files]


async def test_run_changed_value_returns_another_file(client: Any) -> None:
    graph = graphs.instant()
    first = await client.run(graph)
    graph["1"]["inputs"]["color"] ^= 1
    changed = await client.run(graph)
    assert not changed.cached
    assert changed.files[0].filename != first.files[0].filename


async def test_run_batch_size_returns_images_in_order(client: Any) -> None:
    result = await client.run(graphs.instant(batch=3))
    names = [f.filename for f in result.images]
    assert len(names) == 3
    assert names == sorted(names)


async def test_run_progress_rises_to_100(client: Any) -> None:
    seen: list[Any] = []
    result = await client.run(graphs.slow(links=6), on_progress=seen.append)
    assert result.images
    values = [p.progress for p in seen]
    assert values == sorted(values)
    assert values[-1] == 100
    assert str(seen[-1].phase) == "succeeded"


async def test_run_progress_names_each_running_node(other: ComfyWSClient) -> None:
    seen: list[Any] = []
    await other.run(graphs.slow(links=4), on_progress=seen.append)
    assert {f"blur{i}" for i in range(4)} <= {p.node for p in seen}


async def _running(client: Any, links: int) -> tuple[str, asyncio.Task[Any]]:
    """Start a slow job; return its id and the task that waits for its result."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(progress: Any) -> None:
        if str(progress.phase) == "running":
            loop.call_soon_threadsafe(started.set)

    prompt_id = await client.queue_prompt(graphs.slow(links=links))
    waiting = asyncio.create_task(client.wait_for_completion(prompt_id, on_progress=note))
    await asyncio.wait_for(started.wait(), 30)
    return prompt_id, waiting


async def test_cancel_running_job_stops_it(client: Any) -> None:
    prompt_id, waiting = await _running(client, links=80)
    assert await client.cancel(prompt_id)
    with pytest.raises(GenerationCancelledError):
        await waiting


async def test_cancel_pending_job_leaves_running_job(client: Any, other: ComfyWSClient) -> None:
    _, running = await _running(other, links=8)
    prompt_id = await client.queue_prompt(graphs.instant())
    assert await client.cancel(prompt_id)
    with pytest.raises(GenerationCancelledError):
        await client.wait_for_completion(prompt_id)
    assert (await running).images


async def test_cancel_finished_job_returns_false(client: Any) -> None:
    result = await client.run(graphs.instant())
    assert not await client.cancel(result.prompt_id)


async def test_interrupt_unknown_job_leaves_running_job(client: Any, other: ComfyWSClient) -> None:
    _, running = await _running(other, links=8)
    await client.interrupt(str(uuid4()))
    assert (await running).images


async def test_run_failed_node_is_named_with_traceback(client: Any) -> None:
    name = await client.upload_image(b"this is no picture", filename=f"{uuid4().hex}.png")
    graph = {
        "load": graphs.node("LoadImage", image=str(name)),
        "save": graphs.node("SaveImage", images=["load", 0], filename_prefix="t"),
    }
    with pytest.raises(GenerationFailedError) as caught:
        await client.run(graph)
    error = caught.value
    assert (error.node_id, error.node_type) == ("load", "LoadImage")
    assert error.traceback
    assert error.hint


async def test_run_unknown_node_raises_missing_nodes(client: Any) -> None:
    graph = graphs.instant() | {"9": graphs.node("NoSuchNode", images=["1", 0])}
    with pytest.raises(MissingNodesError) as caught:
        await client.run(graph)
    assert "NoSuchNode" in caught.value.class_types


async def test_queue_prompt_partly_valid_graph_raises_unless_not_strict(client: Any) -> None:
    graph = graphs.instant()
    graph["3"] = graphs.node("SaveImage", filename_prefix="t")  # its picture is missing
    before = await client.queue()
    with pytest.raises(InvalidWorkflowError) as caught:
        await client.queue_prompt(graph)
    assert [problem.node for problem in caught.value.problems] == ["3"]
    assert not {*(await client.queue()).pending} - {*before.pending}
    prompt_id = await client.queue_prompt(graph, strict=False)
    assert len((await client.wait_for_completion(prompt_id)).images) == 1


async def test_queue_prompt_value_out_of_range_names_input(client: Any) -> None:
    graph = graphs.instant()
    graph["1"]["inputs"]["width"] = -5
    with pytest.raises(InvalidWorkflowError) as caught:
        await client.queue_prompt(graph)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.input) == ("value_smaller_than_min", "width")


async def test_upload_image_loaded_and_saved_has_same_pixels(client: Any) -> None:
    picture = Image.effect_noise((48, 32), 90).convert("RGB")
    data = io.BytesIO()
    picture.save(data, "PNG")
    name = await client.upload_image(data.getvalue(), filename=f"größe {uuid4().hex}.png")
    graph = {
        "1": graphs.node("LoadImage", image=str(name)),
        "2": graphs.node("SaveImage", images=["1", 0], filename_prefix="t"),
    }
    result = await client.run(graph)
    with Image.open(io.BytesIO(await client.download(result.images[0]))) as back:
        assert back.convert("RGB").tobytes() == picture.tobytes()


async def test_queue_prompt_extra_data_and_graph_are_in_file_metadata(client: Any) -> None:
    graph = graphs.instant()
    extra = {"extra_pnginfo": {"workflow": {"nodes": [], "note": "für später"}}}
    prompt_id = await client.queue_prompt(graph, extra_data=extra)
    result = await client.wait_for_completion(prompt_id)
    metadata = read_metadata(await client.download(result.images[0]))
    assert metadata.graph == graph
    assert metadata.workflow == extra["extra_pnginfo"]["workflow"]


async def test_run_two_clients_see_progress_of_own_job_only(
    client: Any, other: ComfyWSClient
) -> None:
    mine: list[Any] = []
    theirs: list[Any] = []
    results = await asyncio.gather(
        client.run(graphs.slow(links=3), on_progress=mine.append),
        other.run(graphs.slow(links=3), on_progress=theirs.append),
    )
    for seen, result in zip((mine, theirs), results, strict=True):
        assert {p.prompt_id for p in seen} == {result.prompt_id}
    assert results[0].files[0].filename != results[1].files[0].filename


async def test_wait_for_completion_of_job_of_another_client_returns_result(
    client: Any, other: ComfyWSClient
) -> None:
    prompt_id = await other.queue_prompt(graphs.slow(links=3))
    result = await client.wait_for_completion(prompt_id)
    assert result.images
    assert (await other.wait_for_completion(prompt_id)).files == result.files


async def test_run_many_jobs_at_once_all_return(other: ComfyWSClient) -> None:
    results = await asyncio.gather(*(other.run(graphs.instant()) for _ in range(60)))
    names = {result.images[0].filename for result in results}
    assert len(names) == 60


async def test_run_batch_keeps_order(client: Any) -> None:
    colors = [0x110000, 0x220000, 0x330000, 0x440000]
    prefix = uuid4().hex
    results = await client.run_batch([graphs.instant(color=c, prefix=prefix) for c in colors])
    for color, result in zip(colors, results, strict=True):
        with Image.open(io.BytesIO(await client.download(result.images[0]))) as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == (color >> 16, 0, 0)


async def test_queue_prompt_front_goes_before_waiting_jobs(
    client: Any, other: ComfyWSClient
) -> None:
    await other.queue_prompt(graphs.slow(links=6))
    late = await client.queue_prompt(graphs.instant())
    first = await client.queue_prompt(graphs.instant(), front=True)
    assert [job for job in (await client.queue()).pending if job in {late, first}] == [first, late]
    await asyncio.gather(client.wait_for_completion(first), client.wait_for_completion(late))


async def test_stream_ends_with_result(other: ComfyWSClient) -> None:
    events = [event async for event in other.stream(graphs.slow(links=3))]
    assert events[-1].images
    assert any(isinstance(event, OutputFile) for event in events[:-1])


async def test_result_save_writes_server_bytes(client: Any, tmp_path: Any) -> None:
    result = await client.run(graphs.instant(batch=2))
    saved = await asyncio.to_thread(result.save, tmp_path)
    paths = await saved if asyncio.iscoroutine(saved) else saved
    assert [p.read_bytes() for p in paths] == [await client.download(f) for f in result.files]
