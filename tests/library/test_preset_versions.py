from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.library.preset_versions import KEPT_VERSIONS
from comfy_ui.library.saved_workflows import SavedWorkflows
from comfy_ui.workflow.presets.preset_store import Preset, get_preset, load_preset
from tests.web.support import picture_bytes


@pytest.fixture
def saved(tmp_path: Path) -> SavedWorkflows:
    return SavedWorkflows(tmp_path)


def on_disk(saved: SavedWorkflows, name: str) -> Preset:
    return load_preset(saved.presets / f"{name}.toml")


def test_update_keeps_versions_and_restore_brings_one_back(saved: SavedWorkflows) -> None:
    first = saved.save(get_preset("sd15"), "Mine", saved_by="user:ann", editor={"nodes": []})
    saved.update(first.model_copy(update={"title": "Mine, better"}), saved_by="user:bob")
    assert [(v.number, v.saved_by, v.title) for v in saved.versions.listed("mine")] == [
        (2, "user:bob", "Mine, better"),
        (1, "user:ann", "Mine"),
    ]
    assert saved.editor_file("mine") == {"nodes": []}  # an edit of the form keeps it
    assert saved.restore("mine", 1, saved_by="user:ann").title == "Mine"
    assert on_disk(saved, "mine").title == "Mine"
    assert [version.number for version in saved.versions.listed("mine")] == [3, 2, 1]


def test_update_of_a_copied_preset_keeps_what_was_there(saved: SavedWorkflows) -> None:
    preset = saved.save(get_preset("sd15"), "Mine")
    for path in (saved.presets.parent / "preset_versions").rglob("*.json"):
        path.unlink()
    saved.update(preset.model_copy(update={"title": "New"}))
    assert [version.title for version in saved.versions.listed("mine")] == ["New", "Mine"]


def test_versions_beyond_the_limit_and_broken_ones_are_left_out(saved: SavedWorkflows) -> None:
    preset = saved.save(get_preset("sd15"), "Mine")
    for number in range(KEPT_VERSIONS + 3):
        saved.update(preset.model_copy(update={"description": str(number)}))
    versions = saved.versions.listed("mine")
    assert len(versions) == KEPT_VERSIONS
    (saved.presets.parent / "preset_versions" / "mine" / "000099.json").write_text("{")
    assert saved.versions.listed("mine") == versions
    with pytest.raises(ValidationError, match="no longer kept"):
        saved.restore("mine", 1)


def test_delete_can_be_undone(saved: SavedWorkflows) -> None:
    saved.save(get_preset("sd15"), "Mine")
    version = saved.delete("mine")
    assert not saved.is_own("mine")
    assert [*saved.presets.iterdir()] == []
    saved.restore("mine", version.number)
    assert on_disk(saved, "mine").graph == get_preset("sd15").graph


def test_duplicate_takes_the_next_free_name_with_its_cover(saved: SavedWorkflows) -> None:
    saved.save(get_preset("sd15"), "Mine", editor={"nodes": []})
    saved.set_cover("mine", picture_bytes("PNG"))
    assert [saved.duplicate("mine").id, saved.duplicate("mine").title] == ["mine_2", "Mine 3"]
    assert on_disk(saved, "mine_2").thumbnail == saved.presets / "mine_2.webp"
    assert saved.editor_file("mine_2") == {"nodes": []}


def test_archive_has_the_two_files_and_the_cover(saved: SavedWorkflows) -> None:
    saved.save(get_preset("sd15"), "Mine")
    saved.set_cover("mine", picture_bytes("PNG"))
    names = zipfile.ZipFile(io.BytesIO(saved.archive("mine"))).namelist()
    assert names == ["mine.json", "mine.toml", "mine.webp"]


@pytest.mark.parametrize("name", ["sd15", "..", "../presets/mine", "gone"])
def test_presets_that_were_not_saved_here_stay(saved: SavedWorkflows, name: str) -> None:
    saved.save(get_preset("sd15"), "Mine")
    for change in (saved.duplicate, saved.delete, saved.archive):
        with pytest.raises(ValidationError, match="not saved here"):
            change(name)
    with pytest.raises(ValidationError, match="not saved here"):
        saved.set_cover(name, picture_bytes("PNG"))
    with pytest.raises(ValidationError, match="no longer kept"):
        saved.restore(name, 1)
    assert saved.is_own("mine")


def test_set_cover_refuses_what_is_no_image(saved: SavedWorkflows) -> None:
    saved.save(get_preset("sd15"), "Mine")
    with pytest.raises(ValidationError, match="cannot be used"):
        saved.set_cover("mine", b"<svg/>")
