"""Facts from headers, files beside a model, and a server."""

from __future__ import annotations

import base64
import doctest
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.models import model_facts
from comfy_ui.models.model_facts import (
    ModelFacts,
    facts_from,
    preview_of,
    read_facts,
    read_preview,
)
from comfy_ui.models.model_facts_reader import ModelFactsReader
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.worker_processes.process_pool import WORKERS
from comfy_ui.workflow.model_files import family_of
from tests.safetensors import write_safetensors

SDXL = "style/ink_wash_sdxl.safetensors"


def write_model(
    path: Path, metadata: Mapping[str, str] | None = None, keys: tuple[str, ...] = ("weight",)
) -> Path:
    """Write a safetensors file with one number in each tensor."""
    return write_safetensors(path, {key: np.zeros(1, "float32") for key in keys}, metadata)


def picture(kind: str = "PNG", color: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 96), color).save(content, kind)
    return content.getvalue()


def color_of(content: bytes | None) -> tuple[int, ...]:
    assert content is not None
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size) == ("WEBP", (320, 320))
        return tuple(round(value / 255) for value in image.convert("RGB").getpixel((9, 9)))


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("sd_v1", "SD1.5"), ("SD 1.5", "SD1.5"), ("stable-diffusion-v1/lora", "SD1.5"),
        ("sdxl_base_v1-0", "SDXL"), ("Pony", "SDXL"), ("Illustrious", "SDXL"),
        ("stable-diffusion-xl-v1-base/lora", "SDXL"), ("SD 3.5 Large", "SD3.5"),
        ("Flux.1 D", "Flux.1"), ("flux1", "Flux.1"), ("Flux.2 Klein 4B", "Flux.2"),
        ("Wan Video 14B t2v", "Wan"), ("my_wan_2.2_lora.safetensors", "Wan"),
        ("hunyuan3d-dit-v2_fp16.safetensors", "Hunyuan3D"), ("v1-5-pruned.ckpt", "SD1.5"),
        ("Qwen-Image/lora", "Qwen-Image"), ("ZImageTurbo", "Z-Image"), ("LTXV", "LTX"),
        ("Hunyuan Video", "HunyuanVideo"), ("hunyuanvideo_1.5_x", "HunyuanVideo 1.5"),
        ("swan.safetensors", ""), ("animation", ""), ("", ""),
    ],
)  # fmt: skip
def test_family_of_names_of_publishers_and_scripts(text: str, family: str) -> None:
    assert family_of(text) == family


def test_facts_from_header_has_base_title_and_common_tags() -> None:
    tags = json.dumps({"10_a": {"ink wash": 40, "bay": 2}, "5_b": {"ink wash": 1, "mono ": 30}})
    metadata = {
        "ss_base_model_version": "sdxl_base_v1-0",
        "modelspec.title": "Ink",
        "ss_tag_frequency": tags,
    }
    assert facts_from("a.safetensors", metadata) == ModelFacts(
        title="Ink", family="SDXL", base="sdxl_base_v1-0", trigger_words=("ink wash", "mono")
    )


@pytest.mark.parametrize(
    ("suffix", "sidecar"),
    [
        (
            ".civitai.info",
            {"baseModel": "Pony", "trainedWords": ["ink, wash", "ink"], "model": {"name": "Ink"}},
        ),
        (".cm-info.json", {"BaseModel": "SDXL 1.0", "TrainedWords": ["ink", "wash"],
                           "ModelName": "Ink"}),
        (".json", {"sd version": "SDXL", "activation text": "ink, wash", "preferred weight": 0.7}),
        (".metadata.json", {"base_model": "Illustrious", "model_name": "Ink",
                            "civitai": {"trainedWords": ["ink", "wash"]}}),
    ],
)  # fmt: skip
def test_read_facts_file_beside_the_model_wins(
    suffix: str, sidecar: dict[str, Any], tmp_path: Path
) -> None:
    path = write_model(tmp_path / "a.safetensors", {"ss_base_model_version": "sd_v1"})
    path.with_name("a" + suffix).write_text(json.dumps(sidecar))
    (facts,) = read_facts([("a.safetensors", path)])
    assert (facts.family, facts.trigger_words) == ("SDXL", ("ink", "wash"))
    assert facts.weight == (0.7 if suffix == ".json" else None)


def test_read_facts_without_metadata_tells_the_family_by_tensors_or_name(tmp_path: Path) -> None:
    keys = ("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",)
    files = [
        ("a.safetensors", write_model(tmp_path / "a.safetensors", keys=keys)),
        ("x/flux_b.safetensors", write_model(tmp_path / "x" / "flux_b.safetensors")),
    ]
    assert [facts.family for facts in read_facts(files)] == ["SDXL", "Flux.1"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8, (10**6).to_bytes(8, "little") + b"{", (2).to_bytes(8, "little") + b"[]",
     (100_000).to_bytes(8, "little") + b"[" * 100_000],
)  # fmt: skip
def test_read_facts_damaged_files_are_unknown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    path.with_name("a.json").write_bytes(content)
    path.with_name("a.png").write_bytes(content)
    assert read_facts([("a.safetensors", path), ("b", tmp_path / "b")]) == [ModelFacts()] * 2
    assert read_preview(path) is None


def test_read_preview_prefers_the_preview_file_then_the_picture_then_the_header(
    tmp_path: Path,
) -> None:
    thumbnail = base64.b64encode(picture("JPEG", "lime")).decode()
    metadata = {"modelspec.thumbnail": f"data:image/jpeg;base64,{thumbnail}"}
    path = write_model(tmp_path / "v1.5.safetensors", metadata)
    assert color_of(read_preview(path)) == (0, 1, 0)
    (tmp_path / "v1.5.webp").write_bytes(picture("WEBP", "blue"))
    assert color_of(read_preview(path)) == (0, 0, 1)
    (tmp_path / "v1.5.preview.png").write_bytes(picture("PNG", "red"))
    assert color_of(read_preview(path)) == (1, 0, 0)
    assert preview_of(b"no picture") is None


def test_model_facts_doctests_pass() -> None:
    assert doctest.testmod(model_facts).failed == 0


async def test_model_facts_reader_asks_a_server_whose_folders_are_elsewhere() -> None:
    async with DemoServer(speed="instant") as server, ComfyWSClient(url=server.url) as client:
        reader = ModelFactsReader(lambda: client, ModelFolders)
        facts, _, complete = await reader.facts("loras", [SDXL, "gone.safetensors"])
        assert complete
        assert facts[SDXL].family == "SDXL"
        assert facts[SDXL].trigger_words == ("ink wash", "monochrome")
        assert await reader.preview("loras", SDXL) is not None
        assert await reader.preview("loras", "gone.safetensors") is None
        await reader.aclose()
    WORKERS.close()


async def test_model_facts_reader_prefers_files_of_this_machine(tmp_path: Path) -> None:
    write_model(tmp_path / "loras" / SDXL, {"modelspec.title": "Local"})
    async with DemoServer(speed="instant") as server, ComfyWSClient(url=server.url) as client:
        reader = ModelFactsReader(lambda: client, lambda: ModelFolders(base=tmp_path))
        facts, _, _ = await reader.facts("loras", [SDXL])
        assert facts[SDXL].title == "Local"
        beside = tmp_path / "loras" / SDXL.replace(".safetensors", ".civitai.info")
        beside.write_text('{"trainedWords": ["new"]}')
        facts, _, _ = await reader.facts("loras", [SDXL])
        assert facts[SDXL].trigger_words == ("new",)
        await reader.aclose()
    WORKERS.close()


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "", "a//b", "/etc/passwd", "a\0"])
def test_model_folders_find_stays_in_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "loras").mkdir()
    assert ModelFolders(base=tmp_path).find("loras", name) is None
    assert ModelFolders(base=tmp_path).find("..", "secret") is None
