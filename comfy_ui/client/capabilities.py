"""What a server can do beyond the core of 0.3.64, found by asking its routes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """``jobs_api``: jobs of all states can be listed; ``atomic_cancel``: in one request."""

    jobs_api: bool
    atomic_cancel: bool
