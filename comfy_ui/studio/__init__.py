"""Runs that outlive a page: queue, follow, resume, and the library of results."""

from .job import (
    TEMPLATES,
    Item,
    Job,
    JobError,
    JobRequest,
    Kind,
    Line,
    Phase,
    ServerStatus,
    Snapshot,
    Status,
)
from .own_presets import OwnPresets
from .studio import Studio

__all__ = [
    "TEMPLATES",
    "Item",
    "Job",
    "JobError",
    "JobRequest",
    "Kind",
    "Line",
    "OwnPresets",
    "Phase",
    "ServerStatus",
    "Snapshot",
    "Status",
    "Studio",
]
