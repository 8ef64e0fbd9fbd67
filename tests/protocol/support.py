"""Frames, responses and graphs as a ComfyUI server sends them, and replays of recordings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_ui.protocol.frames import parse_binary, parse_text
from comfy_ui.protocol.job import (
    ConnectionLost,
    ConnectionRegained,
    Event,
    JobState,
    PostAccepted,
    advance,
    new_job,
)
from comfy_ui.protocol.queue_and_history import read_history, read_queue

JOB = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"

GRAPH: dict[str, Any] = {
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "a.safetensors"},
        "_meta": {"title": "Model"},
    },
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
            "steps": 4,
        },
        "_meta": {"title": "Paint it"},
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
}
ORDER = ["4", "5", "6", "7", "3", "8", "9"]
FILE = {"filename": "x_00001_.png", "subfolder": "", "type": "output"}


def frame(kind: str, *, job: str | None = JOB, **data: Any) -> str:
    if job is not None:
        data["prompt_id"] = job
    return json.dumps({"type": kind, "data": data})


def message_of(kind: str, *, job: str | None = JOB, **data: Any) -> Any:
    """Build a frame and parse it into the message that the reducer receives."""
    return parse_text(frame(kind, job=job, **data))


def snapshot(nodes: Mapping[str, tuple[str, float, float]], *, job: str = JOB, **extra: Any) -> str:
    """A ``progress_state`` frame of ``{node: (state, value, max)}``."""
    states = {
        node: {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node,
            "display_node_id": node.partition(".")[0],
            "parent_node_id": None,
            "real_node_id": node,
            **extra,
        }
        for node, (state, value, maximum) in nodes.items()
    }
    return frame("progress_state", job=job, nodes=states)


def run_frames(
    *, job: str = JOB, cached: tuple[str, ...] = (), end: str = "execution_success"
) -> list[str]:
    """Return the frames of a run of ``GRAPH`` in recorded order; a failing run ends at node 8."""
    frames = [
        frame("execution_start", job=job, timestamp=1000),
        frame("execution_cached", job=job, nodes=list(cached), timestamp=1001),
    ]
    touched: dict[str, tuple[str, float, float]] = {}
    for node in (node for node in ORDER if node not in cached):
        touched[node] = ("running", 0.0, 1.0)
        frames.append(snapshot(touched, job=job))
        frames.append(frame("executing", job=job, node=node, display_node=node))
        if node == "8" and end != "execution_success":
            frames.append(frame(end, job=job, **ENDINGS[end]))
            break
        for step in range(1, 5) if node == "3" else ():
            touched[node] = ("running", step, 4)
            frames.append(snapshot(touched, job=job))
            frames.append(frame("progress", job=job, value=step, max=4, node=node))
        if node == "9":
            frames.append(executed(job=job))
        touched[node] = ("finished", 1.0, 1.0)
        frames.append(snapshot(touched, job=job))
    if end == "execution_success":
        if "9" in cached:
            frames.append(executed(job=job))
        frames.append(frame(end, job=job, timestamp=3500))
    return [*frames, frame("executing", job=job, node=None)]


ENDINGS: dict[str, dict[str, Any]] = {
    "execution_success": {"timestamp": 3500},
    "execution_error": {
        "node_id": "8",
        "node_type": "VAEDecode",
        "executed": ["4"],
        "exception_message": "boom",
        "exception_type": "ValueError",
        "traceback": ["line 1", "line 2"],
        "current_inputs": {},
        "current_outputs": [],
        "timestamp": 3500,
    },
    "execution_interrupted": {
        "node_id": "8",
        "node_type": "VAEDecode",
        "executed": ["4"],
        "timestamp": 3500,
    },
}


def executed(*, job: str = JOB, node: str = "9", output: Any = None) -> str:
    output = {"images": [FILE]} if output is None else output
    return frame("executed", job=job, node=node, display_node=node, output=output)


def history_body(
    end: str = "execution_success", *, job: str = JOB, outputs: Any = None, **extra: Any
) -> dict[str, Any]:
    if outputs is None:
        outputs = {"9": {"images": [FILE]}} if end == "execution_success" else {}
    good = end == "execution_success"
    messages = [
        ["execution_start", {"prompt_id": job, "timestamp": 1000}],
        ["execution_cached", {"nodes": [], "prompt_id": job, "timestamp": 1001}],
        [end, {"prompt_id": job, **ENDINGS[end]}],
    ]
    entry = {
        "prompt": [1, job, GRAPH, {}, ["9"]],
        "outputs": outputs,
        "status": {
            "status_str": "success" if good else "error",
            "completed": good,
            "messages": messages,
        },
        "meta": {},
    }
    return {job: {**entry, **extra}}


def queue_body(
    *, running: tuple[str, ...] = (), pending: tuple[tuple[float, str], ...] = ()
) -> dict[str, Any]:
    return {
        "queue_running": [[0, job, GRAPH, {}, ["9"]] for job in running],
        "queue_pending": [[number, job, GRAPH, {}, ["9"]] for number, job in pending],
    }


def history(end: str = "execution_success", **options: Any) -> Any:
    return read_history(history_body(end, **options), JOB)


NOT_IN_HISTORY = read_history({}, JOB)
ABSENT = read_queue(queue_body()).answer(JOB)
RUNNING = read_queue(queue_body(running=(JOB,))).answer(JOB)
PENDING = read_queue(queue_body(pending=((1, OTHER), (2, JOB), (3, "z")))).answer(JOB)


def feed(state: JobState, *events: Event | str, now: float, pause: float = 0.0) -> JobState:
    """Advance by events or text frames, ``pause`` seconds apart."""
    for i, event in enumerate(events):
        message = parse_text(event) if isinstance(event, str) else event
        state = advance(state, message, now + i * pause)
    return state


# ---- recordings ------------------------------------------------------------------------------


@dataclass
class Recording:
    """Transcript and the state of each job posted in it after replaying its events."""

    path: Path
    jobs: dict[str, JobState] = field(default_factory=dict)
    histories: dict[str, Any] = field(default_factory=dict)
    executed_outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    percentages: dict[str, list[float]] = field(default_factory=dict)
    previews: int = 0

    def replay(self) -> Recording:
        entries = json.loads(self.path.read_text(encoding="utf-8"))
        clients: dict[str, str] = {}  # socket label -> clientId
        client_ids: dict[str, str | None] = {}
        for entry in entries:
            now = entry.get("t", 0.0)
            connected = re.match(
                r"\[(.+)\] connected /ws(?:\?clientId=(.*))?", entry.get("mark", "")
            )
            if connected:
                label, client = connected[1], connected[2] or ""
                clients[label] = client
                self._apply(client_ids, client, ConnectionRegained(listening=True), now)
            elif "closed" in entry:
                self._apply(client_ids, clients.get(entry["ws"], ""), ConnectionLost(), now)
            elif "prompt_id" in (entry.get("body") or {}) and "/prompt" in str(
                entry.get("request")
            ):
                self._post(entry, client_ids, listening=set(clients.values()), now=now)
            elif "/history/" in entry.get("request", {}).get("path", ""):
                self.histories |= entry["body"] if isinstance(entry.get("body"), dict) else {}
            elif "text" in entry or "binary" in entry:
                self._receive(entry, client_ids, clients[entry["ws"]], now)
        return self

    def _post(
        self, entry: Any, client_ids: dict[str, str | None], *, listening: set[str], now: float
    ) -> None:
        job, client = entry["body"]["prompt_id"], entry["request"]["json"].get("client_id")
        if job in self.jobs:
            return
        client_ids[job] = client
        state = new_job(
            job,
            now=now,
            graph=entry["request"]["json"]["prompt"],
            listening=client in listening,
        )
        self.jobs[job] = advance(state, PostAccepted(), now)
        self.percentages[job] = []

    def _receive(
        self, entry: Any, client_ids: dict[str, str | None], client: str, now: float
    ) -> None:
        if "text" in entry:
            text = entry["text"]
            message = parse_text(json.dumps(text))
            if isinstance(text, dict) and text["type"] == "executed":
                data = text["data"]
                self.executed_outputs.setdefault(data["prompt_id"], {})[data["node"]] = data[
                    "output"
                ]
        else:
            message = parse_binary(rebuild(entry["binary"]))
            self.previews += type(message).__name__ == "PreviewFrame"
        self._apply(client_ids, client, message, now)

    def _apply(
        self, client_ids: dict[str, str | None], client: str, event: Event, now: float
    ) -> None:
        for job, state in self.jobs.items():
            if client_ids[job] in (client, None):
                self.jobs[job] = advance(state, event, now)
                self.percentages[job].append(self.jobs[job].progress(now).progress)


def rebuild(binary: Mapping[str, Any]) -> bytes:
    """Rebuild a recorded binary frame; its image has only the recorded first bytes."""
    start = bytes.fromhex(binary["first_40_bytes_hex"])
    if binary["event_type"] != 4:
        return start
    header = json.dumps(binary["metadata"]).encode()
    assert len(header) == binary["metadata_len"]
    return start[:8] + header + bytes.fromhex(binary["payload_magic"])


def recordings(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("ws_*.json"))
