"""The progress of graphs that grow at run time, over the demo engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from comfy_ui import ComfyWSClient, Progress
from comfy_ui.demo import DemoServer, Faults
from tests.graphs import node


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    with DemoServer(faults=Faults(test_nodes=True, text_metadata=True)).in_thread() as server:
        yield server


def loop_graph(*, passes: int, nonce: int, text: str = "") -> dict[str, Any]:
    """A loop whose body sleeps, then an image."""
    graph = {
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=nonce),
        "2": node(
            "StartLoop",
            mode="simple",
            **{"mode.num_iterations": passes, "initial_iteration_value": ["1", 0]},
        ),
        "3": node("DemoSleep", image=["2", 4], seconds=0.12, steps=4, blocking=False, nonce=nonce),
        "5": node("EndLoop", output_value=["3", 0], next_iteration_value=["3", 0]),
        "6": node("SaveImage", images=["5", 0], filename_prefix="looped"),
    }
    if text:
        graph["4"] = node("DemoText", image=["3", 0], text=text)
        graph["5"]["inputs"]["output_value"] = ["4", 0]
    return graph


async def run(client: ComfyWSClient, graph: dict[str, Any]) -> list[Progress]:
    shown: list[Progress] = []
    result = await client.run(graph, on_progress=shown.append)
    assert len(result.images) == 1
    return shown


async def test_progress_of_loop_never_falls_and_counts_its_passes(server: DemoServer) -> None:
    async with ComfyWSClient(url=server.url) as client:
        shown = await run(client, loop_graph(passes=5, nonce=1))
    values = [progress.progress for progress in shown]
    assert values == sorted(values)
    assert values[-1] == 100
    assert all(value < 100 for value in values[:-1])
    passes = [progress.iteration for progress in shown if progress.iteration]
    assert passes == sorted(passes)
    assert {*passes} == {1, 2, 3, 4, 5}
    assert {progress.iterations for progress in shown} - {None} == {5}
    assert {progress.node for progress in shown} >= {"3", "6"}, "copies count for their node"


async def test_progress_of_second_run_of_loop_is_its_share_of_passes(server: DemoServer) -> None:
    async with ComfyWSClient(url=server.url) as client:
        await run(client, loop_graph(passes=3, nonce=2))
        shown = await run(client, loop_graph(passes=6, nonce=3))
    third = next(progress for progress in shown if progress.iteration == 4)
    assert 35 < third.progress < 65
    assert third.eta == pytest.approx(0.36, rel=0.5)


async def test_progress_text_of_node_belongs_to_its_job(server: DemoServer) -> None:
    async with ComfyWSClient(url=server.url) as client:
        shown = await run(client, loop_graph(passes=1, nonce=4, text="12 splats"))
        other = await run(client, loop_graph(passes=1, nonce=5))
    assert {progress.text for progress in shown} - {None} == {"12 splats"}
    assert {progress.text for progress in other} == {None}
