"""Paint a sampler's result step by step: from noise to images, video or audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .. import paint
from ..music import compose
from ..node_types import Conditioning, Guider, Latent, Pictures, Sigmas
from .node_base import Context

FILM_FPS = 16.0  # the rate of the computed motion; files may have another
EDIT_STRENGTH = 0.55  # how much an edit model changes a reference image
MAX_SKETCH = 320
HASTY_SKETCH = 160
HASTY_FILM_PIXELS = 250_000


@dataclass(frozen=True, slots=True)
class Order:
    """One run of a sampler. ``seed`` None: no new noise; leftover noise is used."""

    guider: Guider
    sampler: str
    sigmas: Sigmas
    seed: int | None
    leftover: bool = False


def render(context: Context, order: Order, latent: Latent) -> Latent:
    """Paint the latent. Reports each step, with a preview if a client shows it."""
    seed = order.seed if order.seed is not None else (latent.noise_seed or 0)
    steps = order.sigmas.count
    if latent.medium == "mesh":
        _pass_steps(context, steps)
        return replace(latent, noise_seed=seed)
    if latent.medium == "audio":
        return _sound(context, order, latent, seed, steps)
    painting = _Painting(order, latent, seed, hasty=context.is_hasty)
    frames: list[Any] = []
    source = iter(()) if order.leftover else painting.frames()
    start = latent.pictures[0] if latent.pictures is not None else None
    first, total = order.sigmas.first, order.sigmas.steps
    for step in range(steps):
        # Spread the work over the steps, so that each takes about the same time.
        frames_due = round(latent.count * (step + 1) / steps)
        while len(frames) < frames_due and (frame := next(source, None)) is not None:
            frames.append(frame)
            context.check()
        preview = None
        if context.watched:
            part = (first + step + 1) / total
            preview = paint.stage(painting.sketch, part, seed, start)
        context.step(step + 1, steps, preview)
    if order.leftover:
        return replace(latent, noise_seed=seed)
    frames.extend(source)
    pictures = np.stack(frames)
    companion = latent.companion
    if companion is not None:
        companion = replace(companion, sound=_composed(order.guider.positive, seed, companion))
    done = latent.with_pictures(painting.masked(pictures))
    return replace(done, companion=companion, painted=painting.brief.prompt, noise_seed=None)


def _pass_steps(context: Context, steps: int) -> None:
    for step in range(steps):
        context.step(step + 1, steps)


def _sound(context: Context, order: Order, latent: Latent, seed: int, steps: int) -> Latent:
    _pass_steps(context, steps)
    return replace(latent, sound=_composed(order.guider.positive, seed, latent))


def _composed(positive: Conditioning, seed: int, latent: Latent) -> Any:
    return compose(positive.text, seed, latent.seconds, positive.voices)


class _Painting:
    """The painting of one order on a latent; ``hasty`` paints small and enlarges."""

    def __init__(self, order: Order, latent: Latent, seed: int, *, hasty: bool) -> None:
        positive, negative = order.guider.positive, order.guider.negative
        self._hasty = hasty
        self._most = HASTY_SKETCH if hasty else MAX_SKETCH  # pixels of a sketch's longer side
        self._latent = latent
        self._positive = positive
        self._denoise = order.sigmas.denoise
        self._controls = _controls(order.guider)
        self.brief = paint.Brief(
            prompt=positive.text,
            negative="" if negative.zeroed else negative.text,
            width=latent.width,
            height=latent.height,
            seed=seed,
            steps=order.sigmas.steps,
            cfg=order.guider.cfg,
            sampler=order.sampler,
            scheduler=order.sigmas.scheduler,
            loras=tuple(value for what, value in order.guider.model.patches if what == "lora"),
        )

    @cached_property
    def sketch(self) -> Any:
        """Return a small version of the first image, for previews."""
        longest = max(self.brief.width, self.brief.height)
        scale = min(1.0, self._most / longest)
        size = (max(16, round(self.brief.width * scale)), max(16, round(self.brief.height * scale)))
        start = self._given(0)
        if start is not None and (self._latent.start is not None or self._already_painted):
            return paint.resized(start, *size)
        return self._finished(
            self._small, paint.resized(start, *size) if start is not None else None
        )

    @cached_property
    def _small(self) -> Any:
        """The first image as painted for previews, which a hasty painting also enlarges."""
        return paint.sketch(self.brief, self._most)

    @property
    def _already_painted(self) -> bool:
        """Whether the latent is the result of an earlier stage with the same prompt."""
        return self._latent.painted == self.brief.prompt and self._denoise < 1

    def frames(self) -> Iterator[Any]:
        latent = self._latent
        if latent.pictures is not None and self._already_painted:
            yield from latent.pictures
        elif latent.medium == "video":
            yield from self._film()
        else:
            for index in range(latent.count):
                one = replace(self.brief, seed=self.brief.seed + index)
                yield self._finished(self._painted(one), self._given(index))

    def _painted(self, brief: paint.Brief) -> Any:
        if not self._hasty:
            return paint.picture(brief)
        small = self._small if brief == self.brief else paint.sketch(brief, self._most)
        return paint.enlarged(small, brief)

    def _film(self) -> Iterator[Any]:
        latent, brief = self._latent, self.brief
        if latent.start is None:
            most = HASTY_FILM_PIXELS if self._hasty else paint.FILM_PIXELS
            film = paint.film(brief, latent.count, FILM_FPS, most_pixels=most)
            if latent.pictures is None:
                yield from film
                return
            for index, frame in enumerate(film):
                yield self._finished(frame, self._given(index))
            return
        start = paint.resized(latent.start[0], brief.width, brief.height)
        end = latent.end[0] if latent.end is not None else None
        mood = paint.sketch(brief, 256) if brief.prompt else None
        light = paint.resized(mood, brief.width, brief.height) if mood is not None else None
        yield from paint.animated(start, latent.count, light, end)

    def _given(self, index: int) -> Any:
        """Return the image to start from: an encoded one or a reference to edit."""
        latent = self._latent
        if latent.start is not None:
            return latent.start[0]
        if latent.pictures is not None and (self._denoise < 1 or latent.mask is not None):
            return latent.pictures[index % len(latent.pictures)]
        if self._positive.references:
            return self._positive.references[0][0]
        return None

    def _finished(self, painted: Any, start: Any) -> Any:
        if start is not None:
            strength = self._denoise
            if self._positive.references and self._denoise >= 1:
                strength = EDIT_STRENGTH
            if not self.brief.prompt:  # upscalers and restorers have no prompt
                strength = min(strength, 0.12)
            painted = paint.restyled(start, painted, strength)
        for picture, strength in self._positive.styles:
            painted = paint.colored_like(painted, picture[0], strength)
        for picture, strength in self._controls:
            painted = paint.guided(painted, picture[0], strength)
        return painted

    def masked(self, pictures: Pictures) -> Pictures:
        """Apply the result inside the mask; pixels outside keep their exact values."""
        mask, old = self._latent.mask, self._latent.pictures
        if mask is None or old is None:
            return pictures
        from PIL import Image

        result = pictures.copy()
        for index in range(len(result)):
            height, width = result.shape[1:3]
            sheet = Image.fromarray((mask[index % len(mask)] * 255).astype(np.uint8))
            part = np.asarray(sheet.resize((width, height), Image.Resampling.BILINEAR), np.float32)
            weight = (part / 255)[..., None]
            before = paint.resized(old[index % len(old)], width, height)
            mixed = before + (result[index].astype(np.float32) - before) * weight
            result[index] = np.where(weight > 0, mixed + 0.5, before).astype(np.uint8)
        return result


def _controls(guider: Guider) -> list[tuple[Any, float]]:
    patches = [value for what, value in guider.model.patches if what == "control"]
    return [*guider.positive.controls, *patches]
