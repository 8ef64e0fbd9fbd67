"""Switches that make the engine fail as real servers do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Deliberate failures, all off by default.

    A switch is read on each use: ``server.faults = Faults(...)`` changes a running engine.
    """

    silent_reconnect: bool = False
    """F1: a second socket with a clientId seen before stays open and gets nothing."""
    no_finish_message: bool = False
    """F2: no ``execution_success``/``error``/``interrupted`` and no ``executing`` null."""
    history_late_s: float = 0.0
    """F4: the history entry of a finished job is shown this much later."""
    history_evicted: bool = False
    """Finished jobs never show up in the history."""
    dead_worker: bool = False
    """F10: the worker takes the next job and dies; HTTP stays healthy."""
    ignore_interrupts: bool = False
    """F11: a running job does not notice that it was interrupted."""
    oom_at: str | None = None
    """The node with this class or id runs out of memory."""
    error_at: str | None = None
    """The node with this class or id raises."""
    missing_output: bool = False
    """The files of a finished job are deleted before a client can download them."""
    object_info_delay_s: float = 0.0
    """The delay of ``/object_info``, in seconds."""
    post_delay_s: float = 0.0
    """``POST /prompt`` answers this late, after the job was accepted."""
    max_jobs: int | None = None
    """``POST /prompt`` answers 429 with ``Retry-After`` while so many jobs are there."""
    node_s: Mapping[str, float] = field(default_factory=dict)
    """Nodes of these classes take so many seconds longer."""
    written_text: str | None = None
    """``TextGenerate`` writes this, up to its ``max_length`` in words."""
    text_metadata: bool = False
    """Texts of nodes carry their ``prompt_id``, as newer cores send them."""
    test_nodes: bool = False
    """Lists and runs ``DemoSleep``, ``DemoPartner``, ``DemoRaise``, ``DemoText``, ``TextGenerate``
    (which writes no more than the rules could) and the loops of newer cores."""
