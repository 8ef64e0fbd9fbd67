"""Runs that outlive a page: queue, follow, resume, and the library of results."""

from .downloads import Download, Downloads, DownloadState
from .grids import Cell, Grid, Side
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
from .model_folders import ModelFolders, find_model_folders
from .own_presets import OwnPresets
from .studio import Studio

__all__ = [
    "TEMPLATES",
    "Cell",
    "Download",
    "DownloadState",
    "Downloads",
    "Grid",
    "Item",
    "Job",
    "JobError",
    "JobRequest",
    "Kind",
    "Line",
    "ModelFolders",
    "OwnPresets",
    "Phase",
    "ServerStatus",
    "Side",
    "Snapshot",
    "Status",
    "Studio",
    "find_model_folders",
]
