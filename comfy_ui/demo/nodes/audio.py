"""Audio nodes: compose, load, join and save."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import media
from ..node_types import Latent, Sound
from .node_base import Context, NodeError, OutputResult, node, reads
from .saving import random_suffix


@node("EmptyLatentAudio", "EmptyAceStepLatentAudio", "EmptyAceStep1.5LatentAudio")
def empty_latent(
    _context: Context, *, seconds: float, batch_size: int = 1, **_: Any
) -> tuple[Latent]:
    return (Latent(count=batch_size, medium="audio", seconds=seconds),)


@node("EmptyAudio")
def empty(
    _context: Context, *, duration: float, sample_rate: int = 44100, channels: int = 2
) -> tuple[Sound]:
    return (Sound(np.zeros((1, channels, round(duration * sample_rate)), np.float32), sample_rate),)


@node("VAEDecodeAudio", "VAEDecodeAudioTiled", "LTXVAudioVAEDecode")
def decode(context: Context, *, samples: Latent, **_: Any) -> tuple[Sound]:
    context.pace()
    if samples.sound is not None:
        return (samples.sound,)
    if samples.companion is not None and samples.companion.sound is not None:
        return (samples.companion.sound,)
    return (Sound(np.zeros((1, 2, max(1, round(samples.seconds * 44100))), np.float32), 44100),)


@node("VAEEncodeAudio")
def encode(_context: Context, *, audio: Sound, **_: Any) -> tuple[Latent]:
    return (Latent(medium="audio", seconds=audio.seconds, sound=audio),)


@node("LoadAudio", **reads("audio", "audio"))
def load(context: Context, *, audio: str, **_: Any) -> tuple[Sound]:
    path = context.folders.find(audio)
    if path is None:
        raise NodeError(f"Invalid audio file: {audio}")
    return (media.read_sound(path),)


@node("TrimAudioDuration")
def trim(
    _context: Context, *, audio: Sound, start_index: float = 0.0, duration: float = 60.0
) -> tuple[Sound]:
    first = round(start_index * audio.rate)
    first = max(0, audio.wave.shape[-1] + first if first < 0 else first)
    return (replace(audio, wave=audio.wave[..., first : first + round(duration * audio.rate)]),)


@node("AudioConcat")
def concat(
    _context: Context, *, audio1: Sound, audio2: Sound, direction: str = "after"
) -> tuple[Sound]:
    parts = [audio1.wave, _like(audio2, audio1)]
    if direction == "before":
        parts.reverse()
    return (Sound(np.concatenate(parts, axis=2), audio1.rate),)


@node("AudioMerge")
def merge(
    _context: Context, *, audio1: Sound, audio2: Sound, merge_method: str = "add"
) -> tuple[Sound]:
    other = _like(audio2, audio1)[..., : audio1.wave.shape[-1]]
    wave = audio1.wave.copy()
    part = wave[..., : other.shape[-1]]
    match merge_method:
        case "subtract":
            part -= other
        case "multiply":
            part *= other
        case "mean":
            part += other
            part /= 2
        case _:
            part += other
    return (Sound(np.clip(wave, -1, 1), audio1.rate),)


@node("AudioAdjustVolume")
def volume(_context: Context, *, audio: Sound, volume: float) -> tuple[Sound]:
    """Change the volume by ``volume`` decibels."""
    return (replace(audio, wave=np.clip(audio.wave * 10 ** (volume / 20), -1, 1)),)


def _like(sound: Sound, other: Sound) -> Any:
    """Return the samples at another sound's rate and number of channels."""
    count = round(sound.wave.shape[-1] * other.rate / sound.rate)
    at = np.linspace(0, sound.wave.shape[-1] - 1, count)
    index = np.arange(sound.wave.shape[-1])
    channels = [np.interp(at, index, channel) for channel in sound.wave[0]]
    channel_count = other.wave.shape[1]
    return np.stack((channels * channel_count)[:channel_count])[None].astype(np.float32)


def _save(
    context: Context, audio: Sound, prefix: str, kind: str, quality: str | None = None
) -> OutputResult:
    saved = context.folders.next(prefix, f".{kind}")
    media.write_sound(saved.path, audio, tags=context.metadata, quality=quality)
    return OutputResult({"audio": [saved.entry()]}, (audio,))


@node("SaveAudio")
def save_flac(context: Context, *, audio: Sound, filename_prefix: str, **_: Any) -> OutputResult:
    return _save(context, audio, filename_prefix, "flac")


@node("SaveAudioMP3")
def save_mp3(
    context: Context, *, audio: Sound, filename_prefix: str, quality: str = "V0", **_: Any
) -> OutputResult:
    return _save(context, audio, filename_prefix, "mp3", quality)


@node("SaveAudioOpus")
def save_opus(
    context: Context, *, audio: Sound, filename_prefix: str, quality: str = "128k", **_: Any
) -> OutputResult:
    return _save(context, audio, filename_prefix, "opus", quality)


@node("SaveAudioAdvanced")
def save_advanced(
    context: Context,
    *,
    audio: Sound,
    filename_prefix: str,
    format: str,  # noqa: A002 -- the input's name
    more: dict[str, Any] | None = None,
    **_: Any,
) -> OutputResult:
    kind = format if format in media.SOUND_CODECS else "flac"
    return _save(context, audio, filename_prefix, kind, (more or {}).get("format.quality"))


@node("PreviewAudio")
def preview(context: Context, *, audio: Sound, **_: Any) -> OutputResult:
    saved = context.folders.next(f"ComfyUI_temp_{random_suffix()}", ".flac", kind="temp")
    media.write_sound(saved.path, audio, tags=context.metadata)
    return OutputResult({"audio": [saved.entry()]}, (audio,))
