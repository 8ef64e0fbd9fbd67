"""Clients of a ComfyUI server: ``ComfyClient`` (blocking) and ``ComfyWSClient`` (async)."""

from ..protocol.outputs import OutputFile
from ..protocol.progress import Phase, Preview, Progress
from .aio import AsyncEvent, AsyncResult, ComfyWSClient
from .callbacks import OnProgress
from .response_models import (
    Capabilities,
    Device,
    JobInfo,
    LogLine,
    SystemStats,
    Template,
    UploadedFile,
    UserFile,
)
from .result import Result
from .sync import ComfyClient, SyncEvent, SyncResult
from .transport.address import Address, parse_address

__all__ = [
    "Address",
    "AsyncEvent",
    "AsyncResult",
    "Capabilities",
    "ComfyClient",
    "ComfyWSClient",
    "Device",
    "JobInfo",
    "LogLine",
    "OnProgress",
    "OutputFile",
    "Phase",
    "Preview",
    "Progress",
    "Result",
    "SyncEvent",
    "SyncResult",
    "SystemStats",
    "Template",
    "UploadedFile",
    "UserFile",
    "parse_address",
]
