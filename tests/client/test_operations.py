"""When a call is repeated: decided without any server, by what is sent into the flow."""

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


def drive(call: Any, *came: Any, timeout_s: float = 30.0) -> tuple[Any, list[float]]:
    """What the flow gives in the end, and its pauses; ``came`` answers each of its calls."""
    asker = Asker(timeout_s=timeout_s, clock=lambda: 0.0, rng=random.Random(1))
    flow, results, pauses = asker.ask(call), list(came), []
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


def test_what_was_not_sent_is_sent_again_a_few_times() -> None:
    value, pauses = drive(endpoints.features(), OFFLINE, OFFLINE, answer({"a": 1}))
    assert value == {"a": 1}
    assert len(pauses) == 2
    with pytest.raises(ComfyUIOfflineError):
        drive(endpoints.features(), *[OFFLINE] * 4)


def test_a_time_that_the_server_names_is_never_undercut() -> None:
    _, pauses = drive(endpoints.features(), BUSY, answer({}))
    assert pauses == [7.0]
    with pytest.raises(ComfyUIConnectionError):
        drive(endpoints.features(), BUSY, timeout_s=5)


def test_an_open_circuit_is_told_at_once_but_not_in_place_of_what_opened_it() -> None:
    with pytest.raises(CircuitOpenError):
        drive(endpoints.features(), OPEN)
    with pytest.raises(ComfyUIOfflineError):
        drive(endpoints.features(), OFFLINE, OPEN)


def test_what_may_have_been_done_is_not_done_twice() -> None:
    post = endpoints.submit({}, prompt_id="a", client_id="b", front=False, extra_data=None)
    with pytest.raises(ComfyUIConnectionError):
        drive(post, ComfyUIConnectionError("cut"))
    with pytest.raises(ServerRejectedError):
        drive(post, answer(status=500))


@pytest.mark.parametrize("status", [401, 404, 413])
def test_what_comes_again_the_same_way_is_asked_once(status: int) -> None:
    with pytest.raises((AuthenticationError, ServerRejectedError)):
        drive(endpoints.features(), answer(status=status))
