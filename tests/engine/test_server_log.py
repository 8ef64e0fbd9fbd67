"""The log of the managed ComfyUI."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.engine.supervision.server_log import explain_exit, read_tail, rotate


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("OSError: [Errno 98] error while attempting to bind on address", "port is taken"),
        ("OSError: [Errno 10048] only one usage of each socket address", "port is taken"),
        ("RuntimeError: Found no NVIDIA driver on your system.", "driver is missing or too old"),
        ("The NVIDIA driver on your system is too old (found version 11040).", "driver is missing"),
        ("AssertionError: Torch not compiled with CUDA enabled", "does not support this GPU"),
        ("CUDA error: no kernel image is available for execution", "does not support this GPU"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "not enough memory"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ModuleNotFoundError: No module named 'einops'", "missing in its environment: einops"),
        ("main.py: error: unrecognized arguments: --fasst", "does not know the option --fasst"),
        ("Segmentation fault", "ComfyUI ended. Starting server Segmentation fault"),
        ("", "ComfyUI ended."),
    ],
)
def test_explain_exit_names_the_cause(line: str, message: str) -> None:
    explained, hint = explain_exit(f"Starting server\n{line}\n")
    if line:
        assert message in explained
    assert hint


def test_rotate_large_log_moves_its_content_while_a_process_appends(tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    with log.open("ab") as file:
        for number in range(5):
            file.write(f"part {number}\n".encode() * 20)
            file.flush()
            assert rotate(log, max_bytes=100)
        file.write(b"last\n")
    assert log.read_text() == "last\n"
    assert [(tmp_path / f"comfyui.log.{n}").read_text()[:6] for n in (1, 2, 3)] == [
        "part 4",
        "part 3",
        "part 2",
    ]
    assert not (tmp_path / "comfyui.log.4").exists()


def test_rotate_small_or_missing_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    assert not rotate(log)
    log.write_text("short")
    assert not rotate(log)
    assert log.read_text() == "short"


def test_read_tail_starts_at_a_line(tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    log.write_text("first line\nsecond line\n")
    assert read_tail(log, 14) == "second line\n"
    assert read_tail(tmp_path / "none") == ""
