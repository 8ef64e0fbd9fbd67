"""What tests call in worker processes, which import this, and not the tests with pytest."""

from __future__ import annotations

import os
from pathlib import Path

from comfy_ui.errors import ValidationError
from comfy_ui.worker_processes.worker_main import report_progress


def refuse() -> None:
    raise ValidationError("This is wrong.", hint="Do it right.")


def read_environment() -> dict[str, str]:
    return dict(os.environ)


def spin(path: str = "") -> None:
    if path:
        Path(path).write_text(str(os.getpid()))
    while True:
        pass


def allocate(size_bytes: int) -> int:
    return len(bytearray(size_bytes))


def report_half() -> str:
    report_progress(0.5)
    report_progress(0.6)  # too soon after the first
    return "done"
