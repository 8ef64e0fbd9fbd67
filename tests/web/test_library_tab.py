from __future__ import annotations

import asyncio
import doctest
import io
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from comfy_ui.web import import_task
from comfy_ui.web.auth.access import AccessMode
from comfy_ui.web.import_task import ImportTask
from comfy_ui.web.tabs import library_tab
from comfy_ui.web.tabs.library_tab import LibraryTab
from tests.jobs.support import end_of, engine_files, submit_sleepy
from tests.web.house import House, open_house
from tests.web.support import picture_bytes


def test_the_examples_hold() -> None:
    assert doctest.testmod(import_task).failed == 0


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data") as house:
        yield house


async def made(house: House, user_id: str, count: int, *, first: int = 1) -> list[int]:
    """Ids of new results of that owner, newest first."""
    found = []
    for nonce in range(first, first + count):
        end = await end_of(house.service, await submit_sleepy(house.service, user_id, nonce=nonce))
        found.append(end.items[0].id)
    return found[::-1]


def shown(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'data-item="(\d+)"', html)]


async def test_pages_follow_each_other_without_gap_or_repetition(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_tab, "PAGE", 2)
    page, user_id = house.visitor(LibraryTab(house.context))
    ids = await made(house, user_id, 5)
    await made(house, "somebody else", 1, first=50)
    seen, before = [], None
    while True:
        query = {"before": before} if before else {}
        answer = (await page.get("/library", params=query)).json()
        seen += shown(answer["html"])
        before = answer["next"]
        if before is None:
            break
    assert seen == ids


async def test_search_finds_file_names_and_what_is_no_search_is_refused(house: House) -> None:
    page, user_id = house.visitor(LibraryTab(house.context))
    ids = await made(house, user_id, 3)
    found = await page.get("/library", params={"text": "made_2", "kind": "", "starred": ""})
    assert shown(found.json()["html"]) == [ids[1]]
    assert (await page.get("/library/presets")).json() == [["sleepy", "sleepy"]]
    for wrong in ({"kind": "nothing"}, {"before": "x"}, {"text": "x" * 501}):
        refused = await page.get("/library", params=wrong)
        assert refused.status_code == 422
        assert "error" in refused.json()


async def test_star_delete_and_restore_reach_own_results_only(house: House) -> None:
    tab = LibraryTab(house.context)
    page, user_id = house.visitor(tab)
    stranger, _ = house.visitor(tab)
    ids = await made(house, user_id, 2)
    assert (await stranger.get(f"/library/{ids[0]}")).status_code == 422
    assert (await stranger.post("/library/star", json={"ids": ids})).status_code == 422
    assert (await stranger.post("/library/delete", json={"ids": ids})).json() == {"ids": []}
    await page.post("/library/star", json={"ids": ids[:1]})
    starred = (await page.get("/library", params={"starred": "true"})).json()
    assert shown(starred["html"]) == ids[:1]
    assert (await page.post("/library/delete", json={"ids": ids})).json() == {"ids": ids}
    assert shown((await page.get("/library")).json()["html"]) == []
    await page.post("/library/restore", json={"ids": ids})
    assert shown((await page.get("/library")).json()["html"]) == ids
    assert (await page.post("/library/delete", content=b"[")).status_code == 422


async def test_the_zip_holds_the_bytes_that_comfyui_wrote_and_nobody_elses(house: House) -> None:
    page, user_id = house.visitor(LibraryTab(house.context))
    ids = await made(house, user_id, 2)
    theirs = await made(house, "somebody else", 1, first=50)
    numbers = ",".join(map(str, ids + theirs))
    answer = await page.get("/library/zip", params={"ids": numbers})
    originals = engine_files(house.server)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.namelist()) == 2
        assert all(archive.read(name) == originals[name] for name in archive.namelist())


async def test_the_detail_escapes_what_people_wrote(house: House) -> None:
    page, user_id = house.visitor(LibraryTab(house.context))
    (number,) = await made(house, user_id, 1)
    answer = await page.get(f"/library/{number}")
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert 'data-what="all"' in answer.text


async def test_what_is_kept_is_told_with_its_limit(house: House) -> None:
    page, user_id = house.visitor(LibraryTab(house.context))
    await made(house, user_id, 1)
    assert re.fullmatch(r"[\d.]+ \w+ used", (await page.get("/library/space")).json()["text"])
    house.service.library._limit_bytes = lambda _: 10 * 10**9
    assert (await page.get("/library/space")).json()["text"].endswith(" of 10.0 GB used")


async def test_a_visitor_imports_no_folder(house: House, tmp_path: Path) -> None:
    page, _ = house.visitor(LibraryTab(house.context))
    for answer in (
        await page.post("/library/import", json={"folder": str(tmp_path)}),
        await page.post("/library/import/stop", json={}),
        await page.get("/library/import"),
    ):
        assert answer.status_code == 422
        assert "Only admins" in answer.json()["error"]


async def test_the_owner_imports_a_folder_and_sees_how_far_it_is(
    house: House, tmp_path: Path
) -> None:
    for side in (4, 5, 6):
        path = tmp_path / "output" / f"{side}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture_bytes("PNG", side=side))
    house.access.mode = AccessMode.LOCAL
    house.services.connection = SimpleNamespace(imports=ImportTask())
    page, _ = house.visitor(LibraryTab(house.context))
    assert (await page.post("/library/import", json={"folder": " "})).status_code == 422
    begun = await page.post("/library/import", json={"folder": str(tmp_path / "output")})
    assert begun.json()["running"] is True
    again = await page.post("/library/import", json={"folder": str(tmp_path)})
    assert "running already" in again.json()["error"]
    while (state := (await page.get("/library/import")).json())["running"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert state == {"running": False, "looked_at": 3, "found": 3, "said": "3 added."}
    assert len(shown((await page.get("/library")).json()["html"])) == 3
    await page.post("/library/import", json={"folder": str(tmp_path / "nowhere")})
    while (state := (await page.get("/library/import")).json())["running"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert "There is no folder" in state["said"]
    await page.post("/library/import/stop", json={})
