"""``describe_image`` and ``adescribe_image``: turn an image into a prompt with a vision model."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from ..errors import LanguageModelError
from ..pictures import MAX_PIXELS, open_picture, unusable
from ._sync import run_sync
from .draft import EnhancedPrompt
from .language_models.instructions import description_question
from .language_models.llm_output import Rejected, check_description, read_answer
from .language_models.model_choice import LanguageModel
from .language_models.sources import complete_answer, default_timeout_s, find_source, no_source
from .language_models.text_encoder import TextEncoder
from .model_families import find_family

if TYPE_CHECKING:
    from ..client import ComfyClient, ComfyWSClient

__all__ = ["DescribeOptions", "adescribe_image", "describe_image", "scaled_down"]

_LONGEST_SIDE: Final = 1024  # larger images cost time and tokens and do not improve the description
_TIMEOUT_S: Final = 60.0  # vision models are often large and have to be loaded first


class DescribeOptions(TypedDict, total=False):
    """Options of :func:`describe_image` and :func:`adescribe_image`.

    Keys:
        family: as in :class:`EnhanceOptions`.
        model: as in :class:`EnhanceOptions`. On a local server the first vision model is used,
            unless this one is known to accept images.
        client: as in :class:`EnhanceOptions`; Qwen3-VL and Gemma describe images in ComfyUI.
        shares_gpu: as in :class:`EnhanceOptions`.
        timeout_s: seconds the model may take in all; 60 by default, and 120 in ComfyUI.
    """

    family: str
    model: LanguageModel | TextEncoder | str | None
    client: ComfyClient | ComfyWSClient | None
    shares_gpu: bool | None
    timeout_s: float | None


def describe_image(image: bytes | Path, **options: Unpack[DescribeOptions]) -> EnhancedPrompt:
    """Write a prompt from which a model of ``family`` would make a similar image.

    ``image`` is the bytes of a PNG, JPEG or WebP file, or its path. The model receives it scaled
    down and without its metadata. ``original`` of the result is empty.

    Raises:
        ValidationError: ``image`` is not such an image, or has more than 64 million pixels.
        LanguageModelError: there is no vision model, or its answer was unusable.
    """
    return run_sync(_describe(image, **options))


async def adescribe_image(
    image: bytes | Path, **options: Unpack[DescribeOptions]
) -> EnhancedPrompt:
    """Describe an image without blocking the event loop; see :func:`describe_image`."""
    return await _describe(image, **options)


async def _describe(
    image: bytes | Path,
    *,
    family: str = "",
    model: LanguageModel | TextEncoder | str | None = None,
    client: ComfyClient | ComfyWSClient | None = None,
    shares_gpu: bool | None = None,
    timeout_s: float | None = None,
) -> EnhancedPrompt:
    started = time.perf_counter()
    content = await asyncio.to_thread(image.read_bytes) if isinstance(image, Path) else image
    picture = _address(await asyncio.to_thread(scaled_down, content))
    chosen = await find_source(model, client=client, seeing=True)
    if chosen is None:
        raise no_source(model)
    model_family = find_family(family)
    text, name = await complete_answer(
        chosen,
        description_question(picture, model_family),
        timeout_s=timeout_s or max(_TIMEOUT_S, default_timeout_s(chosen)),
        client=client,
        shares_gpu=shares_gpu,
    )
    try:
        description = check_description(read_answer(text), model_family)
    except Rejected as rejected:
        raise LanguageModelError(f"{name} returned no description: {rejected}.") from rejected
    return EnhancedPrompt(
        enhanced=description,
        negative="",
        original="",
        source=name,
        changes=(description,),
        seconds=time.perf_counter() - started,
    )


def scaled_down(image: bytes, most_pixels: int = MAX_PIXELS) -> bytes:
    """Return an image as the model receives it: a small JPEG without metadata.

    Args:
        image: a PNG, JPEG or WebP file.
        most_pixels: the limit of its size.

    Raises:
        ValidationError: not a PNG, JPEG or WebP file, damaged, or too large.
    """
    from PIL import Image, ImageOps

    try:
        with open_picture(image, most_pixels) as opened:
            small = opened if opened.mode in {"L", "RGB", "RGBA"} else opened.convert("RGBA")
            # Before anything else: each further copy of 64 million pixels takes 250 MB.
            small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            with_alpha = ImageOps.exif_transpose(small).convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise unusable() from error
    flat = Image.new("RGB", with_alpha.size, "white")
    flat.paste(with_alpha, mask=with_alpha.getchannel("A"))
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _address(picture: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")
