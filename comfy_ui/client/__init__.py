"""Clients of a ComfyUI server: ``ComfyClient`` (blocking) and ``ComfyWSClient`` (async)."""

from ..protocol.outputs import OutputFile
from ..protocol.progress import Phase, Progress
from .aio import ComfyWSClient
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
from .sync import ComfyClient
from .transport.address import Address, parse_address

__all__ = [
    "Address",
    "Capabilities",
    "ComfyClient",
    "ComfyWSClient",
    "Device",
    "JobInfo",
    "LogLine",
    "OutputFile",
    "Phase",
    "Progress",
    "Result",
    "SystemStats",
    "Template",
    "UploadedFile",
    "UserFile",
    "parse_address",
]
