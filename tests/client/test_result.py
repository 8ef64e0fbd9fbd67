from __future__ import annotations

import pytest

from comfy_ui.client import OutputFile, Result


def made(*files: OutputFile) -> Result[list[str]]:
    return Result(
        prompt_id="id",
        files=list(files),
        texts=["said"],
        seconds=None,
        cached=False,
        _saver=lambda files, folder: [f"{folder}/{file.filename}" for file in files],
    )


def test_files_are_found_by_their_kind_as_attributes_and_as_items() -> None:
    image, video, sound = (
        OutputFile("a.png", kind="image"),
        OutputFile("b.mp4", kind="video"),
        OutputFile("c.flac", kind="audio"),
    )
    result = made(image, video, sound)
    assert (result.images, result.videos, result.audio) == ([image], [video], [sound])
    for name in ("prompt_id", "files", "texts", "seconds", "cached", "images", "videos", "audio"):
        assert result[name] == getattr(result, name)


@pytest.mark.parametrize("name", ["_saver", "save", "nothing", "__class__"])
def test_what_is_no_value_is_no_item(name: str) -> None:
    with pytest.raises(KeyError):
        made()[name]


def test_saving_is_the_clients_business() -> None:
    assert made(OutputFile("a.png")).save("there") == ["there/a.png"]
