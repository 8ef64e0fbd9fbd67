"""The progress of a job on stderr: a bar, plain lines, JSON lines, and preview images."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..client import Progress

ProgressStyle = Literal["auto", "bar", "lines", "json", "none"]
PreviewStyle = Literal["none", "kitty", "iterm", "sixel"]

_EIGHTHS = " ▏▎▍▌▋▊▉"
_BAR_CELLS = 20
_PREVIEW_ROWS = 12
_PREVIEW_PIXELS = 240
_KITTY_CHUNK = 4096  # the protocol's limit
_SIXEL_COLORS = 64


def display_for(arguments: argparse.Namespace) -> ProgressDisplay:
    """The display of progress that the options of a command choose."""
    return ProgressDisplay("none" if arguments.quiet else arguments.progress, arguments.preview)


class ProgressDisplay:
    """Shows a job's progress. Pass it as ``on_progress``, and close it.

    Args:
        style: ``auto`` is a bar on a terminal and lines elsewhere.
        preview: the terminal's protocol for images, for a bar only.
        stream: where to write; stderr by default.
    """

    def __init__(
        self,
        style: ProgressStyle = "auto",
        preview: PreviewStyle = "none",
        *,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        if style == "auto":
            style = "bar" if self._stream.isatty() else "lines"
        self._style, self._preview = style, preview
        self._last = ""
        self._shown: bytes | None = None

    def __call__(self, progress: Progress) -> None:
        match self._style:
            case "json":
                fields = {k: v for k, v in asdict(progress).items() if not k.startswith("preview")}
                print(json.dumps(fields, ensure_ascii=False), file=self._stream, flush=True)
            case "lines" if self._last != progress.phase:
                print(f"{progress.phase} …", file=self._stream, flush=True)
                self._last = progress.phase
            case "bar":
                self._show_preview(progress)
                width = shutil.get_terminal_size().columns - 1
                self._last = bar_line(progress)[:width].ljust(width)
                print(f"\r{self._last}", end="", file=self._stream, flush=True)

    def close(self) -> None:
        """Clear the bar."""
        if self._style == "bar" and self._last:
            print(f"\r{' ' * len(self._last)}\r", end="", file=self._stream, flush=True)
            self._last = ""

    def _show_preview(self, progress: Progress) -> None:
        image = progress.preview
        if self._preview == "none" or image is None or image == self._shown:
            return
        picture = terminal_image(image, self._preview)
        first = self._shown is None
        self._shown = image
        if not picture:
            return
        # Save the cursor, go up, draw, and come back: each preview covers the one before it.
        space = "\n" * (_PREVIEW_ROWS + 1) if first else ""
        self._stream.write(f"\r{space}\x1b7\x1b[{_PREVIEW_ROWS + 1}A{picture}\x1b8")


def bar_line(progress: Progress) -> str:
    """The bar with the percentage, phase, step, node and remaining time."""
    eighths = round(progress.progress / 100 * _BAR_CELLS * 8)
    full, part = divmod(eighths, 8)
    bar = "█" * full + (_EIGHTHS[part] if full < _BAR_CELLS else "")
    parts = [f"{bar:<{_BAR_CELLS}}▏{progress.progress:3.0f} %", str(progress.phase)]
    if progress.queue_position:
        parts.append(f"{progress.queue_position} in the queue")
    if progress.steps and progress.step is not None:
        parts.append(f"step {progress.step:g} of {progress.steps:g}")
    if progress.node_title:
        parts.append(progress.node_title)
    if progress.eta is not None:
        parts.append(f"{progress.eta:.0f} s left")
    return "  ".join(parts)


def terminal_image(image: bytes, protocol: PreviewStyle) -> str:
    """The escape sequence that draws an image; empty if the image cannot be read."""
    from PIL import Image

    from ..pictures import open_result

    try:
        picture = open_result(io.BytesIO(image))
        picture.thumbnail((_PREVIEW_PIXELS * 2, _PREVIEW_PIXELS), Image.Resampling.BILINEAR)
        picture = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return ""
    if protocol == "sixel":
        return _sixel(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    data = b64encode(buffer.getvalue()).decode("ascii")
    if protocol == "iterm":
        return f"\x1b]1337;File=inline=1;height={_PREVIEW_ROWS}:{data}\x07"
    # The same image id replaces the picture before it.
    control = f"a=T,f=100,i=1,q=2,r={_PREVIEW_ROWS},"
    chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
    return "".join(
        f"\x1b_G{control if number == 0 else ''}m={int(number < len(chunks) - 1)};{chunk}\x1b\\"
        for number, chunk in enumerate(chunks)
    )


def _sixel(picture: Image) -> str:
    """DEC's sixel format: bands of six rows, one color at a time."""
    paletted = picture.quantize(_SIXEL_COLORS)
    palette = paletted.getpalette() or []
    width, height = paletted.size
    pixels = paletted.tobytes()
    parts = [f'\x1bPq"1;1;{width};{height}']
    for color in range(len(palette) // 3):
        red, green, blue = (round(level / 255 * 100) for level in palette[color * 3 :][:3])
        parts.append(f"#{color};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        rows = [pixels[row * width : (row + 1) * width] for row in range(top, min(top + 6, height))]
        colors = sorted({*b"".join(rows)})
        parts += [f"#{color}{''.join(_sixel_row(rows, color, width))}$" for color in colors]
        parts.append("-")
    return "".join([*parts, "\x1b\\"])


def _sixel_row(rows: list[bytes], color: int, width: int) -> Iterator[str]:
    signs = (
        chr(63 + sum((row[column] == color) << bit for bit, row in enumerate(rows)))
        for column in range(width)
    )
    for sign, run in groupby(signs):
        length = sum(1 for _ in run)
        yield f"!{length}{sign}" if length > 3 else sign * length
