"""A program as users write it; mypy --strict and pyright check its types, nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from comfy_ui import (
    AsyncEvent,
    AsyncResult,
    ComfyClient,
    ComfyHeadlessError,
    ComfyWSClient,
    Control,
    EnhancedPrompt,
    GenerationFailedError,
    Metadata,
    OnProgress,
    OnResult,
    OutputFile,
    Preview,
    Problem,
    Progress,
    Result,
    SyncEvent,
    SyncResult,
    WorkflowSource,
    apply_values,
    check_workflow,
    compile_workflow,
    enhance_prompt,
    find_controls,
    read_metadata,
)


class Bar:
    """A callback with a state of its own."""

    def __call__(self, progress: Progress, /) -> None:
        assert_type(progress.eta, float | None)
        print(progress.progress)


def note(index: int, outcome: SyncResult | ComfyHeadlessError) -> None:
    print(index, isinstance(outcome, ComfyHeadlessError))


async def keep(index: int, outcome: AsyncResult | ComfyHeadlessError) -> None:
    if not isinstance(outcome, ComfyHeadlessError):
        assert_type(await outcome.save(f"out/{index}"), list[Path])


def blocking(client: ComfyClient, workflow: WorkflowSource) -> None:
    bar: OnProgress = Bar()
    result = client.run(workflow, values={"steps": 8}, on_progress=bar, cancel_on_exit=True)
    assert_type(result, SyncResult)
    assert_type(result.save("out"), list[Path])
    assert_type(result.images, list[OutputFile])
    assert_type(result.seed, int | None)
    assert_type(client.download(result.images[0]), bytes)
    assert_type(client.download(result.images[0], "out"), Path)
    on_result: OnResult[SyncResult] = note
    outcomes = client.run_batch([workflow, "sdxl"], on_result=on_result, on_progress=print)
    assert_type(outcomes, list[SyncResult | ComfyHeadlessError])
    for index, outcome in client.as_completed(Path("in").glob("*.json")):
        assert_type(index, int)
        assert_type(outcome, SyncResult | ComfyHeadlessError)
    for event in client.stream(workflow):
        assert_type(event, SyncEvent)


async def awaited(client: ComfyWSClient, workflow: WorkflowSource) -> AsyncResult | None:
    async for event in client.stream(workflow, values={"KSampler.seed": 7}):
        assert_type(event, AsyncEvent)
        match event:
            case Progress(progress=percent, node_title=title):
                print(percent, title)
            case Preview(image=image):
                assert_type(image, bytes)
            case OutputFile(filename=name):
                assert_type(name, str)
            case Result():
                assert_type(await event.save("out"), list[Path])
                return event
    try:
        result = await client.generate_image("a fox", width=512, on_progress=lambda p: print(p.eta))
    except GenerationFailedError as error:
        assert_type(error.node_title, str | None)
        raise
    assert_type(await client.download(result.images[0]), bytes)
    await client.run_batch([workflow], on_result=keep)
    return result


def without_server(client: ComfyClient) -> None:
    graph = compile_workflow("sdxl", prompt="a harbor", steps=8)
    registry = client.object_info()
    controls = find_controls(graph, registry)
    assert_type(controls, list[Control])
    assert_type(
        check_workflow(apply_values(graph, controls, {"steps": 4}), registry), list[Problem]
    )
    assert_type(read_metadata("out/a.png"), Metadata)
    assert_type(enhance_prompt("a cat"), EnhancedPrompt)
