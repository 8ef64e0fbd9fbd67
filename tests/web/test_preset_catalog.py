from __future__ import annotations

from typing import Any

from comfy_ui.errors import ComfyUIOfflineError, MissingModel, Problem
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.web.components.preset_picker import cover, picker
from comfy_ui.web.preset_catalog import CatalogEntry, PresetCatalog, grouped
from comfy_ui.web.tabs.status_tab import presets_panel
from comfy_ui.workflow.checks.requirements import version_problem
from comfy_ui.workflow.presets.preset_store import list_presets
from tests.web.support import GRAPH, Page, preset

MODEL = MissingModel("vae", "<a>.safetensors", "https://x.org/a", 335_000_000, gated=True)
LACKS_MODEL = Problem("missing_model", "The server has no model file 'a'.", extra={"model": MODEL})
LACKS_NODE = Problem("missing_node", "No class 'X'.", extra={"url": "https://x.org/p", "pack": "P"})
WARNING = Problem("old", "Old.", severity="warning")


def test_an_entry_says_in_words_what_it_lacks() -> None:
    assert CatalogEntry(preset()).ready is None
    assert CatalogEntry(preset(), ()).ready is True
    assert CatalogEntry(preset(), (WARNING,)).ready is True
    assert CatalogEntry(preset(), (LACKS_MODEL,)).lack == "1 model missing"
    assert CatalogEntry(preset(), (LACKS_MODEL, LACKS_MODEL)).lack == "2 models missing"
    assert CatalogEntry(preset(), (LACKS_NODE,)).lack == "1 node missing"
    assert CatalogEntry(preset(), ()).reason == ""
    assert CatalogEntry(preset(), (LACKS_MODEL, LACKS_NODE)).reason == (
        "The server has no model file 'a' (and 1 more): see Status."
    )


def test_every_shipped_preset_stands_in_one_group() -> None:
    listed = [CatalogEntry(one) for one in list_presets()]
    found = [entry.preset.id for _, entries in grouped(listed) for entry in entries]
    assert sorted(found) == sorted(entry.preset.id for entry in listed)


def test_status_names_each_missing_file_with_folder_size_and_link() -> None:
    page = Page(
        presets_panel(
            [CatalogEntry(preset(), (LACKS_MODEL, LACKS_NODE)), CatalogEntry(preset("b"), ())]
        )
    )
    for told in ("1 of 2 ready", "<a>.safetensors", "models/vae", "335 MB", "needs a login"):
        assert told in page.text
    assert [a["href"] for a in page.all("a")] == ["https://x.org/a", "https://x.org/p"]


def test_the_picker_shows_the_chosen_preset_and_offers_all() -> None:
    page = Page(
        picker([CatalogEntry(preset("a"), ()), CatalogEntry(preset("b"), (LACKS_MODEL,))], "b")
    )
    assert [a["data-preset"] for a in page.all("button", data_send="choose")] == ["a", "b"]
    assert page.all("button", aria_current="true")[0]["data-preset"] == "b"
    assert "1 model missing" in page.text


class Client:
    """Answers with a node list, or not at all."""

    def __init__(self, info: Any, url: str = "http://gpu") -> None:
        self.info = info
        self.url = url

    async def object_info(self, *, fresh: bool = False) -> NodeRegistry:
        if self.info is None:
            raise ComfyUIOfflineError("away")
        return NodeRegistry(self.info)


async def test_an_answer_is_kept_while_the_server_is_away() -> None:
    client: Any = Client({})
    catalog = PresetCatalog(client, list_presets())
    assert catalog.entries[0].ready is None
    await catalog.refresh()
    assert catalog.entries[0].ready is False
    client.info = None
    await catalog.refresh()
    assert catalog.entries[0].ready is False


async def test_of_several_servers_the_one_that_lacks_least_counts() -> None:
    loader = {"input": {"required": {"ckpt_name": [["a.safetensors"]]}}}
    spec = {"input": {"required": {}}, "output": []}
    whole = {name: spec for node in GRAPH.values() for name in [node["class_type"]]}
    one: Any = Client({"Loader": loader}, "http://one")
    other: Any = Client(whole, "http://other")
    catalog = PresetCatalog(one, [preset()], others=[other])
    catalog._look = lambda _: ((catalog._entry(preset(), opened=False),), ())  # type: ignore[method-assign]
    await catalog.refresh()
    assert catalog.entries[0].ready is True
    assert catalog.library is not None
    assert {"Loader", "KSampler"} <= {*catalog.library}
    await catalog.refresh(versions={"http://one": "0.3.64"})  # the other is away now
    assert catalog.entries[0].ready is True


def test_an_unknown_preset_falls_back_to_the_first() -> None:
    client: Any = Client({})
    catalog = PresetCatalog(client, [preset("a"), preset("b")])
    assert catalog.entry("b").preset.id == "b"
    assert catalog.entry("gone").preset.id == "a"
    assert catalog.entry(None).preset.id == "a"


def test_visitors_do_not_see_the_servers_address() -> None:
    from comfy_ui.storage.records import JobError, ServerStatus
    from comfy_ui.web.components.server_cards import servers_panel

    status = ServerStatus(
        online=False,
        url="http://10.0.0.5:8188",
        checked_at=0.0,
        error=JobError("Nothing answers at http://10.0.0.5:8188."),
    )
    user_id = servers_panel([status], embedded=False, private=True, free=True)
    visitor = servers_panel([status], embedded=False, private=False)
    assert "10.0.0.5" in user_id
    assert "10.0.0.5" not in visitor
    assert "Offline" in visitor
    assert "free" not in {a.get("data-send") for a in Page(visitor).all("button")}


def test_every_shipped_preset_has_a_cover() -> None:
    assert [preset.id for preset in list_presets() if cover(preset) is None] == []


def test_a_server_that_is_too_old_is_told_in_a_few_words() -> None:
    problems = (*version_problem("0.41.0", "0.33.0"), Problem("missing_node", "x"))
    assert CatalogEntry(preset(), problems).lack == "Needs ComfyUI 0.41.0"
