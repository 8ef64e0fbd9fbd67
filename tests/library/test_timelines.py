from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comfy_ui.demo.media import write_sound
from comfy_ui.demo.node_types import Sound
from comfy_ui.library.timelines import PEAKS, STRIP_FRAMES, write_peaks, write_strip
from tests.library.test_video_editing import video


@pytest.mark.parametrize("count", [3, 60, 400])
def test_write_strip_has_frames_at_equal_distances(tmp_path: Path, count: int) -> None:
    target = tmp_path / "strip.webp"
    write_strip(video(tmp_path / "a.mp4", count), target)
    strip = Image.open(target).convert("RGB")
    side = strip.height
    assert strip.width == STRIP_FRAMES * side
    blues = [
        strip.getpixel(((at * side) + side // 2, side // 2))[2]  # type: ignore[index]
        for at in range(STRIP_FRAMES)
    ]
    expected = [200 * at / STRIP_FRAMES for at in range(STRIP_FRAMES)]
    assert blues == sorted(blues)
    assert blues == pytest.approx(expected, abs=16 if count > STRIP_FRAMES else 120)


def test_write_peaks_follow_the_loudness(tmp_path: Path) -> None:
    loudness = np.linspace(0, 0.8, 44_100 * 2)
    wave = np.sin(np.arange(len(loudness)) / 10) * loudness
    sound = tmp_path / "a.flac"
    write_sound(sound, Sound(np.float32([[wave, wave]]), 44_100), tags={})
    target = tmp_path / "peaks.json"
    write_peaks(sound, target)
    peaks = json.loads(target.read_text())
    assert len(peaks) == PEAKS
    assert peaks == pytest.approx(np.linspace(0, 0.8, PEAKS), abs=0.03)


def test_write_peaks_of_a_video_without_sound_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "peaks.json"
    with pytest.raises(IndexError):
        write_peaks(video(tmp_path / "a.mp4", 3), target)
    assert not target.exists()
