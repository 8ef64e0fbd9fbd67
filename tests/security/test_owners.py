"""Nothing of one person's is another's: results by address, jobs by id, files by name, limits."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from comfy_ui.web.auth.access import PACES
from comfy_ui.workflow.presets.preset_store import compile_workflow
from tests.security.support import GRADIO, Person

pytestmark = GRADIO

SMALL = {"steps": 4, "width": 384, "height": 384}


@pytest.fixture(scope="module")
def made(vera: Person) -> dict[str, Any]:
    """A finished job of Vera's."""
    answers = vera.call("generate", "sd15", "a cat", SMALL)
    assert answers[-1]["phase"] == "succeeded"
    return answers[-1]


def test_progress_comes_before_the_result(vera: Person) -> None:
    answers = vera.call("generate", "sd15", "a dog", SMALL)
    assert len(answers) > 2
    assert [a["done"] for a in answers].index(True) >= 1
    progress = [a["progress"] for a in answers]
    assert progress == sorted(progress)


def test_a_result_is_its_makers_alone_also_by_its_address(
    shared: Any, made: dict[str, Any], vera: Person, viktor: Person, anna: Person
) -> None:
    (file,) = made["files"]
    bare = file["url"].partition("?")[0]
    mine = vera.client.get(bare)
    assert mine.status_code == 200
    assert mine.content.startswith(b"\x89PNG")
    for other in (viktor, anna):  # an owner of the machine has the folder, not the page
        for path in (bare, bare.replace("files", "thumbs"), bare.replace("files", "library")):
            assert other.client.get(path).status_code in {404, 422}, path
    with Person.comes(shared) as nobody:
        assert nobody.client.get(bare).status_code == 401
        assert nobody.client.get(file["url"]).status_code == 401


def test_a_result_is_nobody_elses_on_any_other_path(
    made: dict[str, Any], vera: Person, viktor: Person
) -> None:
    number = made["files"][0]["id"]
    asked = {"ids": str(number)}
    assert vera.client.get("/library/zip", params=asked).content.startswith(b"PK")
    theirs = viktor.client.get("/library/zip", params=asked)
    assert made["files"][0]["filename"].encode() not in theirs.content
    assert b"PNG" not in theirs.content
    for do in ("star", "delete", "restore"):
        viktor.client.post(f"/library/{do}", json={"ids": [number]})
    assert vera.client.get(f"/library/{number}").status_code == 200
    assert vera.client.get(f"/files/{number}").status_code == 200


def test_who_was_given_the_whole_address_may_look(made: dict[str, Any], viktor: Person) -> None:
    (file,) = made["files"]
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


def test_a_job_is_its_makers_alone(made: dict[str, Any], vera: Person, viktor: Person) -> None:
    assert vera.call("job", made["job"])[-1]["phase"] == "succeeded"
    assert "no such job" in str(viktor.call("job", made["job"])[-1]["error"])
    assert "no such job" in str(viktor.call("cancel", made["job"])[-1]["error"])
    assert vera.call("cancel", made["job"])[-1] == {"cancelled": False}


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


def test_a_file_is_used_by_the_one_who_sent_it(vera: Person, viktor: Person) -> None:
    name = vera.client.post("/uploads?role=image", content=picture()).json()["name"]
    for who, given, right in (
        (vera, name, True),
        (viktor, name, False),
        (vera, "example.png", False),
        (vera, "/etc/passwd", False),
        (vera, f"{name} [output]", False),
        (vera, f"../input/{name}", False),
    ):
        last = who.call("generate", "upscale_esrgan", "", {"image": given})[-1]
        assert ("phase" in last) == right, (given, last)


def test_a_visitor_runs_what_a_preset_could_have_made_and_nothing_else(
    vera: Person, anna: Person
) -> None:
    graph = compile_workflow("sd15", prompt="a cat", seed=1, **SMALL)
    assert vera.call("run_workflow", graph, None)[-1]["phase"] == "succeeded"
    for change in (
        {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "../x"}},
        {"class_type": "LoadImage", "inputs": {"image": "/etc/passwd"}},
    ):
        told = vera.call("run_workflow", {**graph, "99": change}, None)[-1]
        assert "Only admins" in str(told["error"])
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
def test_values_out_of_range_reach_no_server(vera: Person, values: Any) -> None:
    told = vera.call("generate", "sd15", "a cat", values)[-1]
    assert told["error"]


FLOODS: dict[str, Callable[[Person], str]] = {
    "enhance": lambda person: str(person.call("enhance", "a cat", "balanced", "")[-1]),
    "upload": lambda person: person.client.post("/uploads?role=image", content=b"x").text,
    "run": lambda person: str(person.call("generate", "no such preset", "", None)[-1]),
}


@pytest.mark.parametrize("action", FLOODS)
def test_a_visitor_cannot_flood_and_an_owner_may(anna: Person, viktor: Person, action: Any) -> None:
    times = PACES[action].burst + 2
    told = [FLOODS[action](viktor) for _ in range(times)]
    assert "Too many requests" not in told[0]
    assert "Too many requests" in told[-1]
    assert not any("Too many requests" in FLOODS[action](anna) for _ in range(times))
