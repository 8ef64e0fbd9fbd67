from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.storage.records import LibraryItem
from comfy_ui.web.preset_catalog import PresetCatalog
from comfy_ui.web.tabs.create.form_state import FormState
from comfy_ui.web.tabs.create.reuse_settings import recall
from comfy_ui.workflow.presets.preset_store import get_preset
from tests.web.support import item, preset

PLAIN = preset("plain", params=("prompt", "seed", "steps"))
EDIT = preset("edit", params=("prompt", "image", "steps"), task="edit")
MOVE = preset("move", params=("prompt", "image"), task="i2v")
NOW = FormState("plain", "typed", {"steps": 20, "seed": "7"})


class Uploads:
    async def file_of(self, result: LibraryItem) -> Path:
        return result.path

    async def accept(self, content: bytes, role: str, user_id: str, *, item: int) -> str:
        return f"{user_id}-{role}-{len(content)}-of{item}.png"


async def recalled(what: str, draft: FormState = NOW, **changes: Any) -> Any:
    client: Any = None
    services: Any = SimpleNamespace(catalog=PresetCatalog(client, [PLAIN, EDIT, MOVE]))
    uploads: Any = Uploads()
    values = {"prompt": "a harbour", "seed": 42, "steps": 4}
    source = item(**{"preset": "plain", "values": values, **changes})
    return await recall(what, source, draft, services, uploads)


async def test_recall_all_takes_every_value_and_remix_omits_the_seed() -> None:
    form = await recalled("all")
    assert (form.preset, form.prompt, form.values["seed"]) == (PLAIN, "a harbour", 42)
    form = await recalled("remix")
    assert "seed" not in form.values
    assert form.values["steps"] == 4


async def test_recall_prompt_or_seed_keeps_the_other_values() -> None:
    assert (await recalled("prompt")).preset is None
    form = await recalled("seed")
    assert (form.prompt, form.values) == (None, {"steps": 20, "seed": 42})


async def test_recall_input_picks_the_first_preset_for_the_task(
    tmp_path: Path,
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"12345")
    form = await recalled("input", path=path)
    assert (form.preset, form.prompt) == (EDIT, None)
    assert form.values == {"steps": 20, "image": "local-image-5-of7.png"}
    assert (await recalled("animate", path=path)).preset is MOVE
    chosen = await recalled("input", FormState("move", ""), path=path)
    assert (chosen.preset, chosen.prompt) == (MOVE, "a harbour")  # the one that was chosen
    with pytest.raises(ValidationError):
        await recalled("upscale", path=path)
    with pytest.raises(StorageError):
        await recalled("input", path=tmp_path / "gone")


@pytest.mark.parametrize(
    ("size", "expected"), [((1024, 1024), (640, 640)), ((832, 1216), (512, 768))]
)
async def test_recall_animate_keeps_the_aspect_ratio_of_the_image(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"12345")
    client: Any = None
    catalog = PresetCatalog(client, [PLAIN, get_preset("ltxv_i2v")])
    services: Any = SimpleNamespace(catalog=catalog)
    uploads: Any = Uploads()
    source = item(preset="plain", path=path, width=size[0], height=size[1])
    form = await recall("animate", source, NOW, services, uploads)
    assert (form.values["width"], form.values["height"]) == expected


async def test_recall_of_missing_preset_raises_validation_error() -> None:
    with pytest.raises(ValidationError, match="no longer exists"):
        await recalled("all", preset="gone")
