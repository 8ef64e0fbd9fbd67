"""Pictures of a 3D model in a GLB file: its thumbnail, and its views on a turntable.

The surface is drawn as points by depth, so that the time does not depend on the number of
triangles. Vertex colors, base colors and textures are shown, lights and cameras of the file are
not. Runs in a worker process: ComfyUI's files are untrusted, too.

Source: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import io
import itertools
import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..pictures import UPLOAD_FORMATS

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["VIEWS", "mesh_image", "write_turntable"]

Floats: TypeAlias = "NDArray[np.floating[Any]]"

VIEWS: Final = 36
_COLUMNS: Final = 6
_VIEW_SIDE: Final = 320  # pixels
_POINTS: Final = 300_000
_PITCH: Final = math.radians(-14)  # seen a little from above
_YAW: Final = math.radians(25)  # of the thumbnail
_LIGHT: Final = np.array([0.35, 0.55, 0.76])
_TRIANGLES: Final = 4
_COLOR: Final = (0.78, 0.77, 0.74)  # without a color in the file
_TYPES: Final[Mapping[int, type[np.generic]]] = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS: Final = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class _Surface(NamedTuple):
    """Points on the surface, each ``[n, 3]``: places in a unit ball, normals, colors 0 to 1."""

    places: Floats
    normals: Floats
    colors: Floats


def mesh_image(path: Path, side: int) -> Image:
    """Return a transparent image of a GLB file, ``side`` pixels wide and high.

    Raises:
        ValueError: not a GLB file, or without triangles.
    """
    return _view(_surface(path), _YAW, side)


def write_turntable(path: Path, target: Path) -> None:
    """Write :data:`VIEWS` views in rows of six, once around the vertical axis, as WebP.

    Raises:
        ValueError: not a GLB file, or without triangles.
    """
    from PIL import Image

    surface = _surface(path)
    rows = VIEWS // _COLUMNS
    sheet = Image.new("RGBA", (_COLUMNS * _VIEW_SIDE, rows * _VIEW_SIDE))
    for at in range(VIEWS):
        view = _view(surface, _YAW + 2 * math.pi * at / VIEWS, _VIEW_SIDE)
        sheet.paste(view, (at % _COLUMNS * _VIEW_SIDE, at // _COLUMNS * _VIEW_SIDE))
    partial = target.with_suffix(".part")
    sheet.save(partial, "WEBP", quality=80)
    partial.replace(target)


# Draw


def _view(surface: _Surface, yaw: float, side: int) -> Image:
    from PIL import Image

    turn = _pitch(_PITCH) @ _yaw(yaw)
    places = surface.places @ turn.T
    order = np.argsort(places[:, 2])  # the nearest last
    x = np.clip((side * (0.5 + 0.46 * places[order, 0])).astype(int), 1, side - 2)
    y = np.clip((side * (0.5 - 0.46 * places[order, 1])).astype(int), 1, side - 2)
    ranks = np.full((side, side), -1)
    ranks[y, x] = np.arange(len(order))  # of equal pixels the last one stays
    nearest = ranks
    for shift in itertools.product((-1, 0, 1), repeat=2):  # a point covers nine pixels
        nearest = np.maximum(nearest, np.roll(ranks, shift, axis=(0, 1)))
    covered = nearest >= 0
    shown = order[nearest[covered]]
    # Both sides of a face are lit: some files have their faces inside out.
    facing = np.abs(surface.normals[shown] @ turn.T @ (_LIGHT / np.linalg.norm(_LIGHT)))
    light = 0.45 + 0.6 * facing
    canvas = np.zeros((side, side, 4), np.uint8)
    canvas[covered, :3] = np.clip(surface.colors[shown] * light[:, None], 0, 1) * 255
    canvas[covered, 3] = 255
    return Image.fromarray(canvas, "RGBA")


def _yaw(angle: float) -> Floats:
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def _pitch(angle: float) -> Floats:
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])


# Read


class _MeshPart(NamedTuple):
    """The triangles of a primitive: vertices ``[n, 3]`` in the scene, and faces ``[m, 3]``."""

    glb: _Glb
    primitive: Mapping[str, Any]
    places: Floats
    faces: NDArray[Any]


class _Glb:
    """The two parts of a GLB file."""

    def __init__(self, content: bytes) -> None:
        if content[:4] != b"glTF" or len(content) < 20:
            raise ValueError("not a GLB file")
        length = struct.unpack_from("<I", content, 12)[0]
        self.json: dict[str, Any] = json.loads(content[20 : 20 + length])
        self.data = content[20 + length + 8 :]

    def view(self, index: int) -> bytes:
        view = self.json["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self.data[start : start + view["byteLength"]]

    def values(self, index: int) -> NDArray[Any]:
        """Return an accessor's values, ``[count, width]``; normalized integers as 0 to 1."""
        accessor = self.json["accessors"][index]
        kind, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        view = self.json["bufferViews"][accessor["bufferView"]]
        step = view.get("byteStride") or kind.itemsize * width
        values: NDArray[Any] = np.ndarray(
            (accessor["count"], width),
            kind,
            self.view(accessor["bufferView"]),
            accessor.get("byteOffset", 0),
            (step, kind.itemsize),
        )
        return values / np.iinfo(kind).max if accessor.get("normalized") else values

    def primitives(self) -> Iterator[tuple[dict[str, Any], Floats]]:
        """Yield the meshes' parts with their transformation, ``[4, 4]``."""
        nodes = self.json.get("nodes", [])
        scene = self.json["scenes"][self.json.get("scene", 0)]
        remaining = [(number, np.eye(4)) for number in scene["nodes"]]
        seen = 0
        while remaining and seen <= len(nodes):  # a broken file may have a circle
            number, above = remaining.pop()
            seen += 1
            node = nodes[number]
            placed = above @ _matrix(node)
            remaining += [(child, placed) for child in node.get("children", [])]
            if "mesh" in node:
                for primitive in self.json["meshes"][node["mesh"]]["primitives"]:
                    yield primitive, placed


def _matrix(node: Mapping[str, Any]) -> Floats:
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _surface(path: Path) -> _Surface:
    glb = _Glb(path.read_bytes())
    parts: list[_MeshPart] = []
    for primitive, placed in glb.primitives():
        if primitive.get("mode", 4) != _TRIANGLES or "extensions" in primitive:
            continue
        places = glb.values(primitive["attributes"]["POSITION"]) @ placed[:3, :3].T + placed[:3, 3]
        if "indices" in primitive:
            faces = glb.values(primitive["indices"])[:, 0].astype(int)
        else:
            faces = np.arange(len(places))
        triangles = faces[: len(faces) // 3 * 3].reshape(-1, 3)
        parts.append(_MeshPart(glb, primitive, places, triangles))
    areas = [_areas(part.places, part.faces) for part in parts]
    whole = sum(float(area.sum()) for area in areas)
    if not whole > 0:
        raise ValueError("no triangles")
    random = np.random.default_rng(0)
    samples = [
        _sampled(part, area, round(_POINTS * float(area.sum()) / whole), random)
        for part, area in zip(parts, areas, strict=True)
        if area.sum() > 0
    ]
    places, normals, colors = (np.concatenate(columns) for columns in zip(*samples, strict=True))
    low, high = places.min(axis=0), places.max(axis=0)
    places = places - (low + high) / 2
    return _Surface(places / np.linalg.norm(places, axis=1).max(), normals, colors)


def _areas(places: Floats, faces: NDArray[Any]) -> Floats:
    one, two, three = (places[faces[:, corner]] for corner in range(3))
    areas: Floats = np.linalg.norm(np.cross(two - one, three - one), axis=1)
    return areas


def _sampled(
    part: _MeshPart,
    areas: Floats,
    count: int,
    random: np.random.Generator,
) -> _Surface:
    """Return random points of a part, as many on each triangle as its area asks for."""
    glb, primitive, places, faces = part
    chosen = faces[random.choice(len(faces), count, p=areas / areas.sum())]
    share = random.random((2, count, 1))
    share = np.where(share.sum(axis=0) > 1, 1 - share, share)  # into the triangle

    def between(values: NDArray[Any]) -> Floats:
        one, two, three = (values[chosen[:, corner]].astype(float) for corner in range(3))
        point: Floats = one + share[0] * (two - one) + share[1] * (three - one)
        return point

    corners = [places[chosen[:, corner]] for corner in range(3)]
    normals = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    attributes = primitive["attributes"]
    colors = np.full((count, 3), _COLOR)
    material = glb.json.get("materials", [{}])[primitive.get("material", 0)]
    base = material.get("pbrMetallicRoughness", {})
    if "COLOR_0" in attributes:
        colors = between(glb.values(attributes["COLOR_0"])[:, :3])
    elif "baseColorTexture" in base and "TEXCOORD_0" in attributes:
        colors = _texture(
            glb, base["baseColorTexture"], between(glb.values(attributes["TEXCOORD_0"]))
        )
    elif "baseColorFactor" in base:
        colors = np.tile(np.array(base["baseColorFactor"][:3]), (count, 1))
    return _Surface(between(places), normals, colors)


def _texture(glb: _Glb, texture: Mapping[str, Any], at: Floats) -> Floats:
    from PIL import Image

    source = glb.json["textures"][texture["index"]]["source"]
    content = io.BytesIO(glb.view(glb.json["images"][source]["bufferView"]))
    with Image.open(content, formats=UPLOAD_FORMATS) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    x = (at[:, 0] % 1 * width).astype(int) % width
    y = (at[:, 1] % 1 * height).astype(int) % height
    colors: Floats = pixels[y, x] / 255
    return colors
