"""Users are isolated: items by URL, jobs by id, uploads by name, rate limits."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from comfy_ui.web.auth.access import PACES
from comfy_ui.workflow.presets.preset_store import compile_workflow
from tests.security.support import GRADIO, PageClient

pytestmark = GRADIO

SMALL = {"steps": 4, "width": 384, "height": 384}


@pytest.fixture(scope="module")
def finished_job(vera: PageClient) -> dict[str, Any]:
    """A finished job of vera."""
    answers = vera.call("generate", "sd15", "a cat", SMALL)
    assert answers[-1]["phase"] == "succeeded"
    return answers[-1]


def test_generate_sends_progress_before_the_result(vera: PageClient) -> None:
    answers = vera.call("generate", "sd15", "a dog", SMALL)
    assert len(answers) > 2
    assert [a["done"] for a in answers].index(True) >= 1
    progress = [a["progress"] for a in answers]
    assert progress == sorted(progress)


def test_files_of_another_user_are_404(
    shared: Any,
    finished_job: dict[str, Any],
    vera: PageClient,
    viktor: PageClient,
    anna: PageClient,
) -> None:
    (file,) = finished_job["files"]
    bare = file["url"].partition("?")[0]
    mine = vera.client.get(bare)
    assert mine.status_code == 200
    assert mine.content.startswith(b"\x89PNG")
    for other in (viktor, anna):  # an admin may read the data folder, but not on the page
        for path in (bare, bare.replace("files", "thumbs"), bare.replace("files", "library")):
            assert other.client.get(path).status_code in {404, 422}, path
    with PageClient.open(shared) as guest:
        assert guest.client.get(bare).status_code == 401
        assert guest.client.get(file["url"]).status_code == 401


def test_library_actions_on_items_of_another_user_have_no_effect(
    finished_job: dict[str, Any], vera: PageClient, viktor: PageClient
) -> None:
    number = finished_job["files"][0]["id"]
    params = {"ids": str(number)}
    assert vera.client.get("/library/zip", params=params).content.startswith(b"PK")
    theirs = viktor.client.get("/library/zip", params=params)
    assert finished_job["files"][0]["filename"].encode() not in theirs.content
    assert b"PNG" not in theirs.content
    for do in ("star", "delete", "restore"):
        viktor.client.post(f"/library/{do}", json={"ids": [number]})
    assert vera.client.get(f"/library/{number}").status_code == 200
    assert vera.client.get(f"/files/{number}").status_code == 200


def test_files_with_valid_key_are_readable_by_others(
    finished_job: dict[str, Any], viktor: PageClient
) -> None:
    (file,) = finished_job["files"]
    assert viktor.client.get(file["url"]).status_code == 200
    path, _, key = file["url"].partition("?key=")
    number = int(path.rpartition("/")[2])
    for forged in (
        f"/files/{number + 1}?key={key}",
        f"{path}?key={key[:-1]}{'0' if key[-1] != '0' else '1'}",
        f"{path}?key={key.partition('.')[0]}.",
        f"{path}?key=.",
        f"{path}?key=%ff%fe.%00",
        "/files/99999999999999999999999",
    ):
        assert viktor.client.get(forged).status_code in {404, 422}, forged


def test_job_of_another_user_is_refused(
    finished_job: dict[str, Any], vera: PageClient, viktor: PageClient
) -> None:
    assert vera.call("job", finished_job["job"])[-1]["phase"] == "succeeded"
    assert "no such job" in str(viktor.call("job", finished_job["job"])[-1]["error"])
    assert "no such job" in str(viktor.call("cancel", finished_job["job"])[-1]["error"])
    assert vera.call("cancel", finished_job["job"])[-1] == {"cancelled": False}


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


def test_generate_with_upload_of_another_user_is_refused(
    vera: PageClient, viktor: PageClient
) -> None:
    name = vera.client.post("/uploads?role=image", content=picture()).json()["name"]
    for client, file, allowed in (
        (vera, name, True),
        (viktor, name, False),
        (vera, "example.png", False),
        (vera, "/etc/passwd", False),
        (vera, f"{name} [output]", False),
        (vera, f"../input/{name}", False),
    ):
        last = client.call("generate", "upscale_esrgan", "", {"image": file})[-1]
        assert ("phase" in last) == allowed, (file, last)


def test_run_workflow_by_user_accepts_preset_graphs_only(
    vera: PageClient, anna: PageClient
) -> None:
    graph = compile_workflow("sd15", prompt="a cat", seed=1, **SMALL)
    assert vera.call("run_workflow", graph, None)[-1]["phase"] == "succeeded"
    for change in (
        {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "../x"}},
        {"class_type": "LoadImage", "inputs": {"image": "/etc/passwd"}},
    ):
        result = vera.call("run_workflow", {**graph, "99": change}, None)[-1]
        assert "Only admins" in str(result["error"])
    longer = {**graph}
    for node, entry in graph.items():
        if "steps" in entry["inputs"]:
            longer[node] = {**entry, "inputs": {**entry["inputs"], "steps": 9_999}}
    assert "Only admins" in str(vera.call("run_workflow", longer, None)[-1]["error"])
    assert anna.call("run_workflow", graph, None)[-1]["phase"] == "succeeded"


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 10**9},
        {"width": -1},
        {"steps": "many"},
        {"no_such": 1},
        {"seed": {"a": 1}},
        ["steps"],
        "steps",
    ],
)
def test_generate_invalid_values_are_refused(vera: PageClient, values: Any) -> None:
    result = vera.call("generate", "sd15", "a cat", values)[-1]
    assert result["error"]


FLOODS: dict[str, Callable[[PageClient], str]] = {
    "enhance": lambda person: str(person.call("enhance", "a cat", "balanced", "")[-1]),
    "upload": lambda person: person.client.post("/uploads?role=image", content=b"x").text,
    "run": lambda person: str(person.call("generate", "no such preset", "", None)[-1]),
}


@pytest.mark.parametrize("action", FLOODS)
def test_rate_limit_applies_to_users_but_not_to_admins(
    anna: PageClient, viktor: PageClient, action: Any
) -> None:
    times = PACES[action].burst + 2
    results = [FLOODS[action](viktor) for _ in range(times)]
    assert "Too many requests" not in results[0]
    assert "Too many requests" in results[-1]
    assert not any("Too many requests" in FLOODS[action](anna) for _ in range(times))
