"""What a server says over its WebSocket, as a closed set of values.

:func:`parse_text` and :func:`parse_binary` never raise: a type that is not known becomes an
:class:`UnknownMessage`, a frame that cannot be read a :class:`MalformedMessage`, so that no frame
can end the task that reads the socket. Frames may hold many megabytes: pictures stay in the frame
they came in and are copied only when asked for (:attr:`Preview.image`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

# ---- JSON frames -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """The length of the queue, running job included; ``sid`` (our clientId) only on connecting."""

    queue_remaining: int | None = None
    sid: str | None = None


@dataclass(frozen=True, slots=True)
class FeatureFlags:
    """The server's answer to our own ``feature_flags``."""

    flags: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionStart:
    prompt_id: str


@dataclass(frozen=True, slots=True)
class ExecutionCached:
    """Nodes whose result is in the server's cache, also such as the job does not need."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executing:
    """A node starts.

    ``node`` None means that the job is over, whichever way it ended. ``prompt_id`` None: sent on
    connecting while some job of this clientId runs. ``display_node`` is the node of the graph that
    stands for an inner node made at run time.
    """

    prompt_id: str | None
    node: str | None
    display_node: str | None = None


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """``progress``: one step of the node at work. ``max`` may change and ``value`` start over."""

    prompt_id: str | None
    node: str | None
    value: float
    max: float


class NodeState(NamedTuple):
    """One node in a :class:`ProgressState`. A tuple, because a snapshot may hold hundreds."""

    node: str
    display_node: str
    state: str
    value: float
    max: float
    activity: str | None = None


@dataclass(frozen=True, slots=True)
class ProgressState:
    """A snapshot of every node that was started so far."""

    prompt_id: str
    nodes: tuple[NodeState, ...]


@dataclass(frozen=True, slots=True)
class Executed:
    """A node has results. ``output`` is as :func:`~.outputs.collect_outputs` reads it."""

    prompt_id: str
    node: str
    display_node: str
    output: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionSuccess:
    """All outputs are made. The history entry may not be there yet."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """A node raised; the job is over."""

    prompt_id: str
    node_id: str | None = None
    node_type: str | None = None
    exception_type: str | None = None
    exception_message: str = ""
    traceback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutionInterrupted:
    prompt_id: str
    node_id: str | None = None
    node_type: str | None = None


@dataclass(frozen=True, slots=True)
class Logs:
    """Lines of the server's log, for sockets that subscribed."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notification:
    """A text for the user (Comfy Cloud)."""

    value: str


# ---- binary frames ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Preview:
    """A picture of the work in progress, or one that a node sends in place of saving it.

    Without negotiated metadata, and for jobs queued without a clientId, ``prompt_id`` and ``node``
    are None.
    """

    data: memoryview = field(repr=False)
    media_type: str
    prompt_id: str | None = None
    node: str | None = None
    display_node: str | None = None

    @cached_property
    def image(self) -> bytes:
        """The encoded picture."""
        return bytes(self.data)


@dataclass(frozen=True, slots=True)
class ProgressText:
    """A line that a node shows while it works. Names no job."""

    node: str
    text: str


# ---- the rest --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A type that is not known here; newer servers have more. ``binary:N`` for binary frames."""

    type: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """A frame that cannot be read. ``reason`` is for the log."""

    reason: str


Message = (
    Status
    | FeatureFlags
    | ExecutionStart
    | ExecutionCached
    | Executing
    | NodeProgress
    | ProgressState
    | Executed
    | ExecutionSuccess
    | ExecutionError
    | ExecutionInterrupted
    | Logs
    | Notification
    | Preview
    | ProgressText
    | UnknownMessage
    | MalformedMessage
)


def parse_text(frame: str | bytes) -> Message:
    """Read a text frame, ``{"type": …, "data": {…}}``. Never raises."""
    try:
        body = json.loads(frame)
    except (ValueError, RecursionError) as error:
        return MalformedMessage(f"not JSON: {type(error).__name__}")
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        return MalformedMessage("no object with a type")
    return read_message(body["type"], body.get("data"))


def read_message(kind: str, data: Any) -> Message:
    """Read a message that is out of its frame, as those in a history entry's ``status``."""
    reader = _READERS.get(kind)
    if reader is None:
        return UnknownMessage(kind, data)
    if not isinstance(data, dict):
        return MalformedMessage(f"{kind} without data")
    try:
        return reader(data)
    except _Unreadable as error:
        return MalformedMessage(f"{kind}: {error}")


def parse_binary(frame: bytes | bytearray | memoryview) -> Message:
    """Read a binary frame: a big-endian uint32 event type, then its layout. Never raises.

    The frame must not change afterwards: pictures refer to it.
    """
    view = memoryview(frame)
    try:
        kind = _uint32(view, 0)
        if kind == 1:
            media_type = "image/png" if _uint32(view, 4) == 2 else "image/jpeg"
            return Preview(view[8:], media_type)
        if kind == 3:
            node, text = _split(view)
            return ProgressText(str(node, "utf-8"), str(text, "utf-8", "replace"))
        if kind == 4:
            header, image = _split(view)
            return _read_preview(json.loads(bytes(header)), image)
    except (ValueError, RecursionError, _Unreadable) as error:
        return MalformedMessage(f"binary: {error}"[:200])
    return UnknownMessage(f"binary:{kind}")


class _Unreadable(Exception):  # noqa: N818 -- control flow inside this file
    """A field is missing or of a wrong type."""


def _uint32(view: memoryview, offset: int) -> int:
    if len(view) < offset + 4:
        raise _Unreadable("frame too short")
    return int.from_bytes(view[offset : offset + 4], "big")


def _split(view: memoryview) -> tuple[memoryview, memoryview]:
    """The two parts of ``event, length, first part, second part``."""
    end = 8 + _uint32(view, 4)
    if end > len(view):
        raise _Unreadable("frame too short")
    return view[8:end], view[end:]


def _read_preview(header: Any, image: memoryview) -> Preview:
    if not isinstance(header, dict):
        raise _Unreadable("preview without metadata")
    node = _id_or_none(header.get("node_id"))
    return Preview(
        image,
        media_type="image/png" if header.get("image_type") == "image/png" else "image/jpeg",
        prompt_id=_id_or_none(header.get("prompt_id")),
        node=node,
        display_node=_id_or_none(header.get("display_node_id")) or node,
    )


def _read_status(data: dict[str, Any]) -> Message:
    status = data.get("status")
    info = status.get("exec_info") if isinstance(status, dict) else None
    remaining = info.get("queue_remaining") if isinstance(info, dict) else None
    return Status(
        remaining if isinstance(remaining, int) and not isinstance(remaining, bool) else None,
        _id_or_none(data.get("sid")),
    )


def _read_cached(data: dict[str, Any]) -> Message:
    nodes = data.get("nodes")
    if not isinstance(nodes, list):
        raise _Unreadable("no list of nodes")
    return ExecutionCached(_prompt_id(data), tuple(n for n in map(_id_or_none, nodes) if n))


def _read_executing(data: dict[str, Any]) -> Message:
    if "node" not in data:
        raise _Unreadable("no node")
    node = _id_or_none(data["node"])
    if node is None and data["node"] is not None:
        raise _Unreadable("no node")  # anything else would read as the end of the job
    display = _id_or_none(data.get("display_node"))
    return Executing(_id_or_none(data.get("prompt_id")), node, display or node)


def _read_progress(data: dict[str, Any]) -> Message:
    return NodeProgress(
        _id_or_none(data.get("prompt_id")),
        _id_or_none(data.get("node")),
        _number(data.get("value")),
        _number(data.get("max")),
    )


def _read_progress_state(data: dict[str, Any]) -> Message:
    nodes = data.get("nodes")
    if not isinstance(nodes, dict):
        raise _Unreadable("no nodes")
    return ProgressState(
        _prompt_id(data),
        tuple(
            NodeState(
                node,
                _id_or_none(state.get("display_node_id")) or node,
                _text(state.get("state")),
                _number(state.get("value")),
                _number(state.get("max")),
                _text(state.get("activity")) or None,
            )
            for node, state in nodes.items()
            if isinstance(state, dict)
        ),
    )


def _read_executed(data: dict[str, Any]) -> Message:
    node, output = _id_or_none(data.get("node")), data.get("output")
    if node is None:
        raise _Unreadable("no node")
    return Executed(
        _prompt_id(data),
        node,
        _id_or_none(data.get("display_node")) or node,
        output if isinstance(output, dict) else {},
    )


def _read_error(data: dict[str, Any]) -> Message:
    traceback = data.get("traceback")
    return ExecutionError(
        _prompt_id(data),
        _id_or_none(data.get("node_id")),
        _text(data.get("node_type")) or None,
        _text(data.get("exception_type")) or None,
        _text(data.get("exception_message")),
        tuple(line for line in traceback if isinstance(line, str))
        if isinstance(traceback, list)
        else (),
    )


def _read_interrupted(data: dict[str, Any]) -> Message:
    return ExecutionInterrupted(
        _prompt_id(data), _id_or_none(data.get("node_id")), _text(data.get("node_type")) or None
    )


def _read_logs(data: dict[str, Any]) -> Message:
    entries = data.get("entries")
    if not isinstance(entries, list):
        raise _Unreadable("no entries")
    return Logs(tuple(_text(e.get("m")) for e in entries if isinstance(e, dict)))


_READERS: dict[str, Callable[[dict[str, Any]], Message]] = {
    "status": _read_status,
    "feature_flags": FeatureFlags,
    "execution_start": lambda data: ExecutionStart(_prompt_id(data)),
    "execution_cached": _read_cached,
    "executing": _read_executing,
    "progress": _read_progress,
    "progress_state": _read_progress_state,
    "executed": _read_executed,
    "execution_success": lambda data: ExecutionSuccess(_prompt_id(data)),
    "execution_error": _read_error,
    "execution_interrupted": _read_interrupted,
    "logs": _read_logs,
    "notification": lambda data: Notification(_text(data.get("value"))),
}


def _prompt_id(data: dict[str, Any]) -> str:
    prompt_id = _id_or_none(data.get("prompt_id"))
    if prompt_id is None:
        raise _Unreadable("no prompt_id")
    return prompt_id


def _id_or_none(value: Any) -> str | None:
    """Ids are strings; some custom nodes send their number."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float:
    """A finite number; 0 for anything else, which reads as "no progress told"."""
    try:
        number = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
