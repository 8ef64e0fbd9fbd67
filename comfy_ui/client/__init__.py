"""Clients of a ComfyUI server: ``ComfyClient`` (blocking) and ``ComfyWSClient`` (async)."""

from ..protocol.outputs import OutputFile
from ..protocol.progress import Phase, Preview, Progress
from .aio import AsyncEvent, AsyncResult, ComfyWSClient
from .callbacks import OnProgress, OnResult
from .response_models import (
    Blueprint,
    Capabilities,
    Device,
    JobInfo,
    LogLine,
    ModelFile,
    SystemStats,
    Template,
    UploadedFile,
    UserFile,
)
from .result import Result
from .sync import ComfyClient, SyncEvent, SyncResult
from .transfer.upload_sources import UploadSource
from .transport.address import Address, parse_address
from .transport.circuit_breakers import CircuitBreaker
from .transport.options import ClientOptions
from .workflow_source import WorkflowSource

__all__ = [
    "Address",
    "AsyncEvent",
    "AsyncResult",
    "Blueprint",
    "Capabilities",
    "CircuitBreaker",
    "ClientOptions",
    "ComfyClient",
    "ComfyWSClient",
    "Device",
    "JobInfo",
    "LogLine",
    "ModelFile",
    "OnProgress",
    "OnResult",
    "OutputFile",
    "Phase",
    "Preview",
    "Progress",
    "Result",
    "SyncEvent",
    "SyncResult",
    "SystemStats",
    "Template",
    "UploadSource",
    "UploadedFile",
    "UserFile",
    "WorkflowSource",
    "parse_address",
]
