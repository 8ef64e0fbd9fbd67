"""The public link: opened, checked regularly, and replaced when it no longer works."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from subprocess import TimeoutExpired
from typing import Any, Final, Literal, Protocol
from urllib.request import urlopen

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..protocol.retry import Backoff

__all__ = ["ShareLink", "ShareLinkState", "Tunnel", "gradio_tunnel", "probe"]

ALIVE_PATH: Final = "/alive"
_PROBE_EVERY_S: Final = 60.0
_PROBE_AGAIN_S: Final = 5.0
_PROBE_S: Final = 10.0
_FAILURES: Final = 3  # the link's own network has short outages, too
_LONGEST_PAUSE_S: Final = 300.0


class Tunnel(Protocol):
    """The connection that carries the public link to this machine."""

    url: str

    def close(self) -> None:
        """Close the tunnel."""


@dataclass(frozen=True, slots=True)
class ShareLinkState:
    """The state of the link. Times are seconds since the epoch."""

    state: Literal["making", "alive", "shaky", "dead"]
    url: str = ""
    made_at: float | None = None
    seen_at: float | None = None
    failures: int = 0
    made: int = 0
    trouble: str = ""


def looked(link: ShareLinkState, *, alive: bool, now: float) -> ShareLinkState:
    """Return the link after a check: dead after three failed checks in a row.

    >>> looked(ShareLinkState("alive", "https://x", 0.0), alive=False, now=9.0).state
    'shaky'
    """
    if alive:
        return replace(link, state="alive", seen_at=now, failures=0, trouble="")
    failures = link.failures + 1
    return replace(link, state="dead" if failures >= _FAILURES else "shaky", failures=failures)


class ShareLink:
    """Keeps a public link alive while :meth:`run` runs.

    Args:
        open_tunnel: opens a tunnel, or raises OSError or ValueError with the reason.
        probe: whether this app answers at an address.
        say: receives a line of text for each new link and each dead one.
        sleep, now: the clock, for tests.
    """

    def __init__(
        self,
        open_tunnel: Callable[[], Awaitable[Tunnel]],
        probe: Callable[[str], Awaitable[bool]],
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.link = ShareLinkState("making")
        self._open = open_tunnel
        self._probe = probe
        self._say = say
        self._sleep = sleep
        self._now = now

    async def run(self) -> None:
        """Open a link, watch it, and replace it when it is dead; until canceled."""
        while True:
            tunnel = await self._make()
            try:
                await self._watch(tunnel.url)
            finally:
                await asyncio.to_thread(tunnel.close)
            self._say(f"The public link {tunnel.url} has died; making a new one.")

    async def _make(self) -> Tunnel:
        self.link = replace(self.link, state="making")
        patience = Backoff(base_s=5.0, cap_s=_LONGEST_PAUSE_S, attempts=None)
        attempt = 0
        while True:
            try:
                tunnel = await self._open()
            except (OSError, ValueError, RuntimeError) as error:
                attempt += 1
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                self.link = replace(self.link, trouble=reason)
                if attempt == 1:
                    self._say(f"No public link could be made ({reason}); retrying automatically.")
                jitter = 0.5 + secrets.randbelow(500) / 1000
                await self._sleep(patience.delay_s(attempt, jitter=jitter) or 0.0)
                continue
            self.link = ShareLinkState("alive", tunnel.url, self._now(), made=self.link.made + 1)
            self._say(f"Public link: {tunnel.url}")
            return tunnel

    async def _watch(self, url: str) -> None:
        """Check the link until it is dead."""
        while self.link.state != "dead":
            await self._sleep(_PROBE_EVERY_S if self.link.failures == 0 else _PROBE_AGAIN_S)
            self.link = looked(self.link, alive=await self._probe(url), now=self._now())


def alive_route(word: str) -> Route:
    """Return the route for the probe: it responds with this run's secret word."""

    async def alive(_: Request) -> Response:
        return PlainTextResponse(word, headers={"Cache-Control": "no-store"})

    return Route(ALIVE_PATH, alive)


def probe(word: str) -> Callable[[str], Awaitable[bool]]:
    """Request ``word`` from an address; an error page of the tunnel does not contain it."""

    def asked(url: str) -> bool:
        if not url.startswith(("http://", "https://")):
            return False
        try:
            with urlopen(url.rstrip("/") + ALIVE_PATH, timeout=_PROBE_S) as answer:  # noqa: S310
                return bool(answer.read(len(word) + 1) == word.encode())
        except (OSError, HTTPException):
            return False

    async def look(url: str) -> bool:
        return await asyncio.to_thread(asked, url)

    return look


def gradio_tunnel(host: str, port: int) -> Callable[[], Awaitable[Tunnel]]:
    """Opens tunnels of Gradio's share servers, or of the one at GRADIO_SHARE_SERVER_ADDRESS.

    Gradio's own ``share=True`` opens one and never checks it again; it also lets the page load its
    script from another host.
    """

    def make() -> Tunnel:
        from gradio import networking, tunneling

        before = len(tunneling.CURRENT_TUNNELS)
        token = secrets.token_urlsafe(32)
        address = networking.setup_tunnel(host, port, token, None, None)
        own = networking.GRADIO_SHARE_SERVER_ADDRESS is not None
        url = address if own else address.replace("http://", "https://", 1)
        return _GradioTunnel(url, tunneling.CURRENT_TUNNELS[before])

    async def opened() -> Tunnel:
        return await asyncio.to_thread(make)

    return opened


class _GradioTunnel:
    def __init__(self, url: str, tunnel: Any) -> None:
        self.url = url
        self._tunnel = tunnel

    def close(self) -> None:
        process, self._tunnel.proc = self._tunnel.proc, None
        if process is not None:
            process.terminate()
            with suppress(TimeoutExpired):
                process.wait(5)
