"""Locale files: all have the same keys and placeholders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.resources import assets_dir
from comfy_ui.web.components.preset_picker import picker
from comfy_ui.web.http.middleware import door
from comfy_ui.web.languages import LANGUAGES, routes
from comfy_ui.web.preset_catalog import CatalogEntry
from comfy_ui.workflow.presets.preset_store import list_presets

OTHERS = [code for code in LANGUAGES if code != "en"]
ROOT = Path(__file__).resolve().parent.parent.parent
PLACE = re.compile(r"\{(\d)#?\}")


def load_locale(code: str) -> dict[str, str]:
    """Load a locale; duplicate keys are an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), [key for key in keys if keys.count(key) > 1]
        return dict(pairs)

    text = (assets_dir() / "locales" / f"{code}.json").read_text(encoding="utf-8")
    translations: dict[str, str] = json.loads(text, object_pairs_hook=once)
    return translations


def test_languages_match_locale_files_and_script() -> None:
    files = {path.stem for path in (assets_dir() / "locales").glob("*.json")}
    assert files == set(OTHERS)
    script = (assets_dir() / "js" / "languages.js").read_text(encoding="utf-8")
    assert f"CODES = {json.dumps(list(LANGUAGES))}" in script


@pytest.mark.parametrize("code", OTHERS)
def test_locale_keys_are_complete_and_sorted(code: str) -> None:
    assert list(load_locale(code)) == sorted(load_locale(OTHERS[0]))


@pytest.mark.parametrize("code", OTHERS)
def test_locale_texts_are_not_empty_and_keep_placeholders(code: str) -> None:
    for english, own in load_locale(code).items():
        assert own.strip() == own != "", english
        assert set(PLACE.findall(own)) == set(PLACE.findall(english)), english


def source() -> str:
    """The texts of code, templates, scripts and shipped data, without line breaks."""
    files = [
        path
        for folder, names in {
            "comfy_ui": ("**/*.py", "**/*.html", "**/*.toml"),
            "assets/js": ("*.js",),
            "workflows": ("*.toml",),
        }.items()
        for name in names
        for path in (ROOT / folder).glob(name)
    ]
    texts = (path.read_text(encoding="utf-8") for path in files)
    joined = " ".join(re.sub(r'"\s*\n\s*f?"', "", text) for text in texts)
    return re.sub(r"\s+", " ", joined.replace("\\'", "'")).casefold()


# Texts that are put together from smaller pieces than the search below takes apart.
COMPOSED = re.compile(r"fields? and|missing$|styles? read from|custom_nodes|^Remove Image$|^by ")
OF_GRADIO = {"More tabs"}


def test_locale_keys_are_texts_of_the_page() -> None:
    texts = source()
    stale = [
        key
        for key in load_locale(OTHERS[0])
        if key not in OF_GRADIO and not COMPOSED.search(key)
        for piece in re.split(r"\{\d#?\}|, slider$|(?<=[.!]) |: | \(|\)|\d+", key)
        if len(bare := piece.strip(" '\"().,:·=≈×")) > 1 and bare.casefold() not in texts
    ]
    assert stale == []


@pytest.mark.parametrize("code", OTHERS)
def test_locale_translates_every_preset_description(code: str) -> None:
    translations = load_locale(code)
    missing = [preset.id for preset in list_presets() if preset.description not in translations]
    assert missing == []


def test_picker_marks_descriptions_of_own_presets_as_untranslatable() -> None:
    shipped = list_presets()[0]
    own = shipped.model_copy(update={"id": "own", "description": "Mine <b>"})
    drawn = picker([CatalogEntry(shipped), CatalogEntry(own)], shipped.id)
    assert f'<span class="about">{shipped.description}</span>' in drawn
    assert '<span class="about" translate="no">Mine &lt;b&gt;</span>' in drawn


def test_languages_route_is_public_and_serves_existing_locales_only() -> None:
    from starlette.applications import Starlette

    assert door("/languages/de.json") is not None
    app = httpx.ASGITransport(app=Starlette(routes=routes()))

    async def ask(path: str) -> int:
        async with httpx.AsyncClient(transport=app, base_url="http://localhost") as client:
            return (await client.get(path)).status_code

    import asyncio

    for path, status in (
        ("/languages/de.json", 200),
        ("/languages/en.json", 404),
        ("/languages/xx.json", 404),
        ("/languages/..%2F..%2Ficon.json", 404),
    ):
        assert asyncio.run(ask(path)) == status, path
