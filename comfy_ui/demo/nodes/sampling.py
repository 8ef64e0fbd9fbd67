"""Samplers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import paint
from .base import Context, node
from ..things import Conditioning, Latent, Named


@node("KSampler")
def ksampler(
    context: Context,
    *,
    model: Named,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: float = 1.0,
    **_: Any,
) -> tuple[Latent]:
    brief = paint.Brief(
        prompt=positive.text,
        negative=negative.text,
        width=latent_image.width,
        height=latent_image.height,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler_name,
        scheduler=scheduler,
    )
    from PIL import Image

    done = paint.picture(brief)
    for step in range(steps):
        preview = Image.fromarray(done).resize((512, 512)) if context.watched else None
        context.step(step + 1, steps, preview)
    return (latent_image.with_pictures(np.repeat(done[None], latent_image.count, 0)),)
