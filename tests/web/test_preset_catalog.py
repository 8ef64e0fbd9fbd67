from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from comfy_ui.errors import ComfyUIOfflineError, MissingModel, Problem
from comfy_ui.health import HealthReport, HealthVerdict
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.storage.records import JobError, QueueCounts, ServerStatus
from comfy_ui.web.components.preset_picker import cover, picker, readiness
from comfy_ui.web.components.server_cards import servers_panel
from comfy_ui.web.preset_catalog import CatalogEntry, PresetCatalog, grouped
from comfy_ui.web.tabs.create.create_form import CreateForm
from comfy_ui.web.tabs.presets_panel import gpu_memory_bytes, presets_panel, suggestions
from comfy_ui.workflow.checks.requirements import version_problem
from comfy_ui.workflow.presets.preset_store import list_presets
from tests.web.support import GRAPH, Page, preset

MODEL = MissingModel("vae", "<a>.safetensors", "https://x.org/a", 335_000_000, gated=True)
MISSING_MODEL = Problem(
    "missing_model", "The server has no model file 'a'.", extra={"model": MODEL}
)
MISSING_NODE = Problem(
    "missing_node", "No class 'X'.", extra={"url": "https://x.org/p", "pack": "P"}
)
WARNING = Problem("old", "Old.", severity="warning")


def test_catalog_entry_summarizes_missing_models_and_nodes() -> None:
    assert CatalogEntry(preset()).ready is None
    assert CatalogEntry(preset(), ()).ready is True
    assert CatalogEntry(preset(), (WARNING,)).ready is True
    assert CatalogEntry(preset(), (MISSING_MODEL,)).lack == "1 model missing"
    assert CatalogEntry(preset(), (MISSING_MODEL, MISSING_MODEL)).lack == "2 models missing"
    assert CatalogEntry(preset(), (MISSING_NODE,)).lack == "1 node missing"
    assert CatalogEntry(preset(), ()).reason == ""
    assert CatalogEntry(preset(), (MISSING_MODEL, MISSING_NODE)).reason == (
        "The server has no model file 'a' (and 1 more): see Status."
    )


def test_picker_marks_paid_presets_only() -> None:
    free = picker([CatalogEntry(preset(), ())], preset().id)
    assert "Paid" not in free
    paid = picker([CatalogEntry(preset(), (), paid=True)], preset().id)
    assert paid.count(">Paid<") == 2  # the chosen preset, and its place in the list


def test_grouped_puts_every_shipped_preset_in_one_group() -> None:
    listed = [CatalogEntry(one) for one in list_presets()]
    ids = [entry.preset.id for _, entries in grouped(listed) for entry in entries]
    assert sorted(ids) == sorted(entry.preset.id for entry in listed)


def test_presets_panel_lists_missing_files_with_folder_size_and_link() -> None:
    page = Page(
        presets_panel(
            [CatalogEntry(preset(), (MISSING_MODEL, MISSING_NODE)), CatalogEntry(preset("b"), ())]
        )
    )
    for text in ("1 of 2 ready", "<a>.safetensors", "models/vae", "335 MB", "needs a login"):
        assert text in page.text
    assert [a["href"] for a in page.all("a")] == ["https://x.org/a", "https://x.org/p"]


def test_presets_panel_many_are_behind_one_line_for_each_state() -> None:
    complete = [CatalogEntry(preset(f"c{at}"), ()) for at in range(3)]
    few, many = (
        [CatalogEntry(preset(f"p{at}"), (MISSING_NODE,)) for at in range(n)] for n in (2, 9)
    )
    page = Page(presets_panel([*complete, *few]))
    assert len(page.all("details", class_="preset lacking")) == 2
    assert [page.text.count(text) for text in ("3 presets", "Incomplete")] == [1, 0]
    page = Page(presets_panel([*complete, *many]))
    assert page.text.index("9 presets") < page.text.index("3 presets")
    assert "1 presetReady" in Page(presets_panel(complete[:1])).text
    assert "ComfyUI is offline" in Page(presets_panel(complete, online=False)).text


def lacking(name: str, vram_gb: float, size_bytes: int, **changes: Any) -> CatalogEntry:
    """A preset that a download of that size makes ready, unless ``changes`` say otherwise."""
    gated, kind = changes.pop("gated", False), changes.pop("kind", "image")
    model = MissingModel("vae", f"{name}.safetensors", "https://x.org/a", size_bytes, gated=gated)
    problems: tuple[Problem, ...] = (Problem("missing_model", "No model.", extra={"model": model}),)
    outputs = [{"node": "4", "kind": kind}]
    if name == "lacks-a-node":
        problems += (MISSING_NODE,)
    return CatalogEntry(preset(name, vram_gb=vram_gb, outputs=outputs, **changes), problems)


def test_suggestions_fit_the_gpu_and_lack_only_free_downloads(tmp_path: Path) -> None:
    entries = [
        CatalogEntry(preset("ready", vram_gb=8), ()),
        lacking("small", 8, 5_000_000_000),
        lacking("best", 12, 20_000_000_000),
        lacking("best-but-larger", 12, 30_000_000_000),
        lacking("too-large", 24, 6_000_000_000),
        lacking("gated", 12, 4_000_000_000, gated=True),
        lacking("lacks-a-node", 12, 4_000_000_000),
        lacking("film", 12, 18_000_000_000, kind="video"),
    ]
    folders = ModelFolders(tmp_path)
    suggested = suggestions(entries, 12 << 30, folders)
    assert [entry.preset.id for entry in suggested] == ["small", "best", "film"]
    assert suggestions(entries, 2 << 30, folders) == []
    page = Page(presets_panel(entries, folders, vram_bytes=12 << 30))
    assert "Fits your 12 GB" in page.text
    buttons = page.all("button", data_do="fetch-models", data_file=None)
    assert [a["data-form"] for a in buttons] == ["small", "best", "film"]
    assert "Fits your" not in Page(presets_panel(entries, vram_bytes=12 << 30)).text
    assert "Fits your" not in Page(presets_panel(entries, folders)).text


def test_gpu_memory_is_that_of_the_largest_gpu() -> None:
    gpu, cpu = {"type": "cuda", "vram_total": 8 << 30}, {"type": "cpu", "vram_total": 64 << 30}
    servers = [
        ServerStatus(online=True, url="http://gpu", checked_at=0.0, devices=devices)
        for devices in ((gpu,), (cpu,), ())
    ]
    assert gpu_memory_bytes(servers) == 8 << 30
    assert gpu_memory_bytes(servers[1:]) == 0


def test_picker_marks_the_current_preset_and_offers_all() -> None:
    page = Page(
        picker([CatalogEntry(preset("a"), ()), CatalogEntry(preset("b"), (MISSING_MODEL,))], "b")
    )
    assert [a["data-preset"] for a in page.all("button", data_send="choose")] == ["a", "b"]
    assert page.all("button", aria_current="true")[0]["data-preset"] == "b"
    assert "1 model missing" in page.text


class Client:
    """Returns an object_info, or raises that the server is offline."""

    def __init__(self, info: Any, url: str = "http://gpu") -> None:
        self.info = info
        self.url = url

    async def object_info(self, *, fresh: bool = False) -> NodeRegistry:
        if self.info is None:
            raise ComfyUIOfflineError("away")
        return NodeRegistry(self.info)


async def test_catalog_refresh_while_offline_keeps_the_last_object_info() -> None:
    client: Any = Client({})
    catalog = PresetCatalog(client, list_presets())
    assert catalog.entries[0].ready is None
    await catalog.refresh()
    assert catalog.entries[0].ready is False
    client.info = None
    await catalog.refresh()
    assert catalog.entries[0].ready is False


async def test_catalog_with_several_servers_uses_the_most_complete() -> None:
    loader = {"input": {"required": {"ckpt_name": [["a.safetensors"]]}}}
    spec = {"input": {"required": {}}, "output": []}
    complete = {name: spec for node in GRAPH.values() for name in [node["class_type"]]}
    one: Any = Client({"Loader": loader}, "http://one")
    other: Any = Client(complete, "http://other")
    catalog = PresetCatalog(one, [preset()], others=[other])
    catalog._look = lambda _: ((catalog._entry(preset(), opened=False, tool=False),), ())  # type: ignore[method-assign]
    await catalog.refresh()
    assert catalog.entries[0].ready is True
    assert catalog.library is not None
    assert {"Loader", "KSampler"} <= {*catalog.library}
    await catalog.refresh(versions={"http://one": "0.3.64"})  # the other is away now
    assert catalog.entries[0].ready is True


def catalog_of(*entries: CatalogEntry) -> PresetCatalog:
    client: Any = Client({})
    catalog = PresetCatalog(client, [])
    catalog.entries = entries
    return catalog


def test_catalog_entry_of_unknown_preset_is_the_first_before_a_check() -> None:
    catalog = catalog_of(CatalogEntry(preset("a")), CatalogEntry(preset("b")))
    assert catalog.entry("b").preset.id == "b"
    assert catalog.entry("gone").preset.id == "a"
    assert catalog.entry(None).preset.id == "a"


def test_catalog_entry_of_unknown_preset_is_the_first_ready_one() -> None:
    lacking = CatalogEntry(preset("lacking"), (MISSING_MODEL,))
    opened = CatalogEntry(preset("opened"), (), opened=True)
    upscale = CatalogEntry(preset("upscale", task="upscale"), ())
    image = CatalogEntry(preset("image"), (WARNING,))
    assert catalog_of(lacking, opened, upscale, image).entry(None).preset.id == "image"
    assert catalog_of(lacking, opened, upscale).entry(None).preset.id == "upscale"
    assert catalog_of(lacking, lacking).entry(None) is lacking
    assert catalog_of(lacking, image).entry("lacking") is lacking


def test_create_form_without_a_ready_preset_says_so() -> None:
    lacking = CatalogEntry(preset("lacking"), (MISSING_MODEL,))
    ready = CatalogEntry(preset("ready"), ())

    def notice(*entries: CatalogEntry) -> str:
        services: Any = SimpleNamespace(catalog=catalog_of(*entries))
        return Page(CreateForm(services).show(entries[0].preset.id, {})[-1]).text

    assert "No preset can run on this server yet." in notice(lacking)
    assert "no model file 'a'" in notice(lacking)
    assert notice(lacking, ready).strip() == "The server has no model file 'a': see Status."
    assert notice(ready, lacking) == ""


def test_readiness_while_no_server_answers_is_not_ready() -> None:
    ready = CatalogEntry(preset(), ())
    lacking = CatalogEntry(preset(), (Problem("missing_node", "x"),))
    assert readiness(ready).text == "Ready"
    assert readiness(ready, online=False).text == "ComfyUI is offline"
    assert readiness(lacking, online=False) == readiness(lacking)
    assert "ComfyUI is offline" in picker([ready], "test", online=False)


def test_servers_panel_open_circuit_names_the_next_attempt() -> None:
    health = HealthReport(
        url="http://gpu",
        verdict=HealthVerdict.UNREACHABLE,
        advice="",
        since=0.0,
        checked_at=0.0,
        breaker="open",
        retry_after_s=7.0,
    )
    status = ServerStatus(online=False, url="http://gpu", checked_at=0.0, health=health)
    html = servers_panel([status], counts=QueueCounts(0, 33), embedded=False, private=True)
    assert "<dt>Next attempt</dt><dd>in 7 s</dd>" in html
    assert "Circuit" not in html


def test_servers_panel_for_users_hides_the_address() -> None:
    status = ServerStatus(
        online=False,
        url="http://10.0.0.5:8188",
        checked_at=0.0,
        error=JobError("Nothing answers at http://10.0.0.5:8188."),
    )
    admin_html = servers_panel(
        [status], counts=QueueCounts(0, 33), embedded=False, private=True, free=True
    )
    user_html = servers_panel([status], counts=QueueCounts(0, 33), embedded=False, private=False)
    assert "10.0.0.5" in admin_html
    assert "10.0.0.5" not in user_html
    assert "Offline" in user_html
    assert "0 running, 33 waiting" in user_html
    assert "free" not in {a.get("data-send") for a in Page(user_html).all("button")}


def test_cover_exists_for_every_shipped_preset() -> None:
    assert [preset.id for preset in list_presets() if cover(preset) is None] == []


def test_catalog_entry_old_server_shows_the_needed_version() -> None:
    problems = (*version_problem("0.41.0", "0.33.0"), Problem("missing_node", "x"))
    assert CatalogEntry(preset(), problems).lack == "Needs ComfyUI 0.41.0"
