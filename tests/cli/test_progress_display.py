from __future__ import annotations

import io
import json
import re
from base64 import b64decode

import pytest
from PIL import Image

from comfy_ui.cli.progress_display import ProgressDisplay, bar_line, terminal_image
from comfy_ui.client import Phase, Progress


def picture(size: tuple[int, int] = (8, 13)) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


PROGRESS = Progress("id", Phase.RUNNING, 43.0, "3", "Sampler", 9, 20, eta=3.4, preview=picture())


def shown(style: str, preview: str = "none") -> str:
    stream = io.StringIO()
    display = ProgressDisplay(style, preview, stream=stream)  # type: ignore[arg-type]
    display(PROGRESS)
    display(PROGRESS)
    display.close()
    return stream.getvalue()


def test_bar_line_shows_percentage_step_node_and_remaining_time() -> None:
    assert bar_line(PROGRESS) == (
        "████████▋           ▏ 43 %  running  step 9 of 20  Sampler  3 s left"
    )
    assert bar_line(Progress("id", Phase.SUCCEEDED, 100.0)).startswith("█" * 20 + "▏100 %")


def test_progress_display_json_is_one_object_per_line_without_the_preview() -> None:
    lines = [json.loads(line) for line in shown("json").splitlines()]
    assert len(lines) == 2
    assert (lines[0]["progress"], lines[0]["phase"], lines[0]["eta"]) == (43.0, "running", 3.4)
    assert "preview" not in lines[0]


def test_progress_display_lines_are_one_per_phase_and_none_is_silent() -> None:
    assert shown("lines") == shown("auto") == "running …\n"
    assert shown("none") == ""


@pytest.mark.parametrize("protocol", ["kitty", "iterm"])
def test_progress_display_bar_draws_each_preview_once(protocol: str) -> None:
    text = shown("bar", protocol)
    data = "".join(re.findall(r"(?:m=[01];|height=12:)([A-Za-z0-9+/=]+)", text))
    assert Image.open(io.BytesIO(b64decode(data)), formats=["PNG"]).size == (8, 13)
    assert text.count("\x1b7") == 1


def test_terminal_image_kitty_chunks_are_at_most_4096_characters() -> None:
    text = terminal_image(picture((240, 240)), "kitty")
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b", text)
    assert all(len(data) <= 4096 for _, data in chunks)
    assert [control.rpartition("m=")[2] for control, _ in chunks] == ["1"] * (len(chunks) - 1) + [
        "0"
    ]


def test_terminal_image_sixel_has_all_rows_and_columns() -> None:
    text = terminal_image(picture(), "sixel")
    assert text.startswith('\x1bPq"1;1;8;13')
    assert text.endswith("-\x1b\\")
    bands = text[text.rindex(";") :].split("-")[:-1]
    assert len(bands) == 3
    for band in bands:
        for row in re.findall(r"#\d+([^#$]*)\$", band):
            width = sum(int(n or 1) for n, _ in re.findall(r"(?:!(\d+))?([?-~])", row))
            assert width == 8


def test_terminal_image_that_is_no_image_is_empty() -> None:
    assert terminal_image(b"nothing", "kitty") == ""
