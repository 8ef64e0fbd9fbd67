"""Demo nodes: image sizes, files, metadata, determinism and masks."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from comfy_ui.workflow.presets.preset_store import list_presets
from tests.demo import support

EXTRA = {"extra_pnginfo": {"workflow": {"id": "wf-9"}, "gradio": {"a": "ü"}}}


def _picture(server, entry: dict[str, Any], index: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(support.view(server, support.files(entry)[index])))


def _pixels(server, entry: dict[str, Any], index: int = 0) -> np.ndarray:
    return np.asarray(_picture(server, entry, index).convert("RGB"))


def _png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array, mode).save(buffer, "PNG")
    return buffer.getvalue()


def _save(graph: support.Graph, link: list[Any]) -> support.Graph:
    graph["save"] = {
        "class_type": "SaveImage",
        "inputs": {"images": link, "filename_prefix": "out"},
    }
    return graph


# -- sampling --------------------------------------------------------------------------------


def test_ksampler_size_and_batch_match_latent(engine) -> None:
    entry = support.run(engine, support.text_to_image(width=160, height=96, batch=3))
    pictures = [_pixels(engine, entry, index) for index in range(3)]
    assert all(p.shape == (96, 160, 3) for p in pictures)
    assert not np.array_equal(pictures[0], pictures[1])


def test_ksampler_same_settings_repeat_picture_and_any_change_alters_it(engine) -> None:
    def paint(**settings: Any) -> np.ndarray:
        support.request(engine, "/free", json_body={"free_memory": True})
        return _pixels(engine, support.run(engine, support.text_to_image(**settings)))

    first = paint(seed=7)
    assert np.array_equal(first, paint(seed=7))
    for change in (
        {"seed": 8},
        {"seed": 7, "prompt": "a forest at dawn"},
        {"seed": 7, "negative": "clouds"},
        {"seed": 7, "cfg": 15.0},
        {"seed": 7, "sampler_name": "dpmpp_2m"},
        {"seed": 7, "scheduler": "karras"},
        {"seed": 7, "steps": 1},
    ):
        assert not np.array_equal(first, paint(**change)), change


def test_ksampler_denoise_below_one_keeps_loaded_picture(engine) -> None:
    ramp = np.tile(np.linspace(0, 255, 128, dtype=np.uint8), (96, 1))
    loaded = np.stack([ramp, ramp, ramp], axis=-1)
    support.upload(engine, "ramp.png", _png(loaded))

    def correlation(denoise: float) -> float:
        graph = support.text_to_image(denoise=denoise)
        graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "ramp.png"}}
        graph["11"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
        graph["3"]["inputs"]["latent_image"] = ["11", 0]
        grey = _pixels(engine, support.run(engine, graph)).mean(axis=2)
        return float(np.corrcoef(grey.ravel(), ramp.ravel())[0, 1])

    assert correlation(0.2) > 0.95
    assert correlation(0.2) > correlation(0.6) > abs(correlation(1.0))


def test_ksampler_latent_noise_mask_leaves_outside_unchanged(engine) -> None:
    random = np.random.default_rng(1).integers(0, 255, (96, 128, 4), np.uint8)
    random[..., 3] = 255
    random[:, 64:, 3] = 0  # transparent on the right: that is the mask
    support.upload(engine, "masked.png", _png(random))
    graph = support.text_to_image()
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "masked.png"}}
    graph["11"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    graph["12"] = {
        "class_type": "SetLatentNoiseMask",
        "inputs": {"samples": ["11", 0], "mask": ["10", 1]},
    }
    graph["3"]["inputs"]["latent_image"] = ["12", 0]
    done = _pixels(engine, support.run(engine, graph))
    assert np.array_equal(done[:, :63], random[:, :63, :3])
    assert not np.array_equal(done[:, 70:], random[:, 70:, :3])


def test_ksampler_advanced_two_stages_split_steps(engine) -> None:
    graph = support.text_to_image()
    shared = {
        k: v for k, v in graph["3"]["inputs"].items() if k not in ("seed", "denoise", "steps")
    }
    stages = (
        {
            "add_noise": "enable",
            "start_at_step": 0,
            "end_at_step": 3,
            "return_with_leftover_noise": "enable",
        },
        {
            "add_noise": "disable",
            "start_at_step": 3,
            "end_at_step": 10,
            "return_with_leftover_noise": "disable",
        },
    )
    for node_id, stage in zip(("3", "33"), stages, strict=True):
        inputs = {**shared, "noise_seed": 5, "steps": 5, **stage}
        graph[node_id] = {"class_type": "KSamplerAdvanced", "inputs": inputs}
    graph["33"]["inputs"]["latent_image"] = ["3", 0]
    graph["8"]["inputs"]["samples"] = ["33", 0]
    listener = support.listen(engine)
    messages = listener.until_finished(support.post(engine, graph, client_id="c1"))
    steps = [(m["data"]["node"], m["data"]["max"]) for m in messages if m["type"] == "progress"]
    assert steps == [("3", 3)] * 3 + [("33", 2)] * 2


# -- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("class_type", "inputs", "shape"),
    [
        (
            "ImageScale",
            {"upscale_method": "lanczos", "width": 96, "height": 48, "crop": "center"},
            (48, 96),
        ),
        (
            "ImageScale",
            {"upscale_method": "area", "width": 0, "height": 32, "crop": "disabled"},
            (32, 32),
        ),
        ("ImageScaleBy", {"upscale_method": "bicubic", "scale_by": 1.5}, (96, 96)),
        ("ImageScaleToMaxDimension", {"upscale_method": "area", "largest_size": 100}, (100, 100)),
        ("ImageCrop", {"width": 20, "height": 10, "x": 5, "y": 5}, (10, 20)),
        ("ImageRotate", {"rotation": "90 degrees"}, (64, 64)),
        ("ImageInvert", {}, (64, 64)),
        ("ImageBlur", {"blur_radius": 3, "sigma": 2.0}, (64, 64)),
        (
            "ResizeAndPadImage",
            {
                "target_width": 80,
                "target_height": 40,
                "padding_color": "white",
                "interpolation": "area",
            },
            (40, 80),
        ),
        (
            "ResizeImageMaskNode",
            {
                "resize_type": "scale dimensions",
                "resize_type.width": 30,
                "resize_type.height": 20,
                "resize_type.crop": "center",
                "scale_method": "lanczos",
            },
            (20, 30),
        ),
    ],
)
def test_image_node_output_has_requested_size(engine, class_type, inputs, shape) -> None:
    graph = support.empty_image(0x102030)
    name = "input" if class_type == "ResizeImageMaskNode" else "image"
    graph["3"] = {"class_type": class_type, "inputs": {name: ["1", 0], **inputs}}
    entry = support.run(engine, _save({"1": graph["1"], "3": graph["3"]}, ["3", 0]))
    assert _pixels(engine, entry).shape[:2] == shape


def test_image_invert_inverts_pixels(engine) -> None:
    graph = {
        "1": support.empty_image(0x102030)["1"],
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    }
    pixels = _pixels(engine, support.run(engine, _save(graph, ["2", 0])))
    assert pixels[0, 0].tolist() == [255 - 0x10, 255 - 0x20, 255 - 0x30]


def test_image_composite_masked_pastes_inside_mask_only(engine) -> None:
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    support.upload(engine, "half.png", _png(half))
    graph = {
        "red": support.empty_image(0xFF0000)["1"],
        "blue": support.empty_image(0x0000FF)["1"],
        "mask": {"class_type": "LoadImageMask", "inputs": {"image": "half.png", "channel": "red"}},
        "join": {
            "class_type": "ImageCompositeMasked",
            "inputs": {
                "destination": ["red", 0],
                "source": ["blue", 0],
                "x": 0,
                "y": 0,
                "resize_source": False,
                "mask": ["mask", 0],
            },
        },
    }
    pixels = _pixels(engine, support.run(engine, _save(graph, ["join", 0])))
    assert pixels[5, 5].tolist() == [255, 0, 0]
    assert pixels[5, 60].tolist() == [0, 0, 255]


def test_load_image_overwritten_upload_reruns_loader(engine) -> None:
    graph = _save({"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}, ["1", 0])
    for color in (10, 200):
        data = _png(np.full((8, 8, 3), color, np.uint8))
        support.upload(engine, "x.png", data, overwrite="true")
        assert _pixels(engine, support.run(engine, graph))[0, 0, 0] == color


# -- files and metadata ----------------------------------------------------------------------


def test_save_image_png_contains_prompt_and_workflow(engine) -> None:
    graph = support.empty_image()
    picture = _picture(engine, support.run(engine, graph, extra_data=EXTRA))
    assert json.loads(picture.text["prompt"]) == graph
    assert json.loads(picture.text["workflow"]) == {"id": "wf-9"}
    assert json.loads(picture.text["gradio"]) == {"a": "ü"}


def _frames(node: str, **inputs: Any) -> support.Graph:
    graph = {"1": support.empty_image(0x336699, batch_size=4)["1"]}
    graph["2"] = {
        "class_type": node,
        "inputs": {"images": ["1", 0], "filename_prefix": "a/b", **inputs},
    }
    return graph


def test_save_animated_webp_contains_exif_metadata(engine) -> None:
    graph = _frames("SaveAnimatedWEBP", fps=6.0, lossless=True, quality=80, method="default")
    entry = support.run(engine, graph, extra_data=EXTRA)
    assert entry["outputs"]["2"]["animated"] == [True]
    assert support.files(entry)[0]["subfolder"] == "a"
    exif = _picture(engine, entry).getexif()
    assert exif[0x0110] == f"prompt:{json.dumps(graph)}"
    assert exif[0x010F] == 'workflow:{"id": "wf-9"}'


def test_save_animated_png_contains_comf_chunks(engine) -> None:
    graph = _frames("SaveAnimatedPNG", fps=6.0, compress_level=4)
    data = support.view(engine, support.files(support.run(engine, graph, extra_data=EXTRA))[0])
    assert data.count(b"comf") == 3
    assert b'workflow\0{"id": "wf-9"}' in data


def test_save_video_mp4_contains_tags_and_audio(engine) -> None:
    graph = {
        "1": support.empty_image(0x336699, batch_size=9)["1"],
        "2": {
            "class_type": "EmptyAudio",
            "inputs": {"duration": 0.5, "sample_rate": 44100, "channels": 2},
        },
        "3": {
            "class_type": "CreateVideo",
            "inputs": {"images": ["1", 0], "fps": 8.0, "audio": ["2", 0]},
        },
        "4": {
            "class_type": "SaveVideo",
            "inputs": {
                "video": ["3", 0],
                "filename_prefix": "video/v",
                "format": "auto",
                "format.codec": "auto",
                "codec": "auto",
            },
        },
    }
    file = support.files(support.run(engine, graph, extra_data=EXTRA))[0]
    assert file["filename"] == "v_00001_.mp4"
    with av.open(io.BytesIO(support.view(engine, file))) as container:
        assert json.loads(container.metadata["prompt"]) == graph
        assert json.loads(container.metadata["workflow"]) == {"id": "wf-9"}
        assert container.streams.video[0].frames == 9
        assert float(container.streams.video[0].average_rate) == 8
        assert len(container.streams.audio) == 1


def test_load_video_components_return_saved_frames(engine) -> None:
    first = _frames("SaveWEBM", codec="vp9", fps=8.0, crf=30.0)
    data = support.view(engine, support.files(support.run(engine, first))[0])
    support.upload(engine, "clip.webm", data)
    graph = {
        "1": {"class_type": "LoadVideo", "inputs": {"file": "clip.webm"}},
        "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
    }
    entry = support.run(engine, _save(graph, ["2", 0]))
    assert len(support.files(entry)) == 4


@pytest.mark.parametrize(
    ("node", "inputs", "suffix"),
    [
        ("SaveAudio", {}, ".flac"),
        ("SaveAudioMP3", {"quality": "128k"}, ".mp3"),
        ("SaveAudioOpus", {"quality": "96k"}, ".opus"),
        ("SaveAudioAdvanced", {"format": "mp3", "format.quality": "V0"}, ".mp3"),
    ],
)
def test_save_audio_files_contain_metadata_tags(engine, node, inputs, suffix) -> None:
    graph = {
        "1": {
            "class_type": "EmptyAudio",
            "inputs": {"duration": 0.5, "sample_rate": 44100, "channels": 2},
        },
        "2": {"class_type": node, "inputs": {"audio": ["1", 0], "filename_prefix": "s", **inputs}},
    }
    file = support.files(support.run(engine, graph, extra_data=EXTRA))[0]
    assert file["filename"].endswith(suffix)
    with av.open(io.BytesIO(support.view(engine, file))) as container:
        tags = {
            k.lower(): v
            for k, v in {**container.metadata, **container.streams.audio[0].metadata}.items()
        }
    assert json.loads(tags["prompt"]) == graph


def test_save_glb_mesh_is_valid_glb(engine) -> None:
    sampler = support.text_to_image()
    graph = {k: sampler[k] for k in ("4", "6", "7", "3")}
    graph["5"] = {
        "class_type": "EmptyLatentHunyuan3Dv2",
        "inputs": {"resolution": 3072, "batch_size": 1},
    }
    graph["8"] = {
        "class_type": "VAEDecodeHunyuan3D",
        "inputs": {
            "samples": ["3", 0],
            "vae": ["4", 2],
            "num_chunks": 8000,
            "octree_resolution": 256,
        },
    }
    graph["10"] = {
        "class_type": "VoxelToMeshBasic",
        "inputs": {"voxel": ["8", 0], "threshold": 0.6},
    }
    graph["11"] = {
        "class_type": "SaveGLB",
        "inputs": {"mesh": ["10", 0], "filename_prefix": "3d/m"},
    }
    entry = support.run(engine, graph)
    data = support.view(engine, entry["outputs"]["11"]["3d"][0])
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size = struct.unpack("<I", data[12:16])[0]
    assert "prompt" in json.loads(data[20 : 20 + size])["asset"]["extras"]


def test_math_expression_computes_value(engine) -> None:
    graph = {
        "1": {"class_type": "PrimitiveInt", "inputs": {"value": 7}},
        "2": {
            "class_type": "ComfyMathExpression",
            "inputs": {"expression": "max(a * 2, 3) + 1", "values.a": ["1", 0]},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
    }
    assert support.run(engine, graph)["outputs"]["3"]["text"] == ["15"]


def test_math_expression_rejects_everything_but_arithmetic(engine) -> None:
    graph = {
        "2": {
            "class_type": "ComfyMathExpression",
            "inputs": {"expression": "__import__('os').getpid()", "values.a": 1},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
    }
    entry = support.wait_for_history(engine, support.post(engine, graph))
    assert entry["status"]["status_str"] == "error"


# tests/jobs/test_presets_in_jobs.py runs the graphs of all presets.


def test_models_route_lists_every_preset_model_file(engine) -> None:
    listed = {
        folder: set(support.request(engine, f"/models/{folder}").json)
        for folder in support.request(engine, "/models").json
    }
    for preset in list_presets():
        for model in preset.all_models() if not preset.custom_nodes else ():
            assert model.filename in listed[model.folder], (preset.id, model.filename)
