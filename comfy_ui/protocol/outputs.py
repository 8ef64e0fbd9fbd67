"""The outputs of a job: files and texts, in order, without duplicates.

``executed`` messages and ``GET /history`` have outputs in the same form, one object per node:
``{"images": [{"filename", "subfolder", "type"}], "text": ["…"], "animated": [true], …}``.
The key says little (videos come under ``images``), so the kind of a file follows from the format it
declares, then from its extension, and from the key only if neither is known.
"""

from __future__ import annotations

import builtins
import io
import mimetypes
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Self

from ..errors import ComfyHeadlessError, MissingFeatureError, ValidationError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Kind = Literal["image", "video", "audio", "3d", "text", "file"]

_EXTENSIONS: dict[Kind, str] = {
    "image": "png apng jpg jpeg webp gif bmp tif tiff avif svg exr hdr",
    "video": "mp4 m4v webm mov mkv avi",
    "audio": "wav flac mp3 ogg opus m4a aac",
    "3d": "glb gltf obj fbx stl ply usdz spz splat ksplat",
    "text": "txt md json csv srt vtt",
}
_KIND_OF_EXTENSION: dict[str, Kind] = {
    extension: kind for kind, words in _EXTENSIONS.items() for extension in words.split()
}
_KIND_OF_MEDIA: dict[str, Kind] = {"image": "image", "video": "video", "audio": "audio"}
_KIND_OF_KEY: dict[str, Kind] = {
    "images": "image",
    "gifs": "image",
    "video": "video",
    "videos": "video",
    "audio": "audio",
    "3d": "3d",
    "text": "text",
}
_TEXT_KEYS = frozenset({"text", "string"})
_RESULT_KEY = "result"
"""Of nodes that save or preview a 3D model: its path as a string, then the camera."""
_TEMP_PREVIEWS = ("preview3d_advanced_", "preview_splat_", "preview_pointcloud_")
SOCKET_FOLDER = "websocket"
"""The ``type`` of an image that came over the socket; the server does not keep it."""
_SHOWN_BYTES = 32 * 2**20  # in a notebook
_TAGS = {
    "image": '<img src="{source}" alt="{title}">',
    "video": '<video controls loop src="{source}" title="{title}"></video>',
    "audio": '<audio controls src="{source}" title="{title}"></audio>',
}
_FIELDS = ("filename", "subfolder", "type", "node", "kind")


class ReadableFile:
    """A file whose content the client that returned it can fetch.

    All methods block while they fetch. Copies and pickles keep the job's id, but lose the client,
    and with it the content.
    """

    __slots__ = ("_prompt_id", "_reader")
    _prompt_id: str
    _reader: Callable[[Any], builtins.bytes]
    filename: str

    def readable_by(self, reader: Callable[[Any], builtins.bytes], prompt_id: str) -> Self:
        """Attach the job and the function that fetches the content; return the file."""
        object.__setattr__(self, "_reader", reader)  # subclasses are frozen
        object.__setattr__(self, "_prompt_id", prompt_id)
        return self

    @property
    def prompt_id(self) -> str | None:
        """The job that this is a result of; None if it is unknown."""
        return getattr(self, "_prompt_id", None)

    def bytes(self) -> builtins.bytes:
        """Fetch the content, byte for byte as the server has it. Nothing is kept.

        In async code, ``await client.download(file)`` does not block the event loop.

        Raises:
            OutputMissingError: the server no longer has the file.
            ComfyUIConnectionError: it did not arrive.
            ValidationError: the file was copied or pickled, so it has no client.
        """
        reader = getattr(self, "_reader", None)
        if reader is None:
            raise ValidationError(
                f"'{self.filename}' has no client to fetch it with.",
                hint="Pass it to client.download(file).",
            )
        content: builtins.bytes = reader(self)
        return content

    def pil(self) -> Image:
        """Fetch an image as a Pillow image. Raises as :meth:`bytes`.

        Raises:
            ValidationError: the file is no image.
        """
        from ..pictures import open_result

        content = self.bytes()
        try:
            image = open_result(io.BytesIO(content))
            image.load()
        except (OSError, ValueError, SyntaxError) as error:
            raise ValidationError(f"'{self.filename}' is no image that Pillow reads.") from error
        return image

    def numpy(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Fetch an image as an array of rows, columns and channels. Raises as :meth:`pil`.

        Raises:
            MissingFeatureError: NumPy is not installed.
        """
        try:
            import numpy as np
        except ImportError as error:
            raise MissingFeatureError(
                "numpy() needs NumPy.", feature="numpy", hint="Install it with: pip install numpy"
            ) from error
        return np.asarray(self.pil())

    def html(self) -> str:
        """Fetch the file as an HTML element that contains it; its name if that is not possible."""
        title, media_type = escape(self.filename, quote=True), self._media_type()
        tag = _TAGS.get(media_type.partition("/")[0])
        content = self._shown() if tag else None
        if tag is None or content is None:
            return f"<p>{title}</p>"
        data = b64encode(content).decode("ascii")
        return tag.format(source=f"data:{media_type};base64,{data}", title=title)

    def _repr_png_(self) -> builtins.bytes | None:
        """Show a PNG in a notebook."""
        return self._shown() if self._media_type() == "image/png" else None

    def _repr_html_(self) -> str | None:
        """Show another image, a video or sound in a notebook."""
        return None if self._media_type() == "image/png" else self.html()

    def _media_type(self) -> str:
        return mimetypes.guess_type(self.filename)[0] or ""

    def _shown(self) -> builtins.bytes | None:
        """The content, unless it cannot be fetched or is too large for a page."""
        try:
            content = self.bytes()
        except ComfyHeadlessError:
            return None
        return content if len(content) <= _SHOWN_BYTES else None


@dataclass(frozen=True, slots=True, repr=False)
class OutputFile(ReadableFile, Mapping[str, str]):
    """A file on the server. ``file["filename"]`` is the same as ``file.filename``.

    Files of a result can be read at once (:meth:`bytes`, :meth:`pil`, :meth:`numpy`), and notebooks
    show them.

    ``type`` is the server's folder: ``output``, ``temp`` or ``input``; or ``websocket`` for an
    image that a node sent instead of saving it: only the client that received it has its bytes. All
    names come from the server: never use them as a local path unchecked.
    """

    filename: str
    subfolder: str = ""
    type: str = "output"
    node: str = ""
    kind: Kind = "file"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identifies a file of a node."""
        return (self.node, self.type, self.subfolder, self.filename)

    def __repr__(self) -> str:
        folder = "" if self.type == "output" else f" in {self.type}"
        path = f"{self.subfolder}/{self.filename}".removeprefix("/")
        return f"<{type(self).__name__} {path!r} {self.kind}{folder}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.prompt_id, *self.values())

    def __getitem__(self, name: str) -> str:
        if name not in _FIELDS:
            raise KeyError(name)
        value: str = getattr(self, name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


def _restored(kind: type[OutputFile], prompt_id: str | None, *values: Any) -> OutputFile:
    file = kind(*values)
    if prompt_id is not None:
        object.__setattr__(file, "_prompt_id", prompt_id)
    return file


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files and texts of a job, in order, without duplicates."""

    files: tuple[OutputFile, ...] = ()
    texts: tuple[str, ...] = ()

    def of_kind(self, kind: Kind) -> tuple[OutputFile, ...]:
        """The files of one kind."""
        return tuple(file for file in self.files if file.kind == kind)


def collect_outputs(
    per_node_outputs: Mapping[str, Any],
    *,
    order: Iterable[str] | None = None,
    include_temp: bool = False,
) -> Outputs:
    """Read the outputs of all nodes, ``{node_id: {key: [item, …]}}``.

    Args:
        per_node_outputs: as in ``history[id]["outputs"]``. Anything of another shape is skipped.
        order: node ids in the desired order; others follow. The server's own order changes from run
            to run.
        include_temp: whether to include files in the server's ``temp`` folder, from previews.
    """
    files: dict[tuple[str, str, str, str], OutputFile] = {}
    texts: list[str] = []
    for node in dict.fromkeys([*(order or ()), *per_node_outputs]):
        output = per_node_outputs.get(node)
        if not isinstance(output, Mapping):
            continue
        for key, items in output.items():
            for item in items if isinstance(items, list | tuple) else ():
                file = _read_file(node, key, item)
                if file is None:
                    file = _read_path(node, key, item)
                if file is not None and (include_temp or file.type != "temp"):
                    files.setdefault(file.key, file)
                elif isinstance(item, str) and key in _TEXT_KEYS:
                    texts.append(item)
    return Outputs(files=tuple(files.values()), texts=tuple(texts))


def kind_of(filename: str, *, key: str = "", media_type: str = "") -> Kind:
    """The kind of a file by media type, then extension, then the key it was listed under.

    >>> kind_of("clip_00001_.mp4", key="images")
    'video'
    """
    extension = filename.rpartition(".")[2].lower() if "." in filename else ""
    return (
        _KIND_OF_MEDIA.get(media_type.partition("/")[0])
        or _KIND_OF_EXTENSION.get(extension)
        or _KIND_OF_KEY.get(key, "file")
    )


def _read_path(node: str, key: Any, item: Any) -> OutputFile | None:
    """Read ``"result": ["3d/mesh.ply", camera, …]``, the only trace of a saved 3D model.

    It does not name the folder; previews in ``temp`` have names of their own.
    """
    if key != _RESULT_KEY or not isinstance(item, str) or kind_of(item) != "3d":
        return None
    subfolder, _, filename = item.replace("\\", "/").rpartition("/")
    if item.startswith("/") or ":" in item or ".." in subfolder.split("/"):
        return None  # it does not name an output
    type_ = "temp" if filename.startswith(_TEMP_PREVIEWS) else "output"
    return OutputFile(filename, subfolder=subfolder, type=type_, node=str(node), kind="3d")


def _read_file(node: str, key: Any, item: Any) -> OutputFile | None:
    if not isinstance(item, Mapping):
        return None
    filename, subfolder, type_ = item.get("filename"), item.get("subfolder"), item.get("type")
    if not isinstance(filename, str) or not filename:
        return None
    media_type = item.get("format")
    return OutputFile(
        filename=filename,
        subfolder=subfolder if isinstance(subfolder, str) else "",
        type=type_ if isinstance(type_, str) and type_ else "output",
        node=str(node),
        kind=kind_of(
            filename,
            key=key if isinstance(key, str) else "",
            media_type=media_type if isinstance(media_type, str) else "",
        ),
    )
