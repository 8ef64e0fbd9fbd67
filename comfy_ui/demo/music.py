"""Compose music for a prompt: chords, an arpeggio and a beat, or sounds of wind and waves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .node_types import Sound
from .paint.prompt_words import number, words

RATE = 44100
Wave = NDArray[np.floating[Any]]

_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 5, 4))
_NOTES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_SOFT = frozenset(
    [
        "ambient",
        "calm",
        "soft",
        "quiet",
        "piano",
        "lullaby",
        "drone",
        "meditation",
        "slow",
        "cinematic",
        "sad",
    ]
)
_LIVELY = frozenset(
    [
        "techno",
        "house",
        "dance",
        "drum",
        "drums",
        "beat",
        "rock",
        "edm",
        "trance",
        "pop",
        "funk",
        "rap",
        "upbeat",
    ]
)
_NATURE = frozenset(
    [
        "wind",
        "rain",
        "sea",
        "ocean",
        "wave",
        "waves",
        "water",
        "storm",
        "forest",
        "noise",
        "thunder",
        "fire",
    ]
)
_DARK = frozenset(
    ["sad", "dark", "melancholy", "minor", "moody", "night", "horror", "gothic", "tragic"]
)


def compose(prompt: str, seed: int, seconds: float, voices: dict[str, Any] | None = None) -> Sound:
    """Compose stereo audio of this length; deterministic in prompt, seed and length.

    ``voices`` may hold ``bpm`` and ``keyscale`` (``"E minor"``).
    """
    voices = voices or {}
    random = np.random.default_rng(number(prompt, seed))
    prompt_words = set(words(prompt))
    total = max(1, round(seconds * RATE))
    if prompt_words & _NATURE and not prompt_words & _LIVELY:
        return Sound(_faded(_nature(random, total))[None], RATE)
    key, minor = _key(str(voices.get("keyscale", "")), random, dark=bool(prompt_words & _DARK))
    bpm = float(
        voices.get("bpm") or random.integers(*((66, 84) if prompt_words & _SOFT else (92, 126)))
    )
    lively = bool(prompt_words & _LIVELY) or (not prompt_words & _SOFT and random.random() < 0.6)
    beat = 60 / bpm
    loop = _loop(random, key, _SCALES["minor" if minor else "major"], beat, drums=lively)
    repeats = -(-total // loop.shape[1])
    wave = np.tile(loop, (1, repeats))[:, :total]
    return Sound(_faded(wave)[None], RATE)


def _key(text: str, random: np.random.Generator, *, dark: bool) -> tuple[int, bool]:
    name = text.strip().lower()
    if name and name[0] in _NOTES:
        sharp = name[1:2] == "#"
        flat = name[1:2] == "b"
        return (_NOTES[name[0]] + sharp - flat) % 12, "minor" in name
    return int(random.integers(12)), dark or bool(random.random() < 0.5)


def _loop(
    random: np.random.Generator, key: int, scale: tuple[int, ...], beat: float, *, drums: bool
) -> Wave:
    """Compose four bars that loop."""
    bar = round(4 * beat * RATE)
    wave = np.zeros((2, 4 * bar), np.float32)
    progression = _PROGRESSIONS[int(random.integers(len(_PROGRESSIONS)))]
    pattern = random.integers(0, 4, 8)
    for index, degree in enumerate(progression):
        chord = [_pitch(key, scale, degree + step) for step in (0, 2, 4)]
        at = index * bar
        for voice, note in enumerate(chord):
            _add(wave, at, _pad(note, bar), 0.11, (voice - 1) * 0.5)
        _add(wave, at, _pluck(chord[0] - 12, 4 * beat, 1.2), 0.30, 0.0)
        for step in range(8):
            note = chord[int(pattern[step]) % 3] + 12 * (1 + int(pattern[step]) // 3)
            start = at + round(step * beat / 2 * RATE)
            pan = 0.6 * float(np.sin(step * 2.1 + index))
            _add(wave, start, _pluck(note, beat * 1.6, 5.0), 0.13, pan)
        if drums:
            for step in range(4):
                start = at + round(step * beat * RATE)
                _add(wave, start, _kick(), 0.42, 0.0)
                _add(wave, start + round(beat / 2 * RATE), _hat(random), 0.07, 0.25)
                if step % 2:
                    _add(wave, start, _snare(random), 0.14, -0.1)
    loop: Wave = np.tanh(wave * 1.15).astype(np.float32)
    return loop


def _pitch(key: int, scale: tuple[int, ...], degree: int) -> int:
    octave, step = divmod(degree, 7)
    return 52 + key - (12 if key > 7 else 0) + scale[step] + 12 * octave


def _time(seconds: float) -> Wave:
    return np.arange(round(seconds * RATE), dtype=np.float32) / RATE


def _frequency(note: int) -> float:
    return float(440 * 2 ** ((note - 69) / 12))


def _pad(note: int, samples: int) -> Wave:
    t = _time(samples / RATE)
    base = _frequency(note)
    swell = np.clip(np.minimum(t / 0.35, (t[-1] - t) / 0.35), 0, 1)
    tone = sum(
        np.sin(2 * np.pi * base * d * h * t) / h**1.6 for d in (0.997, 1.003) for h in (1, 2, 3)
    )
    return np.asarray(tone * swell * 0.5, np.float32)


def _pluck(note: int, seconds: float, fall: float) -> Wave:
    t = _time(seconds)
    base = _frequency(note)
    tone = sum(np.sin(2 * np.pi * base * h * t) * np.exp(-t * fall * h) / h for h in (1, 2, 3, 4))
    return np.asarray(tone * np.clip(t / 0.004, 0, 1), np.float32)


def _kick() -> Wave:
    t = _time(0.28)
    return np.asarray(
        np.sin(2 * np.pi * (48 * t - 5.2 * np.exp(-t * 38))) * np.exp(-t * 13), np.float32
    )


def _snare(random: np.random.Generator) -> Wave:
    t = _time(0.18)
    noise = random.standard_normal(len(t))
    return np.asarray((noise * 0.8 + np.sin(2 * np.pi * 190 * t)) * np.exp(-t * 24), np.float32)


def _hat(random: np.random.Generator) -> Wave:
    t = _time(0.06)
    return np.asarray(np.diff(random.standard_normal(len(t) + 1)) * np.exp(-t * 80), np.float32)


def _add(wave: Wave, at: int, sound: Wave, loud: float, pan: float) -> None:
    """Mix in at a sample; the part beyond the end continues at the beginning."""
    length = wave.shape[1]
    index = (at + np.arange(len(sound))) % length
    wave[0, index] += sound * (loud * (1 - 0.5 * max(0.0, pan)))
    wave[1, index] += sound * (loud * (1 + 0.5 * min(0.0, pan)))


def _nature(random: np.random.Generator, total: int) -> Wave:
    """Make noise that swells and fades, different on both channels."""
    length = min(total, RATE * 20)
    t = np.arange(length, dtype=np.float32) / RATE
    sides = []
    for side in range(2):
        noise = random.standard_normal(length + 256)
        dull = np.convolve(noise, np.hanning(96) / 30, "same")[:length]
        swell = (
            0.45 + 0.35 * np.sin(2 * np.pi * t / 10 + side * 0.6) + 0.15 * np.sin(2 * np.pi * t / 4)
        )
        sides.append(dull * swell * 0.4 + noise[:length] * 0.012)
    wave = np.asarray(sides, np.float32)
    return np.tile(wave, (1, -(-total // length)))[:, :total]


def _faded(wave: Wave) -> Wave:
    """Fade in and out, and limit to full scale."""
    length = wave.shape[1]
    ease = min(length // 2, RATE)
    envelope = np.ones(length, np.float32)
    if ease:
        envelope[: ease // 20 + 1] = np.linspace(0, 1, ease // 20 + 1)
        envelope[-ease:] *= np.linspace(1, 0, ease)
    faded: Wave = np.clip(wave * envelope, -0.98, 0.98).astype(np.float32)
    return faded
