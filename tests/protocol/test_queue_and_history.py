from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ComfyUIConnectionError
from comfy_ui.protocol.messages import ExecutionError, ExecutionInterrupted, ExecutionSuccess
from comfy_ui.protocol.queue_and_history import (
    HistoryAnswer,
    HistoryEntry,
    QueueAnswer,
    QueueSnapshot,
    read_history,
    read_queue,
)
from tests.conftest import PROTOCOL
from tests.protocol import support
from tests.protocol.support import FILE, JOB


def entry(end: str = "execution_success", **options: Any) -> HistoryEntry:
    history_entry = read_history(support.history_body(end, **options), JOB).entry
    assert history_entry is not None
    return history_entry


# ---- the queue -------------------------------------------------------------------------------


def test_read_queue_pending_positions_follow_run_order() -> None:
    queue = read_queue(
        support.queue_body(running=("r",), pending=((5, "c"), (-2.5, "a"), (5, "b"), (7, "d")))
    )
    assert [(id_, a.position, a.size) for id_, a in queue.pending.items()] == [
        ("a", 1, 4),
        ("b", 2, 4),
        ("c", 3, 4),
        ("d", 4, 4),
    ]
    assert queue.answer("r").place == "running"
    assert queue.answer("zzz") == QueueAnswer("absent", size=4)


def test_queue_answer_has_graph_and_output_nodes() -> None:
    answer = read_queue(support.queue_body(running=(JOB,))).answer(JOB)
    assert answer.graph == support.GRAPH
    assert answer.output_nodes == ("9",)


def test_read_queue_recorded_queue_matches_run_order() -> None:
    path = PROTOCOL / "ws_16_order_number_front.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    body = next(e["body"] for e in entries if "heap order" in e.get("note", ""))
    notes = {
        e["body"]["prompt_id"]: e["note"]
        for e in entries
        if "note" in e and "prompt_id" in str(e.get("body"))[:20]
    }
    ran = next(e["run_order"] for e in entries if "run_order" in e)
    assert [notes[id_] for id_ in read_queue(body).pending] == ran


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "<html>login</html>",
        {},
        {"queue_running": []},
        {"queue_running": {}, "queue_pending": []},
    ],
)
def test_read_queue_invalid_body_raises_retryable_error(body: Any) -> None:
    with pytest.raises(ComfyUIConnectionError) as caught:
        read_queue(body)
    assert caught.value.hint
    assert caught.value.retryable


def test_read_queue_invalid_items_are_skipped() -> None:
    body = {"queue_running": [None, [1]], "queue_pending": [[None, JOB], ["x"]]}
    assert read_queue(body).answer(JOB).place == "pending"


# ---- the history -----------------------------------------------------------------------------


def test_read_history_empty_body_has_no_entry() -> None:
    assert read_history({}, JOB) == HistoryAnswer(None)
    assert read_history({support.OTHER: {}}, JOB) == HistoryAnswer(None)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("execution_success", ExecutionSuccess),
        ("execution_error", ExecutionError),
        ("execution_interrupted", ExecutionInterrupted),
    ],
)
def test_history_entry_ending_is_last_message(end: str, kind: type) -> None:
    assert isinstance(entry(end).ending, kind)


def test_history_entry_interruption_with_error_status_is_interrupted() -> None:
    assert entry("execution_interrupted").ending == ExecutionInterrupted(JOB, "8", "VAEDecode")


def test_history_entry_without_messages_uses_status() -> None:
    failed = entry(status={"status_str": "error", "completed": False, "messages": []})
    assert failed.ending == ExecutionError(JOB)
    good = entry(status={"status_str": "success", "completed": True, "messages": []})
    assert good.ending == ExecutionSuccess(JOB)
    assert entry(status=None).ending == ExecutionSuccess(JOB)


def test_history_entry_has_time_cache_and_graph() -> None:
    history_entry = entry()
    assert history_entry.seconds == 2.5
    assert history_entry.cached == frozenset()
    assert history_entry.output_nodes == ("9",)
    assert history_entry.graph == support.GRAPH
    assert history_entry.outputs == {"9": {"images": [FILE]}}


def test_history_entry_outputs_of_unrequested_nodes_are_dropped() -> None:
    path = PROTOCOL / "partial_execution_targets.json"
    post, answer = json.loads(path.read_text(encoding="utf-8"))[2:4]
    prompt = [4, JOB, post["request"]["json"]["prompt"], {}, answer["output_ids"]]
    history_entry = entry(outputs=answer["outputs"], prompt=prompt)
    assert list(answer["outputs"]) == ["2", "3"]
    assert list(history_entry.outputs) == ["2"]


def test_history_entry_outputs_are_limited_to_job_graph() -> None:
    graph = {**support.GRAPH, "10": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}}}
    outputs = {"9": {"images": [FILE]}, "10": {"images": []}, "8": {"text": ["on the way"]}}
    history_entry = entry(outputs=outputs, prompt=[1, JOB, graph, {}, ["9"]])
    assert set(history_entry.outputs) == {"9", "8"}


@pytest.mark.parametrize("meta", [{"3.0.0.2": {"display_node": "3"}}, {}, None])
def test_history_entry_inner_outputs_of_expanded_node_are_kept(meta: Any) -> None:
    outputs = {"3.0.0.2": {"images": [FILE]}}
    assert entry(outputs=outputs, meta=meta).outputs == outputs


def test_history_entry_without_graph_keeps_all_outputs() -> None:
    assert entry(prompt=None).outputs == {"9": {"images": [FILE]}}


def test_read_history_recorded_entries_of_each_kind_are_read() -> None:
    path = PROTOCOL / "history_by_output_kind.json"
    bodies = json.loads(path.read_text(encoding="utf-8"))
    assert bodies
    for body in bodies.values():
        ((job, raw),) = body.items()
        history_entry = read_history(body, job).entry
        assert history_entry is not None
        good = raw["status"]["status_str"] == "success"
        assert isinstance(history_entry.ending, ExecutionSuccess) is good
        assert history_entry.outputs == raw["outputs"]
        assert history_entry.seconds is not None


@pytest.mark.parametrize("body", [None, [], "<html>", {JOB: []}, {JOB: "x"}])
def test_read_history_invalid_body_raises_with_hint(body: Any) -> None:
    with pytest.raises(ComfyUIConnectionError) as caught:
        read_history(body, JOB)
    assert caught.value.hint


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["error", JOB, "9"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                [
                    "outputs",
                    "status",
                    "messages",
                    "status_str",
                    "9",
                    "77",
                    "timestamp",
                    "display_node",
                ]
            ),
            inner,
        )
    ),
    max_leaves=25,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "prompt": anything
        | st.tuples(
            st.just(1), st.just(JOB), st.just(support.GRAPH), st.none(), st.just(["9"])
        ).map(list),
        "outputs": anything,
        "meta": anything,
        "status": st.fixed_dictionaries(
            {},
            optional={
                "status_str": anything,
                "messages": st.lists(
                    st.lists(st.sampled_from(["execution_error", "x"]) | anything, max_size=3)
                ),
            },
        ),
    },
)


@given(st.dictionaries(st.just(JOB), entries | anything) | anything)
def test_read_history_any_json_returns_answer_or_connection_error(body: Any) -> None:
    try:
        answer = read_history(body, JOB)
    except ComfyUIConnectionError:
        return
    assert isinstance(answer, HistoryAnswer)


@pytest.mark.slow
@given(
    st.fixed_dictionaries(
        {"queue_running": st.lists(st.lists(anything, max_size=6)), "queue_pending": anything}
    )
    | anything
)
def test_read_queue_any_json_returns_snapshot_or_connection_error(body: Any) -> None:
    try:
        queue = read_queue(body)
    except ComfyUIConnectionError:
        return
    assert isinstance(queue, QueueSnapshot)
    assert queue.answer("unknown").place == "absent"
