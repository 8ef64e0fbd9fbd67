"""The painter: images from prompts, without a model."""

from __future__ import annotations

from .brief import FILM_PIXELS, Brief, enlarged, film, picture, sketch
from .develop import animated, colored_like, guided, resized, restyled, stage

__all__ = [
    "FILM_PIXELS",
    "Brief",
    "animated",
    "colored_like",
    "enlarged",
    "film",
    "guided",
    "picture",
    "resized",
    "restyled",
    "sketch",
    "stage",
]
