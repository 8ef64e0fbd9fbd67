# ruff: noqa: ASYNC110 -- tests may poll

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing

import pytest

from comfy_ui.client import ComfyClient
from comfy_ui.client.transport.circuit_breakers import CircuitBreaker, breaker_for
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import (
    CircuitOpenError,
    ComfyUIOfflineError,
    GenerationFailedError,
    ServerRejectedError,
)
from comfy_ui.protocol.circuit_breaker import CircuitState
from tests.client.support import image_graph, open_client
from tests.client.test_both_clients import sleeper, until_running
from tests.faults.proxy import FaultProxy

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_repeated_failures_and_closes_by_itself_after_one_good_probe() -> None:
    clock = Clock()
    breaker = CircuitBreaker("http://gpu", CircuitState(failures=2, reset_s=5), clock=clock)
    for _ in range(2):
        breaker.check()
        breaker.record(reached=False)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.check()
    assert caught.value.retry_after_s == 5.0
    assert breaker.state == "open"

    clock.now += 5
    breaker.check()  # the probe
    with pytest.raises(CircuitOpenError):
        breaker.check()  # only one
    breaker.record(reached=True)
    assert breaker.state == "closed"
    breaker.check()


def test_clients_of_one_server_share_it_and_those_of_another_do_not() -> None:
    assert breaker_for("http://a:1") is breaker_for("http://a:1")
    assert breaker_for("http://a:1") is not breaker_for("http://b:1")


# -- in the clients


@BOTH
async def test_a_server_that_dies_and_comes_back_is_weathered_though_the_circuit_opened(
    kind: str, engine: DemoServer
) -> None:
    engine.faults = Faults(test_nodes=True)
    async with FaultProxy(engine.url) as proxy, open_client(kind, proxy.url, timeout=5) as client:
        breaker = breaker_for(proxy.url)
        breaker._state = CircuitState(failures=2, reset_s=0.5)
        prompt_id = await client.queue_prompt(sleeper(4.0))
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await until_running(client, prompt_id)
        await proxy.refuse_for(2.5)
        async with asyncio.timeout(5):
            while breaker.state == "closed":
                await asyncio.sleep(0.01)
        result = await asyncio.wait_for(waiting, 20)
        assert result.images
        assert breaker.state == "closed"
        assert len(proxy.accepted) == 1


@BOTH
async def test_a_dead_server_is_refused_at_once_and_holds_up_no_other(
    kind: str, engine: DemoServer
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with open_client(kind, dead) as client, open_client(kind, engine.url) as other:
        with pytest.raises(ComfyUIOfflineError):
            await client.ping()
        with pytest.raises(ComfyUIOfflineError, match="Nothing answers"):
            await client.ping()  # opens it; what the server did is what is told
        async with open_client("sync", dead) as third:
            started = time.monotonic()
            with pytest.raises(CircuitOpenError) as caught:
                await third.ping()
            assert time.monotonic() - started < 0.05
        assert 0 < caught.value.retry_after_s <= 5
        assert (await other.run(image_graph())).images


@BOTH
async def test_errors_of_the_server_and_of_jobs_never_open_it(
    kind: str, engine: DemoServer
) -> None:
    engine.faults = Faults(error_at="SaveImage")
    async with open_client(kind, engine.url) as client:
        for _ in range(7):
            with pytest.raises(ServerRejectedError):
                await client.template("none", "none")
            with pytest.raises(GenerationFailedError):
                await client.run(image_graph())
        assert breaker_for(engine.url).state == "closed"
        assert breaker_for(engine.url)._state.failed == 0


@BOTH
async def test_it_can_be_switched_off(kind: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with open_client(kind, dead, breaker=False) as client:
        for _ in range(3):
            with pytest.raises(ComfyUIOfflineError):
                await client.ping()
    assert breaker_for(dead)._state.failed == 0


def test_without_the_extra_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_ui.client.parts.check_feature", lambda name: name != "health")
    with ComfyClient("nowhere.invalid") as client:
        assert client._transport._breaker is None
