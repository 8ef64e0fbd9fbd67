"""Opened workflows, dropped files and their requirements, without a browser."""

from __future__ import annotations

import doctest
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import (
    ComfyUIOfflineError,
    InvalidWorkflowError,
    MissingModel,
    Problem,
    ServerRejectedError,
)
from comfy_ui.library.saved_workflows import SavedWorkflows
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.web import open_workflows as open_workflows_module
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.components import workflow_report as needs_module
from comfy_ui.web.components.workflow_report import needs
from comfy_ui.web.open_workflows import OpenWorkflows
from comfy_ui.web.preset_catalog import PresetCatalog
from comfy_ui.web.tab import PageContext
from comfy_ui.web.tabs.create.create_form import CreateForm
from comfy_ui.web.tabs.create.dropped_files import DroppedFiles
from comfy_ui.web.tabs.workflows.workflow_picker import WorkflowPicker, ask, source_list
from comfy_ui.web.tabs.workflows.workflows_tab import WorkflowsTab
from comfy_ui.workflow.presets.preset_files import graph_text, sidecar_text
from comfy_ui.workflow.presets.preset_store import compile_workflow, get_preset
from tests.web.support import Page
from tests.web.test_access import request as make_request
from tests.workflow import media

BLUR: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


class FakeServices:
    """The services that the Workflows tab uses, over the real engine."""

    keeps_opened = True
    addable_packs: frozenset[str] = frozenset()

    def __init__(self, client: ComfyWSClient, folder: Path) -> None:
        self.client = client
        self.saved_workflows = SavedWorkflows(folder)
        opened = self.saved_workflows.opened
        self.catalog = PresetCatalog(
            client, [], folders=[self.saved_workflows.presets, opened], opened_folder=opened
        )
        self.connection: Any = self
        self.model_folders = ModelFolders()
        self.open_workflows = OpenWorkflows(self.connection, self.saved_workflows)


@pytest.fixture
async def services(engine: Any, tmp_path: Path) -> AsyncIterator[Any]:
    async with ComfyWSClient(url=engine.url) as client:
        fake = FakeServices(client, tmp_path)
        await fake.catalog.refresh()
        yield fake


def test_open_workflows_doctests_pass() -> None:
    assert doctest.testmod(open_workflows_module).failed == 0
    assert doctest.testmod(needs_module).failed == 0


async def test_open_workflows_keep_adds_the_workflow_to_the_catalog(services: Any) -> None:
    opened = await services.open_workflows.open(json.dumps(BLUR).encode(), title="Plain")
    assert opened.errors == ()
    assert services.catalog.find(opened.id) is None
    await services.open_workflows.keep(opened.id)
    entry = services.catalog.entry(opened.id)
    assert (entry.preset.id, entry.opened, entry.ready) == (opened.id, True, True)


async def test_open_workflows_of_another_app_or_run_is_found_edited_and_not_run(
    services: Any, tmp_path: Path
) -> None:
    services.keeps_opened = False
    opened = await services.open_workflows.open(json.dumps(BLUR).encode(), title="Plain")
    other = FakeServices(services.client, tmp_path)
    other.catalog = PresetCatalog(services.client, [], folders=[other.saved_workflows.presets])
    await other.catalog.refresh()
    assert other.open_workflows.find(opened.id) is None
    found = await other.open_workflows.recall(opened.id)
    assert found == opened
    await other.open_workflows.edit(found.preset.model_copy(update={"title": "Edited"}))
    restarted = FakeServices(services.client, tmp_path).open_workflows
    assert (await restarted.recall(opened.id)).title == "Edited"
    assert other.catalog.find(opened.id) is None, "it is no preset yet"
    assert await other.open_workflows.recall("../secret") is None


async def test_open_workflows_missing_input_file_leaves_the_param_empty(services: Any) -> None:
    graph = json.loads(json.dumps(BLUR))
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "gone.png"}}
    opened = await services.open_workflows.open(json.dumps(graph).encode(), title="x")
    assert opened.errors == ()
    assert opened.preset.by_role("image").default is None


async def test_open_workflows_invalid_value_is_a_warning(services: Any) -> None:
    graph = json.loads(json.dumps(BLUR))
    graph["1"]["inputs"]["batch_size"] = 10**9
    opened = await services.open_workflows.open(json.dumps(graph).encode(), title="x")
    assert [problem.severity for problem in opened.problems] == ["warning"]


async def test_open_workflows_unknown_node_is_an_error_in_both_formats(services: Any) -> None:
    graph = {**BLUR, "1": {"class_type": "NoSuchNode", "inputs": {}}}
    links = [[1, 1, 0, 2, 0, "IMAGE"]]
    out = [{"name": "IMAGE", "type": "IMAGE", "links": [1]}]
    taken = [{"name": "images", "type": "IMAGE", "link": 1}]
    editor = {
        "version": 0.4,
        "links": links,
        "nodes": [
            {"id": 1, "type": "NoSuchNode", "inputs": [], "outputs": out},
            {"id": 2, "type": "SaveImage", "inputs": taken, "outputs": []},
        ],
    }
    for workflow in (graph, editor):
        opened = await services.open_workflows.open(json.dumps(workflow).encode(), title="x")
        assert opened.preset is None
        assert [problem.kind for problem in opened.errors] == ["missing_node"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b'{"1": 2}', b"\x89PNG", b"[" * 100_000]
)
async def test_open_workflows_invalid_content_raises_invalid_workflow_error(
    services: Any, content: bytes
) -> None:
    with pytest.raises(InvalidWorkflowError):
        await services.open_workflows.open(content, title="x")


async def test_open_workflows_local_path_is_refused(services: Any, tmp_path: Path) -> None:
    (tmp_path / "flow.json").write_text(json.dumps(BLUR))
    with pytest.raises(InvalidWorkflowError):
        await services.open_workflows.open(str(tmp_path / "flow.json").encode(), title="x")


async def test_open_workflows_offline_server_raises_offline_error(tmp_path: Path) -> None:
    async with ComfyWSClient(url="http://127.0.0.1:9") as client:
        alone: Any = FakeServices(client, tmp_path)
        with pytest.raises(ComfyUIOfflineError):
            await alone.open_workflows.open(json.dumps(BLUR).encode(), title="x")


# Dropped files


async def look(
    services: Any, content: bytes, *, trusted: bool = True
) -> tuple[Any, dict[str, Any]]:
    drops = DroppedFiles(services, Access(AccessMode.LOCAL, b"s"), CreateForm(services))
    summary = await drops.look(content, "name.png", "ann", trusted=trusted)
    return services.open_workflows.take_up(summary["id"], "ann"), summary


async def test_dropped_files_own_image_restores_form_and_values(services: Any) -> None:
    dropped, summary = await look(services, media.png())
    assert (dropped.form, dropped.prompt, dropped.seed) == ("sdxl", "ein Füchslein 🦊", 7)
    assert summary["source"] == "this app"


async def test_dropped_files_untrusted_user_gets_values_but_no_form(services: Any) -> None:
    graph = json.dumps(get_preset("sdxl").graph)
    dropped, summary = await look(services, media.png({"prompt": graph}), trusted=False)
    assert dropped.form is None
    assert {"steps", "cfg", "width", "height"} <= dropped.by_role.keys()
    assert summary["all"] is True
    with pytest.raises(InvalidWorkflowError, match="Only admins"):
        await look(services, json.dumps(BLUR).encode(), trusted=False)


async def test_dropped_files_image_of_a1111_gives_its_loras_to_the_form(services: Any) -> None:
    parameters = "a cat <lora:fluffy:0.7>\nSteps: 20, Seed: 1"
    dropped, summary = await look(services, media.png({"parameters": parameters}))
    loras = [{"name": "fluffy", "strength": 0.7}]
    assert (dropped.prompt, dropped.by_role["loras"]) == ("a cat", loras)
    assert summary["loras"] == "fluffy"


async def test_dropped_files_image_of_comfyui_gives_its_loras_to_the_form(services: Any) -> None:
    graph = compile_workflow("sdxl", prompt="a cat", loras=[("ink_wash_sdxl.safetensors", 0.6)])
    content = media.png({"prompt": json.dumps(graph)})
    dropped, summary = await look(services, content, trusted=False)
    assert dropped.by_role["loras"] == [{"name": "ink_wash_sdxl.safetensors", "strength": 0.6}]
    assert summary["loras"] == "ink_wash_sdxl.safetensors"


async def test_dropped_files_take_up_by_another_user_is_refused(services: Any) -> None:
    _, summary = await look(services, media.png())
    with pytest.raises(Exception, match="no longer available"):
        services.open_workflows.take_up(summary["id"], "eve")


# Presets from folders


async def test_catalog_look_adds_new_presets_without_restart(services: Any) -> None:
    folder = services.saved_workflows.presets
    folder.mkdir(parents=True)
    sdxl = get_preset("sdxl")
    (folder / "ours.json").write_text(graph_text(sdxl))
    (folder / "ours.toml").write_text(sidecar_text(sdxl))
    (folder / "broken.json").write_text(graph_text(sdxl))
    (folder / "broken.toml").write_text(sidecar_text(sdxl).replace('node = "', 'node = "no'))
    before = services.catalog.entry("sdxl")
    await services.catalog.look()
    assert services.catalog.entry("ours").preset.id == "ours"
    assert services.catalog.entry("sdxl") is before
    (problem,) = services.catalog.broken
    assert "broken.toml" in problem.message
    assert "not in the graph" in problem.message


# What is missing


def test_requirements_list_each_missing_item_once_with_link() -> None:
    model = MissingModel("vae", "<i>.safetensors", "https://x.org/a", 335_000_000, "MIT")
    file = Problem("missing_model", "No file.", extra={"model": model})
    node = Problem(
        "missing_node", "No 'X'.", "Install it.", extra={"url": "https://x.org/p", "pack": "P"}
    )
    page = Page(needs([file, file, node, node]))
    assert page.text.count("<i>.safetensors") == 1
    assert page.text.count("No 'X'.") == 1
    for text in ("models/vae", "335 MB", "MIT"):
        assert text in page.text
    assert [a["href"] for a in page.all("a")] == ["https://x.org/a", "https://x.org/p"]
    (copy,) = [a["data-copy"] for a in page.all("button") if "data-copy" in a]
    assert copy == "models/vae/<i>.safetensors  335 MB  https://x.org/a"


def test_requirements_node_pack_that_can_be_added_has_a_button_for_it() -> None:
    node = Problem(
        "missing_node", "No 'X'.", "Clone it.", extra={"url": "https://x.org/p", "pack": "P"}
    )
    page = Page(needs([node], packs={"P"}))
    (button,) = page.all("button")
    assert (button["data-do"], button["data-pack"]) == ("add-pack", "P")
    assert "Clone it." not in page.text
    assert Page(needs([node], packs={"Q"})).all("button") == []


# What can be picked

TEMPLATES = [{"title": "Video", "templates": [{"name": "wan", "title": "Wan: text to video"}]}]


def groups(listed: str) -> list[str]:
    """The groups that list something, without the shipped presets."""
    parts = [Page(f"<details{part}") for part in listed.split("<details")[1:]]
    named = [str(part.all("details")[0]["data-group"]) for part in parts if part.all("button")]
    return [name for name in named if name != "Shipped presets"]


@pytest.fixture
def templates_index(engine: Any) -> Path:
    """The engine's index of official templates; the engine has a saved workflow, too."""
    saved = engine.folder / "user" / "workflows"
    saved.mkdir(parents=True)
    (saved / "Mine.json").write_text(json.dumps(BLUR))
    index: Path = engine.folder / "templates" / "index.json"
    index.parent.mkdir()
    index.write_text(json.dumps(TEMPLATES))
    return index


def write(index: Path, content: object) -> None:
    index.write_text(content if isinstance(content, str) else json.dumps(content))


async def test_source_list_failed_source_shows_reason_and_retry_button(
    services: Any, templates_index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(templates_index, "{")
    offers = await ask(services)
    listed = source_list(services, offers)
    assert not offers.whole
    assert groups(listed) == ["Saved in ComfyUI"]
    assert "The official templates are not listed." in listed
    assert "The workflows saved" not in listed
    assert [b["data-send"] for b in Page(listed).all("button", class_="act")] == ["again"]
    assert "official templates" in caplog.text

    write(templates_index, TEMPLATES)
    offers = await ask(services)
    listed = source_list(services, offers)
    assert offers.whole
    assert groups(listed) == ["Saved in ComfyUI", "Official templates"]
    assert "not listed" not in listed


async def test_source_list_same_reason_for_all_is_shown_once(tmp_path: Path) -> None:
    async with ComfyWSClient(url="http://127.0.0.1:9", timeout=2) as client:
        alone: Any = FakeServices(client, tmp_path)
        listed = Page(source_list(alone, await ask(alone)))
    assert listed.text.count("are not listed.") == 3
    assert listed.text.count("127.0.0.1:9") == 1


async def test_workflow_picker_old_server_without_templates_has_no_packs(services: Any) -> None:
    class Old(type(services.client)):  # type: ignore[misc]
        async def templates(self) -> dict[str, list[str]]:
            raise ServerRejectedError("Not found", status=404)

    services.client.__class__ = Old
    assert (await ask(services)).packs == {}


async def test_source_list_empty_groups_keep_their_order(
    services: Any, templates_index: Path
) -> None:
    empty = Page(source_list(services, WorkflowPicker())).all("details")
    full = Page(source_list(services, await ask(services))).all("details")
    assert [group["data-group"] for group in empty] == [group["data-group"] for group in full]


async def test_open_workflows_templates_are_reloaded_after_refresh(
    services: Any, templates_index: Path
) -> None:
    assert [t.name for t in await services.open_workflows.templates()] == ["wan"]
    write(templates_index, [])
    assert [t.name for t in await services.open_workflows.templates()] == ["wan"]
    await services.catalog.refresh()
    assert await services.open_workflows.templates() == []
    write(templates_index, TEMPLATES)  # the package was installed in between
    assert [t.name for t in await services.open_workflows.templates()] == ["wan"]


async def test_workflows_tab_reload_shows_the_cached_list_meanwhile(
    services: Any, templates_index: Path
) -> None:
    tab: Any = WorkflowsTab(PageContext.create(services, Access(AccessMode.LOCAL, b"s")))
    request: Any = make_request()
    first, complete = [drawn async for drawn in tab._again("", request)]
    assert "Checking what ComfyUI" in first[0]
    assert groups(first[0]) == []
    assert groups(complete[0]) == ["Saved in ComfyUI", "Official templates"]
    write(templates_index, "{")
    await services.catalog.refresh()
    cached, broken = [drawn async for drawn in tab._again(complete[1], request)]
    assert cached[1] == complete[1]  # unchanged while every source responds
    assert "not listed" in broken[0]
    checking, _ = [drawn async for drawn in tab._again(broken[1], request)]
    assert "Checking what ComfyUI" in checking[0]
    assert "not listed" not in checking[0]


def tab_client(services: Any, mode: AccessMode) -> httpx.AsyncClient:
    tab = WorkflowsTab(PageContext.create(services, Access(mode, b"s")))
    app = Starlette(routes=tab.routes())
    app.auth = None  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


async def test_workflows_tab_routes_answer_with_the_report_to_draw(services: Any) -> None:
    async with tab_client(services, AccessMode.LOCAL) as http:
        answer = await http.post("/workflows?name=Plain.json", content=json.dumps(BLUR))
        (section,) = Page(answer.json()["html"]).all("section")
        assert section["data-opened"] in services.open_workflows._opened
        again = await http.get("/workflows/report", params={"id": section["data-opened"]})
        assert again.json() == answer.json()
        unknown = await http.get("/workflows/report", params={"id": "nothing-of-this-name"})
        assert "Turn any workflow into a form" in unknown.json()["html"]
        picked = await http.post("/workflows/pick", json={"where": "moon", "name": "x"})
        assert "There is no such workflow." in picked.json()["html"]
        wish = {"id": section["data-opened"], "title": "Plain and saved"}
        saved = await http.post("/workflows/save", json=wish)
        assert "Saved as preset" in saved.json()["html"]


async def test_form_editor_routes_edit_preview_export_and_delete(services: Any) -> None:
    async with tab_client(services, AccessMode.LOCAL) as http:
        opened = await http.post("/workflows?name=Plain.json", content=json.dumps(BLUR))
        (section,) = Page(opened.json()["html"]).all("section")
        wish = {"id": section["data-opened"], "title": "Ours"}
        assert "Edit form" in (await http.post("/workflows/save", json=wish)).json()["html"]
        shown = Page((await http.get("/workflows/form?id=ours")).json()["html"])
        rows = [row["data-id"] for row in shown.all("li") if "data-id" in row]
        fields = [{"id": key, "label": f"New {key}", "default": "256"} for key in rows[:1]]
        form = {"title": "Ours, edited", "description": "<b>", "fields": fields}
        preview = await http.post(
            "/workflows/form", json={"id": "ours", "form": form, "preview": True}
        )
        assert f"New {rows[0]}" in preview.json()["html"]
        assert services.catalog.find("ours").title == "Ours"
        saved = await http.post("/workflows/form", json={"id": "ours", "form": form})
        assert "Ours, edited" in saved.json()["html"]
        assert services.catalog.find("ours").params[0].label == f"New {rows[0]}"
        zipped = await http.get("/workflows/export?id=ours")
        assert zipped.headers["content-disposition"] == 'attachment; filename="ours.zip"'
        no_editor = await http.get("/workflows/export?id=ours&to=comfyui")
        assert "not made from a file of ComfyUI's editor" in no_editor.json()["error"]
        gone = await http.post("/workflows/change", json={"id": "ours", "change": "delete"})
        assert "Preset deleted" in gone.json()["html"]
        assert services.catalog.find("ours") is None
        back = {"id": "ours", "change": "restore", "version": 2}
        assert "Ours, edited" in (await http.post("/workflows/change", json=back)).json()["html"]
        shipped = await http.post("/workflows/change", json={"id": "sd15", "change": "delete"})
        assert "not saved here" in shipped.json()["error"]


async def test_workflows_tab_routes_refuse_users(services: Any) -> None:
    async with tab_client(services, AccessMode.SHARED) as http:
        answers = [
            await http.post("/workflows", content=json.dumps(BLUR)),
            await http.get("/workflows/report?id=sd15"),
            await http.post("/workflows/pick", json={"where": "preset", "name": "sd15"}),
            await http.post("/workflows/save", json={"id": "sd15"}),
            await http.get("/workflows/form?id=sd15"),
            await http.post("/workflows/form", json={"id": "sd15", "form": {"title": "x"}}),
            await http.post("/workflows/change", json={"id": "sd15", "change": "delete"}),
            await http.post("/workflows/cover?id=sd15", content=b"x"),
            await http.get("/workflows/export?id=sd15"),
        ]
    assert {answer.status_code for answer in answers} == {422}
    assert {answer.json()["error"].partition(".")[0] for answer in answers} == {
        "Only admins can do that"
    }
