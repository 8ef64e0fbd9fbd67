from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.workflow.presets.preset_files import graph_text, sidecar_text
from comfy_ui.workflow.presets.preset_store import get_preset, list_presets, load_preset


def write_and_load(preset: Any, folder: Path) -> Any:
    (folder / f"{preset.id}.json").write_text(graph_text(preset), encoding="utf-8")
    (folder / f"{preset.id}.toml").write_text(sidecar_text(preset), encoding="utf-8")
    return load_preset(folder / f"{preset.id}.toml")


def test_preset_files_shipped_presets_round_trip(tmp_path: Path) -> None:
    for preset in list_presets():
        assert write_and_load(preset, tmp_path) == preset.model_copy(update={"thumbnail": None})


@given(text=st.text(max_size=40))
def test_preset_files_any_text_round_trips(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    preset = get_preset("sdxl").model_copy(update={"title": text, "tags": (text,)})
    loaded = write_and_load(preset, tmp_path_factory.mktemp("texts"))
    assert (loaded.title, loaded.tags) == (text, (text,))
