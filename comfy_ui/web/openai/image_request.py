"""A request for images as OpenAI's clients send it, and the values of a preset that it means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError as PydanticValidationError

from ...workflow.fields.param_values import limits
from ...workflow.presets.schema import Param, Preset
from .api_errors import ApiError

__all__ = ["ImageRequest", "Size", "fitting_size", "job_values", "parse_form", "parse_json"]

Size = tuple[int, int]
"""Width and height in pixels."""

_MAX_PROMPT: Final = 20_000
_SIZE: Final = re.compile(r"(\d{1,5})\s*[x×]\s*(\d{1,5})", re.IGNORECASE)
_QUALITIES: Final = {"low": "fast", "high": "hd", "hd": "hd", "xhigh": "hd", "max": "hd"}
_FOREIGN_MODELS: Final = ("gpt-image", "dall-e", "chatgpt-image")
_NOT_VALUES: Final = frozenset({"cancel_on_disconnect", "webhook"})  # of x_comfy_ui
_EXTENSION: Final = re.compile(r"x_comfy_ui\[(\w+)\]")


class ImageRequest(BaseModel):
    """The parameters that have a meaning here; others are ignored.

    ``x_comfy_ui`` are further values of the preset, such as seed, steps or loras.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    prompt: Annotated[str, Field(max_length=_MAX_PROMPT)] = ""
    model: Annotated[str, Field(max_length=200)] = ""
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: Annotated[str, Field(max_length=40)] = "auto"
    quality: Annotated[str, Field(max_length=40)] = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "webp", "jpeg"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    x_comfy_ui: dict[str, Any] = {}

    @property
    def preset_id(self) -> str:
        """The model, or nothing if it is one of OpenAI's, which many clients cannot change."""
        return "" if self.model.startswith(_FOREIGN_MODELS) else self.model

    @property
    def webhook(self) -> str:
        """The URL that the jobs' results are sent to; empty for none."""
        return str(self.x_comfy_ui.get("webhook") or "")

    @property
    def cancels(self) -> bool:
        """Whether the jobs end when the client disconnects."""
        return bool(self.x_comfy_ui.get("cancel_on_disconnect"))


def parse_json(content: bytes) -> ImageRequest:
    """Parse the body of a request. Raises ApiError if it does not fit."""
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise ApiError(400, "The body is not JSON.") from error
    if not isinstance(fields, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return _parsed(fields)


def parse_form(fields: Iterable[tuple[str, str]]) -> ImageRequest:
    """Parse the text fields of a multipart form. Raises ApiError if they do not fit.

    The SDKs send nested values as ``x_comfy_ui[seed]``.
    """
    values: dict[str, Any] = {}
    extension: dict[str, Any] = {}
    for name, text in fields:
        if name == "x_comfy_ui":
            try:
                whole = json.loads(text)
            except ValueError as error:
                raise ApiError(400, "x_comfy_ui is not JSON.", param=name) from error
            extension |= whole if isinstance(whole, dict) else {}
        elif match := _EXTENSION.fullmatch(name):
            extension[match[1]] = {"true": True, "false": False}.get(text, text)
        else:
            values[name] = text
    return _parsed({**values, "x_comfy_ui": extension})


def _parsed(fields: Mapping[str, Any]) -> ImageRequest:
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    try:
        return ImageRequest.model_validate(given)
    except PydanticValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ApiError(400, f"{where}: {first['msg']}.", param=where) from error


def job_values(request: ImageRequest, preset: Preset) -> list[dict[str, Any]]:
    """Return the values of each job: one if the preset makes batches of that size, else ``n``.

    Raises:
        ApiError: the prompt is missing, or the size is malformed.
    """
    values: dict[str, Any] = {}
    prompt = preset.by_role("prompt")
    if prompt is not None:
        if not request.prompt.strip():
            raise ApiError(400, "The prompt is empty.", param="prompt")
        values[prompt.id] = request.prompt.strip()
    size = requested_size(request.size)
    if size is not None and preset.size_params is not None:
        width, height = preset.size_params
        values[width.id], values[height.id] = fitting_size(size, preset.size_params)
    if (quality := _QUALITIES.get(request.quality)) is not None:
        values["quality"] = quality
    extension = {k: v for k, v in request.x_comfy_ui.items() if k not in _NOT_VALUES}
    batch, seed = preset.by_role("batch"), preset.by_role("seed")
    if batch is not None and batch.id not in extension and request.n <= limits(batch)[1]:
        return [{**values, batch.id: request.n, **extension}]
    jobs = [{**values, **extension} for _ in range(request.n)]
    if seed is not None and (first := _whole(extension.get(seed.id))) is not None:
        for number, job in enumerate(jobs):
            job[seed.id] = first + number
    return jobs


def requested_size(text: str) -> Size | None:
    """Return a size such as "1024x1536"; None for "auto". Raises ApiError for other texts."""
    if text.strip().lower() == "auto":
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match[1]) or not int(match[2]):
        raise ApiError(
            400, f"'{text}' is not a size.", hint="Use WIDTHxHEIGHT or auto.", param="size"
        )
    return int(match[1]), int(match[2])


def fitting_size(size: Size, params: tuple[Param, Param]) -> Size:
    """Return the nearest size within the ranges of width and height, of the same proportions."""
    ranges = [limits(param) for param in params]
    largest = min(high / side for side, (_, high) in zip(size, ranges, strict=True))
    smallest = max(low / side for side, (low, _) in zip(size, ranges, strict=True))
    scale = max(min(1.0, largest), min(smallest, largest))
    width, height = (
        _rounded(side * scale, param) for side, param in zip(size, params, strict=True)
    )
    return width, height


def _rounded(side: float, param: Param) -> int:
    low, high = limits(param)
    step = param.step or 1
    return int(min(max(step * round(side / step), low), high))


def _whole(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number >= 0 else None
