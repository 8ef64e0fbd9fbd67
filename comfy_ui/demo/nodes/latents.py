"""Empty canvases of all model families, and what is done to latents."""

from __future__ import annotations

from typing import Any

from .base import Context, node
from ..things import Latent, Named, Pictures


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


@node("VAEDecode", "VAEDecodeTiled")
def decode(context: Context, *, samples: Latent, vae: Named, **_: Any) -> tuple[Pictures]:
    del vae
    context.pace()
    return (samples.filled(),)


@node("VAEEncode", "VAEEncodeTiled")
def encode(context: Context, *, pixels: Pictures, vae: Named, **_: Any) -> tuple[Latent]:
    del vae
    context.pace(0.5)
    return (Latent.of(pixels),)
