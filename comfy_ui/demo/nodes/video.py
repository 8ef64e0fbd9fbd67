"""Video nodes: join, split and load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import media
from ..node_types import Pictures, Sound, Video
from .node_base import Context, NodeError, node, reads


@node("CreateVideo")
def create(
    _context: Context, *, images: Pictures, fps: float, audio: Sound | None = None, **_: Any
) -> tuple[Video]:
    return (Video(images, fps, audio),)


@node("GetVideoComponents")
def components(
    _context: Context, *, video: Video, **_: Any
) -> tuple[Pictures, Sound | None, float, int]:
    return video.frames, video.sound, video.fps, 8


@node("LoadVideo", **reads("file", "video"))
def load(context: Context, *, file: str, **_: Any) -> tuple[Video]:
    path = context.folders.find(file)
    if path is None:
        raise NodeError(f"Invalid video file: {file}")
    return (media.read_video(path),)


@node("Video Slice")
def cut(
    _context: Context, *, video: Video, start_time: float = 0.0, duration: float = 0.0, **_: Any
) -> tuple[Video]:
    first = max(0, round(start_time * video.fps))
    count = round(duration * video.fps) if duration else len(video.frames)
    sound = video.sound
    if sound is not None:
        at = round(start_time * sound.rate)
        length = round(duration * sound.rate) if duration else sound.wave.shape[-1]
        sound = Sound(sound.wave[..., at : at + length], sound.rate)
    frames = video.frames[first : first + max(1, count)]
    return (replace(video, frames=frames, sound=sound, source=None),)


@node("FrameInterpolate")
def interpolate(
    context: Context, *, images: Pictures, multiplier: int = 2, **_: Any
) -> tuple[Pictures]:
    """Blend between neighbors, giving ``(n - 1) · multiplier + 1`` frames."""
    if len(images) < 2:
        return (images,)
    frames = []
    for index in range(len(images) - 1):
        context.check()
        first, second = images[index].astype(np.uint16), images[index + 1].astype(np.uint16)
        frames += [
            (first * (multiplier - part) + second * part) // multiplier
            for part in range(multiplier)
        ]
    frames.append(images[-1].astype(np.uint16))
    return (np.stack(frames).astype(np.uint8),)
