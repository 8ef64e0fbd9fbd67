"""The painter: pictures from words, without a model."""

from __future__ import annotations

from .brief import Brief, film, picture, sketch

__all__ = ["Brief", "film", "picture", "sketch"]
