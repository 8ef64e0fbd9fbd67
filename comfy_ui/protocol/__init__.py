"""The protocol of a ComfyUI server as pure rules, without sockets, files or a clock."""

from .circuit_breaker import CircuitState
from .frames import parse_binary, parse_text
from .graph_cost import GraphCost, plan_graph
from .job import (
    CancelRequested,
    CancelSent,
    ConnectionLost,
    ConnectionRegained,
    Event,
    JobState,
    PollFailed,
    PostAccepted,
    Resubmitted,
    advance,
    cancel_due,
    is_deaf,
    new_job,
    poll_due,
)
from .messages import Message
from .object_info import InputSpec, NodeRegistry, NodeSpec
from .outputs import OutputFile, Outputs, collect_outputs
from .progress import Phase, Progress, Tracker
from .queue_and_history import (
    HistoryAnswer,
    HistoryEntry,
    QueueAnswer,
    QueueSnapshot,
    read_history,
    read_queue,
)
from .retry import Backoff, Failure, classify_status, classify_transport, parse_retry_after

__all__ = [
    "Backoff",
    "CancelRequested",
    "CancelSent",
    "CircuitState",
    "ConnectionLost",
    "ConnectionRegained",
    "Event",
    "Failure",
    "GraphCost",
    "HistoryAnswer",
    "HistoryEntry",
    "InputSpec",
    "JobState",
    "Message",
    "NodeRegistry",
    "NodeSpec",
    "OutputFile",
    "Outputs",
    "Phase",
    "PollFailed",
    "PostAccepted",
    "Progress",
    "QueueAnswer",
    "QueueSnapshot",
    "Resubmitted",
    "Tracker",
    "advance",
    "cancel_due",
    "classify_status",
    "classify_transport",
    "collect_outputs",
    "is_deaf",
    "new_job",
    "parse_binary",
    "parse_retry_after",
    "parse_text",
    "plan_graph",
    "poll_due",
    "read_history",
    "read_queue",
]
