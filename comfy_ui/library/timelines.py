"""What a player shows beside a result: frames of a video, peaks of a sound, views of a 3D model.

Runs in a worker process: ComfyUI's files are untrusted, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PEAKS", "STRIP_FRAMES", "write_peaks", "write_strip", "write_views"]

STRIP_FRAMES: Final = 12
_SIDE: Final = 96  # of a frame, in pixels
_FAR_S: Final = 10.0  # further ahead, a jump to the next key frame is faster than decoding
PEAKS: Final = 400
_RATE: Final = 8_000  # samples per second: peaks of higher tones look the same


def write_strip(path: Path, target: Path) -> None:
    """Write :data:`STRIP_FRAMES` square frames of a video side by side, at equal distances.

    A decoder may raise anything.
    """
    from PIL import Image, ImageOps

    strip = Image.new("RGB", (STRIP_FRAMES * _SIDE, _SIDE))
    for at, frame in enumerate(_frames(path)):
        strip.paste(ImageOps.fit(frame, (_SIDE, _SIDE)), (at * _SIDE, 0))
    partial = target.with_suffix(".part")
    strip.save(partial, "WEBP", quality=70)
    partial.replace(target)


def _frames(path: Path) -> Iterator[Image]:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        length_s = (container.duration or 0) / av.time_base
        decoded: Iterator[Any] = iter(())
        frame: Any = None
        for at in range(STRIP_FRAMES):
            wanted_s = length_s * at / STRIP_FRAMES
            if frame is None or wanted_s - (frame.time or 0) > _FAR_S:
                container.seek(int(wanted_s * av.time_base))
                decoded = container.decode(stream)
            while frame is None or (frame.time or 0) < wanted_s:
                following = next(decoded, None)
                if following is None:
                    break
                frame = following
            if frame is None:
                return
            yield frame.to_image()


def write_peaks(path: Path, target: Path) -> None:
    """Write the loudest sample of each of :data:`PEAKS` equal parts of a sound, 0 to 1, as JSON.

    A decoder may raise anything.
    """
    import av
    import numpy as np

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", rate=_RATE)
        frames: list[Any] = [*container.decode(container.streams.audio[0]), None]
        pieces = [
            np.abs(piece.to_ndarray()).max(axis=0)
            for frame in frames
            for piece in resampler.resample(frame)
        ]
    parts = np.array_split(np.concatenate(pieces), PEAKS)
    peaks = [round(min(float(part.max(initial=0)), 1.0), 3) for part in parts]
    partial = target.with_suffix(".part")
    partial.write_text(json.dumps(peaks), encoding="ascii")
    partial.replace(target)


def write_views(path: Path, target: Path) -> None:
    """Write the views of a 3D model, see :func:`.mesh_rendering.write_turntable`."""
    from .mesh_rendering import write_turntable  # imports numpy, which the app may lack

    write_turntable(path, target)
