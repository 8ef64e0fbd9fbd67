"""Behavior that both clients share, over real sockets to the demo engine."""

# ruff: noqa: ASYNC110, ASYNC240 -- tests may poll, and read small files

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest

from comfy_ui.client import ComfyClient, ComfyWSClient, OutputFile, Phase, Progress, Result
from comfy_ui.client.response_models import SystemStats
from comfy_ui.client.transfer.files import DownloadTarget
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import (
    ComfyUIConnectionError,
    GenerationCancelledError,
    GenerationFailedError,
    GenerationTimeoutError,
    InvalidWorkflowError,
    JobLostError,
    MissingNodesError,
    OutOfMemoryError,
    OutputMissingError,
    ServerRejectedError,
    UnknownPresetError,
    ValidationError,
)
from comfy_ui.protocol.durations import NodeDurations
from tests.client.support import image_graph, open_client, saved

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


def sleeper(seconds: float = 30.0, color: int = 1) -> dict[str, Any]:
    """A job that runs until it is stopped."""
    graph = image_graph(color)
    inputs = {"image": ["1", 0], "seconds": seconds, "steps": int(seconds * 20)}
    graph["3"] = {"class_type": "DemoSleep", "inputs": inputs}
    graph["2"]["inputs"]["images"] = ["3", 0]
    return graph


@pytest.fixture
def sleepy(engine: DemoServer) -> DemoServer:
    engine.faults = Faults(test_nodes=True)
    return engine


async def until_running(client: Any, prompt_id: str) -> None:
    while prompt_id not in (await client.queue()).running:
        await asyncio.sleep(0.01)


# -- the shape


def public(cls: type) -> dict[str, Any]:
    names = (name for name in dir(cls) if not name.startswith("_"))
    return {name: getattr(cls, name) for name in names if callable(getattr(cls, name))}


@pytest.mark.parametrize("client", [ComfyClient, ComfyWSClient])
def test_client_constructor_documents_every_argument(client: type) -> None:
    documentation = inspect.getdoc(client) or ""
    arguments = inspect.signature(client).parameters
    assert [name for name in arguments if f"    {name}: " not in documentation] == []


@pytest.mark.parametrize("client", [ComfyClient, ComfyWSClient])
def test_client_methods_document_every_argument_themselves(client: type) -> None:
    undocumented = []
    for name, method in public(client).items():
        documentation = inspect.getdoc(method) or ""
        arguments = [*inspect.signature(method).parameters][1:]
        if "ComfyClient." in documentation or len(documentation) < 40:
            undocumented.append(name)
        if len(arguments) > 1 or "Args:" in documentation:
            missing = [
                each for each in arguments if not re.search(rf"  \*{{0,2}}{each}: ", documentation)
            ]
            undocumented += [f"{name}({each})" for each in missing]
    assert undocumented == []


def test_clients_have_same_methods_and_parameters() -> None:
    sync, awaited = public(ComfyClient), public(ComfyWSClient)
    assert sync.keys() == awaited.keys()
    for name in sync:
        ours, theirs = inspect.signature(sync[name]), inspect.signature(awaited[name])
        assert [str(each).replace("Sync", "Async") for each in ours.parameters.values()] == [
            str(each) for each in theirs.parameters.values()
        ], name
    assert inspect.signature(ComfyClient) == inspect.signature(ComfyWSClient)


def test_clients_return_annotations_differ_only_in_awaiting_and_saving() -> None:
    names = {"SyncResult": "R", "AsyncResult": "R", "SyncEvent": "E", "AsyncEvent": "E"}
    names |= {"AsyncGenerator[": "Iterator[", ", None]": "]"}
    for name, method in public(ComfyClient).items():
        annotations = [
            inspect.signature(m).return_annotation for m in (method, public(ComfyWSClient)[name])
        ]
        for old, new in names.items():
            annotations = [text.replace(old, new) for text in annotations]
        assert annotations[0] == annotations[1], name


def test_ws_client_public_methods_are_coroutines_or_async_generators() -> None:
    for name, method in public(ComfyWSClient).items():
        assert inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method), name


# -- running


@BOTH
async def test_run_returns_result_and_download_matches_server_bytes(
    kind: str, engine: DemoServer, tmp_path: Path
) -> None:
    async with open_client(kind, engine.url) as client:
        result = await client.run(image_graph(3))
        (image,) = result.images
        assert result["images"] == result.files == [image]
        assert (image.kind, image["filename"]) == ("image", image.filename)
        assert (result.videos, result.audio, result.texts) == ([], [], [])
        assert not result.cached
        assert result.seconds is not None
        stored = (engine.folder / "output" / image.filename).read_bytes()
        assert await client.download(image) == stored
        assert await client.download(image, tmp_path / "mine.png") == tmp_path / "mine.png"
        assert await client.download(image, str(tmp_path)) == tmp_path / image.filename
        target = DownloadTarget(folder=tmp_path / "own")
        await client.receive(image, target)
        assert target.move_to(tmp_path / "own" / "b.png").read_bytes() == stored
        (path,) = await saved(result, tmp_path / "new" / "folder")
    assert path.read_bytes() == (tmp_path / "mine.png").read_bytes() == stored


@BOTH
async def test_queue_prompt_and_wait_for_completion_accept_own_prompt_id(
    kind: str, engine: DemoServer
) -> None:
    mine = str(uuid4())
    async with open_client(kind, engine.url) as client:
        assert await client.queue_prompt(image_graph(), prompt_id=mine) == mine
        assert (await client.wait_for_completion(mine)).prompt_id == mine
        while (entry := await client.history(mine)) is None:  # written after the last message
            await asyncio.sleep(0.01)
        assert entry.graph == image_graph()
        assert mine in await client.recent()
        await client.forget(mine)
        assert await client.history(mine) is None


@BOTH
async def test_run_progress_rises_from_queued_to_succeeded(kind: str, engine: DemoServer) -> None:
    seen: list[Progress] = []
    async with open_client(kind, engine.url) as client:
        await client.run(image_graph(), on_progress=seen.append)
    values = [progress.progress for progress in seen]
    assert values == sorted(values)
    assert values[-1] == 100
    assert seen[-1].phase is Phase.SUCCEEDED


@BOTH
async def test_first_progress_asks_once_what_the_server_computes_on(
    kind: str, engine: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = SystemStats.read, []

    def on_cpu(body: Any) -> SystemStats:
        asked.append(body)
        return replace(read(body), pytorch_version="2.14.1+cpu")

    monkeypatch.setattr(SystemStats, "read", on_cpu)
    durations = NodeDurations()
    async with open_client(kind, engine.url, durations=durations) as client:
        await client.run(image_graph(1))
        assert durations.device is None
        for color in (2, 3):
            await client.run(image_graph(color), on_progress=lambda _: None)
    assert durations.device == "cpu"
    assert durations.unit_s > NodeDurations().unit_s
    assert len(asked) == 1


@BOTH
@pytest.mark.parametrize(
    ("error", "asked_again"),
    [
        (ServerRejectedError("no route", status=404), False),
        (ComfyUIConnectionError("silent"), True),
    ],
    ids=["refused", "silent"],
)
async def test_progress_comes_from_a_server_that_does_not_say_what_it_computes_on(
    kind: str,
    error: Exception,
    asked_again: bool,
    engine: DemoServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, durations = [], NodeDurations()
    monkeypatch.setattr(SystemStats, "read", Mock(side_effect=error))
    async with open_client(kind, engine.url, durations=durations) as client:
        await client.run(image_graph(), on_progress=seen.append)
    assert seen[-1].progress == 100
    assert durations.device == (None if asked_again else "")


@BOTH
async def test_run_error_in_on_progress_is_logged_and_job_succeeds(
    kind: str, engine: DemoServer, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(progress: Progress) -> None:
        raise RuntimeError("mine")

    async with open_client(kind, engine.url) as client:
        with caplog.at_level(logging.ERROR):
            result = await client.run(image_graph(), on_progress=broken)
    assert result.images
    assert "on_progress raised" in caplog.text


@BOTH
async def test_f17_run_cached_job_returns_old_files_and_cached_flag(
    kind: str, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client:
        first = await client.run(image_graph(9))
        again = await client.run(image_graph(9))
    assert again.cached
    assert again.files == first.files
    assert again.prompt_id != first.prompt_id


@BOTH
async def test_f17_download_deleted_file_raises_output_missing(
    kind: str, engine: DemoServer, tmp_path: Path
) -> None:
    engine.faults = Faults(missing_output=True)
    async with open_client(kind, engine.url) as client:
        result = await client.run(image_graph())
        with pytest.raises(OutputMissingError, match=r"\.png"):
            await client.download(result.images[0])
        with pytest.raises(OutputMissingError):
            await saved(result, tmp_path)
    assert list(tmp_path.iterdir()) == []


@BOTH
async def test_f3_wait_for_completion_of_finished_job_returns_result(
    kind: str, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client, open_client("sync", engine.url) as other:
        prompt_id = (await other.run(image_graph())).prompt_id
        result = await client.wait_for_completion(prompt_id)
    assert (result.prompt_id, len(result.images)) == (prompt_id, 1)


@BOTH
async def test_f4_run_late_history_entry_is_awaited(kind: str, engine: DemoServer) -> None:
    engine.faults = Faults(history_late_s=0.5)
    async with open_client(kind, engine.url) as client:
        assert (await client.run(image_graph())).images


@BOTH
async def test_f2_run_without_finish_message_detects_end_by_polling(
    kind: str, engine: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.polling.WATCHDOG_S", 0.5)
    engine.faults = Faults(no_finish_message=True)
    async with open_client(kind, engine.url) as client:
        assert (await client.run(image_graph(), timeout=20)).images


@BOTH
async def test_run_failed_node_raises_generation_failed_with_title(
    kind: str, engine: DemoServer
) -> None:
    engine.faults = Faults(error_at="SaveImage")
    async with open_client(kind, engine.url) as client:
        with pytest.raises(GenerationFailedError) as caught:
            await client.run(image_graph())
    error = caught.value
    assert (error.node_id, error.node_type, error.node_title) == ("2", "SaveImage", "Keep it")
    assert error.prompt_id
    assert error.hint


@BOTH
async def test_f19_run_out_of_memory_raises_out_of_memory(kind: str, engine: DemoServer) -> None:
    engine.faults = Faults(oom_at="EmptyImage")
    async with open_client(kind, engine.url) as client:
        with pytest.raises(OutOfMemoryError):
            await client.run(image_graph())


@BOTH
async def test_f14_queue_prompt_partly_valid_workflow_is_rejected_unless_not_strict(
    kind: str, engine: DemoServer
) -> None:
    graph = image_graph()
    graph["8"] = {**graph["1"], "inputs": {**graph["1"]["inputs"], "width": 0}}
    graph["9"] = {**graph["2"], "inputs": {"images": ["8", 0], "filename_prefix": "bad"}}
    async with open_client(kind, engine.url) as client:
        # Another job blocks the queue, so that only the removal keeps this one from running.
        engine.faults = Faults(test_nodes=True)
        blocker = await client.queue_prompt(sleeper())
        await until_running(client, blocker)
        with pytest.raises(InvalidWorkflowError) as caught:
            await client.queue_prompt(graph)
        assert [problem.node for problem in caught.value.problems] == ["8"]
        assert not (await client.queue()).pending
        await client.cancel(blocker)
        prompt_id = await client.queue_prompt(graph, strict=False)
        assert (await client.wait_for_completion(prompt_id)).images


@BOTH
async def test_run_rejected_workflow_raises_without_waiting(kind: str, engine: DemoServer) -> None:
    async with open_client(kind, engine.url) as client:
        with pytest.raises(MissingNodesError, match="NoSuchNode"):
            await client.run({"1": {"class_type": "NoSuchNode", "inputs": {}}})
        with pytest.raises(InvalidWorkflowError, match="width"):
            await client.run(image_graph(width=0))
        with pytest.raises(InvalidWorkflowError):
            await client.run({})
        with pytest.raises(UnknownPresetError):
            await client.run("nosuchpreset")
        with pytest.raises(ValidationError, match="UUID"):
            await client.queue_prompt(image_graph(), prompt_id="mine")


@BOTH
async def test_run_accepts_path_text_bytes_and_result_file(
    kind: str, engine: DemoServer, tmp_path: Path
) -> None:
    graph = image_graph(5)
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph))
    async with open_client(kind, engine.url) as client:
        first = await client.run(path)
        (picture,) = await saved(first, tmp_path)
        for source in (str(path), path.read_text(), path.read_bytes(), picture):
            assert (await client.run(source)).files == first.files


@BOTH
async def test_run_editor_workflow_is_converted_and_embedded_in_image(
    kind: str, engine: DemoServer
) -> None:
    editor = {
        "version": 0.4,
        "nodes": [
            {
                "id": 1,
                "type": "EmptyImage",
                "mode": 0,
                "inputs": [],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
                "widgets_values": [32, 32, 1, 7],
            },
            {
                "id": 2,
                "type": "SaveImage",
                "mode": 0,
                "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
                "outputs": [],
                "widgets_values": ["edited"],
            },
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    }
    async with open_client(kind, engine.url) as client:
        result = await client.run(editor)
        assert result.images[0].filename.startswith("edited")
        assert b"workflow" in await client.download(result.images[0])


@BOTH
async def test_generate_image_with_prompt_alone_returns_image(
    kind: str, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client:
        result = await client.generate_image("a lighthouse", preset="sd15", steps=2, seed=1)
        assert len(result.images) == 1
        with pytest.raises(ValidationError):
            await client.generate_image("x", preset="sd15", nosuchvalue=1)


@BOTH
async def test_run_batch_keeps_order_and_returns_errors_in_place(
    kind: str, engine: DemoServer
) -> None:
    bad = {"1": {"class_type": "NoSuchNode", "inputs": {}}}
    work = [image_graph(20), bad, image_graph(21), image_graph(22)]
    async with open_client(kind, engine.url) as client:
        results = await client.run_batch(work, concurrency=2)
        assert isinstance(results[1], MissingNodesError)
        for graph, result in zip(work, results, strict=True):
            if isinstance(result, Result):
                assert (await client.history(result.prompt_id)).graph == graph
        assert await client.run_batch([]) == []


# -- stopping


@BOTH
async def test_cancel_running_job_leaves_other_jobs(kind: str, sleepy: DemoServer) -> None:
    async with open_client(kind, sleepy.url) as client:
        running = await client.queue_prompt(sleeper())
        waiting = await client.queue_prompt(image_graph(2))
        await until_running(client, running)
        assert await client.cancel(running)
        assert (await client.wait_for_completion(waiting)).images
        with pytest.raises(GenerationCancelledError):
            await client.wait_for_completion(running)


@BOTH
async def test_f12_cancel_pending_job_leaves_running_job(kind: str, sleepy: DemoServer) -> None:
    async with open_client(kind, sleepy.url) as client:
        running = await client.queue_prompt(sleeper())
        waiting = await client.queue_prompt(image_graph(2))
        await until_running(client, running)
        await client.interrupt(waiting)
        assert await client.cancel(waiting)
        assert running in (await client.queue()).running
        assert not (await client.queue()).pending
        assert await client.cancel(running)


@BOTH
async def test_cancel_finished_job_returns_false(kind: str, engine: DemoServer) -> None:
    async with open_client(kind, engine.url) as client:
        result = await client.run(image_graph())
        assert await client.cancel(result.prompt_id) is False


@BOTH
async def test_f11_cancel_uninterruptible_node_returns_false(kind: str, engine: DemoServer) -> None:
    engine.faults = Faults(test_nodes=True, ignore_interrupts=True)
    async with open_client(kind, engine.url) as client:
        prompt_id = await client.queue_prompt(sleeper(1.5))
        await until_running(client, prompt_id)
        assert await client.cancel(prompt_id, timeout=0.3) is False
        assert (await client.wait_for_completion(prompt_id)).images


@BOTH
async def test_generate_image_rounded_size_is_logged(
    kind: str, engine: DemoServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_client(kind, engine.url) as client:
        await client.generate_image("x", preset="sd15", steps=1, width=500)
    assert "Width 500 becomes 504, a multiple of 8." in caplog.messages


@BOTH
async def test_client_timeout_none_runs_and_cancels_without_a_limit(
    kind: str, sleepy: DemoServer
) -> None:
    async with open_client(kind, sleepy.url, timeout=None) as client:
        assert (await client.run(image_graph(), timeout=None)).images
        prompt_id = await client.queue_prompt(sleeper())
        assert await client.has_job(prompt_id, timeout=None)
        assert await client.cancel(prompt_id, timeout=None)


async def _first_event(client: Any, seconds: Any) -> Any:
    if isinstance(client, ComfyWSClient):
        return await anext(client.stream(image_graph(), timeout=seconds))
    return next(client.client.stream(image_graph(), timeout=seconds))


@BOTH
@pytest.mark.parametrize("seconds", ["soon", True, math.nan])
async def test_run_timeout_that_is_no_duration_queues_nothing(
    kind: str, seconds: Any, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client:
        for call in (
            lambda: client.run(image_graph(), timeout=seconds),
            lambda: client.resume(str(uuid4()), image_graph(), timeout=seconds),
            lambda: _first_event(client, seconds),
            lambda: client.run_batch([image_graph()], job_timeout=seconds),
            lambda: client.wait_for_completion(str(uuid4()), timeout=seconds),
            lambda: client.cancel(str(uuid4()), timeout=seconds),
            lambda: client.has_job(str(uuid4()), timeout=seconds),
        ):
            with pytest.raises(ValidationError, match="timeout must be a number of seconds"):
                await call()
        assert not await client.recent()


@BOTH
async def test_wait_for_completion_timeout_leaves_job_running(
    kind: str, sleepy: DemoServer
) -> None:
    async with open_client(kind, sleepy.url) as client:
        prompt_id = await client.queue_prompt(sleeper(1.0))
        with pytest.raises(GenerationTimeoutError) as caught:
            await client.wait_for_completion(prompt_id, timeout=0.2)
        assert caught.value.prompt_id == prompt_id
        assert (await client.wait_for_completion(prompt_id)).images


@BOTH
async def test_has_job_is_true_for_waiting_running_and_finished_jobs_only(
    kind: str, sleepy: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.job_state.RESUBMIT_AFTER_S", 0.1)
    async with open_client(kind, sleepy.url, timeout=20) as client:
        running, waiting = [await client.queue_prompt(sleeper(color=n)) for n in (1, 2)]
        await until_running(client, running)
        assert await client.has_job(running)
        assert await client.has_job(waiting)
        await client.cancel(waiting)
        await client.cancel(running)
        assert await client.has_job(running)
        assert not await client.has_job(waiting)  # a deleted one leaves no trace
        assert not await client.has_job(str(uuid4()))


# -- servers that come and go


@BOTH
async def test_f16_wait_for_completion_server_restart_without_queue_raises_job_lost(
    kind: str, sleepy: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.job.GRACE_S", 0.5)
    async with open_client(kind, sleepy.url) as client:
        prompt_id = await client.queue_prompt(sleeper())
        await until_running(client, prompt_id)
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(sleepy.restart_now)
        with pytest.raises(JobLostError):
            await asyncio.wait_for(waiting, 20)


@BOTH
async def test_wait_for_completion_job_surviving_restart_returns_result(
    kind: str, sleepy: DemoServer
) -> None:
    async with open_client(kind, sleepy.url) as client:
        running = await client.queue_prompt(sleeper(1.0))
        prompt_id = await client.queue_prompt(image_graph(2))
        await until_running(client, running)
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(sleepy.restart_now, keep_queue=True, keep_history=True)
        assert (await asyncio.wait_for(waiting, 30)).images


# -- files


@BOTH
async def test_f20_upload_image_returns_name_chosen_by_server(
    kind: str, engine: DemoServer, tmp_path: Path
) -> None:
    async with open_client(kind, engine.url) as client:
        result = await client.run(image_graph(30, width=24))
        content = await client.download(result.images[0])
        first = await client.upload_image(content, filename="Kätzchen 猫.png")
        other = await client.run(image_graph(31))
        second = await client.upload_image(
            await client.download(other.images[0]), filename="Kätzchen 猫.png"
        )
        assert first == "Kätzchen 猫.png"
        assert second != first
        assert await client.download(first) == content
        graph = image_graph()
        graph["1"] = {"class_type": "LoadImage", "inputs": {"image": first}}
        assert (await client.run(graph)).images
        deep = await client.upload_image(content, subfolder="a/b", filename="x.png", type="temp")
        assert deep == "a/b/x.png [temp]"
        assert (deep.filename, deep.subfolder, deep.type) == ("x.png", "a/b", "temp")
        assert await client.download(deep) == content


@BOTH
async def test_upload_mask_without_original_raises_output_missing(
    kind: str, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client:
        result = await client.run(image_graph(32, width=16))
        content = await client.download(result.images[0])
        with pytest.raises(OutputMissingError):
            await client.upload_mask(content, OutputFile("nosuch.png"), filename="m1.png")
        uploaded = await client.upload_mask(content, result.images[0], filename="m2.png")
        assert await client.download(uploaded)


@BOTH
async def test_result_save_hostile_filename_stays_in_folder(
    kind: str, engine: DemoServer, tmp_path: Path
) -> None:
    async with open_client(kind, engine.url) as client:
        result = await client.run(image_graph(33))
        evil = replace(result.images[0], filename=f"x/../{result.images[0].filename}")
        bad = replace(result, files=[result.images[0], evil])
        folder = tmp_path / "in"
        try:
            paths = await saved(bad, folder)
        except OutputMissingError:
            paths = []  # a server may refuse such names
        assert all(path.parent == folder for path in paths)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# -- discovery


@BOTH
async def test_discovery_methods_return_typed_values(kind: str, engine: DemoServer) -> None:
    async with open_client(kind, engine.url) as client:
        await client.wait_until_ready(timeout=5)
        assert await client.ping() == 0
        library = await client.object_info()
        assert library["EmptyImage"].inputs["width"].type == "INT"
        assert await client.object_info() is library
        assert await client.object_info(fresh=True) is not library
        assert list(await client.object_info("SaveImage")) == ["SaveImage"]
        assert len(await client.object_info("NoSuchNode")) == 0
        assert "checkpoints" in await client.models()
        assert isinstance(await client.models("checkpoints"), list)
        assert (await client.system_stats()).comfyui_version
        assert (await client.features())["max_upload_size"] > 0
        assert isinstance((await client.capabilities()).atomic_cancel, bool)
        await client.free()


@BOTH
async def test_client_used_after_close_raises_closed(kind: str, engine: DemoServer) -> None:
    async with open_client(kind, engine.url) as client:
        await client.ping()
        await client.close()
        with pytest.raises(Exception, match="closed"):
            await client.run(image_graph())


# -- streams and the user's folder


async def listed(events: Any) -> list[Any]:
    if hasattr(events, "__aiter__"):
        return [event async for event in events]
    return await asyncio.to_thread(list, events)


@BOTH
async def test_stream_and_attach_yield_progress_files_and_result(
    kind: str, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client:
        real = client.client if kind == "sync" else client
        events = await listed(real.stream(image_graph(31)))
        again = await listed(real.attach(events[-1].prompt_id))
    for seen in (events, again):
        assert isinstance(seen[-1], Result)
        assert [event for event in seen if isinstance(event, OutputFile)] == seen[-1].files
        assert any(isinstance(event, Progress) for event in seen)


@BOTH
async def test_stream_queues_at_the_first_step_of_the_loop(kind: str, sleepy: DemoServer) -> None:
    async with open_client(kind, sleepy.url) as client:
        real = client.client if kind == "sync" else client
        events = await asyncio.to_thread(real.stream, sleeper())
        queue = await client.queue()
        assert not queue.running
        assert not queue.pending
        if kind == "sync":
            first = await asyncio.to_thread(next, events)
            await asyncio.to_thread(events.close)
        else:
            first = await anext(events)
            await events.aclose()
        assert (await client.queue()).answer(first.prompt_id).place != "absent"
        assert await client.cancel(first.prompt_id)


@BOTH
async def test_userdata_files_are_listed_read_written_and_deleted(
    kind: str, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client:
        await client.write_userdata("workflows/a b/mine.json", b"{}")
        with pytest.raises(ServerRejectedError) as caught:
            await client.write_userdata("workflows/a b/mine.json", b"[]", overwrite=False)
        assert caught.value.status == 409
        assert [file.path for file in await client.userdata()] == ["a b/mine.json"]
        assert await client.read_userdata("workflows/a b/mine.json") == b"{}"
        assert await client.delete_userdata("workflows/a b/mine.json")
        assert not await client.delete_userdata("workflows/a b/mine.json")
        assert await client.userdata("nosuchfolder") == []


async def test_queue_prompt_keyboard_interrupt_during_post_removes_job(
    sleepy: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ComfyClient(url=sleepy.url) as client:
        real = client._transport.send

        def interrupted(call: Any) -> Any:
            answer = real(call)
            if call.path == "/prompt" and call.method == "POST":
                raise KeyboardInterrupt
            return answer

        monkeypatch.setattr(client._transport, "send", interrupted)
        mine = str(uuid4())
        with pytest.raises(KeyboardInterrupt):
            await asyncio.to_thread(client.queue_prompt, sleeper(), prompt_id=mine)
        assert (await asyncio.to_thread(client.queue)).answer(mine).place != "absent"
        with pytest.raises(KeyboardInterrupt):
            await asyncio.to_thread(client.queue_prompt, sleeper(color=2))
        queue = await asyncio.to_thread(client.queue)
        assert [*queue.running, *queue.pending] == [mine]
        assert await asyncio.to_thread(client.cancel, mine)
