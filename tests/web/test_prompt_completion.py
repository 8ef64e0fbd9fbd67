"""Completion of prompts: what the page is offered for the words before the cursor."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from comfy_ui.errors import ComfyUIOfflineError
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.tabs.create.prompt.prompt_completion import Completion

LORAS = ["style/ink_wash.safetensors", "a/same.safetensors", "b/same.safetensors"]
REGISTRY = {"LoraLoader": SimpleNamespace(inputs={"lora_name": SimpleNamespace(choices=LORAS)})}


class FakeClient:
    """A server with one embedding, or none that answers."""

    def __init__(self) -> None:
        self.asked = 0
        self.online = True

    async def embeddings(self) -> list[str]:
        self.asked += 1
        if not self.online:
            raise ComfyUIOfflineError("away")
        return ["inky_hands"]


class Page:
    """A page over the app with lists in ``folder``, and a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.client = FakeClient()
        (folder / "tags").mkdir()
        (folder / "tags" / "mine.csv").write_text("ink,0,90\nlong_hair,0,4000000\nblack_ink,3,7\n")
        (folder / "wildcards" / "animals").mkdir(parents=True)
        (folder / "wildcards" / "animals" / "sea.txt").write_text("whale\n")
        (folder / "styles").mkdir()
        (folder / "styles" / "mine.csv").write_text("name,prompt\nInk & paper,ink on {prompt}\n")
        settings = SimpleNamespace(
            data_dir=folder, tags_dir=folder / "tags", wildcards_dir=folder / "wildcards"
        )
        services: Any = SimpleNamespace(
            settings=settings, client=self.client, catalog=SimpleNamespace(library=REGISTRY)
        )
        access = Access(AccessMode.LOCAL, b"secret")
        routes = Completion(services, access, now=lambda: self.now).routes()
        app = Starlette(routes=routes)
        app.auth = None  # type: ignore[attr-defined]
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://page",
            cookies={COOKIE: access.new_cookie()},
        )

    async def search(self, text: str, kind: str = "") -> dict[str, Any]:
        answer = await self._http.get("/completions", params={"text": text, "kind": kind})
        answer.raise_for_status()
        return answer.json()  # type: ignore[no-any-return]

    async def texts(self, text: str, kind: str = "") -> list[str]:
        return [item["text"] for item in (await self.search(text, kind))["items"]]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


async def test_completion_of_words_offers_tags_then_names_of_other_kinds(page: Page) -> None:
    found = await page.search("ink")
    assert [(item["kind"], item["text"]) for item in found["items"]] == [
        ("tag", "ink"),
        ("tag", "black ink"),
        ("style", "ink drawing"),
        ("style", "Ink & paper"),
        ("lora", "<lora:ink_wash:1>"),
        ("embedding", "embedding:inky_hands"),
    ]
    assert (found["items"][0]["uses"], found["items"][1]["category"]) == (90, 3)
    assert await page.texts("in") == ["ink", "black ink"]  # names are offered from three on


@pytest.mark.parametrize(
    ("text", "length"), [("a girl with long ha", 7), ("Long_H", 6), ("nothing at all", 0)]
)
async def test_completion_of_words_replaces_those_that_begin_something(
    page: Page, text: str, length: int
) -> None:
    found = await page.search(text)
    assert found["length"] == length
    assert [item["text"] for item in found["items"]] == (["long hair"] if length else [])


async def test_completion_by_syntax_offers_this_kind_only(page: Page) -> None:
    assert await page.texts("ink", "lora") == ["<lora:ink_wash:1>"]
    assert await page.texts("sam", "lora") == ["<lora:a/same:1>", "<lora:b/same:1>"]
    assert await page.texts("sea", "wildcard") == ["__animals/sea__"]
    assert await page.texts("", "wildcard") == ["__animals/sea__"]
    assert await page.texts("hands", "embedding") == ["embedding:inky_hands"]


async def test_completion_reads_changed_lists_again(page: Page, tmp_path: Path) -> None:
    assert await page.texts("fox") == []
    (tmp_path / "tags" / "more.csv").write_text("red_fox\n")
    assert await page.texts("fox") == []
    page.now = 6.0
    assert await page.texts("fox") == ["red fox"]
    (tmp_path / "tags" / "more.csv").unlink()
    page.now = 12.0
    assert await page.texts("fox") == []


async def test_completion_asks_a_server_that_is_away_once_a_minute(page: Page) -> None:
    page.client.online = False
    await asyncio.gather(*(page.search("inky") for _ in range(5)))
    assert page.client.asked == 1
    page.now, page.client.online = 61.0, True
    assert await page.texts("inky", "embedding") == ["embedding:inky_hands"]
    assert page.client.asked == 2
