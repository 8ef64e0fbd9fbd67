"""Read the generation settings in an image, video or audio file, written by this app, ComfyUI or
A1111.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ValidationError, WorkLimitError
from .a1111_parameters import parse_parameters
from .containers import read_fields
from .graph import Graph, is_api_graph, is_editor_workflow

OWN_KEY = "comfy_ui"
"""Our key in ``extra_pnginfo``, with ``{"preset": id, "values": {…}}``."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The settings in a file. False if there are none."""

    graph: Graph | None = None
    """The API-format graph that was run."""
    workflow: dict[str, Any] | None = None
    """The editor-format workflow."""
    parameters: str | None = None
    """The text that A1111 and its forks write."""
    values: dict[str, Any] = field(default_factory=dict)
    """Values by name (prompt, negative, seed, …): those of our form, else of ``parameters``."""
    preset: str | None = None
    """The preset that ``values`` belong to."""

    def __bool__(self) -> bool:
        return bool(self.graph or self.workflow or self.values)

    @property
    def source(self) -> Literal["comfy-ui", "comfyui", "a1111"] | None:
        """The program that wrote the settings."""
        if self.preset is not None:
            return "comfy-ui"
        if self.graph or self.workflow:
            return "comfyui"
        return "a1111" if self.values else None


def read_metadata(path_or_bytes: str | Path | bytes, *, limit_bytes: int | None = None) -> Metadata:
    """Read the settings in a PNG (also animated), WebP, JPEG, AVIF, MP4, MOV, WebM, MKV, FLAC, MP3,
    Opus or Vorbis file.

    Reads only headers, with at most 32 MiB of text, and decodes no pixel. A file without settings,
    or with broken ones, gives an empty result.

    Args:
        path_or_bytes: the file.
        limit_bytes: the limit of the settings, unpacked, if the file is not trusted.

    Raises:
        ValidationError: the file does not exist, cannot be read, or has another format.
        WorkLimitError: its settings exceed ``limit_bytes``.
    """
    if isinstance(path_or_bytes, bytes):
        fields = read_fields(io.BytesIO(path_or_bytes))
    else:
        path = Path(path_or_bytes)
        try:
            with path.open("rb") as file:
                fields = read_fields(file)
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            reason = getattr(error, "strerror", None) or str(error)
            raise ValidationError(f"'{path.name}' cannot be read: {reason}.") from error
    if fields is None:
        raise ValidationError(
            "This is not an image, video or audio file that can hold settings.",
            hint="Known: PNG, WebP, JPEG, AVIF, MP4, MOV, WebM, FLAC, MP3, Opus.",
        )
    if limit_bytes is not None and sum(map(len, fields.values())) > limit_bytes:
        raise WorkLimitError(
            f"The settings in this file are larger than {limit_bytes / 1e6:g} MB.",
            hint="Use a smaller workflow.",
        )
    return interpret(fields)


def interpret(fields: Mapping[str, str]) -> Metadata:
    """Interpret text fields by lower-case key."""
    comment = load_json(fields.get("comment"))  # VideoHelperSuite puts both into one field
    if isinstance(comment, dict):
        packed = {k: v if isinstance(v, str) else json.dumps(v) for k, v in comment.items()}
        fields = packed | dict(fields)
    graph = load_json(fields.get("prompt"))
    workflow = load_json(fields.get("workflow"))
    own = load_json(fields.get(OWN_KEY))
    parameters = next(
        (fields[k] for k in ("parameters", "usercomment", "comment") if k in fields), None
    )
    values = parse_parameters(parameters) if parameters else {}
    preset = None
    if (
        isinstance(own, dict)
        and isinstance(own.get("values"), dict)
        and isinstance(own.get("preset"), str)
    ):
        preset, values = own["preset"], own["values"]
    return Metadata(
        graph=graph if is_api_graph(graph) else None,
        workflow=workflow if is_editor_workflow(workflow) else None,
        parameters=parameters if values and preset is None else None,
        values=values,
        preset=preset,
    )


def load_json(text: str | bytes | None) -> Any:
    """Parse JSON as ComfyUI writes it, with NaN and Infinity as None; None if it is invalid."""
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
