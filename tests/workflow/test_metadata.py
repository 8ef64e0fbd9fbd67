"""comfy_ui/workflow/metadata.py"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.workflow import read_metadata
from comfy_ui.workflow.metadata import interpret
from tests.workflow import media


def test_read_metadata_own_image_has_form_graph_and_workflow(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(media.png())
    for metadata in (
        read_metadata(path),
        read_metadata(str(path)),
        read_metadata(path.read_bytes()),
    ):
        assert (metadata.graph, metadata.workflow) == (media.GRAPH, media.WORKFLOW)
        assert (metadata.preset, metadata.values) == (
            media.FORM["preset"],
            media.FORM["values"],
        )
        assert metadata.source == "comfy-ui"
        assert metadata


def test_read_metadata_comfyui_image_has_graph_only() -> None:
    metadata = read_metadata(media.png({"prompt": media.FIELDS["prompt"]}))
    assert (metadata.source, metadata.graph, metadata.workflow) == (
        "comfyui",
        media.GRAPH,
        None,
    )
    assert metadata.values == {}


def test_read_metadata_a1111_text_and_user_comment_are_read() -> None:
    for data in (
        media.png({"parameters": media.A1111}),
        media.encode_image(
            "JPEG", exif=media.exif({}, b"UNICODE\0" + media.A1111.encode("utf-16-be"))
        ),
        media.encode_image(
            "JPEG", exif=media.exif({}, b"UNICODE\0" + media.A1111.encode("utf-16-le"))
        ),
        media.encode_image("WEBP", exif=media.exif({}, b"ASCII\0\0\0" + media.A1111.encode())),
    ):
        metadata = read_metadata(data)
        assert metadata.source == "a1111"
        assert metadata.parameters == media.A1111
        assert (metadata.values["seed"], metadata.values["sampler"]) == (42, "dpmpp_2m")


def test_read_metadata_image_without_settings_is_empty() -> None:
    metadata = read_metadata(media.png({}))
    assert not metadata
    assert metadata.source is None


def test_read_metadata_nan_in_graph_becomes_null() -> None:
    graph = '{"1": {"class_type": "A", "inputs": {"x": NaN, "y": [Infinity, -Infinity]}}}'
    metadata = read_metadata(media.png({"prompt": graph}))
    assert metadata.graph == {"1": {"class_type": "A", "inputs": {"x": None, "y": [None, None]}}}
    json.dumps(metadata.graph, allow_nan=False)


def test_interpret_videohelpersuite_comment_has_graph_and_workflow() -> None:
    comment = json.dumps({"prompt": media.FIELDS["prompt"], "workflow": media.WORKFLOW})
    metadata = interpret({"comment": comment})
    assert (metadata.graph, metadata.workflow) == (media.GRAPH, media.WORKFLOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "{", "workflow": "[]"},
        {"prompt": "null", "workflow": "5"},
        {"prompt": '{"nodes": []}', "workflow": '{"1": {"class_type": "A"}}'},
        {"comfy_ui": '{"preset": 5, "values": {}}'},
        {"comfy_ui": '{"preset": "a", "values": []}'},
        {"comfy_ui": "[1]", "comment": "[1]"},
        {"prompt": "[" * 200_000},
        {"parameters": "nothing of the kind"},
    ],
)
def test_interpret_broken_fields_returns_nothing(fields: dict[str, str]) -> None:
    assert not interpret(fields)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7", b"GIF89a" + bytes(30), b'{"1": {}}'])
def test_read_metadata_unsupported_format_raises_with_hint(data: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        read_metadata(data)
    assert "PNG" in caught.value.hint


def test_read_metadata_missing_file_raises(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path, "\0"):
        with pytest.raises(ValidationError, match="cannot be read"):
            read_metadata(path)


def test_read_metadata_imports_no_heavy_packages() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from comfy_ui.workflow import read_metadata\n"
        f"read_metadata({media.png()!r})\n"
        "print({'PIL', 'av', 'numpy', 'httpx', 'gradio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_interpret_mutated_texts_do_not_raise() -> None:
    rng = random.Random(4)
    for _ in range(2000):
        text = list(rng.choice([*media.FIELDS.values(), media.A1111]))
        for _ in range(rng.randrange(6)):
            text[rng.randrange(len(text))] = rng.choice('{}[]",:\\0aN\ud800\n')
        key = rng.choice(["prompt", "workflow", "comfy_ui", "parameters", "comment", "usercomment"])
        interpret({key: "".join(text)})
