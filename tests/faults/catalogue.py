"""Every fault the proxy can do: what it does on the wire, and what a client must make of it.

``Expect`` says how a job under that fault has to end. "recovers": with the right bytes, because the
fault is passing. A tuple of error classes: with one of these, because no client could do more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from comfy_ui.errors import (
    AuthenticationError,
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    ServerRejectedError,
)
from tests.faults.proxy import Connection, Cut, Exchange, Fault, Phase, Reset, SocketFault
from tests.faults.wire import BINARY, TEXT, Frame, close_frame, response

Expect = Literal["recovers"] | tuple[type[ComfyHeadlessError], ...]
RECOVERS: Expect = "recovers"
ALL: tuple[Phase, ...] = ("connect", "submit", "run", "fetch")
NOT_CONNECT: tuple[Phase, ...] = ("submit", "run", "fetch")
FOREVER = 10**6

LOGIN_PAGE = (
    b"<!doctype html><html><head><title>Sign in</title></head>"
    b"<body><form><input type='password' name='p'></form></body></html>"
)


@dataclass(frozen=True)
class HttpFault:
    """A fault of single HTTP exchanges. It hits ``times`` of them."""

    act: Fault
    times: int = 1
    phases: tuple[Phase, ...] = ALL
    expect: Mapping[Phase, Expect] = field(default_factory=dict)  # where not "recovers"
    tolerates: tuple[type[ComfyHeadlessError], ...] = ()
    """Errors that are allowed while the server has not received the job."""
    silence_s: float | None = None
    """The client's ``timeout``, where the fault depends on it."""

    def expected(self, phase: Phase) -> Expect:
        return self.expect.get(phase, RECOVERS)


@dataclass(frozen=True)
class WsFault:
    """A fault of the first ``times`` WebSocket connections."""

    act: SocketFault
    times: int = 1


# -- HTTP: the connection


async def refuse(x: Exchange) -> None:
    await x.proxy.refuse_for(0.3)
    raise Reset


async def black_hole(x: Exchange) -> None:
    await x.body()
    await x.connection.hold()


async def black_hole_after_accept(x: Exchange) -> None:
    await x.forward()
    await x.connection.hold()


async def reset_before_body(_x: Exchange) -> None:
    raise Reset


async def reset_after_body(x: Exchange) -> None:
    await x.body()
    raise Reset


async def lost_response(x: Exchange) -> None:
    await x.forward()
    raise Reset


async def idle_cut(x: Exchange) -> None:
    """A keep-alive connection that the proxy had already closed when the request came."""
    await x.body()
    raise Cut


async def latency(x: Exchange) -> None:
    await asyncio.sleep(x.proxy.rng.uniform(0.05, 0.5))
    await x.answer(await x.forward())


async def latency_5s(x: Exchange) -> None:
    await asyncio.sleep(5)
    await x.answer(await x.forward())


async def trickle(x: Exchange) -> None:
    """The first bytes of the answer come one by one."""
    raw = (await x.forward()).encode()
    for i in range(40):
        await x.connection.send(raw[i : i + 1])
        await asyncio.sleep(0.01)
    await x.connection.send(raw[40:])


async def slow_line(x: Exchange) -> None:
    """Twenty bytes a second, to the last one. No timeout of the client applies."""
    raw = (await x.forward()).encode()
    # Often, so that the proxy notices soon when the client gives up.
    size_bytes, pause_s = (1, 0.05) if len(raw) < 2000 else (20, 0.02)
    for at in range(0, len(raw), size_bytes):
        await x.connection.send(raw[at : at + size_bytes])
        await asyncio.sleep(pause_s)


# -- HTTP: the answer


async def truncated_body(x: Exchange) -> None:
    raw = (await x.forward()).encode()
    body_start = raw.index(b"\r\n\r\n") + 4
    await x.connection.send(raw[: body_start + (len(raw) - body_start) // 2])
    raise Cut


async def truncated_head(x: Exchange) -> None:
    raw = (await x.forward()).encode()
    await x.connection.send(raw[: x.proxy.rng.randrange(1, raw.index(b"\r\n\r\n"))])
    raise Cut


async def corrupted_body(x: Exchange) -> None:
    """Invalid JSON: the first bytes are noise. Length and head are right."""
    answer = await x.forward()
    noise = bytes(x.proxy.rng.randrange(128, 256) for _ in answer.body[:16])
    await x.answer(replace(answer, body=noise + answer.body[16:]))


async def corrupted_head(x: Exchange) -> None:
    """The status line is noise, as on a desynchronized connection."""
    raw = (await x.forward()).encode()
    noise = bytes(x.proxy.rng.randrange(128, 256) for _ in range(9))
    await x.connection.send(noise + raw[9:])
    raise Cut


def status(code: int, reason: str, *, reaches_server: bool = False, **headers: str) -> Fault:
    """A proxy in between responds with ``code``, before or after the server got the request."""

    async def act(x: Exchange) -> None:
        if reaches_server:
            await x.forward()
        else:
            await x.body()
        page = f"<html><head><title>{code} {reason}</title></head></html>".encode()
        await x.answer(response(code, reason, page, Content_Type="text/html", **headers))

    return act


async def login_page(x: Exchange) -> None:
    await x.body()
    await x.answer(response(200, "OK", LOGIN_PAGE, Content_Type="text/html; charset=utf-8"))


async def cross_origin_redirect(x: Exchange) -> None:
    """Redirect to another host, where ``proxy.thief`` records credentials."""
    await x.body()
    assert x.proxy.thief is not None
    target = x.proxy.thief.url.replace("127.0.0.1", "localhost") + x.head.line.split(" ")[1]
    await x.answer(response(307, "Temporary Redirect", b"", Location=target))


NOT_COMFYUI = (AuthenticationError, ComfyUIConnectionError)
REFUSED = (ServerRejectedError,)

HTTP: dict[str, HttpFault] = {
    # A refused post is retried for about a third of a second, then raised.
    "refuse": HttpFault(refuse, tolerates=(ComfyUIOfflineError,)),
    "reset before body": HttpFault(reset_before_body),
    "reset after body": HttpFault(reset_after_body, phases=("connect", "run", "fetch")),
    "response lost": HttpFault(lost_response),
    "idle cut": HttpFault(idle_cut),
    "latency": HttpFault(latency),
    "trickle": HttpFault(trickle),
    "truncated body": HttpFault(truncated_body),
    "truncated head": HttpFault(truncated_head),
    # Images whose bytes were changed on the way cannot be detected: the protocol has no checksum.
    "corrupted body": HttpFault(corrupted_body, phases=("submit", "run")),
    "corrupted head": HttpFault(corrupted_head),
    "413": HttpFault(
        status(413, "Request Entity Too Large"), phases=("submit",), expect={"submit": REFUSED}
    ),
    "401": HttpFault(
        status(401, "Unauthorized", WWW_Authenticate="Bearer"),
        times=FOREVER,
        phases=NOT_CONNECT,
        expect=dict.fromkeys(ALL, (AuthenticationError,)),
    ),
    "429": HttpFault(status(429, "Too Many Requests", Retry_After="1")),
    # Servers answer many bad prompts with 500, so a retry does not help.
    "500": HttpFault(
        status(500, "Internal Server Error"),
        expect={"submit": (ServerRejectedError, ComfyUIConnectionError)},
    ),
    "502": HttpFault(status(502, "Bad Gateway")),
    "503": HttpFault(status(503, "Service Unavailable")),
    "504 after accept": HttpFault(status(504, "Gateway Timeout", reaches_server=True)),
    "login page": HttpFault(
        login_page, times=FOREVER, phases=NOT_CONNECT, expect=dict.fromkeys(ALL, NOT_COMFYUI)
    ),
    "redirect": HttpFault(
        cross_origin_redirect,
        times=FOREVER,
        phases=NOT_CONNECT,
        expect=dict.fromkeys(ALL, NOT_COMFYUI),
    ),
}

# Each of these costs seconds by its nature: on demand, and one each at night.
SLOW: dict[str, HttpFault] = {
    # Long enough for the circuit breaker to open over it.
    "refuse for a second": HttpFault(refuse, times=3, phases=("run", "fetch")),
    "black hole": HttpFault(black_hole, silence_s=4),
    "black hole after accept": HttpFault(black_hole_after_accept, silence_s=4),
    "latency 5 s": HttpFault(latency_5s),
    "slow line": HttpFault(slow_line),
}


# -- WebSocket


def closed(code: int, *, after: int = 4) -> SocketFault:
    """Close the socket with ``code`` in the middle of the run."""

    async def act(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
        async for frame in _some(frames, after):
            yield frame
        yield close_frame(code, "fault")

    return act


async def cut_1006(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    async for frame in _some(frames, 4):
        yield frame
    raise Cut


async def reset_1006(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    async for frame in _some(frames, 4):
        yield frame
    raise Reset


async def half_open(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    """The connection stays open without any more messages."""
    async for frame in _some(frames, 4):
        yield frame
    async for _ in frames:
        pass


async def half_open_early(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    async for frame in _some(frames, 1):
        yield frame
    async for _ in frames:
        pass


async def duplicated(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    async for frame in frames:
        yield frame
        if frame.opcode in (TEXT, BINARY):
            yield frame


async def reordered(c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    """Swap neighboring messages at random."""
    held: Frame | None = None
    async for frame in frames:
        if held is None and frame.opcode == TEXT and c.proxy.rng.random() < 0.4:
            held = frame
            continue
        yield frame
        if held is not None:
            yield held
            held = None


def dropped(rate: float) -> SocketFault:
    async def act(c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
        async for frame in frames:
            if frame.opcode not in (TEXT, BINARY) or c.proxy.rng.random() >= rate:
                yield frame

    return act


def without(*types: str) -> SocketFault:
    """Messages of these types never come; "null" is ``executing`` with no node."""

    async def act(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
        async for frame in frames:
            null = frame.type == "executing" and frame.data.get("node") is None
            if frame.type not in types and not (null and "null" in types):
                yield frame

    return act


async def sid_swallowed(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    async for frame in frames:
        if "sid" not in frame.data:
            yield frame


async def reconnect_silent(c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    """F1: the first socket is cut, the next one stays open and gets nothing."""
    async for frame in _some(frames, 4 if c.number == 1 else 0):
        yield frame
    if c.number == 1:
        raise Cut
    async for _ in frames:
        pass


async def garbage(c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    """Insert frames between the real ones that no ComfyUI sends."""
    rng: random.Random = c.proxy.rng
    noise = [
        Frame(TEXT, b"not json"),
        Frame(TEXT, b"[]"),
        Frame(TEXT, b'{"type":"progress","data":{"value":"x","max":null}}'),
        Frame(TEXT, b'{"type":"executed","data":{"node":1,"output":7}}'),
        Frame(TEXT, b'{"type":"unheard_of","data":{}}'),
        Frame(BINARY, b""),
        Frame(BINARY, b"\x00\x00\x00\x01"),
        Frame(BINARY, b"\x00\x00\x00\x04\xff\xff\xff\xff{}"),
        Frame(BINARY, b"\x00\x00\x00\x63" + bytes(64)),
    ]
    async for frame in frames:
        yield rng.choice(noise)
        yield frame


async def trickled(_c: Connection, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    """Delay each message, far behind the server."""
    async for frame in frames:
        await asyncio.sleep(0.03)
        yield frame


WS: dict[str, WsFault] = {
    **{f"close {code}": WsFault(closed(code)) for code in (1000, 1001, 1009, 1011, 1012)},
    "close at once": WsFault(closed(1011, after=1), times=2),
    "cut (1006)": WsFault(cut_1006),
    "reset (1006)": WsFault(reset_1006),
    "duplicated": WsFault(duplicated),
    "reordered": WsFault(reordered),
    "dropped": WsFault(dropped(0.3)),
    "no executed": WsFault(without("executed")),
    "no success": WsFault(without("execution_success")),
    "no null": WsFault(without("null")),
    "no progress": WsFault(without("progress", "progress_state", "binary")),
    "sid swallowed": WsFault(sid_swallowed),
    "garbage": WsFault(garbage),
    "late messages": WsFault(trickled),
}

# Silence can only be noticed by waiting: the client's watchdog sets the time.
WS_SLOW: dict[str, WsFault] = {
    "half open": WsFault(half_open),
    "half open from the start": WsFault(half_open_early),
    "silent reconnect": WsFault(reconnect_silent, times=FOREVER),
    "no end at all": WsFault(without("executed", "execution_success", "null")),
    "dropped all": WsFault(dropped(1.0)),
}


async def _some(frames: AsyncIterator[Frame], count: int) -> AsyncIterator[Frame]:
    if count <= 0:
        return
    async for frame in frames:
        yield frame
        count -= 1
        if count == 0:
            return
