from __future__ import annotations

import pytest

from comfy_ui.client import OutputFile, Result


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
