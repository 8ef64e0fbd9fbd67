"""Read and write video and audio with PyAV, with metadata where ComfyUI stores it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .node_types import Pictures, Sound, Video

# The encoder of each sound format, and the quality names that nodes offer for it.
SOUND_CODECS = {"flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


def write_video(
    path: Path,
    video: Video,
    *,
    tags: Mapping[str, str],
    codec: str = "libx264",
    crf: float = 20,
) -> None:
    """Write frames, and audio if any; the file's suffix selects the container.

    Tags go into the container: mp4 keeps their names, Matroska stores them in upper case.
    """
    import av

    options = {"movflags": "use_metadata_tags+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        for name, text in tags.items():
            container.metadata[name] = text
        height, width = (n // 2 * 2 for n in video.frames.shape[1:3])  # 4:2:0 requires even sizes
        rate = Fraction(round(video.fps * 1000), 1000)
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(round(crf)), **_SPEED.get(codec, {})}
        sound = _add_sound(container, video.sound, _SOUND_OF[path.suffix]) if video.sound else None
        for picture in video.frames[..., :3]:
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture[:height, :width]), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None and video.sound is not None:
            _write_sound(container, sound, video.sound)


_SPEED = {
    "libx264": {"preset": "veryfast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "6", "b": "0"},
    "libsvtav1": {"preset": "10"},
}
_SOUND_OF = {".mp4": "aac", ".mkv": "aac", ".webm": "libopus", ".mov": "aac"}


def write_sound(
    path: Path, sound: Sound, *, tags: Mapping[str, str], quality: str | None = None
) -> None:
    """Write a sound as flac, mp3 or opus, by the file's suffix.

    The tags go into the container (Opus: into its stream).
    """
    import av

    kind = path.suffix[1:]
    container_format = "ogg" if kind == "opus" else kind
    with av.open(str(path), "w", format=container_format) as container:
        for name, text in tags.items():
            container.metadata[name] = text
        stream = _add_sound(container, sound, SOUND_CODECS[kind])
        if quality and quality.endswith("k"):
            stream.bit_rate = int(quality[:-1]) * 1000
        elif quality == "V0":
            stream.options = {"q": "0"}
        _write_sound(container, stream, sound)


def _add_sound(container: Any, sound: Sound, codec: str) -> Any:
    rate = sound.rate
    if codec == "libopus":
        rate = next((r for r in _OPUS_RATES if r >= rate), _OPUS_RATES[-1])
    layout = "mono" if sound.wave.shape[1] == 1 else "stereo"
    return container.add_stream(codec, rate=rate, layout=layout)


def _write_sound(container: Any, stream: Any, sound: Sound) -> None:
    import av

    wave = np.ascontiguousarray(np.clip(sound.wave[0, :2], -1, 1), np.float32)
    layout = "mono" if len(wave) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
    frame.sample_rate = sound.rate
    frame.pts = 0
    resampler = av.AudioResampler(
        format=stream.codec_context.format or "fltp", layout=layout, rate=stream.rate
    )
    fifo = av.AudioFifo()
    size = stream.codec_context.frame_size or 4096
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        fifo.write(part)
        for chunk in fifo.read_many(size):
            container.mux(stream.encode(chunk))
    if (rest := fifo.read()) is not None:
        container.mux(stream.encode(rest))
    container.mux(stream.encode())


def read_video(path: Path, *, max_frames: int = 10_000) -> Video:
    """Read the frames, rate, sound and tags of a file.

    Raises:
        av.FFmpegError: not a video.
    """
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or 24)
        frames: list[NDArray[np.uint8]] = []
        for frame in container.decode(stream):
            frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            if len(frames) >= max_frames:
                break
        tags = dict(container.metadata)
        has_sound = bool(container.streams.audio)
    pictures: Pictures = np.stack(frames)
    return Video(pictures, fps, read_sound(path) if has_sound else None, path, tags)


def read_sound(path: Path) -> Sound:
    """Read the first sound stream of a file.

    Raises:
        av.FFmpegError, IndexError: there is none.
    """
    import av

    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate = stream.rate
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
        parts = [
            part.to_ndarray()
            for frame in container.decode(stream)
            for part in resampler.resample(frame)
        ]
        parts += [part.to_ndarray() for part in resampler.resample(None)]
    return Sound(np.concatenate(parts, axis=1)[None].astype(np.float32), rate)
