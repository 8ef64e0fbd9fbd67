"""Parse frames of the WebSocket to :mod:`.messages`.

:func:`parse_text` and :func:`parse_binary` never raise, so no frame can end the task that reads the
socket: an unknown type becomes an :class:`UnknownMessage`, a broken frame a
:class:`MalformedMessage`. Frames may have many megabytes: images stay in their frame and are copied
only on use (:attr:`PreviewFrame.image`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    FeatureFlags,
    Logs,
    MalformedMessage,
    Message,
    NodeProgress,
    NodeState,
    Notification,
    PreviewFrame,
    ProgressState,
    ProgressText,
    QueueStatus,
    UnknownMessage,
)

_DECODER = json.JSONDecoder()
_MAX_TEXT = 8 * 2**20  # json.loads blocks the event loop; results are read from the history


def parse_text(frame: str | bytes) -> Message:
    """Parse a text frame, ``{"type": …, "data": {…}}``. Never raises."""
    if len(frame) > _MAX_TEXT:
        return MalformedMessage("too large")
    try:
        body = _read_json(frame)
    except (ValueError, RecursionError) as error:
        return MalformedMessage(f"not JSON: {type(error).__name__}")
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        return MalformedMessage("no object with a type")
    return read_message(body["type"], body.get("data"))


def _read_json(frame: str | bytes) -> Any:
    if isinstance(frame, str) and frame[:1] == "{" and frame[-1:] == "}":
        # json.loads looks for white space around it as well, for half as long as it reads.
        body, end = _DECODER.raw_decode(frame)
        if end == len(frame):
            return body
    return json.loads(frame)


def read_message(kind: str, data: Any) -> Message:
    """Parse a message without its frame, such as those in a history entry's ``status``."""
    reader = _READERS.get(kind)
    if reader is None:
        return UnknownMessage(kind, data)
    if not isinstance(data, dict):
        return MalformedMessage(f"{kind} without data")
    try:
        return reader(data)
    except _Unreadable as error:
        return MalformedMessage(f"{kind}: {error}")


def parse_binary(
    frame: bytes | bytearray | memoryview, *, texts_have_prompt_id: bool = False
) -> Message:
    """Parse a binary frame: a big-endian uint32 event type, then its layout. Never raises.

    The frame must not change afterwards: images refer to it.

    Args:
        frame: the frame.
        texts_have_prompt_id: whether the server has announced ``supports_progress_text_metadata``.
    """
    view = memoryview(frame)
    try:
        kind = _uint32(view, 0)
        if kind == 1:
            media_type = "image/png" if _uint32(view, 4) == 2 else "image/jpeg"
            return PreviewFrame(view[8:], media_type)
        if kind == 3:
            prompt_id = None
            if texts_have_prompt_id:
                job, view = _split(view)
                prompt_id, view = str(job, "utf-8"), memoryview(b"\0\0\0\0" + view)
            node, text = _split(view)
            return ProgressText(str(node, "utf-8"), str(text, "utf-8", "replace"), prompt_id)
        if kind == 4:
            header, image = _split(view)
            return _read_preview(json.loads(bytes(header)), image)
    except (ValueError, RecursionError, _Unreadable) as error:
        return MalformedMessage(f"binary: {error}"[:200])
    return UnknownMessage(f"binary:{kind}")


def node_states(nodes: Mapping[str, Any]) -> Iterator[NodeState]:
    """Read the nodes of a :class:`ProgressState`. What has another shape is left out."""
    for node, state in nodes.items():
        if isinstance(state, dict):
            yield NodeState(
                node,
                _id_or_none(state.get("display_node_id")) or node,
                _text(state.get("state")),
                _number(state.get("value")),
                _number(state.get("max")),
                _text(state.get("activity")) or None,
            )


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


def _read_preview(header: Any, image: memoryview) -> PreviewFrame:
    if not isinstance(header, dict):
        raise _Unreadable("preview without metadata")
    node = _id_or_none(header.get("node_id"))
    return PreviewFrame(
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
    return QueueStatus(
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
        raise _Unreadable("no node")  # None would mean the end of the job
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
    return ProgressState(_prompt_id(data), nodes)


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
    prompt_id = data.get("prompt_id")
    if isinstance(prompt_id, str):
        return prompt_id
    prompt_id = _id_or_none(prompt_id)
    if prompt_id is None:
        raise _Unreadable("no prompt_id")
    return prompt_id


def _id_or_none(value: Any) -> str | None:
    """An id as a string; some custom nodes send numbers."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float:
    """A finite number; 0, which means no progress, for anything else."""
    try:
        number = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
