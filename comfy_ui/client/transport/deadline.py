"""A time limit for whole answers to the sync client: httpx limits each single read only."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Make reads of this thread fail with a timeout after so many seconds; None: no limit."""
    token = _deadline.set(math.inf if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


class DeadlineTransport(httpx.HTTPTransport):
    """httpx's transport, whose connections obey :func:`deadline`."""

    def __init__(
        self, *, verify: ssl.SSLContext | bool, limits: httpx.Limits, proxy: str | None = None
    ) -> None:
        super().__init__(verify=verify, trust_env=False, limits=limits, proxy=proxy)
        # httpx has no argument for it.
        self._pool._network_backend = _Backend()  # noqa: SLF001


class _Backend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self.write, self.close = inner.write, inner.close  # type: ignore[method-assign]  # unchanged
        self.get_extra_info = inner.get_extra_info  # type: ignore[method-assign]  # unchanged

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        remaining = _deadline.get() - time.monotonic()
        if remaining <= 0:
            raise httpcore.ReadTimeout
        if timeout is None:
            timeout = remaining if math.isfinite(remaining) else None
        return self._inner.read(max_bytes, timeout if timeout is None else min(timeout, remaining))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))
