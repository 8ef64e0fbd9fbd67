from __future__ import annotations

import json
import struct
from typing import Any, get_args

import pytest
from hypothesis import given, strategies as st

from comfy_ui.demo.http.sockets import text_frame
from comfy_ui.protocol.frames import node_states, parse_binary, parse_text
from comfy_ui.protocol.messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    FeatureFlags,
    Logs,
    MalformedMessage,
    Message,
    NodeProgress,
    NodeState,
    Notification,
    PreviewFrame,
    ProgressState,
    ProgressText,
    QueueStatus,
    UnknownMessage,
)

JPEG = b"\xff\xd8\xff\xe0picture"


def text(kind: Any, data: Any) -> Message:
    return parse_text(json.dumps({"type": kind, "data": data}))


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (
            "status",
            {"status": {"exec_info": {"queue_remaining": 2}}, "sid": "me"},
            QueueStatus(2, "me"),
        ),
        ("status", {"status": {"exec_info": {"queue_remaining": 0}}}, QueueStatus(0)),
        ("feature_flags", {"supports_x": True}, FeatureFlags({"supports_x": True})),
        ("execution_start", {"prompt_id": "p", "timestamp": 1}, ExecutionStart("p")),
        ("execution_cached", {"prompt_id": "p", "nodes": []}, ExecutionCached("p", ())),
        (
            "execution_cached",
            {"prompt_id": "p", "nodes": ["1", 2]},
            ExecutionCached("p", ("1", "2")),
        ),
        (
            "executing",
            {"prompt_id": "p", "node": "2.0.0.1", "display_node": "2"},
            Executing("p", "2.0.0.1", "2"),
        ),
        ("executing", {"node": "2"}, Executing(None, "2", "2")),
        ("executing", {"prompt_id": "p", "node": None}, Executing("p", None, None)),
        (
            "progress",
            {"prompt_id": "p", "node": "3", "value": 1.5, "max": 20},
            NodeProgress("p", "3", 1.5, 20.0),
        ),
        ("progress", {"value": 1, "max": 2}, NodeProgress(None, None, 1.0, 2.0)),
        (
            "executed",
            {"prompt_id": "p", "node": "9", "display_node": "9", "output": {"images": []}},
            Executed("p", "9", "9", {"images": []}),
        ),
        ("executed", {"prompt_id": "p", "node": "9", "output": None}, Executed("p", "9", "9", {})),
        ("execution_success", {"prompt_id": "p"}, ExecutionSuccess("p")),
        (
            "execution_error",
            {
                "prompt_id": "p",
                "node_id": "6",
                "node_type": "VAEDecode",
                "executed": ["1"],
                "exception_message": "boom",
                "exception_type": "ValueError",
                "traceback": ["a", "b"],
                "current_inputs": {"big": [1]},
                "current_outputs": [],
            },
            ExecutionError("p", "6", "VAEDecode", "ValueError", "boom", ("a", "b")),
        ),
        (
            "execution_interrupted",
            {"prompt_id": "p", "node_id": "3", "node_type": "KSampler", "executed": []},
            ExecutionInterrupted("p", "3", "KSampler"),
        ),
        (
            "logs",
            {"entries": [{"t": "2026", "m": "line\n"}], "size": None},
            Logs(("line\n",)),
        ),
        ("notification", {"value": "hello"}, Notification("hello")),
        ("assets.added", {"id": 1}, UnknownMessage("assets.added", {"id": 1})),
        ("crystools.monitor", None, UnknownMessage("crystools.monitor", None)),
    ],
)
def test_parse_text_known_message_returns_its_type(kind: str, data: Any, message: Message) -> None:
    assert text(kind, data) == message


def test_parse_text_oversized_frame_is_not_parsed() -> None:
    frame = '{"type": "logs", "data": {"text": "' + "x" * 8 * 2**20 + '"}}'
    assert parse_text(frame) == MalformedMessage("too large")


def test_parse_text_progress_state_returns_node_states() -> None:
    nodes = {
        "3": {"value": 2, "max": 6, "state": "running", "display_node_id": "3"},
        "2.0.0.1": {"value": 1.0, "max": 1.0, "state": "finished", "display_node_id": "2"},
        "4": {"value": 0, "max": 1, "state": "running", "activity": "loading"},
        "broken": None,
    }
    message = text("progress_state", {"prompt_id": "p", "nodes": nodes})
    assert message == ProgressState("p", nodes)
    assert [*node_states(nodes)] == [
        NodeState("3", "3", "running", 2.0, 6.0),
        NodeState("2.0.0.1", "2", "finished", 1.0, 1.0),
        NodeState("4", "4", "running", 0.0, 1.0, "loading"),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "null",
        "[]",
        '"status"',
        "{}",
        '{"type": 3}',
        '{"type": null, "data": {}}',
        '{"type": "status"}',
        '{"type": "status", "data": []}',
        '{"type": "execution_start", "data": {}}',
        '{"type": "execution_start", "data": {"prompt_id": null}}',
        '{"type": "execution_start", "data": {"prompt_id": true}}',
        '{"type": "execution_cached", "data": {"prompt_id": "p"}}',
        '{"type": "executing", "data": {"prompt_id": "p"}}',
        '{"type": "executing", "data": {"prompt_id": "p", "node": {}}}',
        '{"type": "executed", "data": {"prompt_id": "p", "output": {}}}',
        '{"type": "progress_state", "data": {"prompt_id": "p", "nodes": []}}',
        '{"type": "logs", "data": {"entries": 1}}',
        b"\xff\xfe\x00",
        "[" * 100_000,
        '{"type": "x", "data": ' + "9" * 5000 + "}",
    ],
)
def test_parse_text_malformed_frame_returns_reason(frame: str | bytes) -> None:
    message = parse_text(frame)
    assert isinstance(message, MalformedMessage)
    assert message.reason


def test_parse_text_executing_with_invalid_node_is_malformed() -> None:
    """`node: null` ends a job; an invalid node must not."""
    for node in ({}, [], 1.5, True):
        assert isinstance(text("executing", {"prompt_id": "p", "node": node}), MalformedMessage)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '"7"', "null", "1" + "0" * 400])
def test_parse_text_progress_with_invalid_number_reads_as_zero(value: str) -> None:
    message = parse_text(
        '{"type": "progress", "data": {"prompt_id": "p", "node": "3", "max": 4, "value": '
        + value
        + "}}"
    )
    assert message == NodeProgress("p", "3", 0.0, 4.0)


def test_parse_text_accepts_bytes() -> None:
    assert parse_text(b'{"type": "execution_success", "data": {"prompt_id": "p"}}') == (
        ExecutionSuccess("p")
    )


@pytest.mark.parametrize(("code", "media_type"), [(1, "image/jpeg"), (2, "image/png")])
def test_parse_binary_plain_preview_has_no_job(code: int, media_type: str) -> None:
    message = parse_binary(struct.pack(">II", 1, code) + JPEG)
    assert isinstance(message, PreviewFrame)
    assert (message.image, message.media_type) == (JPEG, media_type)
    assert (message.prompt_id, message.node) == (None, None)


def with_metadata(**metadata: Any) -> bytes:
    header = json.dumps(metadata).encode()
    return struct.pack(">II", 4, len(header)) + header + JPEG


def test_parse_binary_preview_with_metadata_has_job_and_node() -> None:
    message = parse_binary(
        with_metadata(
            prompt_id="p",
            node_id="2.0.0.1",
            display_node_id="2",
            parent_node_id=None,
            real_node_id="2.0.0.1",
            image_type="image/png",
        )
    )
    assert isinstance(message, PreviewFrame)
    assert (message.image, message.media_type) == (JPEG, "image/png")
    assert (message.prompt_id, message.node, message.display_node) == ("p", "2.0.0.1", "2")


def test_parse_binary_progress_text_decodes_utf8() -> None:
    frame = struct.pack(">II", 3, 1) + b"2" + "Arbeite: 42 % – 工作".encode()
    assert parse_binary(frame) == ProgressText("2", "Arbeite: 42 % – 工作")


def test_parse_binary_unknown_event_returns_unknown_message() -> None:
    assert parse_binary(struct.pack(">I", 7) + b"rest") == UnknownMessage("binary:7")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00\x00\x00",
        struct.pack(">I", 1),
        struct.pack(">II", 3, 99) + b"2",
        struct.pack(">II", 3, 1) + b"\xff",
        struct.pack(">II", 4, 4_000_000_000),
        struct.pack(">II", 4, 2) + b"{]" + JPEG,
        struct.pack(">II", 4, 2) + b"[]" + JPEG,
        struct.pack(">II", 4, 2) + b"\xff\xff" + JPEG,
        struct.pack(">II", 4, 100_000) + b"[" * 100_000,
    ],
)
def test_parse_binary_malformed_frame_returns_reason(frame: bytes) -> None:
    message = parse_binary(frame)
    assert isinstance(message, MalformedMessage)
    assert message.reason


def test_parse_binary_large_preview_is_copied_only_on_access() -> None:
    frame = struct.pack(">II", 1, 2) + bytes(50_000_000)
    message = parse_binary(frame)
    assert isinstance(message, PreviewFrame)
    assert message.data.obj is frame
    assert len(message.image) == 50_000_000
    assert message.image is message.image


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
KINDS = [
    "status",
    "feature_flags",
    "execution_start",
    "execution_cached",
    "executing",
    "progress",
    "progress_state",
    "executed",
    "execution_success",
    "execution_error",
    "execution_interrupted",
    "logs",
    "notification",
    "other",
]
FIELDS = [
    "prompt_id",
    "node",
    "nodes",
    "output",
    "status",
    "value",
    "max",
    "entries",
    "traceback",
    "display_node",
]


@given(
    kind=st.sampled_from(KINDS) | json_values,
    data=st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values,
)
def test_parse_text_any_json_returns_message(kind: Any, data: Any) -> None:
    assert isinstance(text(kind, data), get_args(Message))


@given(st.text() | st.binary())
def test_parse_text_any_frame_returns_message(frame: str | bytes) -> None:
    assert isinstance(parse_text(frame), get_args(Message))


@given(st.integers(0, 5), st.binary())
def test_parse_binary_any_frame_returns_message(kind: int, rest: bytes) -> None:
    assert isinstance(parse_binary(struct.pack(">I", kind) + rest), get_args(Message))
    assert isinstance(parse_binary(rest), get_args(Message))


def test_parse_binary_text_with_prompt_id_is_tied_to_its_job() -> None:
    frame = text_frame("7", "Iteration 1 / 4", "job-1")
    assert parse_binary(frame, texts_have_prompt_id=True) == ProgressText(
        "7", "Iteration 1 / 4", "job-1"
    )
    plain = text_frame("7", "Iteration 1 / 4")
    assert parse_binary(plain) == ProgressText("7", "Iteration 1 / 4")
    assert isinstance(parse_binary(frame[:9], texts_have_prompt_id=True), MalformedMessage)
