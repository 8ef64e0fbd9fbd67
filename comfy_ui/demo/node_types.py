"""Values that travel along the links between nodes.

Images are ``uint8`` arrays ``[count, height, width, channels]``, masks ``float32`` arrays
``[count, height, width]`` from 0 to 1. A latent holds uncompressed images, so every operation on
latents is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]
Masks = NDArray[np.floating[Any]]
Medium = Literal["image", "video", "audio", "mesh"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, text encoder, VAE …: its file and its patches."""

    name: str
    patches: tuple[tuple[str, Any], ...] = ()

    def patched(self, what: str, value: Any) -> LoadedModel:
        return replace(self, patches=(*self.patches, (what, value)))


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The conditioning of a sampler."""

    text: str = ""
    guidance: float | None = None
    zeroed: bool = False
    references: tuple[Pictures, ...] = ()
    controls: tuple[tuple[Pictures, float], ...] = ()
    styles: tuple[tuple[Pictures, float], ...] = ()
    voices: dict[str, Any] = field(default_factory=dict)  # for music: bpm, key, duration, lyrics


@dataclass(frozen=True, slots=True)
class Sound:
    """``float32 [batch, channels, samples]`` from -1 to 1."""

    wave: NDArray[np.floating[Any]]
    rate: int

    @property
    def seconds(self) -> float:
        return float(self.wave.shape[-1] / self.rate)


@dataclass(frozen=True, slots=True)
class Latent:
    """``count`` images of one size, frames of a video, or seconds of audio; empty at first."""

    width: int = 0
    height: int = 0
    count: int = 1
    medium: Medium = "image"
    pictures: Pictures | None = None
    mask: Masks | None = None
    start: Pictures | None = None  # first frame of a film
    end: Pictures | None = None
    seconds: float = 0.0
    fps: float = 24.0
    sound: Sound | None = None
    companion: Latent | None = None  # the sound of a film, while both are sampled together
    noise_seed: int | None = None  # from a sampler that returns leftover noise
    painted: str | None = None  # the prompt that its pictures were painted for

    @classmethod
    def of(cls, pictures: Pictures, medium: Medium = "image") -> Latent:
        count, height, width = pictures.shape[:3]
        return cls(width, height, count, medium, np.ascontiguousarray(pictures[..., :3]))

    def filled(self) -> Pictures:
        """The images; mid-gray if nothing has been painted."""
        if self.pictures is not None:
            return self.pictures
        return np.full((self.count, self.height, self.width, 3), 128, np.uint8)

    def with_pictures(self, pictures: Pictures) -> Latent:
        count, height, width = pictures.shape[:3]
        return replace(self, pictures=pictures, width=width, height=height, count=count)


@dataclass(frozen=True, slots=True)
class Video:
    """Frames with a rate and optional audio, or a loaded file, unchanged."""

    frames: Pictures
    fps: float
    sound: Sound | None = None
    source: Path | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sigmas:
    """A noise schedule: the number of steps, and the part of the image they redraw."""

    steps: int
    scheduler: str = "normal"
    denoise: float = 1.0
    first: int = 0
    last: int | None = None

    @property
    def end(self) -> int:
        return self.steps if self.last is None else min(self.last, self.steps)

    @property
    def count(self) -> int:
        """The number of executed steps."""
        return max(0, self.end - self.first)


@dataclass(frozen=True, slots=True)
class Guider:
    model: LoadedModel
    positive: Conditioning
    negative: Conditioning
    cfg: float


@dataclass(frozen=True, slots=True)
class Noise:
    seed: int | None  # None: no noise is added
