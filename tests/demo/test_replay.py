"""Recorded requests replayed against the engine; each known difference has its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfy_ui.demo import DemoServer, Faults
from tests.conftest import PROTOCOL
from tests.demo import support

# GET routes whose response differs from the recording, and why.
GET_DIFFERS = {
    "/experiment/models/checkpoints": "sizes and dates of files that do not exist here",
    "/extensions": "the engine has no web interface, so no scripts for it",
}
# Keys of bodies that only one side has, and why.
KEYS_DIFFER = {
    "display_name": "specs are those of 0.33.0, which adds display names to some inputs",
    "output_tooltips": "sentences are not copied",
    "tooltip": "sentences are not copied",
    "description": "sentences are not copied",
    "is_input_list": "specs are those of 0.33.0",
    "has_intermediate_output": "specs are those of 0.33.0",
    "dev_only": "specs are those of 0.33.0",
    "deprecated": "specs are those of 0.33.0",
    "experimental": "specs are those of 0.33.0",
    "api_node": "specs are those of 0.33.0",
    "price_badge": "specs are those of 0.33.0",
    "codec": "0.33.0 moved it into `format`",
    "custom_nodes": "no custom nodes here",
    "classifiers": "a folder that no node of the engine reads",
    "latent_upscale_models": "a folder of newer cores",
    "frame_interpolation": "a folder of newer cores",
}
# Test node classes of the recording and their equivalents here.
LAB = {
    "LabSleep": "DemoSleep",
    "LabBlockingSleep": "DemoSleep",
    "LabRaise": "DemoRaise",
    "LabText": "DemoText",
    "LabProgressText": "DemoText",
}
CHECKPOINT = {"sd15_tiny_random.safetensors": "sd_xl_base_1.0.safetensors"}


@pytest.fixture(scope="module")
def old():
    with DemoServer(core="0.3.64", faults=Faults(test_nodes=True)) as server:
        yield server


def _load(name: str) -> list[dict[str, Any]]:
    return json.loads((PROTOCOL / name).read_text(encoding="utf-8"))


def _differences(recorded: Any, seen: Any, at: str = "") -> list[str]:
    """List differences in keys or types; lists are compared by their first entry."""
    if recorded is None or seen is None:
        return []
    if isinstance(recorded, bool) != isinstance(seen, bool):
        return [f"{at}: {recorded!r} / {seen!r}"]
    if isinstance(recorded, int | float) and isinstance(seen, int | float):
        return []
    if type(recorded) is not type(seen):
        return [f"{at}: {type(recorded).__name__} / {type(seen).__name__}"]
    differences: list[str] = []
    if isinstance(recorded, dict):
        differences += [
            f"{at}.{key}: only {'recorded' if key in recorded else 'here'}"
            for key in recorded.keys() ^ seen.keys()
            if key not in KEYS_DIFFER
        ]
        for key in recorded.keys() & seen.keys():
            if key not in KEYS_DIFFER:
                differences += _differences(recorded[key], seen[key], f"{at}.{key}")
    if isinstance(recorded, list) and recorded and seen:
        differences += _differences(recorded[0], seen[0], f"{at}[0]")
    return differences


def test_get_routes_respond_as_recorded(old) -> None:
    problems = []
    for entry in _load("http_get_routes.json"):
        request = entry["request"]
        path = request["path"]
        if request["method"] != "GET" or "/history" in path:
            continue
        headers = {
            name: value.replace("http://127.0.0.1:8188", old.url)
            for name, value in request.get("headers", {}).items()
        }
        response = support.request(old, path, headers=headers)
        if response.status != entry["status"]:
            problems.append(f"{path}: {entry['status']} / {response.status}")
            continue
        recorded_type = entry["headers"].get("Content-Type", "")
        if recorded_type != response.headers.get("content-type", ""):
            problems.append(f"{path}: {recorded_type} / {response.headers.get('content-type')}")
        if isinstance(entry["body"], dict | list) and not GET_DIFFERS.get(path):
            problems += [f"{path} {d}" for d in _differences(entry["body"], response.json)]
    assert not problems, "\n".join(problems)


def _node_errors(body: Any) -> Any:
    """Reduce an error to its types, nodes, inputs and texts, without file lists."""
    if not isinstance(body, dict):
        return body
    return {
        "keys": sorted(body),
        "error": body.get("error") and (body["error"]["type"], body["error"]["message"]),
        "nodes": {
            node: (
                entry["class_type"],
                entry["dependent_outputs"],
                [(e["type"], e["message"], sorted(e["extra_info"])) for e in entry["errors"]],
            )
            for node, entry in body.get("node_errors", {}).items()
        },
    }


# Validation requests whose outcome differs, and why.
VALIDATION_DIFFERS = {
    "extra_data null": "kills the worker; has a test of its own",
    "101 MiB body": "its 101 MiB are not in the recording; has a test of its own",
}


def test_post_prompt_accepts_and_rejects_as_recorded(old) -> None:
    support.upload(old, "lab.png", _png())
    problems, compared = [], 0
    for entry in _load("http_prompt_validation.json"):
        request, note = entry["request"], entry.get("note", "")
        if request["method"] != "POST" or note in VALIDATION_DIFFERS:
            continue
        if "json" in request:
            text = json.dumps(request["json"])
            for recorded, ours in CHECKPOINT.items():
                text = text.replace(recorded, ours)
            data = text.encode()
        elif request["data"].endswith("'"):
            data = eval(request["data"])  # the recording's repr of bytes
        else:
            continue  # cut short in the recording
        compared += 1
        response = support.request(old, request["path"], data=data, method="POST")
        body = (
            response.json if "json" in response.headers["content-type"] else response.body.decode()
        )
        if response.status != entry["status"]:
            problems.append(f"{note}: {entry['status']} / {response.status} {body}")
        elif _node_errors(body) != _node_errors(entry["body"]):
            problems.append(f"{note}:\n  {_node_errors(entry['body'])}\n  {_node_errors(body)}")
    assert compared > 45
    assert not problems, "\n".join(problems)


def _png() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(buffer, "PNG")
    return buffer.getvalue()


# -- WebSocket messages ----------------------------------------------------------------------


def _blocks(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the order of a job's messages: around the nodes and within each node that ran."""
    around: list[str] = []
    nodes: dict[str, list[str]] = {}
    current: str | None = None
    for message in messages:
        kind, data = message["type"], message["data"]
        if kind == "executing" and data["node"] is not None:
            current = data["node"]
            nodes[current] = ["executing"]
        elif kind in ("execution_start", "execution_cached", "execution_success") or kind in (
            "execution_error",
            "execution_interrupted",
        ):
            around.append(kind)
        elif kind == "executing":
            around.append("over")
        elif kind == "executed" and data["node"] not in nodes:
            nodes[data["node"]] = ["executed from the cache"]
        elif kind == "progress_state" and current is not None:
            state = data["nodes"].get(current, {}).get("state")
            # Steps repeat the running state; only the first and the end of a node are compared.
            if state == "finished" and nodes[current][-1] != "finished":
                nodes[current].append("finished")
        elif kind in ("progress", "executed"):
            block = nodes[data["node"]]
            if block[-1] != kind:
                block.append(kind)
    return {"around": around, "nodes": nodes}


TRANSCRIPTS = [
    "ws_01_txt2img_success.json",
    "ws_02_batch_of_3.json",
    "ws_03_cached_rerun_then_changed_seed.json",
    "ws_04_execution_error.json",
    "ws_06_delete_pending.json",
    "ws_12_feature_flags.json",
    "ws_13_binary_types.json",
    "ws_14_outputs_of_each_kind.json",
    "ws_20_logs_subscription.json",
]


def _translate_prompt(prompt: dict[str, Any], available: set[str]) -> dict[str, Any] | None:
    """Translate a recorded prompt to the engine's node classes; None if one is missing."""
    graph = json.loads(json.dumps(prompt))
    for node in graph.values():
        node["class_type"] = LAB.get(node["class_type"], node["class_type"])
        if node["class_type"] not in available:
            return None
        if node["class_type"] == "DemoSleep":
            node["inputs"] |= {"seconds": 0.05, "steps": node["inputs"].get("steps", 1)}
        if node["class_type"] == "DemoText":
            node["inputs"].setdefault("text", "x")
        if node["class_type"] == "DemoRaise":
            node["inputs"].setdefault("message", "boom")
        for name, value in node["inputs"].items():
            if isinstance(value, str):
                node["inputs"][name] = CHECKPOINT.get(value, value)
    return graph


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_messages_arrive_in_recorded_order(name) -> None:
    entries = _load(name)
    by_job: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        prompt_id = entry.get("text", {}).get("data", {}).get("prompt_id")
        if prompt_id:
            by_job.setdefault(prompt_id, []).append(entry["text"])
    compared = 0
    with DemoServer(core="0.3.64", faults=Faults(test_nodes=True)) as server:
        available = set(support.request(server, "/object_info").json)
        support.upload(server, "lab.png", _png())
        listener = support.listen(server)
        for entry in entries:
            request = entry.get("request", {})
            if request.get("path") != "/prompt" or "prompt_id" not in entry["body"]:
                continue
            recorded = by_job.get(entry["body"]["prompt_id"])
            graph = _translate_prompt(request["json"]["prompt"], available)
            if not recorded or graph is None or entry["body"]["node_errors"]:
                continue
            recorded_blocks = _blocks(recorded)
            if recorded_blocks["around"][-2:-1] == ["execution_interrupted"]:
                continue  # interrupts have tests of their own
            prompt_id = support.post(server, graph, client_id="c1")
            ours = _blocks(
                [
                    m
                    for m in listener.until_finished(prompt_id)
                    if m["data"].get("prompt_id") == prompt_id
                ]
            )
            if "VAEDecode" in str(recorded) and "execution_error" in recorded_blocks["around"]:
                continue  # a model of the wrong shape: no models here, so it is no error
            assert ours["around"] == recorded_blocks["around"]
            for node in ours["nodes"].keys() & recorded_blocks["nodes"].keys():
                if (
                    "executed from the cache"
                    in ours["nodes"][node] + recorded_blocks["nodes"][node]
                ):
                    continue
                assert ours["nodes"][node] == recorded_blocks["nodes"][node], (name, node)
            compared += 1
    assert compared
