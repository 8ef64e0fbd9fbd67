from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.protocol.outputs import OutputFile, Outputs, collect_outputs, kind_of


def item(filename: str, type_: str = "output", **more: Any) -> dict[str, Any]:
    return {"filename": filename, "subfolder": "", "type": type_, **more}


def test_collect_outputs_batch_keeps_order_and_file_is_mapping() -> None:
    outputs = collect_outputs({"9": {"images": [item(f"x_0000{i}_.png") for i in (1, 2, 3)]}})
    assert [file.filename for file in outputs.files] == [f"x_0000{i}_.png" for i in (1, 2, 3)]
    file = outputs.files[0]
    assert file == OutputFile("x_00001_.png", "", "output", "9", "image")
    assert file["filename"] == "x_00001_.png"
    assert file["kind"] == "image"
    with pytest.raises(KeyError):
        file["key"]


def test_collect_outputs_order_argument_sorts_nodes_first() -> None:
    per_node = {
        "b": {"images": [item("b.png")]},
        "a": {"images": [item("a.png")]},
        "c": {"text": ["t"]},
    }
    outputs = collect_outputs(per_node, order=["a", "missing"])
    assert [file.filename for file in outputs.files] == ["a.png", "b.png"]
    assert outputs.texts == ("t",)


def test_f18_collect_outputs_same_file_is_deduplicated_per_node() -> None:
    per_node = {
        "1": {"gifs": [item("v.mp4")], "images": [item("v.mp4")]},
        "2": {"images": [item("v.mp4")]},
    }
    files = collect_outputs(per_node).files
    assert [file.node for file in files] == ["1", "2"]
    assert len({file.key for file in files}) == 2


def test_f18_collect_outputs_temporary_files_need_include_temp() -> None:
    per_node = {"1": {"images": [item("preview.png", "temp")]}}
    assert collect_outputs(per_node) == Outputs()
    (file,) = collect_outputs(per_node, include_temp=True).files
    assert file.type == "temp"


@pytest.mark.parametrize(
    ("filename", "key", "media_type", "kind"),
    [
        ("a.png", "images", "", "image"),
        ("a.WEBP", "images", "", "image"),
        ("a.mp4", "images", "", "video"),
        ("a.webm", "images", "", "video"),
        ("a.bin", "gifs", "video/h264-mp4", "video"),
        ("a.gif", "gifs", "image/gif", "image"),
        ("a.flac", "audio", "", "audio"),
        ("a.opus", "images", "", "audio"),
        ("a.glb", "3d", "", "3d"),
        ("a.txt", "files", "", "text"),
        ("a.latent", "latents", "", "file"),
        ("noextension", "images", "", "image"),
        ("noextension", "whatever", "", "file"),
        ("mp4", "whatever", "", "file"),
    ],
)
def test_kind_of_uses_format_then_extension_then_key(
    filename: str, key: str, media_type: str, kind: str
) -> None:
    assert kind_of(filename, key=key, media_type=media_type) == kind


def test_collect_outputs_flags_and_foreign_data_are_ignored() -> None:
    per_node: dict[str, Any] = {
        "1": {
            "animated": [True],
            "result": [None, "notes", "/root/mesh.glb", "C:\\mesh.glb", "../../mesh.glb", {}],
            "images": [None, {}, {"filename": ""}],
        },
        "2": None,
        "3": {"images": {"filename": "not-a-list.png"}, "text": "not a list", "a_images": [1]},
    }
    assert collect_outputs(per_node) == Outputs()


def test_collect_outputs_reads_paths_of_3d_models() -> None:
    # As Save3DAdvanced, SavePointCloud and PreviewGaussianSplat of ComfyUI 0.33.0 tell them.
    per_node = {
        "1": {"result": ["3d/ComfyUI_00001.ply", {"position": {"x": 1}}, []]},
        "2": {"result": ["3d\\scan\\fox_00001.OBJ", None, None]},
        "3": {"result": ["preview_splat_5a.ksplat", None, []]},
    }
    files = collect_outputs(per_node, include_temp=True).files
    assert [(f.subfolder, f.filename, f.type, f.kind) for f in files] == [
        ("3d", "ComfyUI_00001.ply", "output", "3d"),
        ("3d/scan", "fox_00001.OBJ", "output", "3d"),
        ("", "preview_splat_5a.ksplat", "temp", "3d"),
    ]
    assert [f.filename for f in collect_outputs(per_node).files] == [
        "ComfyUI_00001.ply",
        "fox_00001.OBJ",
    ]


def test_collect_outputs_equal_texts_are_all_kept() -> None:
    assert collect_outputs({"1": {"text": ["a", "a"]}, "2": {"string": ["b"]}}).texts == (
        "a",
        "a",
        "b",
    )


def test_outputs_of_kind_filters_files() -> None:
    outputs = collect_outputs({"1": {"images": [item("a.png"), item("b.mp4")]}})
    assert [file.filename for file in outputs.of_kind("video")] == ["b.mp4"]


def test_collect_outputs_item_without_subfolder_uses_output_folder() -> None:
    (file,) = collect_outputs({"1": {"images": [{"filename": "a.png", "type": 7}]}}).files
    assert (file.subfolder, file.type) == ("", "output")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["filename", "type", "subfolder", "images", "text", "format"]), inner
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=3), anything), st.booleans())
def test_collect_outputs_any_json_returns_unique_files_and_texts(
    per_node: Any, include_temp: bool
) -> None:
    outputs = collect_outputs(per_node, include_temp=include_temp)
    assert len({file.key for file in outputs.files}) == len(outputs.files)
    assert all(isinstance(text, str) for text in outputs.texts)
    assert all(file.filename for file in outputs.files)
