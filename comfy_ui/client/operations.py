"""Flows: what takes more than one call, as generators. The decisions of both clients, and no I/O.

A flow yields steps (a :class:`ApiRequest`, :class:`Fetch`, :class:`Work` or :class:`Pause`) and
is sent
what came of each, or thrown the error. One client drives it blocking, the other awaiting, so the
two cannot differ. This file has the steps, and when a call is repeated.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..errors import (
    CircuitOpenError,
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
)
from ..protocol.retry import (
    Backoff,
    Failure,
    classify_status,
    classify_transport,
    parse_retry_after,
)
from .transport.request import ApiRequest, ApiResponse, Receiver, rejection

T = TypeVar("T")

# A person waits for these: three repetitions within seconds, later only if the server names a time.
_QUICK = Backoff(base_s=0.1, cap_s=2.0, attempts=4)
_QUICK_S = 5.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """A call whose body is handed on as it arrives."""

    call: ApiRequest[Any]
    receiver: Receiver


@dataclass(frozen=True, slots=True)
class Work:
    """Something that waits for this machine's disk; gives what the function returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, for a while."""

    seconds: float


Step = ApiRequest[Any] | Fetch | Work | Pause
Flow = Generator[Step, Any, T]


def work(function: Callable[[], T]) -> Flow[T]:
    """The step :class:`Work`, with the type of what it gives."""
    result: T = yield Work(function)
    return result


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that failed: the error, whether to repeat it, and when the server wants that."""

    error: ComfyHeadlessError
    failure: Failure
    retry_after_s: float | None = None


class Asker:
    """How patiently one client asks its server.

    Args:
        timeout_s: the longest silence that is borne.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.clock = clock
        self._rng = rng or random.Random()

    def once(self, call: ApiRequest[T], *, patience_s: float | None = None) -> Flow[T]:
        """One call, not repeated. ``patience_s``: the longest silence borne for it."""
        if patience_s is not None:
            call = replace(call, timeout_s=patience_s)
        answer: ApiResponse = yield call
        if answer.status not in call.accepts and (rejected := rejection(answer)):
            raise rejected
        return call.parse(answer)

    def ask(self, call: ApiRequest[T]) -> Flow[T]:
        """One call, repeated where that is safe and may help."""
        started, failures = self.clock(), 0
        trouble: Trouble | None = None
        while True:
            try:
                answer: ApiResponse = yield call
            except CircuitOpenError as error:
                # It opened over this very call: what the server did says more.
                raise trouble.error if trouble else error from None
            except ComfyUIConnectionError as error:
                trouble = no_answer(error, idempotent=call.repeatable)
            else:
                rejected = None if answer.status in call.accepts else rejection(answer)
                if rejected is None:
                    return call.parse(answer)
                trouble = bad_answer(answer, rejected, idempotent=call.repeatable)
            failures += 1
            patience_s = _QUICK_S if trouble.retry_after_s is None else self.timeout_s
            yield self.pause(_QUICK, failures, trouble, deadline=started + patience_s)

    def until_answered(
        self, call: ApiRequest[Any], *, timeout_s: float | None, every_s: float
    ) -> Flow[None]:
        """Ask until there is an answer: a server that starts needs as long as it needs.

        What no waiting mends (a login, a certificate) is raised at once.
        """
        deadline = None if timeout_s is None else self.clock() + timeout_s
        while True:
            try:
                yield from self.once(call)
                return
            except ComfyUIConnectionError as error:
                late = deadline is not None and self.clock() + every_s > deadline
                if late or not error.retryable:
                    raise
            yield Pause(every_s)

    def pause(
        self, backoff: Backoff, failures: int, trouble: Trouble, *, deadline: float | None = None
    ) -> Pause:
        """The pause before the next attempt. Raises the error if there is to be none."""
        delay_s = backoff.delay_s(
            failures,
            jitter=self._rng.random(),
            now=self.clock(),
            deadline=deadline,
            retry_after_s=trouble.retry_after_s,
        )
        if trouble.failure is not Failure.SAFE or delay_s is None:
            raise trouble.error
        return Pause(delay_s)

    def until(self, when: float) -> Pause:
        return Pause(max(0.0, when - self.clock()))


def no_answer(error: ComfyUIConnectionError, *, idempotent: bool) -> Trouble:
    """Of a call that got none, or one that cannot be read."""
    if isinstance(error, CircuitOpenError):
        return Trouble(error, Failure.SAFE, error.retry_after_s)
    if not error.retryable:
        return Trouble(error, Failure.FINAL)
    sent = not isinstance(error, ComfyUIOfflineError)
    return Trouble(error, classify_transport(sent=sent, idempotent=idempotent))


def bad_answer(answer: ApiResponse, error: ComfyHeadlessError, *, idempotent: bool) -> Trouble:
    """Of an answer with an error status."""
    told = answer.headers.get("retry-after")
    return Trouble(
        error,
        classify_status(answer.status, idempotent=idempotent),
        parse_retry_after(told, unix_now=time.time()),
    )
