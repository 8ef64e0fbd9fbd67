"""The painter: images from prompts, without a model."""

from __future__ import annotations

from .brief import Brief, film, picture, sketch
from .develop import animated, colored_like, guided, resized, restyled, stage

__all__ = [
    "Brief",
    "animated",
    "colored_like",
    "film",
    "guided",
    "picture",
    "resized",
    "restyled",
    "sketch",
    "stage",
]
