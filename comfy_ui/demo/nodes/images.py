"""Pictures: made, loaded and changed."""

from __future__ import annotations

import numpy as np

from .base import Context, node
from ..things import Pictures


@node("EmptyImage")
def empty(
    _context: Context, *, width: int, height: int, batch_size: int = 1, color: int = 0
) -> tuple[Pictures]:
    rgb = np.array([color >> 16 & 255, color >> 8 & 255, color & 255], np.uint8)
    return (np.broadcast_to(rgb, (batch_size, height, width, 3)).copy(),)
