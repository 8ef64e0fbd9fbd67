"""Retries of a request, decided without a server from the results sent into the generator."""

from __future__ import annotations

import random
from typing import Any

import pytest

from comfy_ui.client import endpoints
from comfy_ui.client.operations import Asker, Pause
from comfy_ui.errors import (
    AuthenticationError,
    CircuitOpenError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    ServerRejectedError,
)
from tests.client.support import answer

OFFLINE = ComfyUIOfflineError("away")
OPEN = CircuitOpenError("open", retry_after_s=4)
BUSY = answer(status=503, headers={"retry-after": "7"})


def drive(call: Any, *outcomes: Any, timeout_s: float = 30.0) -> tuple[Any, list[float]]:
    """Return the value and the pauses of a request whose attempts have these ``outcomes``."""
    asker = Asker(timeout_s=timeout_s, clock=lambda: 0.0, rng=random.Random(1))
    flow, results, pauses = asker.ask(call), list(outcomes), []
    step = next(flow)
    try:
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = flow.send(None)
            elif isinstance(result := results.pop(0), Exception):
                step = flow.throw(result)
            else:
                step = flow.send(result)
    except StopIteration as end:
        assert not results
        return end.value, pauses


def test_ask_offline_server_retries_a_few_times() -> None:
    value, pauses = drive(endpoints.features(), OFFLINE, OFFLINE, answer({"a": 1}))
    assert value == {"a": 1}
    assert len(pauses) == 2
    with pytest.raises(ComfyUIOfflineError):
        drive(endpoints.features(), *[OFFLINE] * 4)


def test_ask_retry_after_is_minimum_pause() -> None:
    _, pauses = drive(endpoints.features(), BUSY, answer({}))
    assert pauses == [7.0]
    with pytest.raises(ComfyUIConnectionError):
        drive(endpoints.features(), BUSY, timeout_s=5)


def test_ask_open_circuit_raises_at_once_but_keeps_original_error() -> None:
    with pytest.raises(CircuitOpenError):
        drive(endpoints.features(), OPEN)
    with pytest.raises(ComfyUIOfflineError):
        drive(endpoints.features(), OFFLINE, OPEN)


def test_ask_post_of_unknown_outcome_is_not_repeated() -> None:
    post = endpoints.submit({}, prompt_id="a", client_id="b", front=False, extra_data=None)
    with pytest.raises(ComfyUIConnectionError):
        drive(post, ComfyUIConnectionError("cut"))
    with pytest.raises(ServerRejectedError):
        drive(post, answer(status=500))


@pytest.mark.parametrize("status", [401, 404, 413])
def test_ask_permanent_status_is_not_retried(status: int) -> None:
    with pytest.raises((AuthenticationError, ServerRejectedError)):
        drive(endpoints.features(), answer(status=status))
