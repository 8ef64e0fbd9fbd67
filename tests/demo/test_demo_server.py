"""DemoServer: start, stop, restart, speed and injected faults."""

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


async def test_demo_server_async_with_serves_on_free_port() -> None:
    async with DemoServer() as server:
        assert server.port > 0
        assert support.request(server, "/prompt").json == {"exec_info": {"queue_remaining": 0}}


def test_demo_server_stop_deletes_temporary_folder() -> None:
    with DemoServer().in_thread() as server:
        folder = server.folder
        support.run(server, support.empty_image())
        assert list((folder / "output").iterdir())
    assert not folder.exists()


def test_demo_server_stop_keeps_explicit_folder(tmp_path) -> None:
    with DemoServer(folder=tmp_path) as server:
        support.run(server, support.empty_image())
    assert (tmp_path / "output" / "e_00001_.png").exists()


def test_demo_server_port_in_use_raises_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ComfyHeadlessError, match=f"Port {port} .* cannot be used"):
            DemoServer(port=port).start()


def test_demo_server_stop_while_clients_connect_leaks_no_socket() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(10):
            _stop_while_clients_connect()
        gc.collect()
    assert not [str(warning.message) for warning in caught]


def _stop_while_clients_connect() -> None:
    clients: list[socket.socket] = []

    def connect() -> None:
        with suppress(OSError):  # the listening socket is closed
            while len(clients) < 300:
                clients.append(socket.create_connection(("127.0.0.1", server.port)))

    server = DemoServer(speed="instant")
    server.start()
    connecting = threading.Thread(target=connect)
    connecting.start()
    while not clients:
        time.sleep(0.001)
    server.stop()
    connecting.join()
    for client in clients:
        client.close()


def test_demo_server_speed_zero_is_rejected() -> None:
    with pytest.raises(ValidationError, match="speed 0 is not valid"):
        DemoServer(speed=0)


def test_demo_server_speed_limits_steps_per_second() -> None:
    with DemoServer(speed=40).in_thread() as server:
        started = time.monotonic()
        support.run(server, support.text_to_image(steps=20))
        assert time.monotonic() - started > 20 / 40


def test_demo_server_instant_speed_runs_job_in_milliseconds(engine) -> None:
    support.run(engine, support.empty_image(1))
    seconds = []
    for color in range(2, 22):
        started = time.monotonic()
        support.run(engine, support.empty_image(color))
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.05


async def test_demo_server_restart_breaks_sockets_clears_history_keeps_files() -> None:
    async with DemoServer() as server:
        listener = support.listen(server)
        entry = support.run(server, support.empty_image())
        port = server.port
        await server.restart()
        assert server.port == port
        with pytest.raises(ConnectionClosed) as closed:
            listener.until_finished("never")
        assert closed.value.rcvd is None  # no close frame: 1006
        assert support.request(server, "/history").json == {}
        assert support.view(server, support.files(entry)[0])


def test_demo_server_restart_with_keep_options_keeps_queue_and_history(tmp_path) -> None:
    with DemoServer(faults=Faults(test_nodes=True)) as server:
        support.run(server, support.empty_image())
        waiting = support.post(server, support.sleep_graph(30))
        support.post(server, support.empty_image(2))
        server.faults = Faults(test_nodes=True, dead_worker=True)
        server.restart_now(keep_queue=True, keep_history=True)
        queue = support.request(server, "/queue").json
        ids = [item[1] for item in queue["queue_running"] + queue["queue_pending"]]
        assert waiting in ids
        assert len(ids) == 2
        assert len(support.request(server, "/history").json) == 1


def test_faults_dead_worker_keeps_http_responding() -> None:
    with DemoServer(faults=Faults(dead_worker=True)) as server:
        prompt_id = support.post(server, support.empty_image())
        time.sleep(0.1)
        queue = support.request(server, "/queue").json
        assert [item[1] for item in queue["queue_running"]] == [prompt_id]
        assert support.request(server, f"/history/{prompt_id}").json == {}


def test_faults_history_late_delays_history_entry() -> None:
    with DemoServer(faults=Faults(history_late_s=0.4)) as server:
        listener = support.listen(server)
        prompt_id = support.post(server, support.empty_image(), client_id="c1")
        listener.until_finished(prompt_id)
        assert support.request(server, f"/history/{prompt_id}").json == {}
        assert support.request(server, "/queue").json["queue_running"] == []
        assert support.wait_for_history(server, prompt_id)


def test_faults_no_finish_message_omits_final_messages() -> None:
    with DemoServer(faults=Faults(no_finish_message=True)) as server:
        listener = support.listen(server)
        support.wait_for_history(
            server, support.post(server, support.empty_image(), client_id="c1")
        )
        assert not listener.is_silent_for(0.2)
        while not listener.is_silent_for(0.2):
            pass
        assert "executed" in listener.order
        assert "execution_success" not in listener.order
        assert all(m["data"].get("node", "") is not None for m in listener.texts)


def test_faults_silent_reconnect_sends_no_messages() -> None:
    with DemoServer(faults=Faults(silent_reconnect=True)) as server:
        support.listen(server, "same").socket.close()
        again = support.listen(server, "same")
        support.run(server, support.empty_image(), client_id="same")
        assert again.is_silent_for(0.3)
        support.run(server, support.empty_image(2), client_id="fresh")


@pytest.mark.parametrize("where", ["SaveImage", "2"])
def test_faults_oom_at_node_raises_out_of_memory(where) -> None:
    with DemoServer(faults=Faults(oom_at=where)) as server:
        entry = support.wait_for_history(server, support.post(server, support.empty_image()))
        name, data = entry["status"]["messages"][-1]
        assert name == "execution_error"
        assert data["exception_type"] == "torch.OutOfMemoryError"
        assert data["node_id"] == "2"


def test_faults_ignore_interrupts_lets_node_finish() -> None:
    with DemoServer(faults=Faults(test_nodes=True, ignore_interrupts=True)) as server:
        prompt_id = support.post(server, support.sleep_graph(0.3, 10))
        time.sleep(0.1)
        support.request(server, "/interrupt", json_body={"prompt_id": prompt_id})
        assert support.wait_for_history(server, prompt_id)["status"]["status_str"] == "success"


def test_faults_missing_output_makes_view_return_404() -> None:
    with DemoServer(faults=Faults(missing_output=True)) as server:
        entry = support.run(server, support.empty_image())
        name = support.files(entry)[0]["filename"]
        assert support.request(server, f"/view?filename={name}").status == 404


def test_faults_test_nodes_lists_test_nodes_only_when_enabled(engine) -> None:
    assert "DemoSleep" not in support.request(engine, "/object_info").json
    engine.faults = Faults(test_nodes=True)
    assert "DemoSleep" in support.request(engine, "/object_info").json
