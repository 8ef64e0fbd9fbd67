"""Jobs on a real ComfyUI: what they give, how they end, and what is told on the way."""

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


async def test_an_instant_job_gives_its_picture(client: Any) -> None:
    result = await client.run(graphs.instant(color=0x123456, prefix=f"live-{uuid4().hex}"))
    (file,) = result.images
    assert (file.type, file.kind, file.node) == ("output", "image", "2")
    with Image.open(io.BytesIO(await client.download(file))) as picture:
        assert picture.size == (64, 64)
        assert picture.convert("RGB").getpixel((0, 0)) == (0x12, 0x34, 0x56)


async def test_a_cached_rerun_gives_the_same_file_and_says_so(client: Any) -> None:
    graph = graphs.instant()
    first, again = await client.run(graph), await client.run(graph)
    assert not first.cached
    assert again.cached
    assert [f.filename for f in again.files] == [f.filename for f in first.files]


async def test_a_changed_value_gives_another_file(client: Any) -> None:
    graph = graphs.instant()
    first = await client.run(graph)
    graph["1"]["inputs"]["color"] ^= 1
    changed = await client.run(graph)
    assert not changed.cached
    assert changed.files[0].filename != first.files[0].filename


async def test_a_batch_gives_all_its_pictures_in_order(client: Any) -> None:
    result = await client.run(graphs.instant(batch=3))
    names = [f.filename for f in result.images]
    assert len(names) == 3
    assert names == sorted(names)


async def test_progress_rises_to_the_end(client: Any) -> None:
    seen: list[Any] = []
    result = await client.run(graphs.slow(links=6), on_progress=seen.append)
    assert result.images
    values = [p.progress for p in seen]
    assert values == sorted(values)
    assert values[-1] == 100
    assert str(seen[-1].phase) == "succeeded"


async def test_the_socket_names_each_node_as_it_runs(other: ComfyWSClient) -> None:
    seen: list[Any] = []
    await other.run(graphs.slow(links=4), on_progress=seen.append)
    assert {f"blur{i}" for i in range(4)} <= {p.node for p in seen}


async def _running(client: Any, links: int) -> tuple[str, asyncio.Task[Any]]:
    """A slow job that the server has begun, and what waits for its result."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(progress: Any) -> None:
        if str(progress.phase) == "running":
            loop.call_soon_threadsafe(started.set)

    prompt_id = await client.queue_prompt(graphs.slow(links=links))
    waiting = asyncio.create_task(client.wait_for_completion(prompt_id, on_progress=note))
    await asyncio.wait_for(started.wait(), 30)
    return prompt_id, waiting


async def test_a_running_job_can_be_cancelled(client: Any) -> None:
    prompt_id, waiting = await _running(client, links=80)
    assert await client.cancel(prompt_id)
    with pytest.raises(GenerationCancelledError):
        await waiting


async def test_a_pending_job_can_be_cancelled_and_the_running_one_goes_on(
    client: Any, other: ComfyWSClient
) -> None:
    _, running = await _running(other, links=8)
    prompt_id = await client.queue_prompt(graphs.instant())
    assert await client.cancel(prompt_id)
    with pytest.raises(GenerationCancelledError):
        await client.wait_for_completion(prompt_id)
    assert (await running).images


async def test_a_finished_job_cannot_be_cancelled_any_more(client: Any) -> None:
    result = await client.run(graphs.instant())
    assert not await client.cancel(result.prompt_id)


async def test_interrupting_one_client_s_job_leaves_the_other_s_alone(
    client: Any, other: ComfyWSClient
) -> None:
    _, running = await _running(other, links=8)
    await client.interrupt(str(uuid4()))
    assert (await running).images


async def test_a_failing_node_is_named_with_its_own_words(client: Any) -> None:
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


async def test_an_unknown_node_is_refused_by_name(client: Any) -> None:
    graph = graphs.instant() | {"9": graphs.node("NoSuchNode", images=["1", 0])}
    with pytest.raises(MissingNodesError) as caught:
        await client.run(graph)
    assert "NoSuchNode" in caught.value.class_types


async def test_a_graph_that_would_run_only_in_part_is_an_error_unless_allowed(client: Any) -> None:
    graph = graphs.instant()
    graph["3"] = graphs.node("SaveImage", filename_prefix="t")  # its picture is missing
    before = await client.queue()
    with pytest.raises(InvalidWorkflowError) as caught:
        await client.queue_prompt(graph)
    assert [problem.node for problem in caught.value.problems] == ["3"]
    assert not {*(await client.queue()).pending} - {*before.pending}
    prompt_id = await client.queue_prompt(graph, strict=False)
    assert len((await client.wait_for_completion(prompt_id)).images) == 1


async def test_a_value_out_of_range_is_told_with_its_input(client: Any) -> None:
    graph = graphs.instant()
    graph["1"]["inputs"]["width"] = -5
    with pytest.raises(InvalidWorkflowError) as caught:
        await client.queue_prompt(graph)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.input) == ("value_smaller_than_min", "width")


async def test_an_uploaded_picture_comes_back_through_load_and_save(client: Any) -> None:
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


async def test_the_file_carries_the_graph_and_what_was_sent_with_it(client: Any) -> None:
    graph = graphs.instant()
    extra = {"extra_pnginfo": {"workflow": {"nodes": [], "note": "für später"}}}
    prompt_id = await client.queue_prompt(graph, extra_data=extra)
    result = await client.wait_for_completion(prompt_id)
    metadata = read_metadata(await client.download(result.images[0]))
    assert metadata.graph == graph
    assert metadata.workflow == extra["extra_pnginfo"]["workflow"]


async def test_two_clients_see_their_own_jobs_only(client: Any, other: ComfyWSClient) -> None:
    mine: list[Any] = []
    theirs: list[Any] = []
    results = await asyncio.gather(
        client.run(graphs.slow(links=3), on_progress=mine.append),
        other.run(graphs.slow(links=3), on_progress=theirs.append),
    )
    for seen, result in zip((mine, theirs), results, strict=True):
        assert {p.prompt_id for p in seen} == {result.prompt_id}
    assert results[0].files[0].filename != results[1].files[0].filename


async def test_a_job_queued_by_somebody_else_can_be_followed(
    client: Any, other: ComfyWSClient
) -> None:
    prompt_id = await other.queue_prompt(graphs.slow(links=3))
    result = await client.wait_for_completion(prompt_id)
    assert result.images
    assert (await other.wait_for_completion(prompt_id)).files == result.files


async def test_many_jobs_at_once_all_come_back(other: ComfyWSClient) -> None:
    results = await asyncio.gather(*(other.run(graphs.instant()) for _ in range(60)))
    names = {result.images[0].filename for result in results}
    assert len(names) == 60


async def test_a_batch_of_workflows_keeps_its_order(client: Any) -> None:
    colors = [0x110000, 0x220000, 0x330000, 0x440000]
    prefix = uuid4().hex
    results = await client.run_batch([graphs.instant(color=c, prefix=prefix) for c in colors])
    for color, result in zip(colors, results, strict=True):
        with Image.open(io.BytesIO(await client.download(result.images[0]))) as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == (color >> 16, 0, 0)


async def test_a_job_put_in_front_runs_before_those_that_wait(
    client: Any, other: ComfyWSClient
) -> None:
    await other.queue_prompt(graphs.slow(links=6))
    late = await client.queue_prompt(graphs.instant())
    first = await client.queue_prompt(graphs.instant(), front=True)
    assert [job for job in (await client.queue()).pending if job in {late, first}] == [first, late]
    await asyncio.gather(client.wait_for_completion(first), client.wait_for_completion(late))


async def test_a_stream_ends_with_the_result(other: ComfyWSClient) -> None:
    events = [event async for event in other.stream(graphs.slow(links=3))]
    assert events[-1].images
    assert any(isinstance(event, OutputFile) for event in events[:-1])


async def test_a_result_is_saved_byte_for_byte(client: Any, tmp_path: Any) -> None:
    result = await client.run(graphs.instant(batch=2))
    saved = await asyncio.to_thread(result.save, tmp_path)
    paths = await saved if asyncio.iscoroutine(saved) else saved
    assert [p.read_bytes() for p in paths] == [await client.download(f) for f in result.files]
