"""Starting, stopping, restarting; pace and faults."""

from __future__ import annotations

import gc
import socket
import threading
import time
import warnings
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import ComfyHeadlessError, ValidationError
from tests.demo import support


async def test_it_serves_async_code_on_a_free_port() -> None:
    async with DemoServer() as server:
        assert server.port > 0
        assert support.ask(server, "/prompt").json == {"exec_info": {"queue_remaining": 0}}


def test_its_temporary_folder_goes_with_it() -> None:
    with DemoServer().in_thread() as server:
        folder = server.folder
        support.run(server, support.empty_image())
        assert list((folder / "output").iterdir())
    assert not folder.exists()


def test_a_folder_of_ones_own_stays(tmp_path) -> None:
    with DemoServer(folder=tmp_path) as server:
        support.run(server, support.empty_image())
    assert (tmp_path / "output" / "e_00001_.png").exists()


def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ComfyHeadlessError, match=f"Port {port} .* cannot be used"):
            DemoServer(port=port).start()


def test_who_is_just_coming_in_when_it_stops_leaves_no_socket() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(10):
            _stop_amid_visitors()
        gc.collect()
    assert not [str(warning.message) for warning in told]


def _stop_amid_visitors() -> None:
    visitors: list[socket.socket] = []

    def come() -> None:
        with suppress(OSError):  # nobody listens any more
            while len(visitors) < 300:
                visitors.append(socket.create_connection(("127.0.0.1", server.port)))

    server = DemoServer(speed="instant")
    server.start()
    coming = threading.Thread(target=come)
    coming.start()
    while not visitors:
        time.sleep(0.001)
    server.stop()
    coming.join()
    for visitor in visitors:
        visitor.close()


def test_a_speed_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="speed 0 is not possible"):
        DemoServer(speed=0)


def test_the_speed_is_kept() -> None:
    with DemoServer(speed=40).in_thread() as server:
        started = time.monotonic()
        support.run(server, support.text_to_image(steps=20))
        assert time.monotonic() - started > 20 / 40


def test_an_instant_job_takes_milliseconds(engine) -> None:
    support.run(engine, support.empty_image(1))
    seconds = []
    for color in range(2, 22):
        started = time.monotonic()
        support.run(engine, support.empty_image(color))
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.05


async def test_a_restart_breaks_sockets_and_forgets_history_but_keeps_files() -> None:
    async with DemoServer() as server:
        listener = support.listen(server)
        entry = support.run(server, support.empty_image())
        port = server.port
        await server.restart()
        assert server.port == port
        with pytest.raises(ConnectionClosed) as closed:
            listener.until_over("never")
        assert closed.value.rcvd is None  # no close frame: 1006
        assert support.ask(server, "/history").json == {}
        assert support.view(server, support.files(entry)[0])


def test_a_restart_can_keep_queue_and_history(tmp_path) -> None:
    with DemoServer(faults=Faults(test_nodes=True)) as server:
        support.run(server, support.empty_image())
        waiting = support.post(server, support.sleeper(30))
        support.post(server, support.empty_image(2))
        server.faults = Faults(test_nodes=True, dead_worker=True)
        server.restart_now(keep_queue=True, keep_history=True)
        queue = support.ask(server, "/queue").json
        ids = [item[1] for item in queue["queue_running"] + queue["queue_pending"]]
        assert waiting in ids
        assert len(ids) == 2
        assert len(support.ask(server, "/history").json) == 1


def test_a_dead_worker_leaves_http_alive() -> None:
    with DemoServer(faults=Faults(dead_worker=True)) as server:
        prompt_id = support.post(server, support.empty_image())
        time.sleep(0.1)
        queue = support.ask(server, "/queue").json
        assert [item[1] for item in queue["queue_running"]] == [prompt_id]
        assert support.ask(server, f"/history/{prompt_id}").json == {}


def test_a_late_history() -> None:
    with DemoServer(faults=Faults(history_late_s=0.4)) as server:
        listener = support.listen(server)
        prompt_id = support.post(server, support.empty_image(), client_id="c1")
        listener.until_over(prompt_id)
        assert support.ask(server, f"/history/{prompt_id}").json == {}
        assert support.ask(server, "/queue").json["queue_running"] == []
        assert support.finished(server, prompt_id)


def test_no_finish_message() -> None:
    with DemoServer(faults=Faults(no_finish_message=True)) as server:
        listener = support.listen(server)
        support.finished(server, support.post(server, support.empty_image(), client_id="c1"))
        assert not listener.silent_for(0.2)
        while not listener.silent_for(0.2):
            pass
        assert "executed" in listener.order
        assert "execution_success" not in listener.order
        assert all(m["data"].get("node", "") is not None for m in listener.texts)


def test_a_silent_reconnect() -> None:
    with DemoServer(faults=Faults(silent_reconnect=True)) as server:
        support.listen(server, "same").socket.close()
        again = support.listen(server, "same")
        support.run(server, support.empty_image(), client_id="same")
        assert again.silent_for(0.3)
        support.run(server, support.empty_image(2), client_id="fresh")


@pytest.mark.parametrize("where", ["SaveImage", "2"])
def test_out_of_memory_where_asked(where) -> None:
    with DemoServer(faults=Faults(oom_at=where)) as server:
        entry = support.finished(server, support.post(server, support.empty_image()))
        name, data = entry["status"]["messages"][-1]
        assert name == "execution_error"
        assert data["exception_type"] == "torch.OutOfMemoryError"
        assert data["node_id"] == "2"


def test_a_node_that_ignores_interrupts_runs_to_its_end() -> None:
    with DemoServer(faults=Faults(test_nodes=True, ignore_interrupts=True)) as server:
        prompt_id = support.post(server, support.sleeper(0.3, 10))
        time.sleep(0.1)
        support.ask(server, "/interrupt", json_body={"prompt_id": prompt_id})
        assert support.finished(server, prompt_id)["status"]["status_str"] == "success"


def test_files_that_are_gone() -> None:
    with DemoServer(faults=Faults(missing_output=True)) as server:
        entry = support.run(server, support.empty_image())
        name = support.files(entry)[0]["filename"]
        assert support.ask(server, f"/view?filename={name}").status == 404


def test_test_nodes_are_listed_only_when_switched_on(engine) -> None:
    assert "DemoSleep" not in support.ask(engine, "/object_info").json
    engine.faults = Faults(test_nodes=True)
    assert "DemoSleep" in support.ask(engine, "/object_info").json
