from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from comfy_ui.prompts import merge_style
from comfy_ui.prompts.styles import shipped_styles
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.tabs.create.prompt.prompt_tools import PromptTools, words_bar
from comfy_ui.workflow import list_presets

FOOOCUS = json.dumps(
    [
        {
            "name": "sai-line art",
            "prompt": "line art drawing {prompt} . minimalist",
            "negative_prompt": "anime",
        }
    ]
).encode()
A1111 = b"name,prompt,negative_prompt\nPostcard,old postcard of {prompt},new\n"


def browser(folder: Path, mode: AccessMode = AccessMode.LOCAL) -> httpx.AsyncClient:
    access = Access(mode, b"secret")
    services: Any = SimpleNamespace(settings=SimpleNamespace(data_dir=folder))
    app = Starlette(routes=PromptTools(services, access).routes())
    app.auth = None  # type: ignore[attr-defined]
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://page",
        cookies={COOKIE: access.new_cookie()},
    )


async def send(page: httpx.AsyncClient, name: str, content: bytes) -> httpx.Response:
    return await page.post("/styles", params={"name": name}, content=content)


async def test_styles_route_lists_shipped_styles_with_pictures(tmp_path: Path) -> None:
    async with browser(tmp_path) as page:
        listing = (await page.get("/styles")).json()
        assert [style["name"] for style in listing["styles"]] == list(shipped_styles())
        for style in listing["styles"]:
            picture = await page.get(f"/styles/{style['name']}")
            assert picture.headers["content-type"] == "image/webp"
            assert 500 < len(picture.content) < 16_000
        noir = listing["styles"][0]
        merged = noir["before"] + "a cat" + noir["after"]
        assert merged == merge_style("a cat", shipped_styles()[noir["name"]]).prompt


@pytest.mark.parametrize("name", ["../secret", "..%2Fsecret", "nothing", "%2e%2e"])
async def test_style_picture_route_unknown_name_is_404(tmp_path: Path, name: str) -> None:
    async with browser(tmp_path) as page:
        assert (await page.get(f"/styles/{name}")).status_code == 404


@pytest.mark.parametrize(("file", "content"), [("sai.json", FOOOCUS), ("mine.CSV", A1111)])
async def test_styles_upload_is_stored_and_listed(
    tmp_path: Path, file: str, content: bytes
) -> None:
    async with browser(tmp_path) as page:
        (name,) = (await send(page, file, content)).json()["names"]
        listed = {style["name"]: style for style in (await page.get("/styles")).json()["styles"]}
        assert not listed[name]["picture"]
        (await send(page, file, content)).raise_for_status()
    (kept,) = (tmp_path / "styles").iterdir()
    assert kept.read_bytes() == content


async def test_styles_upload_same_name_gets_a_new_file_name(tmp_path: Path) -> None:
    async with browser(tmp_path) as page:
        await send(page, "../../mine.csv", A1111)
        await send(page, "mine.csv", A1111.replace(b"Postcard", b"Stamp"))
        listed = [style["name"] for style in (await page.get("/styles")).json()["styles"]]
    assert {"Postcard", "Stamp"} <= set(listed)
    assert sorted(p.name for p in (tmp_path / "styles").iterdir()) == ["mine-2.csv", "mine.csv"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.csv", b"a,b\n1,2\n"), ("x.json", b"{"), ("x.html", FOOOCUS), ("x", FOOOCUS)],
)
async def test_styles_upload_invalid_file_is_refused_and_not_stored(
    tmp_path: Path, name: str, content: bytes
) -> None:
    async with browser(tmp_path) as page:
        answer = await send(page, name, content)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert not (tmp_path / "styles").exists()


async def test_styles_upload_by_user_is_refused(tmp_path: Path) -> None:
    async with browser(tmp_path, AccessMode.SHARED) as page:
        assert (await page.get("/styles")).json()["takes"] is False
        assert (await send(page, "x.csv", A1111)).status_code == 422
    assert not (tmp_path / "styles").exists()


async def test_styles_route_reports_unreadable_files_to_admins_only(tmp_path: Path) -> None:
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "bad.json").write_text("{")
    async with browser(tmp_path) as page:
        assert "bad.json" in (await page.get("/styles")).json()["problems"][0]
    async with browser(tmp_path, AccessMode.SHARED) as page:
        assert (await page.get("/styles")).json()["problems"] == []


def test_words_bar_shows_whether_the_model_has_vision() -> None:
    catalog: Any = SimpleNamespace(entries=[SimpleNamespace(preset=p) for p in list_presets()[:2]])
    assert "data-sees" not in words_bar(catalog)
    assert "data-sees" in words_bar(catalog, sees=True)
