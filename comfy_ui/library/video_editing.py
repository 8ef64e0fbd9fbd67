"""Join and cut videos, and take their last frame, with PyAV. The original files stay unchanged.

Runs in a worker process: ComfyUI's files are untrusted, too. What is encoded again reports its
progress.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import ValidationError
from ..worker_processes.worker_main import report_progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["cut_video", "join_videos", "last_frame"]

_TICKS: Final = 90_000  # per second: exact for all usual frame rates
_SOUND_RATE: Final = 48_000
_CRF: Final = "16"  # hardly visible loss, about twice the bytes of the default, 23
_MP4: Final = {"movflags": "use_metadata_tags+faststart"}  # keeps ComfyUI's prompt and workflow
_TAIL_S: Final = 2.0


def last_frame(path: Path) -> bytes:
    """Return the last frame of a video as PNG.

    Raises:
        ValidationError: the file has no frame.
        av.FFmpegError: not a video.
    """
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        end_s = (container.duration or 0) / av.time_base
        last: Any = None
        for start_s in (end_s - _TAIL_S, 0.0):  # some files cannot be searched
            container.seek(int(max(start_s, 0.0) * av.time_base))
            for frame in container.decode(stream):
                last = frame
            if last is not None:
                file = io.BytesIO()
                last.to_image().save(file, "PNG")
                return file.getvalue()
    raise ValidationError("This video has no frame.", hint="Choose another one.")


def join_videos(first: Path, second: Path, target: Path) -> bool:
    """Write an MP4 file with the frames of ``first`` and then those of ``second``.

    Streams that fit together are copied bit by bit; otherwise all are encoded again, with the size
    and frame rate of ``first``. The metadata are those of ``second``. Returns whether they were
    copied.

    Raises:
        av.FFmpegError: one is not a video.
    """
    if _fit_together(first, second):
        _copy_both(first, second, target)
        return True
    _encode(target, [_VideoPart(first), _VideoPart(second)], _tags(second))
    return False


def cut_video(path: Path, target: Path, start_s: float, end_s: float) -> None:
    """Write an MP4 file with the frames that begin in ``[start_s, end_s)``, and their sound.

    They are encoded again: a copy could only begin at a key frame. The metadata stay.

    Raises:
        ValidationError: no frame begins there.
        av.FFmpegError: not a video.
    """
    if not _encode(target, [_VideoPart(path, start_s, end_s)], _tags(path)):
        raise ValidationError("There is no frame in this part.", hint="Choose a longer one.")


class _VideoPart(NamedTuple):
    """A part of a video, in seconds from its start."""

    path: Path
    start_s: float = 0.0
    end_s: float = float("inf")


def _tags(path: Path) -> dict[str, str]:
    import av

    with av.open(str(path)) as container:
        return dict(container.metadata)


# Copy


def _fit_together(first: Path, second: Path) -> bool:
    import av

    with av.open(str(first)) as one, av.open(str(second)) as other:
        if not all("mp4" in container.format.name for container in (one, other)):
            return False
        return [*map(_parameters, one.streams)] == [*map(_parameters, other.streams)]


def _parameters(stream: Any) -> tuple[object, ...]:
    """What must be the same so that one decoder can continue with another file's packets."""
    context = stream.codec_context
    same = (stream.type, context.name, context.extradata)
    if stream.type == "video":
        return *same, context.width, context.height, context.pix_fmt, stream.average_rate
    return *same, getattr(context, "rate", None), str(getattr(context, "layout", ""))


def _copy_both(first: Path, second: Path, target: Path) -> None:
    import av

    with (
        av.open(str(first)) as one,
        av.open(str(second)) as other,
        av.open(str(target), "w", format="mp4", options=_MP4) as output,
    ):
        output.metadata.update(other.metadata)
        copies = [output.add_stream_from_template(stream) for stream in one.streams]
        ends = [Fraction(0)] * len(copies)
        for packet in _packets(one):
            index = packet.stream.index
            ends[index] = max(ends[index], (packet.pts + packet.duration) * packet.time_base)
            packet.stream = copies[index]
            output.mux(packet)
        joint = max(end for end, copy in zip(ends, copies, strict=True) if copy.type == "video")
        shifts: dict[int, Fraction] = {}
        for packet in _packets(other):
            index = packet.stream.index
            if index not in shifts:
                # Audio begins with samples before its time, which would overlap the first file's.
                overlap = ends[index] - packet.dts * packet.time_base
                audio = copies[index].type == "audio"
                shifts[index] = max(joint, overlap) if audio else joint
            shift = round(shifts[index] / packet.time_base)
            packet.pts += shift
            packet.dts += shift
            packet.stream = copies[index]
            output.mux(packet)


def _packets(container: Any) -> Iterator[Any]:
    """Yield the packets of all streams, without the empty ones that end each stream."""
    for packet in container.demux():
        if packet.dts is not None and packet.pts is not None:
            yield packet


# Encode


def _encode(target: Path, parts: Sequence[_VideoPart], tags: Mapping[str, str]) -> int:
    """Write the parts one after the other; return the number of frames."""
    import av

    whole_s = sum(map(_length_s, parts))
    with av.open(str(parts[0].path)) as container:
        shape = container.streams.video[0]
        # 4:2:0 needs even sizes.
        width, height = shape.codec_context.width // 2 * 2, shape.codec_context.height // 2 * 2
        rate = shape.average_rate or Fraction(24)
    sounds = any(map(_has_sound, parts))
    with av.open(str(target), "w", format="mp4", options=_MP4) as output:
        output.metadata.update(tags)
        video: Any = output.add_stream("libx264", rate=rate, options={"crf": _CRF})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = Fraction(1, _TICKS)
        audio: Any = output.add_stream("aac", rate=_SOUND_RATE, layout="stereo") if sounds else None
        count, offset_s, waves = 0, 0.0, []
        for part in parts:
            length_s = 0.0
            for at_s, duration_s, picture in _frames(part):
                frame = picture.reformat(width, height, "yuv420p")
                frame.pts, frame.time_base = round((offset_s + at_s) * _TICKS), Fraction(1, _TICKS)
                frame.pict_type = 0  # else the encoder would repeat the key frames
                output.mux(video.encode(frame))
                report_progress((offset_s + at_s) / whole_s)
                length_s = at_s + duration_s
                count += 1
            if sounds:
                waves.append(_wave(part, length_s))
            offset_s += length_s
        output.mux(video.encode())
        for wave in waves:
            _mux_wave(output, audio, wave)
        if sounds:
            output.mux(audio.encode())
    return count


def _frames(part: _VideoPart) -> Iterator[tuple[float, float, Any]]:
    """Yield ``(start in the part, duration, frame)``, in seconds."""
    import av

    with av.open(str(part.path)) as container:
        stream = container.streams.video[0]
        usual_s = float(1 / (stream.average_rate or Fraction(24)))
        if part.start_s > 0:
            container.seek(int(part.start_s * av.time_base))
        first_s = None
        for frame in container.decode(stream):
            at_s = frame.time or 0.0
            if at_s < part.start_s - usual_s / 2:
                continue
            if at_s >= part.end_s - usual_s / 2:
                return
            first_s = at_s if first_s is None else first_s
            yield at_s - first_s, usual_s, frame


def _length_s(part: _VideoPart) -> float:
    """The expected length of a part; some files tell no length, or a wrong one."""
    import av

    with av.open(str(part.path)) as container:
        end_s = min((container.duration or 0) / av.time_base, part.end_s)
    return max(end_s - part.start_s, 1.0)


def _has_sound(part: _VideoPart) -> bool:
    import av

    with av.open(str(part.path)) as container:
        return bool(container.streams.audio)


def _wave(part: _VideoPart, length_s: float) -> NDArray[np.float32]:
    """Return the sound of a part, ``[2, samples]``, with silence where it has none."""
    import av
    import numpy as np

    wave = np.zeros((2, round(length_s * _SOUND_RATE)), np.float32)
    if not _has_sound(part):
        return wave
    with av.open(str(part.path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_SOUND_RATE)
        at = -round(part.start_s * _SOUND_RATE)
        for frame in chain(container.decode(container.streams.audio[0]), [None]):
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray()
                low, high = max(at, 0), min(at + samples.shape[1], wave.shape[1])
                if low < high:
                    wave[:, low:high] = samples[:, low - at : high - at]
                at += samples.shape[1]
            if at >= wave.shape[1]:
                break
    return wave


def _mux_wave(output: Any, stream: Any, wave: NDArray[np.float32]) -> None:
    import av
    import numpy as np

    size = stream.codec_context.frame_size or 1024
    for start in range(0, wave.shape[1], size):
        piece = np.ascontiguousarray(wave[:, start : start + size])
        if piece.shape[1] < size:
            piece = np.pad(piece, ((0, 0), (0, size - piece.shape[1])))
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
        frame.sample_rate = _SOUND_RATE
        output.mux(stream.encode(frame))
