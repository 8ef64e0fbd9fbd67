"""``POST /prompt``: the body, the answer, and the server's validation errors. Pure.

The server's error types are listed in the protocol notes, section 2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from ..errors import (
    ComfyUIConnectionError,
    InvalidWorkflowError,
    MissingModel,
    MissingModelsError,
    MissingNodesError,
    Problem,
    ValidationError,
)
from ..workflow.model_files import is_model_file, model_folder
from .transport.request import ApiResponse, json_body, read_json

PARTNER_KEY: Final = "api_key_comfy_org"
"""The Comfy API key of partner nodes in a job's extra data."""
_REDACTED: Final = "[REDACTED]"
_HINTS = {
    "required_input_missing": "Give it a value or a link.",
    "return_type_mismatch": "Link it to an output of the right type.",
    "bad_linked_input": "A link is a list of node id and output number.",
    "invalid_prompt_id": "It looks like 2f1c7b5e-6a0d-4c3b-9e8f-5d4a3b2c1e0f; "
    "str(uuid.uuid4()) and 'uuidgen' make new ones.",
    "custom_validation_failed": "A str names a file of the server. Pass a Path to upload one.",
    "prompt_no_outputs": "Add a node that saves or shows something, SaveImage for instance.",
}


@dataclass(frozen=True, slots=True)
class Runnable:
    """An API-format graph, the editor workflow it came from, and the values in it by name."""

    graph: Mapping[str, Any]
    editor: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def extra_data(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The job's extra data, with the editor workflow, as ComfyUI's own page sends it."""
        extra = dict(given or {})
        if self.editor is not None:
            extra["extra_pnginfo"] = {"workflow": self.editor, **(extra.get("extra_pnginfo") or {})}
        return extra


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """The accepted job. ``problems``: outputs that the server silently left out."""

    prompt_id: str
    number: float
    problems: tuple[Problem, ...] = ()


def check_prompt_id(prompt_id: str) -> str:
    """Return ``prompt_id`` if it is a canonical lowercase UUID.

    Raises:
        ValidationError: it is not, so newer versions of ComfyUI would refuse it.
    """
    try:
        canonical = str(UUID(prompt_id))
    except (ValueError, AttributeError, TypeError):
        canonical = ""
    if not canonical or canonical != prompt_id:
        raise ValidationError(
            f"The prompt_id {prompt_id!r} is not a canonical lowercase UUID.",
            hint=_HINTS["invalid_prompt_id"],
        )
    return prompt_id


def without_redacted(extra_data: Mapping[str, Any] | None) -> dict[str, Any]:
    """The extra data without the keys that a server has redacted in a job that was read back."""
    return {name: value for name, value in (extra_data or {}).items() if value != _REDACTED}


def prompt_body(
    graph: Mapping[str, Any],
    *,
    prompt_id: str,
    client_id: str,
    front: bool,
    extra_data: Mapping[str, Any] | None,
) -> bytes:
    """The JSON to post. ``extra_data`` is never null, which kills the worker of 0.3.64.

    Raises:
        InvalidWorkflowError: the graph holds a value that JSON cannot represent.
    """
    body: dict[str, Any] = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
    if front:
        body["front"] = True
    if extra := without_redacted(extra_data):
        body["extra_data"] = extra
    try:
        return json_body(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidWorkflowError(
            f"The workflow cannot be written as JSON: {error}.",
            hint="Use only strings, numbers, booleans, lists and dicts.",
        ) from error


def read_submitted(answer: ApiResponse, graph: Mapping[str, Any]) -> SubmissionResult:
    """Read the accepted job.

    Raises:
        InvalidWorkflowError: 400, with the server's reasons (or a subclass).
        ComfyUIConnectionError: the answer is not ComfyUI's.
    """
    body = read_json(answer)
    if answer.status == 400:
        raise _refused(body, graph)
    if not isinstance(body, dict) or "prompt_id" not in body:
        raise ComfyUIConnectionError(f"The answer to {answer.where} has no prompt_id.")
    number = body.get("number")
    return SubmissionResult(
        str(body["prompt_id"]),
        float(number) if isinstance(number, int | float) else 0.0,
        tuple(_problems(body.get("node_errors"), graph)),
    )


def dropped_outputs(submitted: SubmissionResult) -> InvalidWorkflowError:
    """The error for a job that the server would run only in part."""
    return _of_problems("The server would leave out a part of this workflow", submitted.problems)


def _refused(body: Any, graph: Mapping[str, Any]) -> InvalidWorkflowError:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return InvalidWorkflowError(
            f"The server refused the workflow: {error or 'no reason given'}."
        )
    kind = str(error.get("type", ""))
    message = str(error.get("message", "")).rstrip(".")
    problems = tuple(_problems(body.get("node_errors"), graph))
    if problems:
        return _of_problems("The workflow does not fit this server", problems)
    node = _node_in(str(error.get("details", "")))
    class_type = _class_type(graph, node)
    if class_type and (kind == "missing_node_type" or "does not exist" in message):
        problem = Problem(
            "missing_node",
            f"The server has no node '{class_type}'.",
            node=node,
            node_title=_title(graph, node),
            class_type=class_type,
        )
        return MissingNodesError(problem.message, class_types=[class_type], problems=[problem])
    if (
        kind == "prompt_outputs_failed_validation"
    ):  # without node errors: 0.3.64's answer to a cycle
        message = "The nodes are linked in a cycle"
    problem = Problem(kind, f"{message}.", node=node, class_type=class_type)
    return InvalidWorkflowError(
        f"The server refused the workflow: {message}.",
        problems=[problem],
        hint=_HINTS.get(kind, ""),
    )


def _of_problems(what: str, problems: tuple[Problem, ...]) -> InvalidWorkflowError:
    missing = [model for problem in problems if (model := _missing_model(problem))]
    if len(missing) == len(problems):
        names = ", ".join(model.filename for model in missing)
        return MissingModelsError(
            f"The server lacks model files: {names}.", models=missing, problems=problems
        )
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return InvalidWorkflowError(f"{what}: {problems[0]}{more}", problems=problems)


def _problems(node_errors: Any, graph: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(node_errors, dict):
        return
    for node, report in node_errors.items():
        errors = report.get("errors") if isinstance(report, dict) else None
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, dict):
                yield _problem(node, report, error, graph)


def _problem(
    node: str, report: Mapping[str, Any], error: Mapping[str, Any], graph: Mapping[str, Any]
) -> Problem:
    kind = str(error.get("type", "invalid"))
    raw = error.get("extra_info")
    extra = dict(raw) if isinstance(raw, dict) else {}
    name = extra.get("input_name")
    details = str(error.get("details", ""))
    message = str(error.get("message", kind)).rstrip(".")
    return Problem(
        kind=kind,
        message=f"{message}: {details}." if details else f"{message}.",
        hint=_HINTS.get(kind, ""),
        node=str(node),
        node_title=_title(graph, node),
        class_type=str(report.get("class_type") or _class_type(graph, node) or "") or None,
        input=str(name) if name is not None else None,
        extra=extra,
    )


def _missing_model(problem: Problem) -> MissingModel | None:
    value = problem.extra.get("received_value")
    if problem.kind != "value_not_in_list" or not isinstance(value, str):
        return None
    if not is_model_file(value):
        return None
    folder = model_folder(problem.class_type or "", problem.input or "")
    return MissingModel(folder=folder, filename=value)


def _node_in(details: str) -> str | None:
    match = re.search(r"#([^'\s]+)", details)
    return match[1] if match else None


def _node(graph: Mapping[str, Any], node: str | None) -> Mapping[str, Any]:
    value = graph.get(node) if node is not None else None
    return value if isinstance(value, dict) else {}


def _class_type(graph: Mapping[str, Any], node: str | None) -> str | None:
    value = _node(graph, node).get("class_type")
    return value if isinstance(value, str) else None


def _title(graph: Mapping[str, Any], node: str | None) -> str | None:
    meta = _node(graph, node).get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) else None
