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


def test_our_own_form_comes_back_whole_beside_graph_and_workflow(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(media.png())
    for found in (read_metadata(path), read_metadata(str(path)), read_metadata(path.read_bytes())):
        assert (found.graph, found.workflow) == (media.GRAPH, media.WORKFLOW)
        assert (found.preset, found.values) == (media.FORM["preset"], media.FORM["values"])
        assert found.source == "comfy-ui"
        assert found


def test_what_comfyui_alone_writes() -> None:
    found = read_metadata(media.png({"prompt": media.FIELDS["prompt"]}))
    assert (found.source, found.graph, found.workflow) == ("comfyui", media.GRAPH, None)
    assert found.values == {}


def test_what_a1111_writes_in_text_and_in_a_user_comment() -> None:
    for data in (
        media.png({"parameters": media.A1111}),
        media.encoded("JPEG", exif=media.exif({}, b"UNICODE\0" + media.A1111.encode("utf-16-be"))),
        media.encoded("JPEG", exif=media.exif({}, b"UNICODE\0" + media.A1111.encode("utf-16-le"))),
        media.encoded("WEBP", exif=media.exif({}, b"ASCII\0\0\0" + media.A1111.encode())),
    ):
        found = read_metadata(data)
        assert found.source == "a1111"
        assert found.parameters == media.A1111
        assert (found.values["seed"], found.values["sampler"]) == (42, "dpmpp_2m")


def test_a_picture_without_settings_is_empty_and_no_error() -> None:
    found = read_metadata(media.png({}))
    assert not found
    assert found.source is None


def test_nan_in_a_workflow_becomes_null() -> None:
    graph = '{"1": {"class_type": "A", "inputs": {"x": NaN, "y": [Infinity, -Infinity]}}}'
    found = read_metadata(media.png({"prompt": graph}))
    assert found.graph == {"1": {"class_type": "A", "inputs": {"x": None, "y": [None, None]}}}
    json.dumps(found.graph, allow_nan=False)


def test_both_in_one_comment_as_videohelpersuite_writes_them() -> None:
    comment = json.dumps({"prompt": media.FIELDS["prompt"], "workflow": media.WORKFLOW})
    found = interpret({"comment": comment})
    assert (found.graph, found.workflow) == (media.GRAPH, media.WORKFLOW)


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
def test_broken_settings_are_no_settings(fields: dict[str, str]) -> None:
    assert not interpret(fields)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7", b"GIF89a" + bytes(30), b'{"1": {}}'])
def test_other_formats_are_an_error_with_a_hint(data: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        read_metadata(data)
    assert "PNG" in caught.value.hint


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path, "\0"):
        with pytest.raises(ValidationError, match="cannot be read"):
            read_metadata(path)


def test_nothing_heavy_is_imported_to_read_it() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from comfy_ui.workflow import read_metadata\n"
        f"read_metadata({media.png()!r})\n"
        "print({'PIL', 'av', 'numpy', 'httpx', 'gradio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_mutated_texts_never_raise() -> None:
    rng = random.Random(4)
    for _ in range(2000):
        text = list(rng.choice([*media.FIELDS.values(), media.A1111]))
        for _ in range(rng.randrange(6)):
            text[rng.randrange(len(text))] = rng.choice('{}[]",:\\0aN\ud800\n')
        key = rng.choice(["prompt", "workflow", "comfy_ui", "parameters", "comment", "usercomment"])
        interpret({key: "".join(text)})
