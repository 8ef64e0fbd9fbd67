"""The answers to a poll: ``GET /queue``, then ``GET /history/{id}``.

Read in that order, a job is always found: it is in exactly one of the two and moves from the queue
to the history in one step. In the other order, short jobs seem to be in neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from comfy_ui.errors import ComfyUIConnectionError

from .frames import read_message
from .graph_cost import GraphCost, ancestors
from .messages import ExecutionError, ExecutionInterrupted, ExecutionSuccess

GROUP_KEY: Final = "comfy_ui_group"
"""The key in a job's extra data whose value the jobs of a group have in common."""

Ending = ExecutionSuccess | ExecutionError | ExecutionInterrupted


@dataclass(frozen=True, slots=True)
class QueueAnswer:
    """The place of one job in the queue. ``position`` is 1 for the next, of ``size`` waiting.

    ``graph`` and ``output_nodes`` are what the server runs; None if it did not say. ``group_id`` is
    the value of :data:`GROUP_KEY` in the job's extra data.
    """

    place: Literal["running", "pending", "absent"]
    position: int | None = None
    size: int | None = None
    graph: Mapping[str, Any] | None = field(default=None, repr=False)
    output_nodes: tuple[str, ...] | None = None
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The whole queue at one moment."""

    running: Mapping[str, QueueAnswer] = field(default_factory=dict)
    pending: Mapping[str, QueueAnswer] = field(default_factory=dict)

    def answer(self, prompt_id: str) -> QueueAnswer:
        """The place of one job."""
        answer = self.running.get(prompt_id) or self.pending.get(prompt_id)
        return answer or QueueAnswer("absent", size=len(self.pending))


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """How a job ended. ``outputs`` are those of its own run, by node.

    ``seconds`` is the duration by the server's clock; None if it kept none. ``group_id`` is as in
    :class:`QueueAnswer`.
    """

    ending: Ending
    outputs: Mapping[str, Any] = field(default_factory=dict)
    cached: frozenset[str] = frozenset()
    seconds: float | None = None
    graph: Mapping[str, Any] | None = field(default=None, repr=False)
    output_nodes: tuple[str, ...] | None = None
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryAnswer:
    """``entry`` is None for a job that is unknown, pending or running."""

    entry: HistoryEntry | None = None


def read_queue(body: Any) -> QueueSnapshot:
    """Parse the JSON of ``GET /queue``, and sort the pending jobs, which come in heap order.

    Raises:
        ComfyUIConnectionError: it is not a queue.
    """
    lists = [body.get(key) for key in ("queue_running", "queue_pending")] if _is(body) else []
    if not lists or not all(isinstance(items, list) for items in lists):
        raise ComfyUIConnectionError("The server's queue cannot be read.")
    running, pending = (
        [item for item in items if _is_item(item)] for items in lists if items is not None
    )
    pending.sort(key=lambda item: (_number(item[0]), str(item[1])))
    return QueueSnapshot(
        running={str(item[1]): _queue_answer("running", item) for item in running},
        pending={
            str(item[1]): _queue_answer("pending", item, position=i, size=len(pending))
            for i, item in enumerate(pending, start=1)
        },
    )


def read_history(body: Any, prompt_id: str) -> HistoryAnswer:
    """Parse the JSON of ``GET /history/{id}``, or of ``GET /history``.

    Raises:
        ComfyUIConnectionError: it is not a history, or the entry is malformed.
    """
    entry = body.get(prompt_id) if _is(body) else body
    if entry is None and _is(body):
        return HistoryAnswer()
    if not _is(entry):
        raise ComfyUIConnectionError("The server's history cannot be read.")
    prompt = entry.get("prompt")
    graph, output_nodes = _graph_and_outputs(prompt) if isinstance(prompt, list) else (None, None)
    messages = [
        (message[0], message[1])
        for message in _list(_mapping(entry.get("status")).get("messages"))
        if isinstance(message, list) and len(message) == 2 and _is(message[1])
    ]
    return HistoryAnswer(
        HistoryEntry(
            ending=_read_ending(entry, messages, prompt_id),
            outputs=_own_outputs(entry, graph, output_nodes),
            cached=frozenset(
                node
                for kind, data in messages
                if kind == "execution_cached"
                for node in _list(data.get("nodes"))
                if isinstance(node, str)
            ),
            seconds=_seconds(messages),
            graph=graph,
            output_nodes=output_nodes,
            group_id=_group_id(prompt) if isinstance(prompt, list) else None,
        )
    )


def _read_ending(entry: Mapping[str, Any], messages: list[Any], prompt_id: str) -> Ending:
    """The last ending in ``status.messages``; ``status_str`` calls an interruption an error."""
    for kind, data in reversed(messages):
        if isinstance(kind, str):
            message = read_message(kind, {**data, "prompt_id": prompt_id})
            if isinstance(message, Ending):
                return message
    if _mapping(entry.get("status")).get("status_str") == "error":
        return ExecutionError(prompt_id)
    return ExecutionSuccess(prompt_id)  # servers before execution_success kept no other entries


def _own_outputs(
    entry: Mapping[str, Any],
    graph: Mapping[str, Any] | None,
    output_nodes: tuple[str, ...] | None,
) -> Mapping[str, Any]:
    """The outputs of the nodes that this job ran for.

    If a job names its targets (``partial_execution_targets``), older versions also list cached
    outputs of other nodes.
    """
    outputs, meta = _mapping(entry.get("outputs")), _mapping(entry.get("meta"))
    if graph is None or not output_nodes or outputs.keys() <= set(output_nodes):
        return outputs
    plan = GraphCost(graph, output_nodes=output_nodes)
    own = ancestors(plan.outputs, plan.sources)

    def stands_for(node: str) -> str:
        # A node that expanded at run time has outputs under inner ids such as 2.0.0.1.
        display_node = _mapping(meta.get(node)).get("display_node")
        return display_node if isinstance(display_node, str) else node.partition(".")[0]

    return {node: o for node, o in outputs.items() if node in own or stands_for(node) in own}


def _queue_answer(
    place: Literal["running", "pending"],
    item: list[Any],
    *,
    position: int | None = None,
    size: int | None = None,
) -> QueueAnswer:
    graph, output_nodes = _graph_and_outputs(item)
    return QueueAnswer(place, position, size, graph, output_nodes, _group_id(item))


def _graph_and_outputs(
    item: list[Any],
) -> tuple[Mapping[str, Any] | None, tuple[str, ...] | None]:
    """Two fields of ``[number, prompt_id, graph, extra_data, output_node_ids]``."""
    graph = item[2] if len(item) > 2 and _is(item[2]) else None
    ids = item[4] if len(item) > 4 and isinstance(item[4], list) else None
    return graph, None if ids is None else tuple(id_ for id_ in ids if isinstance(id_, str))


def _group_id(item: list[Any]) -> str | None:
    group_id = _mapping(item[3] if len(item) > 3 else None).get(GROUP_KEY)
    return group_id if isinstance(group_id, str) else None


def _seconds(messages: list[Any]) -> float | None:
    stamps = [_number(data.get("timestamp"), math.nan) for _, data in messages]
    duration_ms = stamps[-1] - stamps[0] if stamps else math.nan
    return duration_ms / 1000 if duration_ms >= 0 else None


def _is(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_item(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any, default: float = 0.0) -> float:
    try:
        return float(value) if isinstance(value, int | float) else default
    except OverflowError:
        return default
