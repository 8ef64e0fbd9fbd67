"""Contact sheets: the results of a grid side by side, with the labels of its axes.

The original files stay unchanged. A cell without a result stays empty. Runs in a worker process,
because ComfyUI's files are untrusted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...pictures import open_result
from ...storage.records import Grid

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["draw", "save_sheet"]

_MAX_SIDE: Final = 6144  # pixels of the sheet; browsers and WebP support more than twice that
_CELL: Final = (128, 768)  # minimum and maximum of a cell's longer side, in pixels
_GAP: Final = 12
_MAX_ROW: Final = 8  # cells of a grid of one axis before it is wrapped
_QUALITY: Final = 92
_PAPER, _INK, _QUIET, _WELL = "#ffffff", "#1f1e1b", "#67645d", "#ebe9e4"
# Pillow's own font has Latin letters only; these are common system fonts.
_FONTS: Final = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "msgothic.ttc",
    "arial.ttf",
)


def save_sheet(path: Path, grid: Grid, pictures: Sequence[Path | None], title: str) -> None:
    """Draw a contact sheet and save it as WebP, see :func:`draw`."""
    draw(grid, pictures, title=title).save(path, "WEBP", quality=_QUALITY)


def draw(grid: Grid, pictures: Sequence[Path | None], *, title: str) -> Image:
    """Draw a contact sheet. ``pictures`` are the cells row by row; None: no result."""
    from PIL import Image, ImageDraw

    columns, rows = _shape(grid)
    wide, high = _cell(pictures, columns, rows)
    font = _font(max(13, min(wide, high) // 16), (*grid.across.labels, title))
    line = math.ceil(font.size * 1.5)
    left = min(wide, _widest(font, grid.down.labels)) + 2 * _GAP if grid.down else _GAP
    top = 3 * line + _GAP
    # Each row of a grid that is wrapped has labels of its own.
    step = high + _GAP + (line if grid.down is None and rows > 1 else 0)
    sheet = Image.new("RGB", (left + columns * (wide + _GAP), top + rows * step + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    width = sheet.width - 2 * _GAP
    pen.text((_GAP, _GAP), _fitted(font, title, width), _QUIET, font)
    pen.text((_GAP, _GAP + line), _fitted(font, grid.title, width), _INK, font)
    for place, label in enumerate(grid.across.labels):
        row, column = divmod(place, columns)
        at = left + column * (wide + _GAP) + wide / 2, top + row * step - line / 2
        pen.text(at, _fitted(font, label, wide), _INK, font, anchor="mm")
    for row in range(rows):
        y = top + row * step
        if grid.down:
            label = _fitted(font, grid.down.labels[row], left - 2 * _GAP)
            pen.text((left - _GAP, y + high / 2), label, _INK, font, anchor="rm")
        for column in range(columns):
            x = left + column * (wide + _GAP)
            place = row * columns + column
            if place >= len(pictures):
                break
            pen.rectangle((x, y, x + wide - 1, y + high - 1), _WELL)
            _paste(sheet, pictures[place], (x, y, wide, high))
    return sheet


def _shape(grid: Grid) -> tuple[int, int]:
    """Return columns and rows: a long grid of one axis, such as many files, is wrapped."""
    count = len(grid.across.labels)
    if grid.down:
        return count, len(grid.down.labels)
    columns = count if count <= _MAX_ROW else math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def _cell(pictures: Sequence[Path | None], columns: int, rows: int) -> tuple[int, int]:
    """Return the size of a cell: the largest image, scaled so that the sheet fits."""
    sizes = [size for path in pictures if path and (size := _size(path))]
    wide, high = max((w for w, _ in sizes), default=256), max((h for _, h in sizes), default=256)
    room = min((_MAX_SIDE - 512) / columns / wide, (_MAX_SIDE - 512) / rows / high)
    least, most = (side / max(wide, high) for side in _CELL)
    scale = min(1.0, most, max(room, min(least, 1.0)))
    return max(1, round(wide * scale)), max(1, round(high * scale))


def _size(path: Path) -> tuple[int, int] | None:
    from PIL import Image

    with suppress(OSError, Image.DecompressionBombError), open_result(path) as picture:
        return picture.size
    return None


def _paste(sheet: Image, path: Path | None, box: tuple[int, int, int, int]) -> None:
    from PIL import Image, ImageOps

    if path is None:
        return
    x, y, wide, high = box
    # An image that cannot be read, or is too large, leaves its cell empty.
    failures = OSError, MemoryError, Image.DecompressionBombError
    with suppress(*failures), open_result(path) as opened:
        opened.draft("RGB", (wide, high))
        picture = ImageOps.contain(opened.convert("RGBA"), (wide, high))
        at = x + (wide - picture.width) // 2, y + (high - picture.height) // 2
        sheet.paste(picture, at, picture)


def _font(size: int, texts: Sequence[str]) -> Any:
    from PIL import ImageFont

    if not "".join(texts).isascii():
        for name in _FONTS:
            with suppress(OSError):
                return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _widest(font: Any, labels: Sequence[str]) -> int:
    return math.ceil(max(float(font.getlength(label)) for label in labels))


def _fitted(font: Any, text: str, width: float) -> str:
    """Return ``text``, truncated to ``width`` pixels."""
    text = " ".join(text.split())[:400]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
