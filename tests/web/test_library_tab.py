from __future__ import annotations

import asyncio
import doctest
import io
import json
import os
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.storage.records import GridAxis, JobRequest
from comfy_ui.web import import_task
from comfy_ui.web.auth.access import AccessMode
from comfy_ui.web.components import library_view
from comfy_ui.web.import_task import ImportTask
from comfy_ui.web.tabs import library_tab
from comfy_ui.web.tabs.library_tab import LibraryTab
from tests.jobs.support import end_of, engine_files, sleepy_graph, submit_sleepy
from tests.web.support import Page, picture_bytes
from tests.web.web_app import WebApp, open_web_app


def test_import_task_doctests_pass() -> None:
    assert doctest.testmod(import_task).failed == 0


@pytest.fixture
async def web_app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as web_app:
        yield web_app


async def make_items(web_app: WebApp, user_id: str, count: int, *, first: int = 1) -> list[int]:
    """Create items for a user and return their ids, newest first."""
    ids = []
    for nonce in range(first, first + count):
        end = await end_of(
            web_app.service, await submit_sleepy(web_app.service, user_id, nonce=nonce)
        )
        ids.append(end.items[0].id)
    return ids[::-1]


def item_ids(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'data-item="(\d+)"', html)]


async def test_library_pages_have_no_gaps_or_duplicates(
    web_app: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_tab, "PAGE", 2)
    page, user_id = web_app.browser(LibraryTab(web_app.context))
    ids = await make_items(web_app, user_id, 5)
    await make_items(web_app, "bob", 1, first=50)
    seen: list[int] = []
    following: dict[str, int] | None = {}
    while True:
        answer = (await page.get("/library", params=following)).json()
        seen += item_ids(answer["html"])
        following = answer["next"]
        if following is None:
            break
    assert seen == ids


async def test_library_group_is_a_tile_that_stands_for_its_results(web_app: WebApp) -> None:
    tab = LibraryTab(web_app.context)
    page, user_id = web_app.browser(tab)
    other, _ = web_app.browser(tab)
    (single,) = await make_items(web_app, user_id, 1)
    requests = [
        JobRequest(user_id=user_id, preset="s", graph=sleepy_graph(nonce=n), values={"prompt": "x"})
        for n in (7, 8, 9)
    ]
    axis = GridAxis("Nonce", ("7", "8", "9"))
    grid = await web_app.service.submit_grid(requests, across=axis)
    for job_id in grid.jobs:
        await end_of(web_app.service, await web_app.service.job(job_id, user_id))
    await web_app.service.wait_for_sheets(user_id)
    folded = (await page.get("/library")).json()["html"]
    cover, last = item_ids(folded)
    assert last == single
    assert f'data-group="{grid.id}"' in folded
    assert re.search(r'count">.*?3</span>', folded, flags=re.DOTALL)
    opened = (await page.get("/library", params={"group_id": grid.id})).json()
    ids = item_ids(opened["html"])
    assert (len(ids), ids[0]) == (4, cover)
    assert "3 results" in opened["head"]
    assert len(item_ids((await page.get("/library", params={"kind": "image"})).json()["html"])) == 5
    assert (await other.get("/library", params={"group_id": grid.id})).status_code == 422
    group = {"groups": [grid.id]}
    assert (await other.post("/library/delete", json=group)).json() == {"ids": []}
    await page.post("/library/star", json=group)
    starred = (await page.get("/library", params={"starred": "true"})).json()["html"]
    assert item_ids(starred) == ids
    answer = await page.get("/library/zip", params={"groups": grid.id, "ids": single})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.namelist()) == 6  # with the metadata
    assert (await page.get("/library/zip")).status_code == 422
    deleted = (await page.post("/library/delete", json={"ids": [cover], **group})).json()["ids"]
    assert sorted(deleted) == sorted(ids)
    assert item_ids((await page.get("/library")).json()["html"]) == [single]


async def test_library_sorted_pages_follow_each_other_and_do_not_fold(
    web_app: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_tab, "PAGE", 2)
    page, user_id = web_app.browser(LibraryTab(web_app.context))
    ids = await make_items(web_app, user_id, 3)
    await page.post("/library/rate", json={"ids": ids[:1], "rating": 2})
    await page.post("/library/rate", json={"ids": ids[1:2], "rating": 4})
    for sort, expected in (("rating", [1, 0, 2]), ("oldest", [2, 1, 0])):
        first = (await page.get("/library", params={"sort": sort})).json()
        rest = (await page.get("/library", params={"sort": sort, **first["next"]})).json()
        seen = item_ids(first["html"]) + item_ids(rest["html"])
        assert seen == [ids[place] for place in expected]
        assert rest["next"] is None
    assert (await page.get("/library", params={"sort": "color"})).status_code == 422
    bad = {"sort": "rating", "before": 1, "before_value": "many"}
    assert (await page.get("/library", params=bad)).status_code == 422


async def test_library_searches_are_saved_and_deleted_per_user(web_app: WebApp) -> None:
    tab = LibraryTab(web_app.context)
    page, _ = web_app.browser(tab)
    other, _ = web_app.browser(tab)
    search = {"name": " Sea ", "fields": {"text": "sea", "sort": "rating"}}
    saved = (await page.post("/library/save-search", json=search)).json()
    assert saved == {"Sea": search["fields"]}
    assert (await page.get("/library/searches")).json() == saved
    assert (await other.get("/library/searches")).json() == {}
    assert (await page.post("/library/save-search", json=search | {"fields": {}})).is_client_error
    assert (await page.post("/library/save-search", json=search | {"name": " "})).is_client_error
    await other.post("/library/delete-search", json={"name": "Sea"})
    assert (await page.post("/library/delete-search", json={"name": "Sea"})).json() == {}


async def test_library_deleted_lists_own_deletions_to_restore_or_delete_forever(
    web_app: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_tab, "PAGE", 2)
    tab = LibraryTab(web_app.context)
    page, user_id = web_app.browser(tab)
    other, _ = web_app.browser(tab)
    ids = await make_items(web_app, user_id, 4)
    for number in ids[1:]:
        await page.post("/library/delete", json={"ids": [number]})
    first = (await page.get("/library/deleted")).json()
    rest = (await page.get("/library/deleted", params=first["next"])).json()
    assert (item_ids(first["html"]), item_ids(rest["html"])) == (ids[:1:-1], [ids[1]])
    assert rest["next"] is None
    assert item_ids((await other.get("/library/deleted")).json()["html"]) == []

    chosen = {"ids": [ids[1], ids[0]]}  # the second is not deleted
    assert (await other.post("/library/delete-forever", json=chosen)).json() == {"ids": []}
    assert (await page.post("/library/delete-forever", json=chosen)).json() == {"ids": [ids[1]]}
    await page.post("/library/restore", json={"ids": ids[2:3]})
    assert item_ids((await page.get("/library/deleted")).json()["html"]) == [ids[3]]
    assert item_ids((await page.get("/library")).json()["html"]) == [ids[0], ids[2]]


async def test_library_labels_and_ratings_are_set_listed_and_renamed(web_app: WebApp) -> None:
    tab = LibraryTab(web_app.context)
    page, user_id = web_app.browser(tab)
    other, _ = web_app.browser(tab)
    ids = await make_items(web_app, user_id, 2)
    rated = await page.post("/library/rate", json={"ids": ids[:1], "rating": 4})
    assert rated.json() == {"ids": ids[:1]}
    assert (await page.post("/library/rate", json={"ids": ids, "rating": 6})).is_client_error
    sea = {"ids": ids, "kind": "tag", "name": ' a  "sea" '}
    assert (await page.post("/library/label", json=sea)).json() == {"ids": ids}
    assert (await other.post("/library/label", json=sea)).is_client_error
    show = {"ids": ids[:1], "kind": "collection", "name": "Show"}
    await page.post("/library/label", json=show)
    assert (await page.post("/library/label", json=show | {"name": '"'})).is_client_error
    labels = {"tag": [["a sea", 2]], "collection": [["Show", 1]]}
    assert (await page.get("/library/labels")).json() == labels
    assert (await other.get("/library/labels")).json() == {"tag": [], "collection": []}
    detail = Page((await page.get(f"/library/{ids[0]}")).text)
    assert len(detail.all("button", data_do="rate", aria_pressed="true")) == 4
    assert "a sea" in detail.text
    assert "Show" in detail.text
    html = (await page.get("/library", params={"text": 'in:"show" stars>=4'})).json()["html"]
    assert item_ids(html) == ids[:1]
    assert Page(html).all("li", data_rating="4")
    await page.post("/library/label", json=sea | {"ids": ids[:1], "on": False})
    new_name = {"kind": "tag", "name": "a sea", "new_name": "Ocean"}
    renamed = await page.post("/library/rename-label", json=new_name)
    assert renamed.json() == {"tag": [["Ocean", 1]], "collection": [["Show", 1]]}


async def test_library_delete_forever_removes_the_file_of_an_old_result(web_app: WebApp) -> None:
    (number,) = await make_items(web_app, "ann", 1)
    library = web_app.service.library
    path = (await library.item(number, "ann")).path
    os.utime(path, (0, 0))
    await library._store._database.run(  # type: ignore[attr-defined]
        lambda connection: connection.execute("UPDATE items SET created_at = 1")
    )
    await library.delete([number], "ann")
    assert path.exists()
    assert await library.delete_forever([number], "ann") == [number]
    assert not path.exists()


async def test_library_search_matches_file_names_and_refuses_invalid_queries(
    web_app: WebApp,
) -> None:
    page, user_id = web_app.browser(LibraryTab(web_app.context))
    ids = await make_items(web_app, user_id, 3)
    matches = await page.get("/library", params={"text": "made_2", "kind": "", "starred": ""})
    assert item_ids(matches.json()["html"]) == [ids[1]]
    assert (await page.get("/library/presets")).json() == [["sleepy", "sleepy"]]
    for invalid in ({"kind": "nothing"}, {"before": "x"}, {"text": "x" * 501}):
        refused = await page.get("/library", params=invalid)
        assert refused.status_code == 422
        assert "error" in refused.json()


async def test_library_star_delete_and_restore_affect_own_items_only(web_app: WebApp) -> None:
    tab = LibraryTab(web_app.context)
    page, user_id = web_app.browser(tab)
    other, _ = web_app.browser(tab)
    ids = await make_items(web_app, user_id, 2)
    assert (await other.get(f"/library/{ids[0]}")).status_code == 422
    assert (await other.post("/library/star", json={"ids": ids})).status_code == 422
    assert (await other.post("/library/delete", json={"ids": ids})).json() == {"ids": []}
    await page.post("/library/star", json={"ids": ids[:1]})
    starred = (await page.get("/library", params={"starred": "true"})).json()
    assert item_ids(starred["html"]) == ids[:1]
    assert (await page.post("/library/delete", json={"ids": ids})).json() == {"ids": ids}
    assert item_ids((await page.get("/library")).json()["html"]) == []
    await page.post("/library/restore", json={"ids": ids})
    assert item_ids((await page.get("/library")).json()["html"]) == ids
    assert (await page.post("/library/delete", content=b"[")).status_code == 422


async def test_library_zip_contains_own_unmodified_files_only(web_app: WebApp) -> None:
    page, user_id = web_app.browser(LibraryTab(web_app.context))
    ids = await make_items(web_app, user_id, 2)
    theirs = await make_items(web_app, "bob", 1, first=50)
    numbers = ",".join(map(str, ids + theirs))
    answer = await page.get("/library/zip", params={"ids": numbers})
    originals = engine_files(web_app.server)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        facts = json.loads(archive.read("comfy-ui.json"))
        assert len(facts) == 2
        assert all(archive.read(fact["file"]) == originals[fact["file"]] for fact in facts)
        assert {"prompt", "seed", "preset", "values", "sha256"} <= facts[0].keys()


async def test_library_detail_is_escaped_and_not_cached(web_app: WebApp) -> None:
    page, user_id = web_app.browser(LibraryTab(web_app.context))
    (number,) = await make_items(web_app, user_id, 1)
    answer = await page.get(f"/library/{number}")
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert 'data-what="all"' in answer.text


async def test_library_compare_lists_what_differs_between_own_results(web_app: WebApp) -> None:
    page, user_id = web_app.browser(LibraryTab(web_app.context))
    other, _ = web_app.browser(LibraryTab(web_app.context))
    second, first = await make_items(web_app, user_id, 2)
    answer = await page.get("/library/compare", params={"a": first, "b": second})
    assert answer.status_code == 200
    assert "<mark" in answer.text or "Both have the same settings." in answer.text
    same = await page.get("/library/compare", params={"a": first, "b": first})
    assert "Both have the same settings." in same.text
    for client, query in ((other, {"a": first, "b": second}), (page, {"a": first})):
        assert (await client.get("/library/compare", params=query)).status_code == 422


def test_library_view_doctests_pass() -> None:
    assert doctest.testmod(library_view).failed == 0


async def test_library_space_shows_used_bytes_and_limit(web_app: WebApp) -> None:
    page, user_id = web_app.browser(LibraryTab(web_app.context))
    await make_items(web_app, user_id, 1)
    assert re.fullmatch(r"[\d.]+ \w+ used", (await page.get("/library/space")).json()["text"])
    web_app.service.library._limit_bytes = lambda _: 10 * 10**9
    assert (await page.get("/library/space")).json()["text"].endswith(" of 10.0 GB used")


async def test_library_space_offers_the_import_to_admins_only(web_app: WebApp) -> None:
    page, _ = web_app.browser(LibraryTab(web_app.context))
    assert (await page.get("/library/space")).json()["imports"] is False
    web_app.access.mode = AccessMode.LOCAL
    assert (await page.get("/library/space")).json()["imports"] is True


async def test_library_import_by_user_is_refused(web_app: WebApp, tmp_path: Path) -> None:
    page, _ = web_app.browser(LibraryTab(web_app.context))
    for answer in (
        await page.post("/library/import", json={"folder": str(tmp_path)}),
        await page.post("/library/import/count", json={"folder": str(tmp_path)}),
        await page.post("/library/import/stop", json={}),
        await page.post("/library/import/undo", json={}),
        await page.get("/library/import"),
    ):
        assert answer.status_code == 422
        assert "Only admins" in answer.json()["error"]


async def import_state(page: Page) -> dict[str, Any]:
    """The state of the import as soon as it no longer runs."""
    while (state := (await page.get("/library/import")).json())["running"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return state


async def test_library_import_is_counted_first_reports_progress_and_can_be_undone(
    web_app: WebApp, tmp_path: Path
) -> None:
    for side in (4, 5, 6):
        path = tmp_path / "output" / f"{side}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture_bytes("PNG", side=side))
    output = {"folder": str(tmp_path / "output")}
    web_app.access.mode = AccessMode.LOCAL
    web_app.services.connection = SimpleNamespace(imports=ImportTask())
    page, _ = web_app.browser(LibraryTab(web_app.context))
    for path in ("/library/import", "/library/import/count"):
        assert (await page.post(path, json={"folder": " "})).status_code == 422
    assert (await page.post("/library/import/count", json=output)).json()["running"] is True
    count = (await import_state(page))["count"]
    assert (count["added"], count["known"], count["skipped"]) == (0, 0, 3)
    assert item_ids((await page.get("/library")).json()["html"]) == []
    begun = await page.post("/library/import", json=output)
    assert (begun.json()["running"], begun.json()["phase"]) == (True, "import")
    for path in ("/library/import", "/library/import/count"):
        assert "running already" in (await page.post(path, json=output)).json()["error"]
    assert "running already" in (await page.post("/library/import/undo", json={})).json()["error"]
    state = await import_state(page)
    assert (state["looked_at"], state["found"], state["texts"]) == (3, 3, ["3 added"])
    assert state["undo"] == 3
    assert len(item_ids((await page.get("/library")).json()["html"])) == 3
    undone = (await page.post("/library/import/undo", json={})).json()
    assert (undone["texts"][0], undone["undo"]) == ("3 removed", 0)
    assert item_ids((await page.get("/library")).json()["html"]) == []
    assert (await page.post("/library/import/undo", json={})).status_code == 422
    generated_only = {**output, "generated_only": True}
    await page.post("/library/import", json=generated_only)
    texts = (await import_state(page))["texts"]
    assert texts == ["0 added", "3 without generation metadata"]
    await page.post("/library/import/count", json={"folder": str(tmp_path / "nowhere")})
    state = await import_state(page)
    assert "There is no folder" in state["texts"][0]
    assert state["count"] is None
    await page.post("/library/import/stop", json={})
