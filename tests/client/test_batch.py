"""Batches, and jobs that end with the call that waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui.client import ComfyClient, ComfyWSClient, Progress, Result
from comfy_ui.client.batch import batch_jobs
from comfy_ui.client.tracking import presence
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import GenerationTimeoutError, InvalidWorkflowError, ValidationError
from tests.client.support import (
    EMPTY_QUEUE,
    Awaited,
    Request,
    ScriptedServer,
    history_of,
    image_graph,
    open_client,
    response,
)
from tests.client.test_both_clients import sleeper

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture
def sleepy(engine: DemoServer) -> DemoServer:
    engine.faults = Faults(test_nodes=True)
    return engine


def ids(number: int) -> list[str]:
    return [str(uuid4()) for _ in range(number)]


def real(client: Any) -> Any:
    return client.client if isinstance(client, Awaited) else client


@BOTH
async def test_run_batch_uses_the_ids_and_reports_progress_and_results(
    kind: str, engine: DemoServer
) -> None:
    chosen = ids(3)
    seen: list[Progress] = []
    results: dict[int, Any] = {}
    graphs = [image_graph(1), {"1": {"class_type": "Nothing", "inputs": {}}}, image_graph(3)]
    async with open_client(kind, engine.url) as client:
        outcomes = await client.run_batch(
            graphs, prompt_ids=chosen, on_progress=seen.append, on_result=results.__setitem__
        )
    assert [outcome.prompt_id for outcome in (outcomes[0], outcomes[2])] == [chosen[0], chosen[2]]
    assert isinstance(outcomes[1], InvalidWorkflowError)
    assert {each.prompt_id for each in seen} == {chosen[0], chosen[2]}
    assert [results[index] for index in range(3)] == outcomes


@BOTH
async def test_as_completed_yields_each_result_when_it_is_there(
    kind: str, sleepy: DemoServer
) -> None:
    graphs = [image_graph(1), sleeper()]
    async with open_client(kind, sleepy.url) as client:
        events = real(client).as_completed(graphs, concurrency=2, cancel_on_exit=True)
        if kind == "sync":
            first = await asyncio.to_thread(next, events)
            await asyncio.to_thread(events.close)
        else:
            first = await anext(events)
            await events.aclose()
        assert first[0] == 0
        assert isinstance(first[1], Result)
        await until_empty(client)  # the sleeper was cancelled


async def until_empty(client: Any) -> None:
    async with asyncio.timeout(10):
        while (queue := await client.queue()).running or queue.pending:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@BOTH
async def test_run_batch_resumed_queues_only_what_never_arrived(
    kind: str, engine: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "RESUBMIT_AFTER_S", 0.3)
    chosen, graphs = ids(16), [image_graph(color) for color in range(16)]
    async with open_client(kind, engine.url) as client:
        await client.run_batch(graphs[:4], prompt_ids=chosen[:4])
    async with open_client(kind, engine.url) as client:
        outcomes = await client.run_batch(graphs, prompt_ids=chosen, resume=True)
        assert len(await client.recent(max_items=1000)) == 16
    assert [outcome.prompt_id for outcome in outcomes] == chosen


@contextmanager
def history_server(finished: dict[str, Any], *, lists: bool = True) -> Iterator[ScriptedServer]:
    """A server that has finished these jobs, and accepts no others."""

    def handler(request: Request) -> bytes:
        path, _, query = request.path.partition("?")
        if path == "/queue":
            return response(EMPTY_QUEUE)
        if path == "/history" and lists:
            newest = [*finished.items()][-int(query.removeprefix("max_items=")) :]
            return response(dict(newest))
        if path.startswith("/history/"):
            prompt_id = path.rpartition("/")[2]
            known = prompt_id in finished
            return response({prompt_id: finished[prompt_id]} if known else {})
        return response(
            {"exec_info": {"queue_remaining": 0}}, status=200 if "prompt" in path else 403
        )

    with ScriptedServer(handler) as server:
        yield server


def present_at(server: ScriptedServer, prompt_ids: list[str]) -> set[str]:
    with ComfyClient(url=server.url) as client:
        return client._drive(presence.present_jobs(client._asker, prompt_ids, lists_history=True))


def test_present_jobs_absent_batch_takes_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "RESUBMIT_AFTER_S", 0.05)
    with history_server({}) as server:
        assert present_at(server, ids(176)) == set()
    look = ["GET /queue", "GET /history?max_items=226"]
    assert server.paths() == ["GET /prompt", *look, *look]


def test_present_jobs_finished_long_ago_are_looked_up_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "RESUBMIT_AFTER_S", 0.05)
    chosen = ids(5)
    finished = {each: history_of(each)[each] for each in [*chosen[:2], *ids(99), chosen[2]]}
    with history_server(finished) as server:
        assert present_at(server, chosen) == {*chosen[:3]}
    look = ["GET /queue", "GET /history?max_items=55"]
    again = ["GET /queue", "GET /history?max_items=52"]
    one_by_one = {f"GET /history/{each}" for each in (*chosen[:2], *chosen[3:])}
    paths = server.paths()
    assert (paths[1:3], {*paths[3:7]}, paths[7:]) == (look, one_by_one, again)


def test_present_jobs_server_that_lists_no_history_is_asked_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "RESUBMIT_AFTER_S", 0.05)
    chosen = ids(3)
    with history_server({chosen[1]: history_of(chosen[1])[chosen[1]]}, lists=False) as server:
        assert present_at(server, chosen) == {chosen[1]}


async def test_run_batch_resumed_without_absent_jobs_waits_for_none(engine: DemoServer) -> None:
    chosen, graphs = ids(3), [image_graph(color) for color in range(3)]
    async with ComfyWSClient(url=engine.url) as client:
        first = await client.run_batch(graphs, prompt_ids=chosen)
        async with asyncio.timeout(1.9):
            again = await client.run_batch(graphs, prompt_ids=chosen, resume=True)
    assert [outcome.files for outcome in again] == [outcome.files for outcome in first]


@BOTH
@pytest.mark.parametrize("cancel_on_exit", [False, True])
async def test_run_batch_job_beyond_job_timeout_is_cancelled_and_the_rest_goes_on(
    kind: str, cancel_on_exit: bool, sleepy: DemoServer
) -> None:
    async with open_client(kind, sleepy.url) as client:
        first, slow, last = await client.run_batch(
            [image_graph(1), sleeper(), image_graph(3)],
            concurrency=1,
            job_timeout=0.3,
            cancel_on_exit=cancel_on_exit,
        )
        await until_empty(client)
    assert first.images
    assert last.images
    assert isinstance(slow, GenerationTimeoutError)
    assert "0.3 s" in slow.message
    assert "job_timeout" in slow.hint


@BOTH
async def test_run_batch_job_timeout_does_not_count_time_in_the_queue(
    kind: str, sleepy: DemoServer
) -> None:
    async with open_client(kind, sleepy.url) as client:
        graphs = [sleeper(0.15, color) for color in range(5)]
        outcomes = await client.run_batch(graphs, concurrency=5, job_timeout=0.6)
    assert all(isinstance(outcome, Result) for outcome in outcomes)


@pytest.mark.parametrize(
    ("prompt_ids", "resume"),
    [(ids(1), False), ([ids(1)[0]] * 2, False), (["no-id", "2"], False), (None, True)],
)
def test_batch_jobs_ids_that_do_not_fit_raise_validation_error(
    prompt_ids: list[str] | None, resume: bool
) -> None:
    with pytest.raises(ValidationError):
        batch_jobs(["sd15", "sdxl"], prompt_ids, resume=resume)


@pytest.mark.parametrize("workflows", ["sd15", b"{}", image_graph()])
def test_batch_jobs_one_workflow_instead_of_many_raises_validation_error(workflows: Any) -> None:
    with pytest.raises(ValidationError, match="one workflow"):
        batch_jobs(workflows, None, resume=False)


async def test_run_batch_error_that_is_no_jobs_own_ends_the_batch(engine: DemoServer) -> None:
    async with ComfyWSClient(url=engine.url) as client:

        async def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        client.queue_prompt = broken  # type: ignore[method-assign,assignment]
        with pytest.raises(ZeroDivisionError):
            await client.run_batch([image_graph(), image_graph()])


# -- cancel_on_exit


@BOTH
@pytest.mark.parametrize("on", [True, False])
async def test_run_timed_out_with_cancel_on_exit_stops_the_job(
    kind: str, on: bool, sleepy: DemoServer
) -> None:
    async with open_client(kind, sleepy.url) as client:
        with pytest.raises(GenerationTimeoutError) as caught:
            await client.run(sleeper(), timeout=0.3, cancel_on_exit=on)
        if on:
            assert "was cancelled" in caught.value.message
            assert "Allow more" in caught.value.hint
            await until_empty(client)
        else:
            assert "wait_for_completion" in caught.value.hint
            assert await client.cancel(caught.value.prompt_id)


async def test_run_cancelled_task_with_cancel_on_exit_stops_the_job(sleepy: DemoServer) -> None:
    async with ComfyWSClient(url=sleepy.url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.run(sleeper(), cancel_on_exit=True)
        await until_empty(client)


@BOTH
async def test_stream_left_early_with_cancel_on_exit_stops_the_job(
    kind: str, sleepy: DemoServer
) -> None:
    async with open_client(kind, sleepy.url) as client:
        events = real(client).stream(sleeper(), cancel_on_exit=True)
        if kind == "sync":
            await asyncio.to_thread(next, events)
            await asyncio.to_thread(events.close)
        else:
            await anext(events)
            await events.aclose()
        await until_empty(client)


async def test_wait_for_completion_interrupted_with_cancel_on_exit_stops_the_job(
    sleepy: DemoServer,
) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    def run() -> None:
        with ComfyClient(url=sleepy.url) as client, pytest.raises(KeyboardInterrupt):
            client.run(sleeper(), on_progress=interrupt, cancel_on_exit=True)

    await asyncio.to_thread(run)
    async with ComfyWSClient(url=sleepy.url) as client:
        await until_empty(client)
