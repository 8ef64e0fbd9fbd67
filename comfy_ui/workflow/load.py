"""Load a workflow in any form: JSON in either format, a preset's id, or a media file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import InvalidWorkflowError, UnknownPresetError, ValidationError
from .graph import Graph, copied, is_api_graph, is_editor_workflow
from .metadata import Metadata, load_json, read_metadata
from .presets.graph_builder import ObjectInfo
from .presets.preset_store import Preset, compile_workflow, get_preset

_PRESET_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,60}")
_FILES = frozenset(
    [
        ".json",
        ".png",
        ".webp",
        ".jpg",
        ".jpeg",
        ".avif",
        ".mp4",
        ".mov",
        ".webm",
        ".mkv",
        ".flac",
        ".mp3",
        ".opus",
        ".ogg",
    ]
)
_MAX_JSON_BYTES = 64 * 1024 * 1024
_HINT = (
    "Use a workflow in API or editor format, a preset's name, "
    "or an image or video that contains one."
)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A loaded workflow: as an API graph, in the editor's format, or as a preset.

    An image can contain both of the first two; then ``format`` is ``api``, the graph that was run.
    """

    format: Literal["api", "editor", "preset"]
    graph: Graph | None = None
    editor: dict[str, Any] | None = None
    preset: Preset | None = None
    metadata: Metadata = field(default_factory=Metadata)
    """Other settings in the file, if it is an image, video or audio file."""

    def to_graph(self, object_info: ObjectInfo | None = None) -> Graph:
        """The graph to queue, in API format.

        Args:
            object_info: the server's ``/object_info``; required for the editor's format.

        Raises:
            InvalidWorkflowError: it cannot be converted, for the reasons in ``problems``.
            ValidationError: it is a preset that needs values.
        """
        if self.graph is not None:
            return copied(self.graph)
        if self.preset is not None:
            return compile_workflow(self.preset, object_info=object_info)
        if object_info is None:
            raise InvalidWorkflowError(
                "The editor's format cannot be converted without the server's node list.",
                hint="Pass object_info, or export the workflow with 'Export (API)'.",
            )
        from .editor import convert_workflow  # only this format needs it

        assert self.editor is not None  # noqa: S101 -- one of the three is always there
        return convert_workflow(self.editor, object_info)


def load_workflow(
    source: Mapping[str, Any] | str | bytes | Path | Workflow, *, folders: Sequence[Path] = ()
) -> Workflow:
    """Read a workflow in any form.

    Args:
        source: a dict in API or editor format (also the body of ``POST /prompt``), the same as
            JSON text or bytes, a preset's id, the path of a JSON file, or an image, video or audio
            file (path or bytes).
        folders: further folders with presets.

    Raises:
        UnknownPresetError: a single word that is neither a preset nor a file.
        InvalidWorkflowError: not JSON, not a workflow, or a file without one.
    """
    match source:
        case Workflow():
            return source
        case Mapping():
            return _from_data(dict(source))
        case bytes():
            return _from_bytes(source)
        case Path():
            return _from_file(source)
        case str():
            return _from_text(source, folders)
    raise InvalidWorkflowError(f"A {type(source).__name__} is not a workflow.", hint=_HINT)


def _from_text(text: str, folders: Sequence[Path]) -> Workflow:
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped.startswith(("{", "[")):
        return _from_json(stripped)
    try:
        return Workflow("preset", preset=get_preset(text, folders=folders))
    except UnknownPresetError:
        if _is_file(text):
            return _from_file(Path(text))
        if _PRESET_NAME.fullmatch(text) and Path(text).suffix.lower() not in _FILES:
            raise  # a single word is most likely a misspelled preset
    excerpt = text if len(text) <= 80 else text[:79] + "…"
    raise InvalidWorkflowError(f"'{excerpt}' is neither JSON nor a file.", hint=_HINT)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or a null character
        return False


def _from_file(path: Path) -> Workflow:
    try:
        with path.open("rb") as file:
            head = file.read(512)
            if not _looks_like_json(head) and path.suffix.lower() != ".json":
                return _from_media(path)
            data = head + file.read(_MAX_JSON_BYTES)
    except (OSError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidWorkflowError(
            f"'{path.name}' cannot be read: {reason}.", hint=_HINT
        ) from error
    return _from_json(data)


def _from_bytes(data: bytes) -> Workflow:
    return _from_json(data) if _looks_like_json(data[:512]) else _from_media(data)


def _looks_like_json(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[", b"")


def _from_media(source: Path | bytes) -> Workflow:
    try:
        metadata = read_metadata(source)
    except ValidationError as error:
        raise InvalidWorkflowError(
            f"This is not a workflow. {error.message}", hint=_HINT
        ) from error
    if metadata.graph is None and metadata.workflow is None:
        content = "settings of another program" if metadata.values else "no workflow"
        raise InvalidWorkflowError(
            f"The file has {content}.",
            hint="Websites and messengers often strip it. Use the original file from ComfyUI.",
        )
    kind: Literal["api", "editor"] = "editor" if metadata.graph is None else "api"
    return Workflow(kind, graph=metadata.graph, editor=metadata.workflow, metadata=metadata)


def _from_json(text: str | bytes) -> Workflow:
    if len(text) > _MAX_JSON_BYTES:
        raise InvalidWorkflowError(
            f"The JSON is larger than {_MAX_JSON_BYTES // 2**20} MiB.", hint=_HINT
        )
    data = load_json(text.removeprefix(b"\xef\xbb\xbf") if isinstance(text, bytes) else text)
    if data is None:
        raise InvalidWorkflowError("This is not JSON, or it is truncated.", hint=_HINT)
    return _from_data(data)


def _from_data(data: Any) -> Workflow:
    if is_editor_workflow(data):
        return Workflow("editor", editor=data)
    if is_api_graph(data):
        return Workflow("api", graph=data)
    if isinstance(data, dict):
        for key in (
            "prompt",
            "output",
        ):  # the body of POST /prompt; what the editor's own export gives
            if is_api_graph(data.get(key)):
                editor = data.get("workflow")
                return Workflow(
                    "api", graph=data[key], editor=editor if is_editor_workflow(editor) else None
                )
    raise InvalidWorkflowError("This JSON is not a ComfyUI workflow.", hint=_HINT)
