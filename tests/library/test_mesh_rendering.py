from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfy_ui.library.mesh_rendering import VIEWS, mesh_image, write_turntable
from comfy_ui.library.result_decoding import write_thumbnail

CORNERS = np.float32([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
SIDES = "013032 467475 045051 237276 026064 157173"
FACES = np.uint16([int(corner) for corner in SIDES.replace(" ", "")])


def glb(path: Path, *, node: dict[str, Any] | None = None, **attributes: Any) -> Path:
    """A cube with further attributes of its corners; ``texture`` is the color of an image."""
    texture = attributes.pop("texture", None)
    material = attributes.pop("material", None)
    arrays = {"POSITION": CORNERS, **attributes}
    data, views, accessors = b"", [], []
    for values in (FACES[:, None], *arrays.values()):
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": values.nbytes})
        accessors.append(
            {
                "bufferView": len(views) - 1,
                "componentType": {"u2": 5123, "f4": 5126, "u1": 5121}[values.dtype.str[1:]],
                "normalized": values.dtype == np.uint8,
                "type": {1: "SCALAR", 2: "VEC2", 3: "VEC3"}[values.shape[1]],
                "count": len(values),
            }
        )
        data += values.tobytes() + b"\0" * (-values.nbytes % 4)
    primitive = {"attributes": {n: 1 + at for at, n in enumerate(arrays)}, "indices": 0}
    document: dict[str, Any] = {
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, **(node or {})}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
    }
    if texture:
        file = io.BytesIO()
        Image.new("RGB", (8, 8), texture).save(file, "PNG")
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(file.getvalue())})
        data += file.getvalue()
        document["images"] = [{"bufferView": len(views) - 1, "mimeType": "image/png"}]
        document["textures"] = [{"source": 0}]
        material = {"baseColorTexture": {"index": 0}}
    if material:
        document["materials"] = [{"pbrMetallicRoughness": material}]
        primitive["material"] = 0
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(data), len(text), 0x4E4F534A)
    path.write_bytes(header + text + struct.pack("<II", len(data), 0x004E4942) + data)
    return path


def middle(path: Path) -> tuple[int, ...]:
    return mesh_image(path, 64).getpixel((32, 32))  # type: ignore[return-value]


def test_mesh_image_is_a_shaded_surface_without_holes_on_nothing(tmp_path: Path) -> None:
    pixels = np.asarray(mesh_image(glb(tmp_path / "a.glb"), 128))
    assert pixels[0, 0, 3] == 0
    rows = [np.flatnonzero(row) for row in pixels[..., 3] if row.any()]
    assert all(len(row) == row[-1] - row[0] + 1 for row in rows)  # a cube is convex
    shades = np.unique(pixels[pixels[..., 3] > 0][:, 0])
    assert len(shades) >= 3  # three faces are seen


@pytest.mark.parametrize(
    "colored",
    [
        {"COLOR_0": np.uint8([[255, 0, 0]] * 8)},
        {"TEXCOORD_0": np.float32([[0.5, 0.5]] * 8), "texture": "red"},
        {"material": {"baseColorFactor": [1, 0, 0, 1]}},
    ],
    ids=["vertices", "texture", "material"],
)
def test_mesh_image_has_the_colors_of_the_file(tmp_path: Path, colored: dict[str, Any]) -> None:
    red, green, blue, alpha = middle(glb(tmp_path / "a.glb", **colored))
    assert red > 100
    assert (green, blue, alpha) == (0, 0, 255)


def test_mesh_image_applies_the_scale_of_a_node(tmp_path: Path) -> None:
    flat = mesh_image(glb(tmp_path / "a.glb", node={"scale": [1, 0.1, 1]}), 64)
    left, top, right, bottom = flat.getbbox() or (0, 0, 0, 0)
    assert right - left > 1.8 * (bottom - top)


@pytest.mark.slow
def test_write_turntable_goes_around_once(tmp_path: Path) -> None:
    target = tmp_path / "views.webp"
    write_turntable(glb(tmp_path / "a.glb", node={"scale": [3, 1, 0.5]}), target)
    with Image.open(target) as sheet:
        assert sheet.size == (6 * 320, VIEWS // 6 * 320)
        first, half = (np.asarray(sheet.crop((0, top, 320, top + 320))) for top in (0, 3 * 320))
    assert abs(first[..., 3].astype(int) - half[..., 3]).mean() < 12  # from behind


def test_mesh_image_refuses_other_files(tmp_path: Path) -> None:
    other = tmp_path / "a.glb"
    other.write_bytes(b"solid nothing" * 4)
    with pytest.raises(ValueError, match="not a GLB"):
        mesh_image(other, 64)


def test_write_thumbnail_of_a_3d_model(tmp_path: Path) -> None:
    thumbnail = tmp_path / "thumbs" / "a.webp"
    assert write_thumbnail(glb(tmp_path / "a.glb"), thumbnail, "3d") is None
    with Image.open(thumbnail) as image:
        assert image.size == (512, 512)
