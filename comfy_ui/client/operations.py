"""Flows: operations of more than one request, as generators without I/O.

A flow yields steps (:class:`ApiRequest`, :class:`Fetch`, :class:`Work` or :class:`Pause`); the
client executes each and sends its outcome, or throws its error, back into the flow. The sync client
blocks and the async one awaits, so both make the same decisions. This module has the steps and the
rules for retries.
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
)
from .transport.request import ApiRequest, ApiResponse, Receiver, rejection, retry_after_s

T = TypeVar("T")

# A user waits for these: retries within seconds; later only if the server sets a time.
_QUICK = Backoff(base_s=0.1, cap_s=2.0)
_QUICK_S = 5.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request whose answer's body goes to ``receiver`` as it arrives."""

    call: ApiRequest[Any]
    receiver: Receiver


@dataclass(frozen=True, slots=True)
class Work:
    """A blocking function, mostly disk I/O; the outcome is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait."""

    seconds: float


Step = ApiRequest[Any] | Fetch | Work | Pause
Flow = Generator[Step, Any, T]


def work(function: Callable[[], T]) -> Flow[T]:
    """The step :class:`Work` with the type of its outcome."""
    result: T = yield Work(function)
    return result


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that failed: the error, whether to retry, and the server's Retry-After."""

    error: ComfyHeadlessError
    failure: Failure
    retry_after_s: float | None = None


class Asker:
    """Sends one client's requests, with retries.

    Args:
        timeout_s: the longest silence of the server.
        max_retries: how often :meth:`ask` repeats a request.
        clock: seconds, monotonic.
        rng: the source of jitter.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        max_retries: int = 3,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.clock = clock
        self._max_retries = max_retries
        self._rng = rng or random.Random()

    def once(self, call: ApiRequest[T], *, patience_s: float | None = None) -> Flow[T]:
        """Send one request without retries. ``patience_s`` limits the server's silence."""
        if patience_s is not None:
            call = replace(call, timeout_s=patience_s, body_s=min(call.body_s, patience_s))
        answer: ApiResponse = yield call
        if answer.status not in call.accepts and (rejected := rejection(answer)):
            raise rejected
        return (yield from _parsed(call, answer))

    def ask(self, call: ApiRequest[T], *, waits_for_room: bool = True) -> Flow[T]:
        """Send one request; retry where that is safe and may help.

        ``waits_for_room``: False raises a 429 at once, for callers that wait themselves.
        """
        started, failures = self.clock(), 0
        trouble: Trouble | None = None
        while True:
            try:
                answer: ApiResponse = yield call
            except CircuitOpenError as error:
                # This very request opened the circuit: the server's own error says more.
                raise trouble.error if trouble else error from None
            except ComfyUIConnectionError as error:
                trouble = no_answer(error, idempotent=call.repeatable)
            else:
                rejected = None if answer.status in call.accepts else rejection(answer)
                if rejected is None:
                    return (yield from _parsed(call, answer))
                if answer.status == 429 and not waits_for_room:
                    raise rejected
                trouble = bad_answer(answer, rejected, idempotent=call.repeatable)
            failures += 1
            patience_s = _QUICK_S if trouble.retry_after_s is None else self.timeout_s
            quick = replace(_QUICK, attempts=self._max_retries + 1)
            yield self.pause(quick, failures, trouble, deadline=started + patience_s)

    def until_answered(
        self, call: ApiRequest[Any], *, timeout_s: float | None, every_s: float
    ) -> Flow[None]:
        """Send a request every ``every_s`` seconds until there is an answer.

        Errors that waiting cannot fix (a login, a certificate) are raised at once.
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
        """The pause before the next attempt. Raises the error if there is none."""
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
        """A pause that ends at a time of the clock."""
        return Pause(max(0.0, when - self.clock()))


def _parsed(call: ApiRequest[T], answer: ApiResponse) -> Flow[T]:
    if answer.is_large:  # would block the event loop
        return (yield from work(lambda: call.parse(answer)))
    return call.parse(answer)


def no_answer(error: ComfyUIConnectionError, *, idempotent: bool) -> Trouble:
    """Classify a request without an answer, or with one that cannot be read."""
    if isinstance(error, CircuitOpenError):
        return Trouble(error, Failure.SAFE, error.retry_after_s)
    if not error.retryable:
        return Trouble(error, Failure.FINAL)
    sent = not isinstance(error, ComfyUIOfflineError)
    return Trouble(error, classify_transport(sent=sent, idempotent=idempotent))


def bad_answer(answer: ApiResponse, error: ComfyHeadlessError, *, idempotent: bool) -> Trouble:
    """Classify an answer with an error status."""
    failure = classify_status(answer.status, idempotent=idempotent)
    return Trouble(error, failure, retry_after_s(answer))
