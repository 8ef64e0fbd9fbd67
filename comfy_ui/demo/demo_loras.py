"""LoRAs of the demo engine: what their headers say, and a picture of each."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Final

from . import paint

__all__ = ["METADATA", "preview"]

_SIDE: Final = 320


def _header(base: str, title: str, **tags: int) -> dict[str, str]:
    frequencies = {"10_images": {tag.replace("_", " "): count for tag, count in tags.items()}}
    return {
        "ss_base_model_version": base,
        "modelspec.title": title,
        "ss_tag_frequency": json.dumps(frequencies),
    }


METADATA: Final[Mapping[str, Mapping[str, str]]] = {
    "style/ink_wash_sdxl.safetensors": _header(
        "sdxl_base_v1-0", "Ink Wash", ink_wash=40, monochrome=32, harbor=3
    ),
    "style/autumn_film_sdxl.safetensors": _header(
        "sdxl_base_v1-0", "Autumn Film", autumn_film=25, warm_light=20
    ),
    "anime/line_art_sdxl.safetensors": _header("sdxl_base_v1-0", "Line Art", lineart=60),
    "golden_hour_sd15.safetensors": _header("sd_v1", "Golden Hour", golden_hour=30),
    "neon_night_flux.safetensors": _header("flux1", "Neon Night", neon_night=24, rain=18),
    "winter_postcard_z_image.safetensors": _header(
        "z-image-turbo", "Winter Postcard", winter_postcard=16
    ),
}
"""The ``__metadata__`` of each file's header."""

_SCENES: Final[Mapping[str, str]] = {
    "style/ink_wash_sdxl.safetensors": "a bay with boats in the mist",
    "style/autumn_film_sdxl.safetensors": "a forest in autumn, shafts of light",
    "anime/line_art_sdxl.safetensors": "portrait of a woman, pastel",
    "golden_hour_sd15.safetensors": "mountains at golden hour",
    "neon_night_flux.safetensors": "a cyberpunk city at night in the rain",
    "winter_postcard_z_image.safetensors": "snowy mountains in winter, pines",
}


@cache
def preview(name: str) -> bytes | None:
    """Return the picture of a LoRA as WebP; None if it has none."""
    from PIL import Image

    scene = _SCENES.get(name)
    if scene is None:
        return None
    brief = paint.Brief(prompt=scene, width=_SIDE, height=_SIDE, seed=4, loras=((name, 1.0),))
    content = io.BytesIO()
    Image.fromarray(paint.picture(brief, signed=False)).save(content, "WEBP", quality=85)
    return content.getvalue()
