"""The routes of a ComfyUI server, each as an :class:`.ApiRequest`. Pure.

Paths are those of ComfyUI; ``ServerAddress`` translates them for Comfy Cloud. Sources: recordings
of 0.3.64 and the public source of newer versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from ..errors import OutputMissingError
from ..protocol.object_info import NodeRegistry
from ..protocol.queue_and_history import HistoryEntry, QueueSnapshot, read_history, read_queue
from .response_models import (
    Blueprint,
    JobInfo,
    LogLine,
    ModelFile,
    SystemStats,
    Template,
    UploadedFile,
    UserFile,
    read_blueprints,
    read_templates,
)
from .submission import SubmissionResult, prompt_body, read_submitted
from .transport.request import (
    ApiRequest,
    ApiResponse,
    FilePart,
    as_list,
    json_body,
    read_json,
    read_names,
    read_nothing,
    read_object,
    unexpected,
)

# Most answers have some hundred bytes. Lists of models, node_errors, templates and logs have some
# megabytes, object_info has up to 30, and history and queue hold the workflows of all clients.
_MEDIUM = 16 * 2**20
_LARGE = 64 * 2**20

N = TypeVar("N", int, float)
JobStatus = Literal["pending", "in_progress", "completed", "failed", "cancelled"]
Folder = Literal["input", "output", "temp"]


# -- running jobs


def submit(
    graph: Mapping[str, Any],
    *,
    prompt_id: str,
    client_id: str,
    front: bool,
    extra_data: Mapping[str, Any] | None,
) -> ApiRequest[SubmissionResult]:
    """Queue a graph. Must not be retried blindly: the same id twice is two jobs."""
    return ApiRequest(
        method="POST",
        path="/prompt",
        max_bytes=_MEDIUM,
        body=prompt_body(
            graph, prompt_id=prompt_id, client_id=client_id, front=front, extra_data=extra_data
        ),
        parse=lambda answer: read_submitted(answer, graph),
        repeatable=False,
        accepts=(400,),
    )


def ping() -> ApiRequest[int]:
    """The number of running and pending jobs: the cheapest request there is."""
    return ApiRequest(method="GET", path="/prompt", parse=_queue_remaining)


def queue() -> ApiRequest[QueueSnapshot]:
    """The jobs of all clients. The server also sends their API keys; those are not kept."""
    return ApiRequest(
        method="GET",
        path="/queue",
        max_bytes=_LARGE,
        parse=lambda answer: read_queue(read_json(answer)),
    )


def history(prompt_id: str) -> ApiRequest[HistoryEntry | None]:
    """None for unknown, pending, running and deleted jobs alike."""
    return ApiRequest(
        method="GET",
        path=f"/history/{quote(prompt_id, safe='')}",
        max_bytes=_LARGE,
        parse=lambda answer: _history_entry(answer, prompt_id),
        accepts=(404,),  # Comfy Cloud's answer for an unknown job
    )


def recent(max_items: int) -> ApiRequest[dict[str, HistoryEntry]]:
    """The last ``max_items`` finished jobs, oldest first."""
    return ApiRequest(
        method="GET",
        path="/history",
        max_bytes=_LARGE,
        query={"max_items": str(max_items)},
        parse=_recent,
    )


def forget(prompt_id: str) -> ApiRequest[None]:
    """Drop a finished job from the server's history; its files stay."""
    return _post("/history", {"delete": [prompt_id]})


def unqueue(prompt_id: str) -> ApiRequest[None]:
    """Remove a pending job. No effect on a running one; the answer does not say which."""
    return _post("/queue", {"delete": [prompt_id]})


def interrupt(prompt_id: str) -> ApiRequest[None]:
    """Stop a job if it is running. Without an id ComfyUI would stop any job."""
    return _post("/interrupt", {"prompt_id": prompt_id})


def cancel_job(prompt_id: str) -> ApiRequest[bool | None]:
    """Cancel a job in one request, on newer versions; None if there is no such route."""
    return ApiRequest(
        method="POST",
        path=f"/api/jobs/{quote(prompt_id, safe='')}/cancel",
        parse=lambda answer: None if answer.status >= 400 else _cancelled(answer),
        accepts=(400, 404, 405),  # 400: an id that is not a UUID, from an older version
    )


def cancel_jobs(prompt_ids: Iterable[str]) -> ApiRequest[bool]:
    """Cancel several jobs, on newer versions; an empty list only probes the route."""
    return ApiRequest(
        method="POST",
        path="/api/jobs/cancel",
        body=json_body({"job_ids": list(prompt_ids)}),
        parse=_cancelled,
    )


def jobs(
    *, status: Iterable[JobStatus] = (), limit: int = 100, offset: int = 0
) -> ApiRequest[list[JobInfo]]:
    """Jobs of all states, newest first. From about ComfyUI 0.30; 404 on older ones."""
    query = {"limit": str(limit), "offset": str(offset)}
    if states := ",".join(status):
        query["status"] = states
    return ApiRequest(
        method="GET",
        path="/api/jobs",
        max_bytes=_LARGE,
        query=query,
        parse=lambda answer: [
            JobInfo.read(job) for job in as_list(read_object(answer).get("jobs"))
        ],
    )


def job(prompt_id: str) -> ApiRequest[JobInfo | None]:
    """One job of any state; None if unknown, or on an older version."""
    return ApiRequest(
        method="GET",
        path=f"/api/jobs/{quote(prompt_id, safe='')}",
        max_bytes=_LARGE,
        parse=lambda answer: None if answer.status == 404 else JobInfo.read(read_object(answer)),
        accepts=(404,),
    )


def free(*, unload_models: bool, free_memory: bool) -> ApiRequest[None]:
    """Free memory between two jobs. ``free_memory`` also drops the node cache."""
    return _post("/free", {"unload_models": unload_models, "free_memory": free_memory})


# -- files


def view(filename: str, *, subfolder: str, type: str) -> ApiRequest[bytes]:  # noqa: A002
    """A file as stored, byte for byte."""
    return ApiRequest(
        method="GET",
        path="/view",
        query={"filename": filename, "subfolder": subfolder, "type": type},
        # A compressed answer has no length to check and no ranges to resume.
        headers={"accept-encoding": "identity"},
        parse=lambda answer: read_file(answer, filename),
        accepts=(400, 404),
        body_s=300.0,  # the server stops sending while it loads models
    )


def exists(filename: str, *, subfolder: str, type: str) -> ApiRequest[None]:  # noqa: A002
    """Raises OutputMissingError unless the server has the file."""

    def parse(answer: ApiResponse) -> None:
        read_file(answer, filename)

    query = {"filename": filename, "subfolder": subfolder, "type": type}
    # 302: Comfy Cloud keeps the file elsewhere.
    return ApiRequest(
        method="HEAD", path="/view", query=query, parse=parse, accepts=(302, 400, 404)
    )


def read_file(answer: ApiResponse, filename: str) -> bytes:
    """The bytes of a view answer.

    Raises:
        OutputMissingError: the server has no such file.
    """
    if answer.status >= 400:
        raise OutputMissingError(f"The server has no file '{filename}', or no longer.")
    return answer.content


def upload(
    part: FilePart,
    *,
    subfolder: str,
    type: Folder,  # noqa: A002
    overwrite: bool,
) -> ApiRequest[UploadedFile]:
    """Upload an image, sound or video; the server may change the name."""
    fields = {"type": type, "subfolder": subfolder, "overwrite": "true" if overwrite else "false"}
    return ApiRequest(
        method="POST",
        path="/upload/image",
        file=part,
        fields=fields,
        parse=_uploaded,
        # The same bytes under the same name give the same name back.
        repeatable=True,
    )


def upload_mask(
    part: FilePart,
    original: Mapping[str, str],
    *,
    subfolder: str,
    type: Folder,  # noqa: A002
) -> ApiRequest[UploadedFile]:
    """Store a copy of ``original`` with the alpha channel of the uploaded image."""
    fields = {
        "original_ref": json_body(dict(original)).decode(),
        "type": type,
        "subfolder": subfolder,
    }
    return ApiRequest(
        method="POST",
        path="/upload/mask",
        file=part,
        fields=fields,
        parse=_uploaded,
        repeatable=False,
    )


# -- reading


def _number(value: Any, kind: Callable[[Any], N]) -> N:
    return kind(value) if isinstance(value, int | float) else kind(0)


def _post(path: str, body: dict[str, Any]) -> ApiRequest[None]:
    return ApiRequest(method="POST", path=path, body=json_body(body), parse=read_nothing)


def _queue_remaining(answer: ApiResponse) -> int:
    info = read_object(answer).get("exec_info")
    remaining = info.get("queue_remaining") if isinstance(info, dict) else None
    return remaining if isinstance(remaining, int) else 0


def _history_entry(answer: ApiResponse, prompt_id: str) -> HistoryEntry | None:
    if answer.status == 404:
        return None
    body = read_object(answer)
    if body and prompt_id not in body:  # a proxy's error must not look like an unknown job
        raise unexpected(answer)
    return read_history(body, prompt_id).entry


def _recent(answer: ApiResponse) -> dict[str, HistoryEntry]:
    body = read_object(answer)
    entries = ((prompt_id, read_history(body, prompt_id).entry) for prompt_id in body)
    return {prompt_id: entry for prompt_id, entry in entries if entry is not None}


def _cancelled(answer: ApiResponse) -> bool:
    return read_object(answer).get("cancelled") is True


def _uploaded(answer: ApiResponse) -> UploadedFile:
    body = read_object(answer)
    return UploadedFile.at(
        str(body.get("name", "")),
        subfolder=str(body.get("subfolder", "")),
        type=str(body.get("type", "input")),
    )


# A server with many custom nodes takes minutes for this, and answers nothing else meanwhile.
OBJECT_INFO_TIMEOUT_S = 300.0

_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def object_info(node: str | None = None) -> ApiRequest[NodeRegistry]:
    """All node classes, or one; an unknown one gives an empty registry."""
    return ApiRequest(
        method="GET",
        path="/object_info" if node is None else f"/object_info/{quote(node, safe='')}",
        max_bytes=_LARGE,
        parse=lambda answer: NodeRegistry(read_object(answer)),
        timeout_s=OBJECT_INFO_TIMEOUT_S,
        body_s=OBJECT_INFO_TIMEOUT_S,
    )


def models(folder: str | None = None) -> ApiRequest[list[str]]:
    """The folders below ``models/``, or the files of one; in subfolders as ``a/b.safetensors``."""
    path = "/models" if folder is None else f"/models/{quote(folder, safe='')}"
    return ApiRequest(
        method="GET",
        path=path,
        max_bytes=_MEDIUM,
        parse=read_names,
    )


def model_paths() -> ApiRequest[dict[str, list[str]]]:
    """Where the server looks for the files of each folder: paths on its machine."""
    return ApiRequest(
        method="GET",
        path="/experiment/models",
        max_bytes=_MEDIUM,
        parse=lambda answer: {
            str(entry["name"]): [str(path) for path in as_list(entry.get("folders"))]
            for entry in as_list(read_json(answer))
            if isinstance(entry, dict) and "name" in entry
        },
    )


def model_files(folder: str) -> ApiRequest[list[ModelFile]]:
    """The files of a model folder with size and time."""
    return ApiRequest(
        method="GET",
        path=f"/experiment/models/{quote(folder, safe='')}",
        max_bytes=_MEDIUM,
        parse=lambda answer: [
            ModelFile(
                str(entry["name"]),
                _number(entry.get("pathIndex"), int),
                _number(entry.get("size"), int),
                _number(entry.get("modified"), float),
            )
            for entry in as_list(read_json(answer))
            if isinstance(entry, dict) and "name" in entry
        ],
    )


def model_metadata(folder: str, filename: str) -> ApiRequest[dict[str, Any]]:
    """The metadata in the header of a safetensors file; empty if there is none."""
    return ApiRequest(
        method="GET",
        path=f"/view_metadata/{quote(folder, safe='')}",
        query={"filename": filename},
        max_bytes=_MEDIUM,
        accepts=(404,),
        parse=lambda answer: {} if answer.status == 404 else read_object(answer),
    )


def model_preview(folder: str, filename: str, path_index: int) -> ApiRequest[bytes | None]:
    """The picture of a model file; None if it has none."""
    where = f"{quote(folder, safe='')}/{path_index}/{quote(filename)}"
    return ApiRequest(
        method="GET",
        path=f"/experiment/models/preview/{where}",
        max_bytes=_MEDIUM,
        accepts=(404,),
        parse=lambda answer: None if answer.status == 404 else answer.content,
    )


def embeddings() -> ApiRequest[list[str]]:
    """Names of textual-inversion embeddings."""
    return ApiRequest(
        method="GET",
        path="/embeddings",
        max_bytes=_MEDIUM,
        parse=read_names,
    )


def system_stats() -> ApiRequest[SystemStats]:
    """Versions, devices and memory."""
    return ApiRequest(
        method="GET",
        path="/system_stats",
        parse=lambda answer: SystemStats.read(read_object(answer)),
    )


def features() -> ApiRequest[dict[str, Any]]:
    """The server's feature flags; more with each version."""
    return ApiRequest(
        method="GET",
        path="/features",
        max_bytes=_MEDIUM,
        parse=read_object,
    )


def templates() -> ApiRequest[dict[str, list[str]]]:
    """Workflow templates of the installed node packs: ``{pack: [name, …]}``."""
    return ApiRequest(
        method="GET",
        path="/workflow_templates",
        max_bytes=_MEDIUM,
        parse=lambda answer: {
            pack: [str(name) for name in as_list(names)]
            for pack, names in read_object(answer).items()
        },
    )


def template(pack: str, name: str) -> ApiRequest[dict[str, Any]]:
    """A template of a node pack, in editor format."""
    return ApiRequest(
        method="GET",
        path=f"/api/workflow_templates/{quote(pack, safe='')}/{quote(name, safe='')}.json",
        max_bytes=_MEDIUM,
        parse=read_object,
    )


def official_templates() -> ApiRequest[list[Template]]:
    """The templates that come with ComfyUI; none if their package is not installed."""
    return ApiRequest(
        method="GET",
        path="/templates/index.json",
        max_bytes=_MEDIUM,
        parse=lambda answer: [] if answer.status == 404 else read_templates(read_json(answer)),
        accepts=(404,),
    )


def official_template(name: str) -> ApiRequest[dict[str, Any]]:
    """A template that comes with ComfyUI, in editor format."""
    return ApiRequest(
        method="GET",
        path=f"/templates/{quote(name, safe='')}.json",
        max_bytes=_MEDIUM,
        parse=read_object,
    )


def blueprints() -> ApiRequest[list[Blueprint]]:
    """The subgraph blueprints of ComfyUI and of node packs; older versions have none."""
    return ApiRequest(
        method="GET",
        path="/global_subgraphs",
        max_bytes=_MEDIUM,
        parse=lambda answer: [] if answer.status == 404 else read_blueprints(read_object(answer)),
        accepts=(404,),
    )


def blueprint(blueprint_id: str) -> ApiRequest[dict[str, Any]]:
    """A blueprint in editor format: one node, and the definition of its subgraph."""
    return ApiRequest(
        method="GET",
        path=f"/global_subgraphs/{quote(blueprint_id, safe='')}",
        max_bytes=_MEDIUM,
        parse=_read_blueprint,
    )


def _read_blueprint(answer: ApiResponse) -> dict[str, Any]:
    """Read the editor-format file of a blueprint, which the server sends as a text."""
    data = read_object(answer).get("data")
    try:
        file = json.loads(data) if isinstance(data, str) else data
    except ValueError:
        file = None
    if not isinstance(file, dict):
        raise unexpected(answer)
    return file


def logs() -> ApiRequest[list[LogLine]]:
    """The last lines of the server's log. ComfyUI declares this route unstable."""
    return ApiRequest(
        method="GET",
        path="/internal/logs/raw",
        max_bytes=_MEDIUM,
        parse=lambda answer: [
            LogLine(str(entry.get("t", "")), _COLORS.sub("", str(entry.get("m", ""))).rstrip())
            for entry in as_list(read_object(answer).get("entries"))
            if isinstance(entry, dict)
        ],
    )


# -- the user's folder on the server


def userdata(folder: str) -> ApiRequest[list[UserFile]]:
    """Files below ``folder``, recursively; an absent folder has none."""
    return ApiRequest(
        method="GET",
        path="/userdata",
        max_bytes=_MEDIUM,
        query={"dir": folder, "recurse": "true", "full_info": "true"},
        parse=lambda answer: [] if answer.status == 404 else _user_files(answer),
        accepts=(404,),
    )


def read_userdata(path: str) -> ApiRequest[bytes]:
    """The bytes of a file of the user's data."""
    return ApiRequest(
        method="GET",
        path=f"/userdata/{quote(path, safe='')}",
        max_bytes=_LARGE,
        parse=lambda answer: answer.content,
    )


def write_userdata(path: str, content: bytes, *, overwrite: bool) -> ApiRequest[None]:
    """Store a file; 409 if it exists and ``overwrite`` is False."""
    return ApiRequest(
        method="POST",
        path=f"/userdata/{quote(path, safe='')}",
        query={"overwrite": "true" if overwrite else "false"},
        body=content,
        parse=read_nothing,
        repeatable=overwrite,
    )


def delete_userdata(path: str) -> ApiRequest[bool]:
    """Delete a file; whether it existed."""
    return ApiRequest(
        method="DELETE",
        path=f"/userdata/{quote(path, safe='')}",
        parse=lambda answer: answer.status != 404,
        accepts=(404,),
    )


def _user_files(answer: ApiResponse) -> list[UserFile]:
    files = []
    for entry in as_list(read_json(answer)):
        if isinstance(entry, dict):
            size, modified = entry.get("size"), entry.get("modified")
            files.append(
                UserFile(
                    str(entry.get("path", "")),
                    size if isinstance(size, int) else 0,
                    _unix_time(modified),
                )
            )
    return files


def _unix_time(value: Any) -> float | None:
    """Seconds; newer versions send milliseconds, which as seconds lie millennia ahead."""
    if not isinstance(value, int | float):
        return None
    return value / 1000 if value > 1e11 else float(value)
