"""Files of 3D models that a real ComfyUI tells by their path only."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from comfy_ui import ComfyWSClient

pytestmark = pytest.mark.live

TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
SPLATS = b"".join(
    struct.pack("<6f8B", n / 8, 0, 0, 0.1, 0.1, 0.1, 200, 80, 40, 255, 255, 128, 128, 128)
    for n in range(16)
)


async def test_saved_3d_files_are_results_with_their_bytes(
    other: ComfyWSClient, tmp_path: Path
) -> None:
    mesh = await other.upload_image(TRIANGLE, filename="triangle.obj", subfolder="3d")
    splat = await other.upload_image(SPLATS, filename="row.splat", subfolder="3d")
    size = {"viewport_state": {}, "width": 64, "height": 64}
    result = await other.run(
        {
            "1": {"class_type": "Load3DAdvanced", "inputs": {"model_file": mesh, **size}},
            "2": {
                "class_type": "Save3DAdvanced",
                "inputs": {"model_3d": ["1", 0], "filename_prefix": "3d/kept", **size},
            },
            "3": {"class_type": "Load3DAdvanced", "inputs": {"model_file": splat, **size}},
            "4": {"class_type": "File3DToSplat", "inputs": {"model_3d": ["3", 0]}},
            "5": {"class_type": "SplatToFile3D", "inputs": {"splat": ["4", 0], "format": "ksplat"}},
            "6": {
                "class_type": "SaveGaussianSplat",
                "inputs": {"model_3d": ["5", 0], "filename_prefix": "3d/kept", **size},
            },
            "7": {"class_type": "PreviewGaussianSplat", "inputs": {"model_3d": ["5", 0], **size}},
        }
    )
    kinds = {file.filename.rpartition(".")[2]: file for file in result.files}
    assert {name: (file.kind, file.subfolder) for name, file in kinds.items()} == {
        "obj": ("3d", "3d"),
        "ksplat": ("3d", "3d"),
    }
    assert await other.download(kinds["obj"]) == TRIANGLE
    assert len(await other.download(kinds["ksplat"])) > 4096
