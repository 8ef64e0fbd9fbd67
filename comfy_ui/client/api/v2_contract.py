"""What the Comfy API v2 sends, in the words of ComfyUI's own API. Pure.

Source: the OpenAPI contract that comfy-api-proxy (PyPI, MIT) publishes as pydantic models.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from ...protocol.messages import (
    Executed,
    Executing,
    ExecutionStart,
    JobMessage,
    NodeProgress,
    PreviewFrame,
)

TERMINAL: Final = frozenset({"succeeded", "failed", "canceled", "expired"})
_RUNNING: Final = frozenset({"running", "canceling"})
_KEYS: Final = {"image": "images", "video": "video", "audio": "audio"}
_ASSET_FOLDER: Final = "asset/"
_ASSET: Final = re.compile(r"asset/([^/]+)/([^/]+?)(?: \[\w+\])?")


def asset_folder(asset_id: str) -> str:
    """The ``subfolder`` that stands for an asset in this client.

    It keeps the id with the file wherever that is stored, so that no table is needed.
    """
    return f"{_ASSET_FOLDER}{asset_id}"


def asset_id_of(subfolder: str) -> str | None:
    """The asset that a ``subfolder`` stands for; None if it is none."""
    return subfolder.removeprefix(_ASSET_FOLDER) if subfolder.startswith(_ASSET_FOLDER) else None


def with_asset_references(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The graph with a reference in place of each input that names an asset.

    >>> graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "asset/9f/cat.png"}}}
    >>> with_asset_references(graph)["1"]["inputs"]["image"]
    {'__type': 'core/ASSET', 'info': {'id': '9f', 'file_path': 'cat.png'}}
    """
    return {
        node: {
            **content,
            "inputs": {name: _reference(value) for name, value in content["inputs"].items()},
        }
        if isinstance(content.get("inputs"), Mapping)
        else content
        for node, content in graph.items()
    }


def _reference(value: Any) -> Any:
    match = _ASSET.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    return {"__type": "core/ASSET", "info": {"id": match[1], "file_path": match[2]}}


def queue_of(jobs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Unfinished jobs as the answer to ``GET /queue``."""
    running = [job for job in jobs if job.get("status") in _RUNNING]
    pending = [job for job in jobs if job.get("status") == "queued"]
    return {
        "queue_running": [[0, str(job.get("id"))] for job in running],
        "queue_pending": [
            [_number(job.get("queue_position"), index), str(job.get("id"))]
            for index, job in enumerate(pending)
        ],
    }


def history_of(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """A finished job as its entry of ``GET /history``; None for others, and expired ones."""
    status, prompt_id = job.get("status"), str(job.get("id"))
    error = _mapping(job.get("error"))
    endings: dict[object, tuple[str, dict[str, Any]]] = {
        "succeeded": ("execution_success", {}),
        "canceled": ("execution_interrupted", {}),
        "failed": (
            "execution_error",
            {
                "node_id": error.get("node_id"),
                "node_type": error.get("class_type"),
                "exception_type": error.get("code"),
                "exception_message": error.get("message", ""),
                "traceback": str(error.get("traceback") or "").splitlines(keepends=True),
            },
        ),
    }
    if status not in endings:
        return None
    kind, data = endings[status]
    times = [_time_ms(job.get("started_at")), _time_ms(job.get("completed_at"))]
    began, ended = ({"timestamp": time} if time is not None else {} for time in times)
    return {
        "outputs": _outputs_of(job),
        "status": {
            "status_str": "success" if status == "succeeded" else "error",
            "completed": status == "succeeded",
            "messages": [
                ["execution_start", {"prompt_id": prompt_id, **began}],
                [kind, {"prompt_id": prompt_id, **data, **ended}],
            ],
        },
    }


def _outputs_of(job: Mapping[str, Any]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    outputs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for output in job.get("outputs") or ():
        if isinstance(output, Mapping) and output.get("id"):
            node = outputs.setdefault(str(output.get("node_id", "")), {})
            node.setdefault(_key(output), []).append(_file(output))
    return outputs


def _key(output: Mapping[str, Any]) -> str:
    return _KEYS.get(str(output.get("type")), "files")


def _file(output: Mapping[str, Any]) -> dict[str, Any]:
    asset_id = str(output.get("id"))
    return {
        "filename": str(output.get("name") or asset_id),
        "subfolder": asset_folder(asset_id),
        "type": "output",
        "format": str(output.get("content_type") or ""),
    }


def refusal_of(answer: Mapping[str, Any], graph: Mapping[str, Any]) -> dict[str, Any]:
    """The refusal of a workflow as ComfyUI's answer to ``POST /prompt``, with its node errors."""
    error = _mapping(answer.get("error"))
    details = _mapping(error.get("details"))
    node_errors = {}
    for node, found in _mapping(details.get("node_errors")).items():
        listed = found if isinstance(found, list) else _mapping(found).get("errors")
        node_errors[str(node)] = {
            "errors": [_node_error(one) for one in listed or () if isinstance(one, Mapping)],
            "class_type": _mapping(graph.get(node)).get("class_type"),
        }
    return {
        "error": {
            "type": str(error.get("code", "")),
            "message": str(error.get("message", "")),
            "details": "",
        },
        "node_errors": node_errors,
    }


def _node_error(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """ComfyUI's own, which comfy-api-proxy passes on, or the contract's ``{field, reason}``."""
    if "reason" not in error:
        return error
    field = str(error.get("field", ""))
    return {
        "type": str(error["reason"]),
        "message": str(error["reason"]).replace("_", " "),
        "details": field,
        "extra_info": {"input_name": field},
    }


def messages_of(event: str, data: Mapping[str, Any], prompt_id: str) -> Iterator[JobMessage]:
    """An event of ``GET /jobs/{id}/events`` as messages of ComfyUI's socket."""
    match event:
        case "status":
            status = data.get("status")
            if status in _RUNNING:
                yield ExecutionStart(prompt_id)
            elif status in TERMINAL:
                yield Executing(prompt_id, None)
        case "progress":
            node = data.get("current_node")
            if isinstance(node, str) and node:
                yield Executing(prompt_id, node)
                if steps := _number(data.get("steps"), 0.0):
                    yield NodeProgress(prompt_id, node, _number(data.get("step"), 0.0), steps)
        case "preview":
            try:
                image = base64.b64decode(str(data.get("data_base64", "")), validate=True)
            except (binascii.Error, ValueError):
                return
            media_type = str(data.get("content_type") or "image/jpeg")
            node = str(data.get("node_id") or "") or None
            yield PreviewFrame(memoryview(image), media_type, prompt_id, node)
        case "output":
            if data.get("id"):
                node = str(data.get("node_id", ""))
                yield Executed(prompt_id, node, node, {_key(data): [_file(data)]})


class EventParser:
    """Splits a stream of server-sent events as it arrives."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield each complete event that holds a JSON object: its name and that object."""
        self._buffer += chunk.replace(b"\r\n", b"\n")
        *blocks, self._buffer = self._buffer.split(b"\n\n")
        for block in blocks:
            lines = [line.partition(":") for line in block.decode("utf-8", "replace").split("\n")]
            fields = [(name, value.removeprefix(" ")) for name, _, value in lines]
            names = [value for name, value in fields if name == "event"]
            try:
                data = json.loads("\n".join(value for name, value in fields if name == "data"))
            except (ValueError, RecursionError):
                continue  # a comment, or a later version's
            if isinstance(data, dict):
                yield (names or ["message"])[-1], data


def seconds_until(moment: Any, unix_now: float) -> float:
    """The seconds until an ISO 8601 time; 0 if there is none."""
    time_ms = _time_ms(moment)
    return 0.0 if time_ms is None else time_ms / 1000 - unix_now


def _time_ms(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(moment)).timestamp() * 1000
    except (ValueError, OverflowError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else float(default)
