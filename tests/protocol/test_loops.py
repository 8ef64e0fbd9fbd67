"""The percentage and passes of loops in loops, and of nodes that expand in a loop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from comfy_ui.protocol.durations import NodeDurations
from comfy_ui.protocol.graph_cost import GraphCost
from comfy_ui.protocol.messages import ExecutionStart, ProgressState, ProgressText
from comfy_ui.protocol.progress import Tracker
from tests.graphs import node

BODY_S = 1.0


def loop(passes: int, value: list[Any]) -> dict[str, Any]:
    options = {"mode.num_iterations": passes, "initial_iteration_value": value}
    return node("StartLoop", mode="simple", **options)


NESTED = {
    "1": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
    "2": loop(2, ["1", 0]),
    "3": loop(3, ["2", 4]),
    "4": node("ImageBlur", image=["3", 4]),
    "5": node("EndLoop", output_value=["4", 0], next_iteration_value=["4", 0]),
    "6": node("EndLoop", output_value=["5", 0], next_iteration_value=["5", 0]),
    "7": node("SaveImage", images=["6", 0]),
}
SIMPLE = {
    "1": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
    "2": loop(6, ["1", 0]),
    "4": node("ImageBlur", image=["2", 4]),
    "6": node("EndLoop", output_value=["4", 0], next_iteration_value=["4", 0]),
    "7": node("SaveImage", images=["6", 0]),
}


class Server:
    """Reports the nodes of a run; ``seen`` has the tracker after each message."""

    def __init__(self, graph: dict[str, Any], durations: NodeDurations | None = None) -> None:
        self.now = 0.0
        self.tracker = Tracker(plan=GraphCost(graph), durations=durations)
        self.nodes: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[float, Tracker]] = []
        self.hear(ExecutionStart("p"))

    def hear(self, message: Any) -> None:
        self.tracker = self.tracker.hear(message, self.now)
        self.seen.append((self.now, self.tracker))

    def run(self, name: str, shown: str | None = None, *, seconds: float = 0.05) -> None:
        for state, value in (("running", 0.0), ("finished", 1.0)):
            self.note(name, shown or name, state, value)
            self.now += seconds if state == "running" else 0.0

    def begin(self, name: str, shown: str) -> None:
        """Start a node that ends only after those that it makes."""
        self.note(name, shown, "running", 0.0)

    def note(self, name: str, shown: str, state: str, value: float) -> None:
        self.nodes[name] = {"display_node_id": shown, "state": state, "value": value, "max": 1.0}
        self.hear(ProgressState("p", {**self.nodes}))

    def passed(self, name: str, number: int, passes: int) -> None:
        self.hear(ProgressText(name, f"Iteration {number} / {passes}", "p"))

    def body(self, prefix: str, made: int) -> None:
        """Run one copy of node 4, which expands into ``made`` nodes."""
        if not made:
            self.run(f"{prefix}_4", "4", seconds=BODY_S)
            return
        self.begin(f"{prefix}_4", "4")
        for number in range(made):
            self.run(f"{prefix}_4.0.0.{number}", "4", seconds=BODY_S / made)
        self.run(f"{prefix}_4", "4")

    def end(self) -> None:
        self.run("6")
        self.run("7")
        self.seen.append((self.now, self.tracker.end(self.now, success=True)))


def nested(made: int = 0, durations: NodeDurations | None = None) -> Server:
    server = Server(NESTED, durations)
    server.run("1")
    server.run("2")
    server.passed("2", 0, 2)
    for outer in range(2):
        start = f"2.0.0.{outer}_3"
        server.run(start, "3")
        server.passed(start, 0, 3)
        for inner in range(3):
            server.body(f"{start}.0.0.{inner}", made)
            server.passed(start, inner + 1, 3)
        server.run(f"2.0.0.{outer}_5", "5")
        server.passed("2", outer + 1, 2)
    server.end()
    return server


def simple(made: int, durations: NodeDurations | None = None) -> Server:
    server = Server(SIMPLE, durations)
    server.run("1")
    server.run("2")
    server.passed("2", 0, 6)
    for number in range(6):
        server.body(f"2.0.0.{number}", made)
        server.passed("2", number + 1, 6)
    server.end()
    return server


RUNS = pytest.mark.parametrize(
    ("run", "made"), [(nested, 0), (nested, 3), (simple, 3), (simple, 12)]
)


@RUNS
def test_tracker_value_of_loops_never_falls_and_reaches_1_only_at_the_end(
    run: Callable[..., Server], made: int
) -> None:
    values = [tracker.value for _, tracker in run(made).seen]
    assert values == sorted(values)
    assert values[-1] == 1
    assert values[-2] < 1


@RUNS
def test_tracker_value_of_second_run_of_loops_is_their_share_of_passes(
    run: Callable[..., Server], made: int
) -> None:
    durations = NodeDurations()
    durations.learn(run(made).seen[-1][1].measurements())
    second = run(made, durations)
    for at, tracker in second.seen[:-1]:
        share = at / second.now
        assert tracker.value_at(at) == pytest.approx(share, abs=0.15), f"after {at:.2f} s"


def test_tracker_iteration_of_loop_in_loop_counts_passes_of_both() -> None:
    shown = [tracker.iteration for _, tracker in nested().seen if tracker.iteration]
    passes = [iteration for iteration, _ in shown]
    assert passes == sorted(passes)
    assert [*dict.fromkeys(total for _, total in shown)] == [2, 6]  # at first, one loop is known
    assert [*dict.fromkeys(passes)] == [1, 2, 3, 4, 5, 6]
    assert all(b - a <= 1 for a, b in pairwise(passes))


def test_tracker_iteration_of_second_loop_starts_at_1() -> None:
    """Two loops in one pass of another: each counts its own passes."""
    graph = {
        **NESTED,
        "8": loop(4, ["5", 0]),
        "9": node("ImageBlur", image=["8", 4]),
        "10": node("EndLoop", output_value=["9", 0], next_iteration_value=["9", 0]),
        "6": node("EndLoop", output_value=["10", 0], next_iteration_value=["10", 0]),
    }
    server = Server(graph)
    server.passed("2", 0, 2)
    shown = []
    for outer in range(2):
        for start, passes in (f"2.0.0.{outer}_3", 3), (f"2.0.0.{outer}_8", 4):
            for number in range(passes):
                server.passed(start, number, passes)
                shown.append(server.tracker.iteration)
        server.passed("2", outer + 1, 2)
    first = [(number, 6) for number in (1, 2, 3)] + [(number, 8) for number in (1, 2, 3, 4)]
    second = [(number, 6) for number in (4, 5, 6)] + [(number, 8) for number in (5, 6, 7, 8)]
    assert shown == first + second
