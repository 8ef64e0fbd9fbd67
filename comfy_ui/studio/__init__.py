"""Runs that outlive a page: queue, follow, resume, and the library of results."""

from .downloads import Download, Downloads, DownloadState
from .grids import Cell, Grid, Side
from .imports import IMPORTED, Progress as ImportProgress
from .job import (
    LOCAL_OWNER,
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
from .library import Library, open_library
from .model_folders import ModelFolders, find_model_folders
from .own_presets import OwnPresets
from .space import Space
from .studio import Studio

__all__ = [
    "IMPORTED",
    "LOCAL_OWNER",
    "TEMPLATES",
    "Cell",
    "Download",
    "DownloadState",
    "Downloads",
    "Grid",
    "ImportProgress",
    "Item",
    "Job",
    "JobError",
    "JobRequest",
    "Kind",
    "Library",
    "Line",
    "ModelFolders",
    "OwnPresets",
    "Phase",
    "ServerStatus",
    "Side",
    "Snapshot",
    "Space",
    "Status",
    "Studio",
    "find_model_folders",
    "open_library",
]
