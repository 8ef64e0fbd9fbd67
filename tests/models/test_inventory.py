"""The model files on this machine, their users, duplicates, wrong folders and the trash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.models.inventory import (
    LocalModel,
    broken_presets,
    find_duplicates,
    first_preset,
    fitting_presets,
    list_files,
    presets_using,
    right_folder,
    with_families,
)
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.models.model_trash import (
    delete_file,
    empty_trash,
    list_trash,
    move_file,
    restore_file,
)
from comfy_ui.workflow.presets.preset_store import get_preset, list_presets
from tests.safetensors import write_safetensors

ONE = np.ones((1,), np.float32)


@pytest.fixture
def folders(tmp_path: Path) -> ModelFolders:
    return ModelFolders(base=tmp_path / "models")


def put(folders: ModelFolders, id_: str, content: bytes = b"x") -> Path:
    folder, _, name = id_.partition("/")
    path = folders.path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def ids(folders: ModelFolders) -> list[str]:
    return [file.id for file in list_files(folders)]


def file(folders: ModelFolders, id_: str) -> LocalModel:
    return next(file for file in list_files(folders) if file.id == id_)


def z_image(folders: ModelFolders) -> None:
    for model in get_preset("z_image_turbo").models:
        put(folders, f"{model.folder}/{model.filename}")


def test_list_files_has_model_files_of_all_folders_without_previews(folders: ModelFolders) -> None:
    for id_ in ("vae/a.safetensors", "loras/style/b.safetensors", "loras/style/b.preview.png"):
        put(folders, id_, b"xyz")
    hidden = folders.path("loras", "x").with_name(".hidden")
    hidden.mkdir()
    (hidden / "c.safetensors").touch()
    assert ids(folders) == ["loras/style/b.safetensors", "vae/a.safetensors"]
    assert file(folders, "vae/a.safetensors").size_bytes == 3


def test_list_files_with_link_to_folder_above_ends(folders: ModelFolders) -> None:
    put(folders, "loras/a.safetensors")
    folders.path("loras", "again").symlink_to(folders.path("loras", "a.safetensors").parent)
    assert ids(folders) == ["loras/a.safetensors"]


def test_with_families_reads_the_header(folders: ModelFolders) -> None:
    path = folders.path("loras", "x.safetensors")
    write_safetensors(path, {"a.lora_A.weight": ONE}, {"modelspec.architecture": "Flux.1-dev/lora"})
    (known,) = with_families(list_files(folders))
    assert known.family == "Flux.1"


def test_presets_using_finds_all_presets_of_a_shared_file(folders: ModelFolders) -> None:
    put(folders, "text_encoders/sub/qwen_3_4b.safetensors")
    shared = file(folders, "text_encoders/sub/qwen_3_4b.safetensors")
    names = [preset.id for preset in presets_using(shared, list_presets())]
    assert {"z_image_turbo", "flux2_klein_4b"} <= {*names}
    assert "sdxl" not in names


def test_broken_presets_are_those_that_ran_and_have_no_other_file(folders: ModelFolders) -> None:
    z_image(folders)
    encoder = file(folders, "text_encoders/qwen_3_4b.safetensors")
    broken = broken_presets(encoder, list_files(folders), list_presets())
    assert "z_image_turbo" in [preset.id for preset in broken]
    assert "flux2_klein_4b" not in [preset.id for preset in broken]  # lacks other files anyway
    put(folders, "text_encoders/sub/qwen_3_4b.safetensors")
    assert broken_presets(encoder, list_files(folders), list_presets()) == []


def test_right_folder_by_known_name_and_by_tensors(folders: ModelFolders) -> None:
    put(folders, "checkpoints/qwen_3_4b.safetensors")
    write_safetensors(folders.path("checkpoints", "mine.safetensors"), {"x.lora_down.weight": ONE})
    write_safetensors(folders.path("checkpoints", "big.safetensors"), {"model.weight": ONE})
    right = {file.name: right_folder(file) for file in list_files(folders)}
    assert right == {
        "qwen_3_4b.safetensors": "text_encoders",
        "mine.safetensors": "loras",
        "big.safetensors": None,
    }


def test_find_duplicates_compares_content_of_equal_sizes(folders: ModelFolders) -> None:
    for id_, content in (("vae/a.pt", b"one"), ("loras/b.pt", b"one"), ("vae/c.pt", b"two")):
        put(folders, id_, content)
    put(folders, "vae/d.pt", b"alone")
    folders.path("vae", "link.pt").hardlink_to(folders.path("vae", "a.pt"))
    read: list[tuple[int, int]] = []
    groups = find_duplicates(list_files(folders), on_progress=lambda *done: read.append(done))
    assert len(groups) == 1
    assert {file.folder for file in groups[0]} == {"loras", "vae"}
    assert read[-1] == (9, 9)  # the linked file counts once, the one of another size is not read


def test_fitting_presets_are_those_that_fit_largest_first() -> None:
    fitting = fitting_presets(list_presets(), 8_000_000_000)
    needs = [preset.vram_gb or 0 for preset in fitting]
    assert needs == sorted(needs, reverse=True)
    assert 0 < max(needs) <= 8.5
    assert fitting_presets(list_presets(), 0) == []


def test_delete_file_restore_file_keeps_every_byte_and_the_preview(folders: ModelFolders) -> None:
    path = put(folders, "loras/style/b.safetensors", b"bytes")
    put(folders, "loras/style/b.preview.png", b"picture")
    delete_file(file(folders, "loras/style/b.safetensors"))
    assert ids(folders) == []
    put(folders, "loras/style/b.safetensors", b"newer")
    delete_file(file(folders, "loras/style/b.safetensors"))
    trashed = list_trash(folders)
    assert [deleted.id for deleted in trashed] == [
        "loras/style/b-2.safetensors",
        "loras/style/b.safetensors",
    ]
    assert restore_file(trashed[1], folders) == path
    assert path.read_bytes() == b"bytes"
    assert path.with_name("b.preview.png").read_bytes() == b"picture"
    assert empty_trash(list_trash(folders)) == 5
    assert list_trash(folders) == []


def test_restore_file_never_replaces_a_file(folders: ModelFolders) -> None:
    put(folders, "vae/a.safetensors", b"old")
    delete_file(file(folders, "vae/a.safetensors"))
    put(folders, "vae/a.safetensors", b"new")
    with pytest.raises(ValidationError, match="another file"):
        restore_file(list_trash(folders)[0], folders)
    assert folders.path("vae", "a.safetensors").read_bytes() == b"new"


def test_empty_trash_refuses_a_file_in_use(folders: ModelFolders) -> None:
    path = put(folders, "vae/a.safetensors")
    with pytest.raises(ValidationError, match="not in the trash"):
        empty_trash(list_files(folders))
    assert path.exists()


def test_move_file_into_its_folder(folders: ModelFolders) -> None:
    put(folders, "checkpoints/qwen_3_4b.safetensors", b"bytes")
    moved = move_file(file(folders, "checkpoints/qwen_3_4b.safetensors"), "text_encoders", folders)
    assert moved == folders.path("text_encoders", "qwen_3_4b.safetensors")
    assert moved.read_bytes() == b"bytes"
    with pytest.raises(ValidationError, match="not on this machine"):
        move_file(file(folders, "text_encoders/qwen_3_4b.safetensors"), "../elsewhere", folders)


@pytest.mark.parametrize(
    ("vram_gb", "expected"), [(0, "sd15"), (4, "sd15"), (8, "sdxl"), (12, "z_image_turbo")]
)
def test_first_preset_fits_the_gpu(vram_gb: int, expected: str) -> None:
    first = first_preset(list_presets(), vram_gb * 10**9)
    assert first is not None
    assert first.id == expected
    assert not any(model.gated for model in first.models)


def test_first_preset_none_without_free_downloads() -> None:
    gated = [
        preset.model_copy(
            update={"models": tuple(m.model_copy(update={"gated": True}) for m in preset.models)}
        )
        for preset in list_presets()
    ]
    assert first_preset(gated, 24 * 10**9) is None
