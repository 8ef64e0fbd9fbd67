"""Problems that the server reports for a workflow, node by node."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui.client.submission import check_prompt_id, dropped_outputs, prompt_body, read_submitted
from comfy_ui.errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    InvalidWorkflowError,
    MissingModelsError,
    MissingNodesError,
    ValidationError,
)
from tests.client.support import answer, image_graph
from tests.conftest import PROTOCOL


def rejected(body: Any, graph: dict[str, Any] | None = None) -> InvalidWorkflowError:
    with pytest.raises(InvalidWorkflowError) as caught:
        read_submitted(answer(body, status=400), graph or image_graph())
    return caught.value


def node_error(kind: str, **extra: Any) -> dict[str, Any]:
    error = {"type": kind, "message": "Told", "details": "more", "extra_info": extra}
    return {"errors": [error], "dependent_outputs": ["2"], "class_type": "EmptyImage"}


def test_read_submitted_accepted_job_has_number() -> None:
    body = {"prompt_id": "x", "number": 3, "node_errors": {}}
    submitted = read_submitted(answer(body), image_graph())
    assert (submitted.prompt_id, submitted.number, submitted.problems) == ("x", 3.0, ())


def test_read_submitted_recorded_rejections_raise_with_problems() -> None:
    recorded = json.loads((PROTOCOL / "http_prompt_validation.json").read_text())
    count = 0
    for entry in recorded:
        if entry["status"] == 400:
            sent = entry["request"].get("json")
            graph = sent.get("prompt") if isinstance(sent, dict) else None
            error = rejected(entry["body"], graph if isinstance(graph, dict) else {})
            assert error.problems, entry["note"]
            assert error.hint
            count += 1
    assert count > 15


def test_read_submitted_problem_names_node_title_input_and_kind() -> None:
    graph = image_graph()
    graph["1"]["_meta"] = {"title": "Canvas"}
    body = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "x", "details": ""},
        "node_errors": {"1": node_error("value_smaller_than_min", input_name="width")},
    }
    (problem,) = rejected(body, graph).problems
    assert (problem.kind, problem.node, problem.input) == ("value_smaller_than_min", "1", "width")
    assert (problem.node_title, problem.class_type) == ("Canvas", "EmptyImage")


@pytest.mark.parametrize("kind", ["invalid_prompt", "missing_node_type"])
def test_read_submitted_unknown_node_class_raises_missing_nodes(kind: str) -> None:
    graph = {"7": {"class_type": "NoSuchNode", "inputs": {}}}
    message = "Cannot execute because node NoSuchNode does not exist."
    error = {"type": kind, "message": message, "details": "Node ID '#7'", "extra_info": {}}
    rejection = rejected({"error": error, "node_errors": {}}, graph)
    assert isinstance(rejection, MissingNodesError)
    assert rejection.class_types == ("NoSuchNode",)
    assert rejection.problems[0].node == "7"


def test_read_submitted_only_model_files_missing_raises_missing_models() -> None:
    wrong = node_error(
        "value_not_in_list", input_name="ckpt_name", received_value="a/b.safetensors"
    )
    error = rejected({"error": {"type": "x", "message": "x"}, "node_errors": {"1": wrong}})
    assert isinstance(error, MissingModelsError)
    assert (error.models[0].folder, error.models[0].filename) == ("checkpoints", "a/b.safetensors")


def test_read_submitted_missing_model_and_other_problems_raises_invalid_workflow() -> None:
    wrong = node_error("value_not_in_list", input_name="ckpt_name", received_value="b.safetensors")
    body = {"error": {"type": "x", "message": "x"}}
    both = {"1": wrong, "2": node_error("required_input_missing", input_name="images")}
    error = rejected({**body, "node_errors": both})
    assert type(error) is InvalidWorkflowError
    assert len(error.problems) == 2


def test_read_submitted_rejection_without_node_errors_names_cycle() -> None:
    body = {"error": {"type": "prompt_outputs_failed_validation", "message": "x"}}
    assert "cycle" in str(rejected({**body, "node_errors": {}}))


@pytest.mark.parametrize("body", [{}, [], {"error": None}, {"error": "no"}, {"node_errors": []}])
def test_read_submitted_rejection_of_any_shape_raises_typed_error(body: Any) -> None:
    assert rejected(body)


def test_read_submitted_response_without_prompt_id_raises_connection_error() -> None:
    with pytest.raises(ComfyUIConnectionError):
        read_submitted(answer({"ok": True}), image_graph())


def test_f14_dropped_outputs_are_problems_of_accepted_job() -> None:
    problem = node_error("value_smaller_than_min", input_name="width")
    body = {"prompt_id": "x", "number": 1, "node_errors": {"1": problem}}
    error = dropped_outputs(read_submitted(answer(body), image_graph()))
    assert "leave out" in error.message
    assert error.problems[0].node == "1"


def test_f25_check_prompt_id_accepts_canonical_lowercase_uuid_only() -> None:
    good = str(uuid4())
    assert check_prompt_id(good) == good
    for bad in (good.upper(), good.replace("-", ""), f"{{{good}}}", "42", "", None, 42):
        with pytest.raises(ValidationError):
            check_prompt_id(bad)  # type: ignore[arg-type]  # what untyped callers may give


def test_prompt_body_never_sends_a_redacted_key_back() -> None:
    def sent(**extra_data: Any) -> Any:
        body = prompt_body(
            image_graph(), prompt_id=str(uuid4()), client_id="c", front=False, extra_data=extra_data
        )
        return json.loads(body).get("extra_data")

    redacted = {"api_key_comfy_org": "[REDACTED]", "auth_token_comfy_org": "[REDACTED]"}
    assert sent(**redacted) is None
    assert sent(**redacted, extra_pnginfo={}) == {"extra_pnginfo": {}}
    assert sent(api_key_comfy_org="key") == {"api_key_comfy_org": "key"}


def test_f5_prompt_body_always_has_client_id_and_omits_null_extra_data() -> None:
    body = json.loads(prompt_body({}, prompt_id="p", client_id="c", front=False, extra_data=None))
    assert body == {"prompt": {}, "prompt_id": "p", "client_id": "c"}


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_prompt_body_value_not_json_serializable_raises(value: object) -> None:
    graph = {"1": {"class_type": "X", "inputs": {"a": value}}}
    with pytest.raises(ComfyHeadlessError, match="JSON"):
        prompt_body(graph, prompt_id="p", client_id="c", front=True, extra_data={})
