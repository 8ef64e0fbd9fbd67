"""Run flows: execute each step over a transport and send its outcome back into the flow."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar, cast

from ..errors import ComfyHeadlessError
from .operations import Fetch, Flow, Pause, Step, Work
from .transport.http_transport import AsyncTransport, SyncTransport
from .transport.request import ApiRequest
from .transport.threads import run_in_thread

T = TypeVar("T")


def run_flow(flow: Flow[T], transport: SyncTransport) -> T:
    """Run a flow, blocking; return its result."""
    try:
        step = next(flow)
        while True:
            try:
                outcome = _execute(step, transport)
            except ComfyHeadlessError as error:
                step = flow.throw(error)
            else:
                step = flow.send(outcome)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()


async def await_flow(flow: Flow[T], transport: AsyncTransport) -> T:
    """Run a flow within the event loop; return its result."""
    try:
        step = next(flow)
        while True:
            try:
                outcome = await _await_step(step, transport)
            except ComfyHeadlessError as error:
                step = flow.throw(error)
            else:
                step = flow.send(outcome)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()


def _execute(step: Step, transport: SyncTransport) -> Any:
    match step:
        case ApiRequest():
            return transport.send(step)
        case Fetch(call, receiver):
            return transport.send(call, receiver)
        case Work(function):
            return function()
        case Pause(seconds):
            time.sleep(seconds)
    return None


async def _await_step(step: Step, transport: AsyncTransport) -> Any:
    match step:
        case ApiRequest():
            return await transport.send(step)
        case Fetch(call, receiver):
            return await transport.send(call, receiver)
        case Work(function):
            return await run_in_thread(function)
        case Pause(seconds):
            await asyncio.sleep(seconds)
    return None
