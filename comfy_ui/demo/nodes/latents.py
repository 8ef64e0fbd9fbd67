"""Latent nodes: create empty latents of all model families, encode, decode and edit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from ..node_types import Conditioning, Latent, LoadedModel, Masks, Pictures
from .images import scaled
from .node_base import Context, NodeError, node, reads

# -- empty ---------------------------------------------------------------------------------


@node(
    "EmptyLatentImage",
    "EmptySD3LatentImage",
    "EmptyFlux2LatentImage",
    "EmptyHunyuanImageLatent",
    "EmptyChromaRadianceLatentImage",
)
def empty_image(
    _context: Context, *, width: int, height: int, batch_size: int = 1
) -> tuple[Latent]:
    return (Latent(width // 8 * 8, height // 8 * 8, batch_size),)


@node(
    "EmptyHunyuanLatentVideo",
    "EmptyHunyuanVideo15Latent",
    "EmptyLTXVLatentVideo",
    "EmptyMochiLatentVideo",
    "EmptyCosmosLatentVideo",
)
def empty_video(
    _context: Context, *, width: int, height: int, length: int, batch_size: int = 1
) -> tuple[Latent]:
    del batch_size
    return (Latent(width, height, length, "video"),)


@node("EmptyMiniMaxH3LatentAV")
def empty_film(
    _context: Context, *, width: int, height: int, length: int, **_: Any
) -> tuple[Latent]:
    return (_with_sound(Latent(width, height, length, "video")),)


@node("LTXVEmptyLatentAudio")
def empty_sound(
    _context: Context, *, frames_number: int, frame_rate: float, batch_size: int = 1, **_: Any
) -> tuple[Latent]:
    return (Latent(count=batch_size, medium="audio", seconds=frames_number / frame_rate),)


def _with_sound(film: Latent, fps: float = 24.0) -> Latent:
    return replace(film, companion=Latent(medium="audio", seconds=film.count / fps))


# -- encode and decode -----------------------------------------------------------------------


@node("VAEDecode", "VAEDecodeTiled")
def decode(context: Context, *, samples: Latent, vae: LoadedModel, **_: Any) -> tuple[Pictures]:
    del vae
    if samples.medium in ("audio", "mesh"):
        raise NodeError("This latent has no images: use the decoder for its type.")
    context.pace()
    return (samples.filled(),)


@node("VAEEncode", "VAEEncodeTiled")
def encode(context: Context, *, pixels: Pictures, vae: LoadedModel, **_: Any) -> tuple[Latent]:
    del vae
    context.pace(0.5)
    return (Latent.of(pixels),)


@node("VAEEncodeForInpaint")
def encode_inpaint(
    context: Context, *, pixels: Pictures, vae: LoadedModel, mask: Masks, grow_mask_by: int = 6
) -> tuple[Latent]:
    del vae
    from .masks import grown

    context.pace(0.5)
    return (replace(Latent.of(pixels), mask=grown(mask, grow_mask_by, tapered=False)),)


@node("SetLatentNoiseMask")
def set_mask(_context: Context, *, samples: Latent, mask: Masks) -> tuple[Latent]:
    return (replace(samples, mask=mask),)


@node("InpaintModelConditioning")
def inpaint(
    _context: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: LoadedModel,
    pixels: Pictures,
    mask: Masks,
    noise_mask: bool = True,
) -> tuple[Conditioning, Conditioning, Latent]:
    del vae
    return positive, negative, replace(Latent.of(pixels), mask=mask if noise_mask else None)


# -- videos that begin with an image ---------------------------------------------------------


@node(
    "WanImageToVideo",
    "HunyuanVideo15ImageToVideo",
    "WanFirstLastFrameToVideo",
    "WanFunInpaintToVideo",
    "HunyuanImageToVideo",
)
def image_to_video(
    _context: Context,
    *,
    positive: Conditioning,
    negative: Conditioning | None = None,
    width: int,
    height: int,
    length: int,
    start_image: Pictures | None = None,
    end_image: Pictures | None = None,
    **_: Any,
) -> tuple[Any, ...]:
    film = Latent(width, height, length, "video", start=start_image, end=end_image)
    return (positive, film) if negative is None else (positive, negative, film)


@node("Wan22ImageToVideoLatent")
def wan22(
    _context: Context,
    *,
    width: int,
    height: int,
    length: int,
    start_image: Pictures | None = None,
    **_: Any,
) -> tuple[Latent]:
    return (Latent(width, height, length, "video", start=start_image),)


@node("LTXVImgToVideo")
def ltxv(
    _context: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    image: Pictures,
    width: int,
    height: int,
    length: int,
    **_: Any,
) -> tuple[Conditioning, Conditioning, Latent]:
    return positive, negative, Latent(width, height, length, "video", start=image)


@node("LTXVImgToVideoInplace")
def ltxv_inplace(
    _context: Context, *, image: Pictures, latent: Latent, bypass: bool = False, **_: Any
) -> tuple[Latent]:
    return (latent if bypass else replace(latent, start=image),)


@node("LTXVAddGuide")
def ltxv_guide(
    _context: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    image: Pictures,
    frame_idx: int,
    **_: Any,
) -> tuple[Conditioning, Conditioning, Latent]:
    guided = replace(latent, end=image) if frame_idx < 0 else replace(latent, start=image)
    return positive, negative, guided


@node("MiniMaxH3ImageToVideo")
def minimax(
    _context: Context,
    *,
    prompt: str,
    width: int,
    height: int,
    length: int,
    first_frame: Pictures | None = None,
    last_frame: Pictures | None = None,
    **_: Any,
) -> tuple[Conditioning, Latent]:
    film = Latent(width, height, length, "video", start=first_frame, end=last_frame)
    return Conditioning(prompt), _with_sound(film)


@node("SVD_img2vid_Conditioning")
def svd(
    _context: Context,
    *,
    init_image: Pictures,
    width: int,
    height: int,
    video_frames: int,
    **_: Any,
) -> tuple[Conditioning, Conditioning, Latent]:
    conditioning = Conditioning()
    return (
        conditioning,
        conditioning,
        Latent(width, height, video_frames, "video", start=init_image),
    )


@node("LTXVConcatAVLatent")
def join_sound(_context: Context, *, video_latent: Latent, audio_latent: Latent) -> tuple[Latent]:
    return (replace(video_latent, companion=audio_latent),)


@node("LTXVSeparateAVLatent")
def part_sound(_context: Context, *, av_latent: Latent) -> tuple[Latent, Latent]:
    sound = av_latent.companion or Latent(medium="audio", seconds=av_latent.count / 24)
    return replace(av_latent, companion=None), sound


@node("LTXVCropGuides")
def crop_guides(
    _context: Context, *, positive: Conditioning, negative: Conditioning, latent: Latent
) -> tuple[Conditioning, Conditioning, Latent]:
    return positive, negative, latent


@node("LTXVLatentUpsampler")
def upsample(_context: Context, *, samples: Latent, **_: Any) -> tuple[Latent]:
    return (_resized(samples, samples.width * 2, samples.height * 2, "bicubic"),)


@node("HunyuanVideo15LatentUpscaleWithModel")
def upsample_to(
    _context: Context, *, samples: Latent, upscale_method: str, width: int, height: int, **_: Any
) -> tuple[Latent]:
    return (_resized(samples, width, height, upscale_method),)


@node("TrimVideoLatent")
def trim(_context: Context, *, samples: Latent, trim_amount: int) -> tuple[Latent]:
    """Trim latent frames, which represent four frames each."""
    cut = min(trim_amount * 4, samples.count - 1)
    if samples.pictures is None:
        return (replace(samples, count=samples.count - cut),)
    return (samples.with_pictures(samples.pictures[cut:]),)


# -- editing ---------------------------------------------------------------------------------


def _resized(latent: Latent, width: int, height: int, method: str) -> Latent:
    if latent.pictures is None:
        return replace(latent, width=width, height=height)
    return latent.with_pictures(scaled(latent.pictures, width, height, method))


@node("LatentUpscale")
def upscale(
    _context: Context,
    *,
    samples: Latent,
    upscale_method: str,
    width: int,
    height: int,
    crop: str = "disabled",
) -> tuple[Latent]:
    del crop
    if not width and not height:
        return (samples,)
    width = width or round(samples.width * height / samples.height)
    height = height or round(samples.height * width / samples.width)
    return (_resized(samples, width, height, upscale_method),)


@node("LatentUpscaleBy")
def upscale_by(
    _context: Context, *, samples: Latent, upscale_method: str, scale_by: float
) -> tuple[Latent]:
    width, height = round(samples.width * scale_by), round(samples.height * scale_by)
    return (_resized(samples, width // 8 * 8, height // 8 * 8, upscale_method),)


@node("LatentFromBatch")
def from_batch(
    _context: Context, *, samples: Latent, batch_index: int, length: int
) -> tuple[Latent]:
    pictures = samples.filled()
    first = min(batch_index, len(pictures) - 1)
    return (samples.with_pictures(pictures[first : first + length]),)


@node("RepeatLatentBatch")
def repeat(_context: Context, *, samples: Latent, amount: int) -> tuple[Latent]:
    if samples.pictures is None:
        return (replace(samples, count=samples.count * amount),)
    return (samples.with_pictures(np.tile(samples.pictures, (amount, 1, 1, 1))),)


@node("LatentBatch")
def batch(_context: Context, *, samples1: Latent, samples2: Latent) -> tuple[Latent]:
    first = samples1.filled()
    second = scaled(samples2.filled(), samples1.width, samples1.height, "bilinear")
    return (samples1.with_pictures(np.concatenate([first, second])),)


@node("LatentBlend")
def blend(
    _context: Context, *, samples1: Latent, samples2: Latent, blend_factor: float
) -> tuple[Latent]:
    first = samples1.filled().astype(np.float32)
    second = scaled(samples2.filled(), samples1.width, samples1.height, "bicubic")
    mixed = first * blend_factor + second[: len(first)] * (1 - blend_factor)
    return (samples1.with_pictures(mixed.astype(np.uint8)),)


@node("LatentComposite")
def composite(
    _context: Context, *, samples_to: Latent, samples_from: Latent, x: int, y: int, **_: Any
) -> tuple[Latent]:
    result = samples_to.filled().copy()
    source = samples_from.filled()
    height, width = result.shape[1:3]
    rows, columns = min(height - y, source.shape[1]), min(width - x, source.shape[2])
    if rows > 0 and columns > 0:
        result[:, y : y + rows, x : x + columns] = source[0, :rows, :columns]
    return (samples_to.with_pictures(result),)


@node("LatentFlip")
def flip(_context: Context, *, samples: Latent, flip_method: str) -> tuple[Latent]:
    axis = 1 if flip_method.startswith("x") else 2
    return (samples.with_pictures(np.flip(samples.filled(), axis).copy()),)


@node("LatentRotate")
def rotate(_context: Context, *, samples: Latent, rotation: str) -> tuple[Latent]:
    turns = {"90 degrees": 3, "180 degrees": 2, "270 degrees": 1}.get(rotation, 0)
    return (samples.with_pictures(np.rot90(samples.filled(), turns, (1, 2)).copy()),)


@node("LatentCrop")
def crop(
    _context: Context, *, samples: Latent, width: int, height: int, x: int, y: int
) -> tuple[Latent]:
    pictures = samples.filled()
    x, y = min(x, samples.width - 8), min(y, samples.height - 8)
    return (samples.with_pictures(pictures[:, y : y + height, x : x + width].copy()),)


@node("LoadLatent", **reads("latent", "latent"))
def load(context: Context, *, latent: str) -> tuple[Latent]:
    """Load a file that this engine's ``SaveLatent`` wrote, at its coarse resolution."""
    path = context.folders.find(latent)
    if path is None:
        raise NodeError(f"Invalid latent file: {latent}")
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    shape = json.loads(data[8 : 8 + size])["latent_tensor"]["shape"]
    tensor = np.frombuffer(data[8 + size :], np.float32).reshape(shape)
    coarse = ((tensor.transpose(0, 2, 3, 1)[..., :3] + 1) * 127.5).clip(0, 255).astype(np.uint8)
    full = [np.asarray(Image.fromarray(c).resize((c.shape[1] * 8, c.shape[0] * 8))) for c in coarse]
    return (Latent.of(np.stack(full)),)
