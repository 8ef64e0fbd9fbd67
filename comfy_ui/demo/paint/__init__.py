"""The painter: images from prompts, without a model."""

from __future__ import annotations

from .brief import Brief, film, picture, sketch
from .develop import animated, guided, resized, restyled, stage

__all__ = [
    "Brief",
    "animated",
    "film",
    "guided",
    "picture",
    "resized",
    "restyled",
    "sketch",
    "stage",
]
