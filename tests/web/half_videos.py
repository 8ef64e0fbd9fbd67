"""Videos that are half done. A worker process imports this, and not the tests with Gradio."""

from __future__ import annotations

import time
from pathlib import Path

from comfy_ui.worker_processes.worker_main import report_progress


def cut_half(_: Path, target: Path, *__: float) -> None:
    target.write_bytes(b"half")
    report_progress(0.5)
    time.sleep(600)


def join_half(_: Path, __: Path, target: Path) -> None:
    cut_half(target, target)
