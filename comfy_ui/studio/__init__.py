"""Runs that outlive a page: queue, follow, resume, and the library of results."""

from .job import Item, Job, JobError, JobRequest, Kind, Line, Phase, ServerStatus, Snapshot, Status
from .own_presets import OwnPresets
from .studio import Studio

__all__ = [
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
