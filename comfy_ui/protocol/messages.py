"""The WebSocket messages of a server, as a closed set of values; :mod:`.frames` parses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

# ---- JSON frames -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The length of the queue, running job included; ``sid`` (our clientId) only on connecting."""

    queue_remaining: int | None = None
    sid: str | None = None


@dataclass(frozen=True, slots=True)
class FeatureFlags:
    """The server's answer to our own ``feature_flags``."""

    flags: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionStart:
    """A job starts."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class ExecutionCached:
    """Nodes whose result is in the server's cache, including some that the job does not need."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executing:
    """A node starts.

    ``node`` None: the job is over, however it ended. ``prompt_id`` None: sent on connecting while a
    job of this clientId runs. ``display_node`` is the node of the graph that represents an inner
    node created at run time.
    """

    prompt_id: str | None
    node: str | None
    display_node: str | None = None


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """One step of the running node. ``max`` may change and ``value`` start over."""

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
    """A snapshot of every node started so far; :func:`~.frames.node_states` reads ``nodes``.

    They are read on use: no caller may ask for progress.
    """

    prompt_id: str
    nodes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Executed:
    """A node has results. ``output`` is as :func:`~.outputs.collect_outputs` reads it."""

    prompt_id: str
    node: str
    display_node: str
    output: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionSuccess:
    """All outputs are complete. The history entry may come later."""

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
    """The job was interrupted; it is over."""

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
class PreviewFrame:
    """A preview image, or one that ``SaveImageWebsocket`` sends instead of saving it.

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
        """The encoded image, copied out of the frame."""
        return bytes(self.data)


@dataclass(frozen=True, slots=True)
class ProgressText:
    """A line that a node shows while it runs. Older servers send no ``prompt_id``."""

    node: str
    text: str
    prompt_id: str | None = None


# ---- the rest --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message of an unknown type; newer versions have more. ``binary:N`` for binary frames."""

    type: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """A frame that cannot be parsed. ``reason`` is for the log."""

    reason: str


JobMessage = (
    ExecutionStart
    | ExecutionCached
    | Executing
    | NodeProgress
    | ProgressState
    | Executed
    | ExecutionSuccess
    | ExecutionError
    | ExecutionInterrupted
    | PreviewFrame
    | ProgressText
)
"""A message about one job. ``prompt_id`` None: about the running one."""

Message = (
    JobMessage
    | QueueStatus
    | FeatureFlags
    | Logs
    | Notification
    | UnknownMessage
    | MalformedMessage
)
