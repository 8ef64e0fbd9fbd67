"""3D nodes: generate a smooth body from the seed and write it as a GLB file."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..node_types import Conditioning, Latent
from .node_base import Context, OutputResult, node


@dataclass(frozen=True, slots=True)
class Mesh:
    """``points`` float32 [n, 3], ``faces`` uint32 [m, 3]."""

    points: NDArray[np.float32]
    faces: NDArray[np.uint32]


@node("EmptyLatentHunyuan3Dv2")
def empty(_context: Context, *, resolution: int, batch_size: int = 1) -> tuple[Latent]:
    del resolution
    return (Latent(count=batch_size, medium="mesh"),)


@node("Hunyuan3Dv2Conditioning")
def condition(_context: Context, *, clip_vision_output: Any) -> tuple[Conditioning, Conditioning]:
    del clip_vision_output
    return Conditioning(), Conditioning(zeroed=True)


@node("VAEDecodeHunyuan3D")
def decode(context: Context, *, samples: Latent, **_: Any) -> tuple[int]:
    """Return the seed, which determines the body."""
    context.pace()
    return (samples.noise_seed or 0,)


@node("VoxelToMesh", "VoxelToMeshBasic")
def to_mesh(_context: Context, *, voxel: int, **_: Any) -> tuple[Mesh]:
    return (_body(voxel),)


def _body(seed: int, rings: int = 64, sides: int = 96) -> Mesh:
    """Build a sphere deformed by a few waves over its surface."""
    random = np.random.default_rng(seed)
    theta = np.linspace(0, np.pi, rings + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :]
    radius = np.ones((rings + 1, sides))
    for _ in range(5):
        across, down = int(random.integers(1, 5)), int(random.integers(1, 5))
        wave = np.sin(across * phi + random.uniform(0, 6.28)) * np.sin(down * theta) ** 2
        radius += random.uniform(0.04, 0.16) * wave
    points = np.stack(
        [
            radius * np.sin(theta) * np.cos(phi),
            radius * np.cos(theta) + 0 * phi,
            radius * np.sin(theta) * np.sin(phi),
        ],
        axis=-1,
    ).reshape(-1, 3)
    ring, side = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    a, b = ring * sides + side, ring * sides + (side + 1) % sides
    faces = np.concatenate(
        [np.stack([a, b, a + sides], -1), np.stack([b, b + sides, a + sides], -1)]
    ).reshape(-1, 3)
    return Mesh(points.astype(np.float32), faces.astype(np.uint32))


@node("SaveGLB")
def save(context: Context, *, mesh: Mesh, filename_prefix: str, **_: Any) -> OutputResult:
    saved = context.folders.next(filename_prefix, ".glb")
    saved.path.write_bytes(glb(mesh, context.metadata))
    return OutputResult({"3d": [saved.entry()]})


def glb(mesh: Mesh, extras: dict[str, str]) -> bytes:
    """Encode one mesh as binary glTF 2.0, with the metadata in ``asset.extras``."""
    faces, points = mesh.faces.tobytes(), mesh.points.tobytes()
    document = {
        "asset": {"version": "2.0", "generator": "comfy-ui demo engine", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 1}, "indices": 0}]}],
        "buffers": [{"byteLength": len(faces) + len(points)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(faces), "target": 34963},
            {"buffer": 0, "byteOffset": len(faces), "byteLength": len(points), "target": 34962},
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5125,
                "count": mesh.faces.size,
                "type": "SCALAR",
            },
            {
                "bufferView": 1,
                "componentType": 5126,
                "count": len(mesh.points),
                "type": "VEC3",
                "min": mesh.points.min(axis=0).tolist(),
                "max": mesh.points.max(axis=0).tolist(),
            },
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = faces + points
    total = 12 + 8 + len(text) + 8 + len(binary)
    return (
        struct.pack("<III", 0x46546C67, 2, total)
        + struct.pack("<II", len(text), 0x4E4F534A)
        + text
        + struct.pack("<II", len(binary), 0x004E4942)
        + binary
    )
