"""The contract of :class:`.LibraryStore`, for every implementation.

A new implementation adds an entry to ``OPENERS``: its library store together with the job store
that adds results to the same database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.library.library_store import LibraryStore
from comfy_ui.library.sqlite_library_store import SqliteLibraryStore
from comfy_ui.scale.postgres_job_store import PostgresJobStore
from comfy_ui.scale.postgres_library_store import PostgresLibraryStore
from comfy_ui.storage.database import Database
from comfy_ui.storage.job_store import JobStore
from comfy_ui.storage.quota import StorageUsage
from comfy_ui.storage.records import (
    ItemQuery,
    ItemSort,
    JobStatus,
    Label,
    LibraryItem,
    sort_value,
)
from comfy_ui.storage.sqlite_job_store import SqliteJobStore
from comfy_ui.storage.tables import labels_table, saved_searches_table
from tests.jobs.support import a_job
from tests.scale.postgres_server import new_app_database
from tests.storage.test_job_store_contract import file

Stores = tuple[LibraryStore, JobStore]


@asynccontextmanager
async def open_sqlite_stores(folder: Path) -> AsyncIterator[Stores]:
    database = Database(folder)
    await database.open()
    try:
        yield SqliteLibraryStore(database, folder), SqliteJobStore(database, folder)
    finally:
        await database.close()


@asynccontextmanager
async def open_postgres_stores(folder: Path) -> AsyncIterator[Stores]:
    async with new_app_database() as database:
        yield PostgresLibraryStore(database, folder), PostgresJobStore(database, folder)


OPENERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Stores]]] = {
    "sqlite": open_sqlite_stores,
    "postgres": open_postgres_stores,
}


@pytest.fixture(params=OPENERS.values(), ids=[*OPENERS])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param is open_postgres_stores:
        request.getfixturevalue("postgres")
    async with request.param(tmp_path) as stores:
        yield stores


async def add(
    jobs: JobStore, *names: str, user_id: str = "ann", preset: str = "sd15", **fields: Any
) -> list[LibraryItem]:
    """Finish a job with these files."""
    job = await jobs.add(a_job(user_id, preset=preset, **fields))
    ended = replace(job, status=JobStatus.SUCCEEDED, finished_at=100.0)
    return [*await jobs.finish(ended, [file(name) for name in names])]


def ids(items: list[LibraryItem]) -> list[int]:
    return [item.id for item in items]


async def test_page_without_filters_has_the_newest_job_first_and_its_files_in_order(
    stores: Stores,
) -> None:
    library, jobs = stores
    first, second = await add(jobs, "a", "b")
    (third,) = await add(jobs, "c")
    await add(jobs, "d", user_id="bob")
    assert ids(await library.page(ItemQuery(user_id="ann"))) == [third.id, first.id, second.id]
    assert ids(await library.page(ItemQuery(user_id="ann", limit=1))) == [third.id]
    assert ids(await library.page(ItemQuery(user_id="ann", before=first.id))) == [second.id]


async def test_page_folded_has_the_newest_result_of_each_group(stores: Stores) -> None:
    library, jobs = stores
    first, second = await add(jobs, "a", "b", group_id="one")
    (third,) = await add(jobs, "c", group_id="one")
    (single,) = await add(jobs, "d")
    (other,) = await add(jobs, "e", group_id="two")

    async def found(**query: Any) -> list[int]:
        return ids(await library.page(ItemQuery(user_id="ann", **query)))

    assert await found(folded=True) == [other.id, single.id, third.id]
    assert await found(folded=True, before=single.id) == [third.id]
    assert await found(group_id="one") == [third.id, first.id, second.id]
    assert await found(group_id="one", text="c") == [third.id]
    assert {item.group_id for item in await library.items([third.id], "ann")} == {"one"}
    await library.set_deleted([third.id], "ann", 5.0)
    assert await found(folded=True) == [other.id, single.id, first.id]
    assert ids(await library.page(ItemQuery(user_id="bob", group_id="one"))) == []


async def test_page_with_filters_has_only_what_matches(stores: Stores) -> None:
    library, jobs = stores
    (harbor,) = await add(jobs, "harbor", preset="sd15")
    (meadow,) = await add(jobs, "meadow", preset="sdxl")
    await library.star(meadow.id, "ann", starred=True)

    async def found(**filters: object) -> list[int]:
        return ids(await library.page(ItemQuery(user_id="ann", **filters)))  # type: ignore[arg-type]

    assert await found(preset="sd15") == [harbor.id]
    assert await found(starred=True) == [meadow.id]
    assert await found(text="HARBOR") == [harbor.id]
    assert await found(kind="video") == []
    assert await found(since=harbor.created_at + 1e9) == []
    assert await found(until=harbor.created_at) == []
    assert await found(text="harbor preset:SD1 kind:image") == [harbor.id]
    assert await found(text="is:starred -harbor") == [meadow.id]
    assert await found(text="-harbor -meadow") == await found(text="before:1960") == []
    assert sorted(await library.presets("ann")) == ["sd15", "sdxl"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("oldest", ["Boat", "ark", "dune", "cliff"]),
        ("rating", ["Boat", "dune", "cliff", "ark"]),
        ("largest", ["ark", "dune", "Boat", "cliff"]),
        ("preset", ["ark", "cliff", "dune", "Boat"]),
        ("name", ["ark", "Boat", "cliff", "dune"]),
    ],
)
async def test_page_sorted_is_cut_into_pages_without_a_gap(
    stores: Stores, sort: ItemSort, expected: list[str]
) -> None:
    library, jobs = stores
    items = {}
    for name, preset, size in (
        ("Boat", "wan", 3), ("ark", "flux", 9), ("dune", "sdxl", 3), ("cliff", "sdxl", 1)
    ):  # fmt: skip
        job = await jobs.add(a_job("ann", preset=preset, prompt="a place"))
        stored = replace(file(name), size_bytes=size)
        (items[name],) = await jobs.finish(replace(job, status=JobStatus.SUCCEEDED), [stored])
    await library.rate([items["Boat"].id], "ann", 5)
    await library.rate([items["dune"].id], "ann", 3)
    for text in ("", "place", "-nowhere"):
        seen: list[LibraryItem] = []
        while page := await library.page(
            ItemQuery(
                user_id="ann",
                limit=1,
                sort=sort,
                text=text,
                before=seen[-1].id if seen else None,
                before_value=sort_value(seen[-1], sort) if seen else None,
            )
        ):
            seen += page
        assert [item.path.stem for item in seen] == expected


async def test_page_with_a_word_of_one_or_two_letters_has_every_text_with_it(
    stores: Stores,
) -> None:
    library, jobs = stores
    (owl,) = await add(jobs, "owl.zq", prompt="an Owl")
    (cat,) = await add(jobs, "b", prompt="\u732b", preset="qx")

    async def found(text: str) -> list[int]:
        return ids(await library.page(ItemQuery(user_id="ann", text=text)))

    assert await found("ow") == await found("zq") == await found("n owl") == [owl.id]
    assert await found("\u732b") == await found("qx") == await found("qx kind:image") == [cat.id]
    assert await found("zx") == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("qj at dawn", ["q", "qj", "j", "AT", "wn"]),
        ("it's a \\o/ :* 100%", ["'", "t's", "\\", "\\o", ":*", "%", "0%"]),
        ("\u732b\u304c\u5bdd\u308b", ["\u732b", "\u5bdd\u308b"]),
    ],
)
async def test_page_finds_words_of_one_or_two_letters(
    stores: Stores, prompt: str, words: list[str]
) -> None:
    library, jobs = stores
    (item,) = await add(jobs, prompt)
    await add(jobs, "-")
    for word in words:
        found = await library.page(ItemQuery(user_id="ann", text=f'"{word}"'))
        assert ids(found) == [item.id], word


async def test_usage_of_several_results_changed_at_once_is_their_sum(stores: Stores) -> None:
    library, jobs = stores
    items = await add(jobs, "a", "b", "c")
    await library.set_deleted(ids(items[:2]), "ann", 1.0)
    assert await library.usage("ann", None) == StorageUsage(9, 18, 0, None)
    await library.star(items[2].id, "ann", starred=True)
    assert await library.usage("ann", None) == StorageUsage(9, 18, 0, None)
    await library.purge(deleted_before=2.0, created_before=1e12)
    assert await library.usage("ann", None) == StorageUsage(9, 0, 0, None)


async def test_searches_are_saved_by_name_per_user(stores: Stores) -> None:
    library, _ = stores
    await library.save_search("ann", "Sea", {"text": "sea"}, now=1.0)
    await library.save_search("ann", "Best", {"rating": "5"}, now=2.0)
    assert await library.save_search("ann", "Sea", {"text": "ocean"}, now=3.0)
    assert await library.saved_searches("bob") == {}
    searches = await library.saved_searches("ann")
    assert [*searches.items()] == [("Sea", {"text": "ocean"}), ("Best", {"rating": "5"})]
    for number in range(2, saved_searches_table.MOST):
        assert await library.save_search("ann", str(number), {}, now=4.0)
    assert not await library.save_search("ann", "one more", {}, now=5.0)
    assert await library.save_search("ann", "Best", {}, now=5.0)
    await library.delete_search("ann", "Sea")
    await library.delete_search("bob", "Best")
    assert "Best" in await library.saved_searches("ann")
    assert await library.save_search("ann", "one more", {}, now=5.0)


async def test_page_with_models_or_a_seed_in_the_text_reads_the_job(stores: Stores) -> None:
    library, jobs = stores

    async def made(name: str, seed: int, **inputs: str) -> int:
        graph = {"1": {"class_type": "Loader", "inputs": inputs}}
        (item,) = await add(jobs, name, seed=seed, graph=graph, prompt="a flux of time")
        return item.id

    flux = await made("a", 1, ckpt_name="FLUX_dev.safetensors")
    ink = await made("b", 2**64 - 1, lora_name='Ink "Wash" ü.safetensors')

    async def found(text: str) -> list[int]:
        return ids(await library.page(ItemQuery(user_id="ann", text=text)))

    assert await found("flux") == [ink, flux]
    assert await found("model:flux") == [flux]
    assert await found("lora:ink flux") == [ink]
    assert await found("lora:ü.safe") == [ink]
    assert await found("lora:flux") == await found("seed:2") == []
    assert await found(f"seed:{2**64 - 1} time") == [ink]
    assert await found("seed:1 -time") == []


async def test_items_of_another_user_are_neither_read_nor_changed(stores: Stores) -> None:
    library, jobs = stores
    (item,) = await add(jobs, "a")
    assert await library.items([item.id], "bob") == []
    assert not await library.star(item.id, "bob", starred=True)
    assert await library.set_deleted([item.id], "bob", 1.0) == []
    assert await library.presets("bob") == []
    assert ids(await library.items([item.id, 7], "ann")) == [item.id]


async def test_set_deleted_hides_a_result_until_it_is_restored(stores: Stores) -> None:
    library, jobs = stores
    first, second = await add(jobs, "a", "b")
    assert await library.user_of(first.id) == "ann"
    assert await library.set_deleted([first.id], "ann", 1.0) == [first.id]
    assert await library.user_of(first.id) is None
    assert await library.set_deleted([first.id], "ann", 2.0) == []
    assert ids(await library.page(ItemQuery(user_id="ann"))) == [second.id]
    assert not await library.star(first.id, "ann", starred=True)
    assert await library.paths() == {"files/aa/a.png", "files/aa/b.png"}
    assert await library.set_deleted([first.id, second.id], "ann", None) == [first.id]
    assert len(await library.page(ItemQuery(user_id="ann"))) == 2


async def test_purge_returns_only_paths_that_no_result_uses(stores: Stores) -> None:
    library, jobs = stores
    mine, shared = await add(jobs, "a", "b")
    await add(jobs, "b", user_id="bob")
    await library.set_deleted([mine.id, shared.id], "ann", 10.0)
    assert await library.purge(deleted_before=10.0, created_before=0.0) == []
    purged = await library.purge(deleted_before=11.0, created_before=0.0)
    assert [*purged] == ["files/aa/a.png"]
    assert await library.set_deleted([mine.id], "ann", None) == []


async def test_deleted_page_has_own_deletions_latest_first_without_gaps(stores: Stores) -> None:
    library, jobs = stores
    a, b, c, d = await add(jobs, "a", "b", "c", "d")
    (other,) = await add(jobs, "e", user_id="bob")
    await library.set_deleted([other.id], "bob", 1.0)
    await library.set_deleted([b.id, c.id], "ann", 20.0)
    await library.set_deleted([a.id], "ann", 10.0)
    first = await library.deleted_page("ann", limit=1)
    rest = await library.deleted_page("ann", limit=5, before=(20.0, first[0].id))
    assert [(item.id, item.deleted_at) for item in [*first, *rest]] == [
        (b.id, 20.0),  # a job's files are in order, as in the library
        (c.id, 20.0),
        (a.id, 10.0),
    ]
    assert await library.items([a.id, d.id], "ann", deleted=True) == rest[1:]
    assert await library.items([a.id], "bob", deleted=True) == []


async def test_delete_forever_ends_the_way_back_and_waits_for_young_files(stores: Stores) -> None:
    library, jobs = stores
    deleted, kept = await add(jobs, "a", "b")
    assert await library.delete_forever([deleted.id], "ann") == []  # not deleted yet
    await library.set_deleted([deleted.id], "ann", 1e9)
    assert await library.delete_forever([deleted.id], "bob") == []
    assert await library.delete_forever([deleted.id, kept.id], "ann") == [deleted.id]
    assert await library.deleted_page("ann", limit=5) == []
    young, old = deleted.created_at, deleted.created_at + 1
    assert await library.purge(deleted_before=1e9, created_before=young) == []
    assert [*await library.purge(deleted_before=1e9, created_before=old)] == ["files/aa/a.png"]
    assert ids(await library.page(ItemQuery(user_id="ann"))) == [kept.id]


async def test_purge_oldest_stops_when_enough_bytes_are_free(stores: Stores) -> None:
    library, jobs = stores
    items = await add(jobs, "a", "b", "c")
    for deleted_at, item in enumerate(items, 10):
        await library.set_deleted([item.id], "ann", float(deleted_at))
    paths = await library.purge_oldest("ann", deleted_before=100.0, least_bytes=10)
    assert {*paths} == {
        "files/aa/a.png",
        "files/aa/b.png",
    }
    assert await library.set_deleted(ids(items), "ann", None) == [items[2].id]


async def test_usage_sums_results_deleted_results_and_uploads(stores: Stores) -> None:
    library, jobs = stores
    assert await library.usage("ann", 100) == StorageUsage(limit_bytes=100)
    first, _ = await add(jobs, "a", "b")
    await library.set_deleted([first.id], "ann", 1.0)
    await library.add_upload("photo.png", "ann", 5, now=1.0)
    await library.add_upload("sound.wav", "ann", 7, now=50.0)
    assert await library.usage("ann", None) == StorageUsage(9, 9, 12, None)
    await library.delete_missing_uploads({"photo.png"}, created_before=50.0)
    assert (await library.usage("ann", None)).upload_bytes == 12
    await library.delete_missing_uploads(set(), created_before=50.0)
    assert (await library.usage("ann", None)).upload_bytes == 7
    await library.delete_upload("sound.wav")
    assert (await library.usage("ann", None)).upload_bytes == 0


async def test_recovery_of_an_intact_store_is_empty(stores: Stores) -> None:
    assert stores[0].recovery == ""


async def test_favorites_belong_to_a_user_and_a_folder(stores: Stores) -> None:
    library, _ = stores
    for name in ("a.safetensors", "b.safetensors", "a.safetensors"):
        await library.save_favorite("ann", "loras", name, marked=True)
    await library.save_favorite("ann", "loras", "b.safetensors", marked=False)
    assert await library.favorites("ann", "loras") == {"a.safetensors"}
    assert await library.favorites("ann", "checkpoints") == set()
    assert await library.favorites("bob", "loras") == set()


async def test_ratings_belong_to_results_of_the_user(stores: Stores) -> None:
    library, jobs = stores
    first, second = await add(jobs, "a", "b")
    assert first.rating == 0
    assert await library.rate([first.id, second.id, 5], "ann", 4) == [first.id, second.id]
    assert await library.rate([second.id], "bob", 1) == []
    assert await library.rate([second.id], "ann", 2) == [second.id]
    assert [item.rating for item in await library.items(ids([first, second]), "ann")] == [4, 2]
    for text, expected in {
        "stars>=2": [first.id, second.id],
        "stars>=3": [first.id],
        "stars:2": [second.id],
        "stars<1": [],
    }.items():
        page = await library.page(ItemQuery(user_id="ann", text=text))
        assert sorted(ids(page)) == sorted(expected), text


async def test_labels_of_any_case_find_their_results(stores: Stores) -> None:
    library, jobs = stores
    first, second = await add(jobs, "a", "b")
    (theirs,) = await add(jobs, "c", user_id="bob")
    both = [first.id, second.id]
    assert await library.add_label([*both, theirs.id], "ann", "tag", "Sea") == both
    assert await library.add_label([first.id], "ann", "tag", "SEA") == [first.id]
    assert await library.add_label([first.id], "ann", "collection", "Summer show") == [first.id]
    assert await library.labels("ann", "tag") == [Label("tag", "Sea", 2)]
    assert await library.labels("bob", "tag") == []
    labels = [Label("tag", "Sea"), Label("collection", "Summer show")]
    assert await library.labels_of(first.id, "ann") == labels
    for text, expected in {
        "tag:sea": both,
        'in:"summer SHOW"': [first.id],
        'tag:sea in:"summer show"': [first.id],
        "tag:se": [],
        'in:"summer show" stars>=1': [],
    }.items():
        page = await library.page(ItemQuery(user_id="ann", text=text))
        assert sorted(ids(page)) == sorted(expected), text
    assert await library.remove_label([first.id, 5], "ann", "tag", "sEa") == [first.id]
    assert await library.labels("ann", "tag") == [Label("tag", "Sea", 1)]


async def test_label_renamed_to_an_existing_one_takes_its_results(stores: Stores) -> None:
    library, jobs = stores
    first, second = await add(jobs, "a", "b")
    await library.add_label([first.id], "ann", "tag", "sea")
    await library.add_label([first.id, second.id], "ann", "tag", "ocean")
    await library.rename_label("bob", "tag", "sea", "lake")
    await library.rename_label("ann", "tag", "SEA", "Ocean")
    assert await library.labels("ann", "tag") == [Label("tag", "Ocean", 2)]
    await library.rename_label("ann", "tag", "ocean", "OCEAN")
    assert await library.labels("ann", "tag") == [Label("tag", "OCEAN", 2)]
    await library.rename_label("ann", "tag", "ocean", "")
    assert await library.labels("ann", "tag") == []


async def test_labels_of_deleted_results_return_with_them_and_end_with_a_purge(
    stores: Stores,
) -> None:
    library, jobs = stores
    (item,) = await add(jobs, "a")
    await library.add_label([item.id], "ann", "collection", "Show")
    await library.set_deleted([item.id], "ann", 5.0)
    assert await library.labels("ann", "collection") == []
    assert await library.add_label([item.id], "ann", "tag", "sea") == []
    await library.set_deleted([item.id], "ann", None)
    assert await library.labels("ann", "collection") == [Label("collection", "Show", 1)]
    await library.set_deleted([item.id], "ann", 5.0)
    await library.purge(deleted_before=6.0, created_before=1e12)
    assert await library.labels_of(item.id, "ann") == []


async def test_labels_of_a_user_are_limited(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels_table, "MOST_NAMES", 2)
    library, jobs = stores
    (item,) = await add(jobs, "a")
    for name in ("a", "b"):
        assert await library.add_label([item.id], "ann", "tag", name) == [item.id]
    assert await library.add_label([item.id], "ann", "tag", "c") == []
    assert await library.add_label([item.id], "ann", "tag", "A") == [item.id]


async def test_children_are_results_of_jobs_with_that_parent(stores: Stores) -> None:
    library, jobs = stores
    (parent,) = await add(jobs, "parent.png")
    job = await jobs.add(replace(a_job("ann"), parent_id=parent.id))
    ended = replace(job, status=JobStatus.SUCCEEDED, finished_at=101.0)
    first, second = await jobs.finish(ended, [file("a.png"), file("b.png")])
    assert first.parent_id == parent.id
    assert (await library.items([second.id], "ann"))[0].parent_id == parent.id
    assert await library.children(parent.id, "ann", limit=9) == [first, second]
    assert await library.children(parent.id, "ann", limit=1) == [first]
    assert await library.children(parent.id, "bob", limit=9) == []
    await library.set_deleted([first.id], "ann", 5.0)
    assert ids(await library.children(parent.id, "ann", limit=9)) == [second.id]


async def test_recent_presets_are_those_of_the_last_jobs(stores: Stores) -> None:
    library, jobs = stores
    for at, preset in enumerate(("sdxl", "sd15", "flux", "sd15")):
        job = await jobs.add(replace(a_job("ann"), preset=preset))
        await jobs.finish(replace(job, status=JobStatus.SUCCEEDED, finished_at=float(at + 1)), [])
    assert await library.recent_presets("ann", limit=9) == ["sd15", "flux", "sdxl"]
    assert await library.recent_presets("ann", limit=2) == ["sd15", "flux"]
    assert await library.recent_presets("bob", limit=9) == []


async def test_preset_defaults_are_each_users_own_until_deleted(stores: Stores) -> None:
    library, _ = stores
    await library.save_preset_defaults("ann", "sd15", {"steps": 9})
    await library.save_preset_defaults("ann", "sd15", {"steps": 12, "sampler": "euler"})
    assert await library.preset_defaults("ann", "sd15") == {"steps": 12, "sampler": "euler"}
    assert await library.preset_defaults("ann", "sdxl") == {}
    assert await library.preset_defaults("bob", "sd15") == {}
    await library.save_preset_defaults("ann", "sd15", {})
    assert await library.preset_defaults("ann", "sd15") == {}
