"""Masks: made, changed, turned into pictures and back."""

from __future__ import annotations

import numpy as np

from .base import Context, node
from ..things import Masks, Pictures


def as_pictures(mask: Masks) -> Pictures:
    grey = np.round(np.clip(mask, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)
