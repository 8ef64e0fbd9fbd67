"""Executor: order, caching, lazy inputs, interrupts, errors and message recipients."""

from __future__ import annotations

import time
import uuid

import pytest

from comfy_ui.demo import DemoServer, Faults
from tests.demo import support


@pytest.fixture
def lab():
    with DemoServer(faults=Faults(test_nodes=True)) as server:
        yield server


def _types(messages):
    return [message["type"] for message in messages if message["type"] != "progress_state"]


def test_executor_job_sends_messages_in_recorded_order(engine) -> None:
    listener = support.listen(engine)
    prompt_id = support.post(engine, support.empty_image(), client_id="c1")
    assert _types(listener.until_finished(prompt_id)) == [
        "status",
        "status",
        "execution_start",
        "execution_cached",
        "executing",
        "executing",
        "executed",
        "execution_success",
        "status",
        "executing",
    ]


def test_executor_cached_rerun_reports_same_files_and_runs_nothing(engine) -> None:
    listener = support.listen(engine)
    first = support.post(engine, support.empty_image(), client_id="c1")
    listener.until_finished(first)
    second = support.post(engine, support.empty_image(), client_id="c1")
    messages = listener.until_finished(second)
    assert _types(messages)[2:] == [
        "execution_start",
        "execution_cached",
        "executed",
        "execution_success",
        "status",
        "executing",
    ]
    cached = next(m for m in messages if m["type"] == "execution_cached")
    assert cached["data"]["nodes"] == ["1", "2"]
    assert (
        support.wait_for_history(engine, first)["outputs"]
        == support.wait_for_history(engine, second)["outputs"]
    )


def test_executor_changed_seed_reruns_sampler_and_dependents(engine) -> None:
    support.run(engine, support.text_to_image(seed=1))
    listener = support.listen(engine)
    prompt_id = support.post(engine, support.text_to_image(seed=2), client_id="c1")
    messages = listener.until_finished(prompt_id)
    cached = next(m for m in messages if m["type"] == "execution_cached")
    assert cached["data"]["nodes"] == ["4", "5", "6", "7"]
    ran = [m["data"]["node"] for m in messages if m["type"] == "executing"]
    assert ran == ["3", "8", "9", None]


def test_free_memory_clears_cached_results(engine) -> None:
    support.run(engine, support.empty_image())
    support.request(engine, "/free", json_body={"free_memory": True})
    entry = support.run(engine, support.empty_image())
    assert entry["status"]["messages"][1][1]["nodes"] == []


def test_previews_precede_progress_with_metadata_and_follow_it_without(engine) -> None:
    new, old = support.listen(engine, "new", previews=True), support.listen(engine, "old")
    for client, listener in (("new", new), ("old", old)):
        prompt_id = support.post(
            engine, support.text_to_image(seed=hash(client) % 1000, steps=2), client_id=client
        )
        listener.until_finished(prompt_id)
    assert [o for o in new.order if o == "progress" or o.startswith("b")] == [
        "binary 4",
        "progress",
        "binary 4",
        "progress",
    ]
    assert [o for o in old.order if o == "progress" or o.startswith("b")] == [
        "progress",
        "binary 1",
        "progress",
        "binary 1",
    ]
    assert old.frames[0][8:10] == b"\xff\xd8"


def test_executor_job_without_client_id_broadcasts_progress_only(engine) -> None:
    listener = support.listen(engine)
    support.run(engine, support.text_to_image(steps=2))
    while not listener.is_silent_for(0.2):
        pass
    seen = set(listener.order)
    assert {"progress_state", "progress", "binary 1", "status"} <= seen
    assert not seen & {"executing", "executed", "execution_start", "execution_success"}


def test_interrupt_with_prompt_id_stops_only_that_job(lab) -> None:
    prompt_id = support.post(lab, support.sleep_graph(20))
    time.sleep(0.1)
    support.request(lab, "/interrupt", json_body={"prompt_id": str(uuid.uuid4())})
    time.sleep(0.1)
    assert support.request(lab, "/queue").json["queue_running"]
    support.request(lab, "/interrupt", json_body={"prompt_id": prompt_id})
    entry = support.wait_for_history(lab, prompt_id, 5)
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["completed"] is False
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def test_interrupt_during_blocking_node_stops_at_next_node(lab) -> None:
    prompt_id = support.post(lab, support.sleep_graph(0.4, blocking=True))
    time.sleep(0.1)
    support.request(lab, "/interrupt", method="POST", data=b"")
    entry = support.wait_for_history(lab, prompt_id)
    name, data = entry["status"]["messages"][-1]
    assert name == "execution_interrupted"
    assert data["node_id"] == "2"


def test_interrupt_while_idle_does_not_stop_next_job(engine) -> None:
    support.request(engine, "/interrupt", method="POST", data=b"")
    support.run(engine, support.empty_image())


def test_executor_failed_node_keeps_earlier_outputs_and_names_node(lab) -> None:
    graph = support.empty_image()
    graph["3"] = {"class_type": "DemoRaise", "inputs": {"image": ["1", 0], "message": "boom"}}
    graph["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    entry = support.wait_for_history(lab, support.post(lab, graph))
    name, data = entry["status"]["messages"][-1]
    assert name == "execution_error"
    assert (data["node_id"], data["node_type"]) == ("3", "DemoRaise")
    assert data["exception_message"] == "boom\n"
    assert data["traceback"]
    assert list(entry["outputs"]) == ["2"]


def test_executor_switch_runs_selected_branch_only(lab) -> None:
    graph = support.empty_image()
    graph["3"] = {"class_type": "DemoRaise", "inputs": {"image": ["1", 0], "message": "boom"}}
    graph["4"] = {
        "class_type": "ComfySwitchNode",
        "inputs": {"switch": False, "on_false": ["1", 0], "on_true": ["3", 0]},
    }
    graph["2"]["inputs"]["images"] = ["4", 0]
    support.run(lab, graph)


def test_queue_runs_jobs_by_number_with_front_first(lab) -> None:
    blocker = support.post(lab, support.sleep_graph(0.3))
    time.sleep(0.05)
    plain = support.post(lab, support.empty_image(2))
    early = support.post(lab, support.empty_image(3), number=-5)
    front = support.post(lab, support.empty_image(4), front=True)
    ids = [plain, early, front]
    for prompt_id in (blocker, *ids):
        support.wait_for_history(lab, prompt_id)
    order = list(support.request(lab, "/history").json)
    assert order == [blocker, early, front, plain]


def test_queue_deleted_pending_job_has_no_history(lab) -> None:
    blocker = support.post(lab, support.sleep_graph(0.4))
    pending = support.post(lab, support.empty_image(2))
    assert support.request(lab, "/queue", json_body={"delete": [pending]}).status == 200
    support.wait_for_history(lab, blocker)
    time.sleep(0.05)
    assert support.request(lab, f"/history/{pending}").json == {}


def test_socket_connected_during_run_receives_current_node(lab) -> None:
    prompt_id = support.post(lab, support.sleep_graph(0.8, 4), client_id="late")
    time.sleep(0.1)
    listener = support.listen(lab, "late")
    message = listener.next()
    assert isinstance(message, dict)
    assert message == {"type": "executing", "data": {"node": "3"}}
    listener.until_finished(prompt_id)


def test_socket_closing_older_of_same_client_silences_newer(engine) -> None:
    first, second = support.listen(engine, "same"), support.listen(engine, "same")
    first.socket.close()
    time.sleep(0.1)
    support.run(engine, support.empty_image(), client_id="same")
    assert second.is_silent_for(0.2)


def test_executor_node_text_is_sent_as_binary_frame(lab) -> None:
    listener = support.listen(lab)
    graph = support.empty_image()
    graph["3"] = {"class_type": "DemoText", "inputs": {"image": ["1", 0], "text": "42 %"}}
    graph["2"]["inputs"]["images"] = ["3", 0]
    listener.until_finished(support.post(lab, graph, client_id="c1"))
    assert listener.frames == [b"\x00\x00\x00\x03\x00\x00\x00\x013" + b"42 %"]


def test_post_prompt_duplicate_number_and_id_is_rejected_and_queue_continues(lab) -> None:
    support.post(lab, support.sleep_graph(0.3))
    time.sleep(0.05)
    prompt_id = str(uuid.uuid4())
    first = support.post(lab, support.empty_image(2), prompt_id=prompt_id, number=50)
    body = {"prompt": support.empty_image(3), "prompt_id": prompt_id, "number": 50}
    assert support.request(lab, "/prompt", json_body=body).status == 500
    support.wait_for_history(lab, first)
    support.run(lab, support.empty_image(4))


def _chain(length: int) -> support.Graph:
    graph = {"0": support.empty_image()["1"]}
    for number in range(1, length):
        source = [str(number - 1), 0]
        graph[str(number)] = {"class_type": "ImageInvert", "inputs": {"image": source}}
    last = [str(length - 1), 0]
    graph["save"] = {"class_type": "PreviewImage", "inputs": {"images": last}}
    return graph


def test_post_prompt_deep_graph_runs_and_excessive_depth_is_rejected(engine) -> None:
    support.run(engine, _chain(200))
    response = support.request(engine, "/prompt", json_body={"prompt": _chain(5000)})
    assert response.status == 400
    support.run(engine, support.empty_image(2))
