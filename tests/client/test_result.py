from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import comfy_ui
from comfy_ui import client, errors
from comfy_ui.client import OutputFile, Result
from comfy_ui.demo import DemoServer


def result_of(*files: OutputFile) -> Result[list[str]]:
    return Result(
        prompt_id="id",
        files=list(files),
        texts=["a caption"],
        seconds=None,
        cached=False,
        _saver=lambda files, folder: [f"{folder}/{file.filename}" for file in files],
    )


def test_result_files_by_kind_are_attributes_and_items() -> None:
    image, video, sound = (
        OutputFile("a.png", kind="image"),
        OutputFile("b.mp4", kind="video"),
        OutputFile("c.flac", kind="audio"),
    )
    result = result_of(image, video, sound)
    assert (result.images, result.videos, result.audio) == ([image], [video], [sound])
    for name in ("prompt_id", "files", "texts", "seconds", "cached", "images", "videos", "audio"):
        assert result[name] == getattr(result, name)


@pytest.mark.parametrize("name", ["_saver", "save", "nothing", "__class__"])
def test_result_getitem_non_field_raises_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        result_of()[name]


def test_result_save_calls_saver_of_client() -> None:
    assert result_of(OutputFile("a.png")).save("there") == ["there/a.png"]


def test_result_and_its_files_read_like_mappings() -> None:
    file = OutputFile("a.png", kind="image")
    result = result_of(file)
    assert "images" in result
    assert "nothing" not in result
    assert dict(result)["images"] == [file]
    assert {*result} == {
        *("prompt_id", "files", "texts", "seconds", "cached", "images", "videos", "audio"),
        *("prompt", "seed", "values", "graph"),
    }
    assert isinstance(result, Mapping)
    match result:
        case {"images": [first]}:
            assert first == file
    assert dict(result.items()) == dict(result)
    assert [*result.keys()] == [*result]
    assert result.get("nothing") is None
    assert dict(file) == {
        "filename": "a.png",
        "subfolder": "",
        "type": "output",
        "node": "",
        "kind": "image",
    }
    assert "kind" in file


def test_result_copied_keeps_its_client() -> None:
    result = result_of(OutputFile("a.png"))
    for same in (copy.copy(result), copy.deepcopy(result)):
        assert same == result
        assert same.save("there") == ["there/a.png"]


def test_result_deep_copied_shares_no_list() -> None:
    result = result_of(OutputFile("a.png"))
    copy.deepcopy(result).files.clear()
    assert len(result.files) == 1


def test_result_unpickled_save_raises_with_the_way_out(engine: DemoServer) -> None:
    with comfy_ui.ComfyClient(url=engine.url) as one:
        result = one.generate_image("a bay", preset="sd15", steps=1)
        same = pickle.loads(pickle.dumps(result))
        assert same == result
        with pytest.raises(errors.ValidationError, match=r"client\.download"):
            same.save("there")
        assert one.download(same.images[0])


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """A value of every public type, most of them from a server."""
    with (
        DemoServer(speed="instant").in_thread() as server,
        comfy_ui.ComfyClient(url=server.url) as one,
    ):
        graph = comfy_ui.compile_workflow("sd15", prompt="a bay", steps=1)
        events = list(one.stream(graph))
        preview = client.Preview("id", b"image", "image/png", node="3", node_title="Sampler")
        result = one.generate_image("a bay", preset="sd15", steps=1)
        picture, registry = one.download(result.images[0]), one.object_info()
        return {
            "Address": client.parse_address(server.url),
            "Capabilities": one.capabilities(),
            "ClientOptions": comfy_ui.ClientOptions(proxy="http://proxy:3128"),
            "Control": comfy_ui.find_controls(graph, registry)[0],
            "Device": one.system_stats().devices[0],
            "EnhancedPrompt": comfy_ui.enhance_prompt("a cat", model="rules"),
            "HealthReport": comfy_ui.check_health(url=server.url),
            "HistoryEntry": one.history(result.prompt_id),
            "JobInfo": one.jobs()[0],
            "LogLine": client.LogLine("12:00", "It works."),
            "Metadata": comfy_ui.read_metadata(picture),
            "MissingModel": comfy_ui.MissingModel("vae", "ae.safetensors"),
            "ModelFile": client.ModelFile("ink.safetensors", size_bytes=5),
            "NodeRegistry": registry,
            "OutputFile": result.images[0],
            "Phase": client.Phase.RUNNING,
            "Preview": preview,
            "Preset": comfy_ui.get_preset("sdxl"),
            "Problem": comfy_ui.Problem("missing_node", "There is no such class."),
            "Progress": next(e for e in events if isinstance(e, client.Progress)),
            "PromptAnalysis": comfy_ui.analyze_prompt("a cat"),
            "QueueSnapshot": one.queue(),
            "Result": result,
            "ServerCheck": one.look(),
            "Settings": comfy_ui.load_settings(comfyui_token="secret"),
            "SystemStats": one.system_stats(),
            "Blueprint": client.Blueprint("1", "Blur", "comfyui"),
            "Template": client.Template("a", "A", "Image", "image"),
            "UploadedFile": one.upload_image(picture),
            "UserFile": client.UserFile("a.json", 2, None),
            "Workflow": comfy_ui.load_workflow(graph),
        }


VALUES = {
    name
    for package in (comfy_ui, client)
    for name in package.__all__
    if isinstance(kind := getattr(package, name), type)
    and not issubclass(kind, Exception)
    and not getattr(kind, "_is_protocol", False)
    and name not in ("CircuitBreaker", "ComfyClient", "ComfyWSClient", "ComfyHealth")
} | {"HealthReport", "HistoryEntry", "NodeRegistry", "QueueSnapshot", "ServerCheck"}


@pytest.mark.parametrize(
    "duplicate", [lambda v: pickle.loads(pickle.dumps(v)), copy.copy, copy.deepcopy]
)
def test_public_value_copied_or_pickled_is_equal(
    duplicate: Callable[[Any], Any], values: dict[str, Any]
) -> None:
    assert values.keys() >= VALUES
    assert [type(value).__name__ for value in values.values()] == [*values]
    for value in values.values():
        assert duplicate(value) == value
