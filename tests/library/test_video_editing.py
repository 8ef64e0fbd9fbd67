from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from comfy_ui.demo.media import write_video
from comfy_ui.demo.node_types import Sound, Video
from comfy_ui.errors import ValidationError
from comfy_ui.library.video_editing import cut_video, join_videos, last_frame

FPS = 16


def video(path: Path, count: int, *, red: int = 200, tone_hz: float = 0.0, side: int = 64) -> Path:
    """A video with frames of one color that gets brighter, and a tone if it has a frequency."""
    frames = np.zeros((count, side, side, 3), np.uint8)
    frames[..., 0] = red
    frames[..., 2] = np.linspace(0, 200, count).astype(np.uint8)[:, None, None]
    wave = np.sin(np.arange(round(count / FPS * 44_100)) * tone_hz * 2 * np.pi / 44_100) * 0.5
    sound = Sound(np.float32([[wave, wave]]), 44_100) if tone_hz else None
    write_video(path, Video(frames, FPS, sound), tags={"prompt": path.stem})
    return path


def frame_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time or 0.0 for frame in container.decode(video=0)]


def sound_of(path: Path) -> tuple[float, list[float]]:
    """The length of the sound in seconds and the times of its frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples / frame.sample_rate for frame in frames), [f.time or 0 for f in frames]


def test_last_frame_is_that_of_the_end(tmp_path: Path) -> None:
    image = Image.open(io.BytesIO(last_frame(video(tmp_path / "a.mp4", 60))))
    assert image.size == (64, 64)
    red, _, blue = image.getpixel((32, 32))  # type: ignore[misc]
    assert red == pytest.approx(200, abs=8)
    assert blue == pytest.approx(200, abs=8)


def test_join_videos_with_sound_copies_both_streams(tmp_path: Path) -> None:
    first = video(tmp_path / "a.mp4", 32, tone_hz=440)
    second = video(tmp_path / "b.mp4", 16, tone_hz=880)
    before = first.read_bytes()
    whole = tmp_path / "ab.mp4"
    assert join_videos(first, second, whole)
    assert frame_times(whole) == pytest.approx([n / FPS for n in range(48)])
    length_s, times = sound_of(whole)
    assert length_s == pytest.approx(3, abs=0.15)
    assert times == sorted(set(times))
    assert av.open(str(whole)).metadata["prompt"] == "b"
    assert first.read_bytes() == before


def test_join_videos_encodes_what_does_not_fit(tmp_path: Path) -> None:
    silent = video(tmp_path / "a.mp4", 16)
    other = video(tmp_path / "b.mp4", 16, tone_hz=440, side=96)
    whole = tmp_path / "ab.mp4"
    assert not join_videos(silent, other, whole)
    assert frame_times(whole) == pytest.approx([n / FPS for n in range(32)], abs=1e-3)
    with av.open(str(whole)) as container:
        assert container.streams.video[0].codec_context.width == 64
        waves = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
    half = waves.shape[1] // 2
    assert np.abs(waves[:, : half - 4_096]).max() < 0.01  # where the first had none
    assert np.abs(waves[:, half + 4_096 :]).max() > 0.3


def test_cut_video_keeps_frames_sound_and_metadata_of_the_part(tmp_path: Path) -> None:
    original = video(tmp_path / "a.mp4", 64, tone_hz=440)
    part = tmp_path / "part.mp4"
    cut_video(original, part, 1.0, 2.5)
    assert frame_times(part) == pytest.approx([n / FPS for n in range(24)], abs=1e-3)
    assert sound_of(part)[0] == pytest.approx(1.5, abs=0.1)
    assert av.open(str(part)).metadata["prompt"] == "a"
    with av.open(str(part)) as container:
        first = next(container.decode(video=0)).to_image().getpixel((32, 32))
    assert first[2] == pytest.approx(200 * 16 / 63, abs=10)  # type: ignore[index]


def test_cut_video_without_frames_raises(tmp_path: Path) -> None:
    original = video(tmp_path / "a.mp4", 16)
    with pytest.raises(ValidationError, match="no frame"):
        cut_video(original, tmp_path / "part.mp4", 5.0, 6.0)
