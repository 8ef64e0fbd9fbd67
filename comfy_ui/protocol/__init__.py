"""What a ComfyUI server says and does, as pure rules: no sockets, no files, no clock."""

from .messages import Message, parse_binary, parse_text
from .nodes import InputSpec, NodeLibrary, NodeSpec
from .outputs import OutputFile, Outputs, collect_outputs
from .progress import Phase, Progress

__all__ = [
    "InputSpec",
    "Message",
    "NodeLibrary",
    "NodeSpec",
    "OutputFile",
    "Outputs",
    "Phase",
    "Progress",
    "collect_outputs",
    "parse_binary",
    "parse_text",
]
