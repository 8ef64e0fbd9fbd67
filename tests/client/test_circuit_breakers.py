# ruff: noqa: ASYNC110 -- tests may poll

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing
from typing import Any

import pytest

from comfy_ui.client import ClientOptions, ComfyClient
from comfy_ui.client.transport.circuit_breakers import CircuitBreaker, breaker_for
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import (
    CircuitOpenError,
    ComfyUIOfflineError,
    GenerationFailedError,
    ServerRejectedError,
)
from comfy_ui.protocol.circuit_breaker import CircuitState
from tests.client.support import Awaited, image_graph, open_client
from tests.client.test_both_clients import sleeper, until_running
from tests.faults.proxy import FaultProxy

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_breaker_opens_after_failures_and_closes_after_successful_probe() -> None:
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


def real(client: Any) -> Any:
    return client.client if isinstance(client, Awaited) else client


def test_breaker_for_returns_one_breaker_per_server() -> None:
    assert breaker_for("http://a:1") is breaker_for("http://a:1")
    assert breaker_for("http://a:1") is not breaker_for("http://b:1")


# -- in the clients


@BOTH
async def test_breaker_open_during_server_outage_recovers_and_job_succeeds(
    kind: str, engine: DemoServer
) -> None:
    engine.faults = Faults(test_nodes=True)
    async with FaultProxy(engine.url) as proxy, open_client(kind, proxy.url, timeout=5) as client:
        breaker = real(client).breaker
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
async def test_breaker_open_fails_fast_for_one_server_only(kind: str, engine: DemoServer) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with open_client(kind, dead) as client, open_client(kind, engine.url) as other:
        with pytest.raises(ComfyUIOfflineError):
            await client.ping()
        with pytest.raises(ComfyUIOfflineError, match="Nothing answers"):
            await client.ping()  # opens the circuit, but raises its own error
        async with open_client("sync", dead) as third:
            started = time.monotonic()
            with pytest.raises(CircuitOpenError) as caught:
                await third.ping()
            assert time.monotonic() - started < 0.05
        assert 0 < caught.value.retry_after_s <= 5
        assert (await other.run(image_graph())).images


@BOTH
async def test_breaker_ignores_server_and_job_errors(kind: str, engine: DemoServer) -> None:
    engine.faults = Faults(error_at="SaveImage")
    async with open_client(kind, engine.url) as client:
        for _ in range(7):
            with pytest.raises(ServerRejectedError):
                await client.template("none", "none")
            with pytest.raises(GenerationFailedError):
                await client.run(image_graph())
        assert real(client).breaker.state == "closed"
        assert real(client).breaker._state.failed == 0


@BOTH
async def test_breaker_false_never_opens_circuit(kind: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with open_client(kind, dead, breaker=False) as client:
        for _ in range(3):
            with pytest.raises(ComfyUIOfflineError):
                await client.ping()
        assert real(client).breaker is None


def test_breaker_is_shared_by_route_and_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_ui.features.check_feature", lambda _: False)
    options = [
        {},
        {"token": "a"},
        {"token": "b"},
        {"options": ClientOptions(proxy="http://proxy:3128")},
        {"guarded": True},
        {"url": "http://other:8188"},
    ]
    breakers = []
    for option in options:
        with ComfyClient(**option) as one, ComfyClient(**option) as same:
            assert one.breaker is same.breaker
            breakers.append(one.breaker)
    assert None not in breakers
    assert len({*map(id, breakers)}) == len(options)


def test_circuit_breaker_repr_has_server_and_state() -> None:
    assert repr(CircuitBreaker("gpu:8188")) == "<CircuitBreaker gpu:8188: closed>"
