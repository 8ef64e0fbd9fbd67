"""Runs that outlive a page: queue, follow, resume, and the library of results."""

from .job import Item, Job, JobError, JobRequest, Kind, Phase, ServerStatus, Snapshot, Status
from .studio import Studio

__all__ = [
    "Item",
    "Job",
    "JobError",
    "JobRequest",
    "Kind",
    "Phase",
    "ServerStatus",
    "Snapshot",
    "Status",
    "Studio",
]
