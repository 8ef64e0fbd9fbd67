"""comfy_ui/workflow/checks/graph_checks.py"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from comfy_ui.errors import InvalidWorkflowError, MissingModelsError, MissingNodesError, Problem
from comfy_ui.workflow import check_workflow, compile_workflow
from comfy_ui.workflow.checks.graph_checks import error_for
from comfy_ui.workflow.graph import Graph
from comfy_ui.workflow.presets.schema import ModelRequirement
from tests.conftest import PROTOCOL, recorded_object_info

# Problem kinds of the server where ours are more specific.
SERVER_KINDS = {"missing_model": "value_not_in_list"}


def recordings() -> Iterator[Any]:
    path = PROTOCOL / "http_prompt_validation.json"
    for call in json.loads(path.read_text(encoding="utf-8")):
        body = call["request"].get("json")
        graph = body.get("prompt") if isinstance(body, dict) else None
        answered = call["status"] in (200, 400) and "partial_execution_targets" not in (body or {})
        if isinstance(graph, dict) and answered:
            yield pytest.param(graph, call["status"], call["body"], id=call.get("note"))


@pytest.mark.parametrize(("graph", "status", "body"), [*recordings()])
def test_check_workflow_recorded_prompts_match_server_verdict(
    graph: Graph, status: int, body: dict[str, Any]
) -> None:
    with gzip.open(PROTOCOL / "object_info.json.gz", "rt") as file:
        object_info = json.load(file)
    # lab.png was uploaded after the object_info was recorded.
    problems = check_workflow(graph, object_info, uploads={"lab.png"})
    our_kinds: dict[str, set[str]] = {}
    for problem in problems:
        kind = SERVER_KINDS.get(problem.kind, problem.kind)
        if problem.node is not None:
            our_kinds.setdefault(problem.node, set()).add(kind)
    server_kinds = {
        node: {error["type"] for error in entry["errors"]}
        for node, entry in body.get("node_errors", {}).items()
    }
    match body.get("error", {}).get("type"):
        case None | "prompt_outputs_failed_validation" if server_kinds:
            assert our_kinds == server_kinds
        case None:
            assert problems == []
        case "prompt_outputs_failed_validation":  # a cycle, which 0.3.64 does not report
            assert {p.kind for p in problems} == {"dependency_cycle"}
        case "prompt_no_outputs":
            assert [p.kind for p in problems] == ["prompt_no_outputs"]
        case "invalid_prompt":
            assert {p.kind for p in problems} <= {"missing_node", "invalid_prompt"}
            assert problems
    assert (status == 200) == (not problems or "error" not in body)


@pytest.fixture
def info() -> dict[str, Any]:
    return recorded_object_info("0.33.0")


def one(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [*map(str, problems)]
    return problems[0]


def picture(**inputs: Any) -> Graph:
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0, **inputs},
            "_meta": {"title": "Canvas"},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }


def test_check_workflow_problem_has_node_input_and_hint(info: dict[str, Any]) -> None:
    problem = one(check_workflow(picture(width=0), info))
    assert (problem.node, problem.node_title, problem.input) == ("1", "Canvas", "width")
    assert problem.kind == "value_smaller_than_min"
    assert "from 1 to 16384" in problem.hint


@pytest.mark.parametrize("value", ["64", 64.9, True, " 7 ", "1_0"])
def test_check_workflow_numbers_are_coerced_like_server(value: Any, info: dict[str, Any]) -> None:
    assert check_workflow(picture(width=value), info) == []


@pytest.mark.parametrize("value", ["64.5", "abc", None, {}, float("nan"), float("inf"), "9" * 5000])
def test_check_workflow_invalid_number_is_reported(value: Any, info: dict[str, Any]) -> None:
    assert one(check_workflow(picture(width=value), info)).kind == "invalid_input_type"


def test_check_workflow_unused_nodes_are_ignored(info: dict[str, Any]) -> None:
    graph = picture() | {"3": {"class_type": "EmptyImage", "inputs": {"width": 0}}}
    assert check_workflow(graph, info) == []


def test_check_workflow_missing_class_is_only_problem_with_pack(info: dict[str, Any]) -> None:
    graph = picture(width=0) | {"3": {"class_type": "VHS_VideoCombine", "inputs": {}}}
    problem = one(check_workflow(graph, info))
    assert (problem.kind, problem.class_type) == ("missing_node", "VHS_VideoCombine")
    assert problem.extra["pack"] == "ComfyUI-VideoHelperSuite"
    assert "https://github.com/Kosinkadink/ComfyUI-VideoHelperSuite" in problem.hint
    assert "ComfyUI-Manager" in problem.hint


def test_check_workflow_class_of_newer_core_suggests_update() -> None:
    graph = picture() | {"3": {"class_type": "Flux2Scheduler", "inputs": {}}}
    problem = one(check_workflow(graph, recorded_object_info("0.3.64")))
    assert "update ComfyUI" in problem.hint


def test_check_workflow_missing_model_has_folder_size_and_url(info: dict[str, Any]) -> None:
    graph = compile_workflow("sdxl", seed=1)
    problem = one(check_workflow(graph, info))
    assert problem.kind == "missing_model"
    model = problem.extra["model"]
    assert (model.folder, model.filename) == ("checkpoints", "sd_xl_base_1.0.safetensors")
    assert model.size_bytes == pytest.approx(6.94e9, rel=0.01)
    assert "models/checkpoints" in problem.hint
    assert model.url in problem.hint


def test_check_workflow_models_argument_supplies_url(info: dict[str, Any]) -> None:
    graph = compile_workflow("sdxl", seed=1)
    graph["1"]["inputs"]["ckpt_name"] = "mine.safetensors"
    requirement = ModelRequirement(
        folder="checkpoints", filename="mine.safetensors", url="https://a.b/mine"
    )
    problem = one(check_workflow(graph, info, models=[requirement]))
    assert problem.extra["model"].url == "https://a.b/mine"
    problem = one(check_workflow(graph, info))
    assert problem.extra["model"].folder == "checkpoints"
    assert problem.extra["model"].url is None


def test_check_workflow_model_in_subfolder_is_offered(info: dict[str, Any]) -> None:
    loader = {**info["CheckpointLoaderSimple"]}
    loader["input"] = {"required": {"ckpt_name": [["xl/sd_xl_base_1.0.safetensors"], {}]}}
    graph = compile_workflow("sdxl", seed=1)
    problem = one(check_workflow(graph, info | {"CheckpointLoaderSimple": loader}))
    assert "choose that" in problem.hint
    assert problem.extra["alternative"] == "xl/sd_xl_base_1.0.safetensors"


def test_check_workflow_empty_model_list_is_reported() -> None:
    graph = compile_workflow("upscale_esrgan", image="a.png")
    problems = check_workflow(graph, recorded_object_info("0.3.64"), uploads={"a.png"})
    assert one(problems).kind == "missing_model"
    assert one(problems).extra["model"].folder == "upscale_models"


def test_check_workflow_dynamic_combo_inputs_are_checked(info: dict[str, Any]) -> None:
    graph = picture() | {
        "3": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8}},
        "4": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["3", 0], "filename_prefix": "v", "format": "mp4"},
        },
    }
    problem = one(check_workflow(graph, info))
    assert (problem.kind, problem.input) == ("required_input_missing", "format.codec")
    graph["4"]["inputs"]["format.codec"] = "h265"
    assert one(check_workflow(graph, info)).kind == "value_not_in_list"
    graph["4"]["inputs"]["format.codec"] = "h264"
    assert check_workflow(graph, info) == []
    graph["4"]["inputs"]["format"] = "bogus"
    assert one(check_workflow(graph, info)).input == "format"


def test_check_workflow_autogrow_needs_first_input(info: dict[str, Any]) -> None:
    graph = picture() | {"3": {"class_type": "BatchImagesNode", "inputs": {}}}
    graph["2"]["inputs"]["images"] = ["3", 0]
    assert one(check_workflow(graph, info)).input == "images.image0"
    graph["3"]["inputs"] = {"images.image0": ["1", 0], "images.image1": ["1", 5]}
    assert one(check_workflow(graph, info)).input == "images.image1"
    graph["3"]["inputs"] = {"images.image0": ["1", 0], "images.image1": ["1", 0]}
    assert check_workflow(graph, info) == []


def test_check_workflow_literal_for_socket_is_warning(
    info: dict[str, Any],
) -> None:
    graph = picture()
    graph["2"]["inputs"]["images"] = "1"
    problem = one(check_workflow(graph, info))
    assert problem.severity == "warning"
    assert error_for([problem]) is None


@pytest.mark.parametrize(
    ("name", "fine"),
    [("a.png", True), ("sub/a.png", True), ("a.png [output]", True), ("gone.png", False)],
)
def test_check_workflow_upload_outside_choices_is_accepted(
    name: str, fine: bool, info: dict[str, Any]
) -> None:
    graph = picture() | {"1": {"class_type": "LoadImage", "inputs": {"image": name}}}
    problems = check_workflow(graph, info, uploads={"a.png"})
    assert [p.kind for p in problems] == ([] if fine else ["custom_validation_failed"])


@pytest.mark.parametrize("value", [None, 5, ["a"], {"__value__": ["a"]}, {}])
def test_check_workflow_input_file_of_wrong_type_is_reported(
    value: Any, info: dict[str, Any]
) -> None:
    graph = picture() | {"1": {"class_type": "LoadImage", "inputs": {"image": value}}}
    kind = "bad_linked_input" if isinstance(value, list) else "custom_validation_failed"
    assert one(check_workflow(graph, info)).kind == kind


def test_check_workflow_link_of_wrong_type_is_only_problem(info: dict[str, Any]) -> None:
    graph = picture() | {"3": {"class_type": "EmptyLatentImage", "inputs": {"width": 0}}}
    graph["2"]["inputs"]["images"] = ["3", 0]
    problem = one(check_workflow(graph, info))
    assert problem.kind == "return_type_mismatch"
    assert "takes IMAGE" in problem.message
    assert "gives LATENT" in problem.message


@pytest.mark.parametrize("link", [["1", 0.0], ["1", "0"], [1, 0], ["1", True]])
def test_check_workflow_malformed_link_is_rejected(link: list[Any], info: dict[str, Any]) -> None:
    graph = picture()
    graph["2"]["inputs"]["images"] = link
    assert one(check_workflow(graph, info)).kind == "exception_during_validation"


def test_check_workflow_old_comfyui_is_reported(info: dict[str, Any]) -> None:
    problem = one(check_workflow(picture(), info, min_comfyui="0.33.0", comfyui_version="v0.3.64"))
    assert problem.kind == "comfyui_too_old"


def test_error_for_returns_type_matching_problems(info: dict[str, Any]) -> None:
    missing = error_for(check_workflow(compile_workflow("z_image_turbo"), info))
    assert isinstance(missing, MissingModelsError)
    assert len(missing.models) == 3
    assert "And 2 more." in missing.message
    graph = picture() | {"3": {"class_type": "Nope", "inputs": {}}}
    nodes = error_for(check_workflow(graph, info))
    assert isinstance(nodes, MissingNodesError)
    assert nodes.class_types == ("Nope",)
    assert type(error_for(check_workflow(picture(width=0), info))) is InvalidWorkflowError
    assert error_for([]) is None


@pytest.mark.parametrize("graph", [{}, {"1": 5}, {"1": None}, {"1": {"class_type": 5}}])
def test_check_workflow_invalid_graph_returns_problems(graph: Any, info: dict[str, Any]) -> None:
    assert check_workflow(graph, info)


def test_check_workflow_deep_and_long_values_are_shortened(info: dict[str, Any]) -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = {"a": deep}
    for value in (deep, "x" * 10**6, {"a": list(range(10**5))}):
        problem = one(check_workflow(picture(width=value), info))
        assert len(str(problem)) < 400
