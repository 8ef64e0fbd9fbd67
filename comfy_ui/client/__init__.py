"""Clients of a ComfyUI server: ``ComfyClient`` (blocking) and ``ComfyWSClient`` (async)."""

from ..protocol.outputs import OutputFile
from ..protocol.progress import Phase, Progress
from .address import Address, parse_address
from .asynchronous import ComfyWSClient
from .capabilities import Capabilities
from .result import Result
from .sync import ComfyClient
from .values import Device, JobInfo, LogLine, SystemStats, Template, UploadedFile, UserFile

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
