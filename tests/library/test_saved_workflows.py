from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.library.saved_workflows import KEPT_OPENED, SavedWorkflows
from comfy_ui.workflow.presets.preset_store import get_preset, load_presets

SHIPPED = get_preset("sdxl")


def test_save_workflow_is_loaded_as_preset(tmp_path: Path) -> None:
    own = SavedWorkflows(tmp_path)
    saved = own.save(SHIPPED, "  Our  look: über ")
    assert (saved.id, saved.title) == ("our_look_ber", "Our look: über")
    assert load_presets([own.presets])["our_look_ber"] == saved
    assert saved.graph == SHIPPED.graph
    assert saved.params == SHIPPED.params
    assert sorted(path.name for path in own.presets.iterdir()) == [
        "our_look_ber.json",
        "our_look_ber.toml",
    ]


@pytest.mark.parametrize("title", ["SDXL", "../sdxl", "", "..", "???"])
def test_save_taken_or_invalid_name_raises(tmp_path: Path, title: str) -> None:
    with pytest.raises(ValidationError):
        SavedWorkflows(tmp_path).save(SHIPPED, title)
    assert not list(tmp_path.rglob("*.toml"))


def test_save_existing_preset_needs_replace(tmp_path: Path) -> None:
    own = SavedWorkflows(tmp_path)
    own.save(SHIPPED, "Ours")
    with pytest.raises(ValidationError, match="already"):
        own.save(SHIPPED, "Ours")
    assert own.save(get_preset("sd15"), "Ours", replace=True).graph == get_preset("sd15").graph


def test_keep_opened_keeps_newest_workflows_only(tmp_path: Path) -> None:
    own = SavedWorkflows(tmp_path)
    for number in range(KEPT_OPENED + 2):
        own.keep_opened(SHIPPED.model_copy(update={"id": f"w{number}"}))
        os.utime(own.opened / f"w{number}.toml", (number, number))
    remaining = {path.stem for path in own.opened.glob("*.toml")}
    assert len(remaining) == KEPT_OPENED
    assert "w0" not in remaining
    assert {path.stem for path in own.opened.glob("*.json")} == remaining


def test_save_unwritable_folder_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "presets").write_text("a file stands there")
    with pytest.raises(StorageError, match=r"ours\.toml"):
        SavedWorkflows(tmp_path).save(SHIPPED, "ours")
