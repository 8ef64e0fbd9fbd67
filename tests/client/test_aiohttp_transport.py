"""The aiohttp transport of the async client, against scripted servers."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme

from comfy_ui.client.transport import resolver
from comfy_ui.client.transport.aiohttp_transport import AiohttpTransport

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]
TIMEOUTS = {"timeout": {"connect": 2.0, "read": 0.3, "write": 0.3, "pool": None}}


class Server:
    """Runs ``talk`` for each connection, and counts them."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(
    talk: Talk, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, str]]:
    server = Server(talk)
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield server, f"{'https' if tls else 'http'}://127.0.0.1:{port}/x?y=%20z"


@asynccontextmanager
async def pool(
    *, max_connections: int = 4, keep_s: float = 30.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport(max_connections=max_connections, keep_s=keep_s, tls=tls)
    yield transport
    await transport.aclose()


async def ask(http: AiohttpTransport, url: str, method: str = "GET", **more: object) -> bytes:
    request = httpx.Request(method, url, extensions=TIMEOUTS, **more)
    response = await http.handle_async_request(request)
    try:
        return await response.aread()
    finally:
        await response.aclose()


def answering(*answers: bytes, then_close: bool = False) -> Talk:
    """One of ``answers`` for each request without a body."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        if not then_close:
            await reader.read()

    return talk


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\nok", b"ok"),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
            ),
            b"abc0123456789",
        ),
    ],
)
async def test_request_each_body_framing_is_read_and_connection_reused(
    answer: bytes, body: bytes
) -> None:
    async with served(answering(answer, OK)) as (server, url), pool() as http:
        assert await ask(http, url) == body
        assert await ask(http, url) == b"ok"
        assert server.connections == 1


async def test_request_body_without_length_ends_with_connection() -> None:
    talk = answering(b"HTTP/1.1 200 OK\r\n\r\nall of it", then_close=True)
    async with served(talk) as (server, url), pool() as http:
        assert await ask(http, url) == b"all of it"
        assert await ask(http, url) == b"all of it"
        assert server.connections == 2


async def test_request_head_response_has_no_body_despite_content_length() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    async with served(answering(head, OK)) as (server, url), pool() as http:
        assert await ask(http, url, "HEAD") == b""
        assert await ask(http, url) == b"ok"
        assert server.connections == 1


async def test_request_gzip_body_is_decompressed() -> None:
    import gzip

    packed = gzip.compress(b"many words " * 50)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    async with served(answering(head % len(packed) + packed)) as (_, url), pool() as http:
        assert await ask(http, url) == b"many words " * 50


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"\xff\xfe\xfd noise\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"A" * 300_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 300_000,
    ],
)
async def test_request_truncated_or_invalid_http_raises_transport_error(answer: bytes) -> None:
    async with served(answering(answer, then_close=True)) as (_, url), pool() as http:
        with pytest.raises(httpx.TransportError):
            await ask(http, url)
        # The connection is free again. All requests are awaited, since sockets left open would be
        # reported by the next test.
        several = await asyncio.gather(*(ask(http, url) for _ in range(8)), return_exceptions=True)
        assert [
            type(error) for error in several if not isinstance(error, httpx.TransportError)
        ] == []


async def test_request_silent_server_raises_read_timeout_before_and_within_body() -> None:
    for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"):
        async with served(answering(answer)) as (_, url), pool() as http:
            with pytest.raises(httpx.ReadTimeout):
                await ask(http, url)


async def test_request_refused_connection_raises_connect_error() -> None:
    async with served(answering(OK)) as (_, url):
        pass
    async with pool() as http:
        with pytest.raises(httpx.ConnectError):
            await ask(http, url)


async def test_pool_connection_closed_by_server_is_not_reused() -> None:
    async with served(answering(OK, then_close=True)) as (server, url), pool() as http:
        for _ in range(3):
            assert await ask(http, url) == b"ok"
            await asyncio.sleep(0.02)
        assert server.connections == 3


async def test_pool_connection_with_unsolicited_data_is_not_reused() -> None:
    async with served(answering(OK + OK)) as (server, url), pool() as http:
        assert await ask(http, url) == b"ok"
        assert await ask(http, url) == b"ok"
        assert server.connections == 2


async def test_pool_connection_idle_beyond_keep_s_is_not_reused() -> None:
    async with served(answering(OK, OK)) as (server, url), pool(keep_s=0.05) as http:
        await ask(http, url)
        await asyncio.sleep(0.1)
        await ask(http, url)
        assert server.connections == 2


async def test_pool_connection_close_header_closes_connection() -> None:
    close = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with served(answering(close, OK)) as (server, url), pool() as http:
        await ask(http, url)
        await ask(http, url)
        assert server.connections == 2


async def test_pool_unread_response_closes_connection() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + bytes(8_000_000)
    async with served(answering(long, OK)) as (server, url), pool() as http:
        request = httpx.Request("GET", url, extensions=TIMEOUTS)
        response = await http.handle_async_request(request)
        await response.aclose()
        assert len(await ask(http, url)) == 8_000_000
        assert server.connections == 2


async def test_pool_more_requests_than_connections_waits_for_free_one() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.01)
            writer.write(OK)

    async with served(talk) as (server, url), pool(max_connections=3) as http:
        answers = await asyncio.gather(*(ask(http, url) for _ in range(20)))
        assert answers == [b"ok"] * 20
        assert server.connections == 3


async def test_pool_cancelled_request_frees_its_connection() -> None:
    async with served(answering(b"")) as (server, url), pool(max_connections=1) as http:
        for number in range(3):
            task = asyncio.create_task(ask(http, url))
            while server.connections == number:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert server.connections == 3


async def test_request_sends_method_target_headers_and_body_unchanged() -> None:
    seen = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        seen.extend(await reader.readexactly(4))
        writer.write(OK)
        await reader.read()

    async with served(talk) as (_, url), pool() as http:
        await ask(http, url, "POST", content=b"body", headers={"x-a": "b"})
    assert seen.startswith(b"POST /x?y=%20z HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"x-a: b\r\n" in seen
    assert seen.endswith(b"Content-Length: 4\r\n\r\nbody")


async def test_request_header_with_line_break_is_not_sent() -> None:
    async with served(answering(OK)) as (server, url), pool() as http:
        request = httpx.Request("GET", url, extensions=TIMEOUTS)
        request.headers["x-a"] = "b\r\n\r\nGET /y HTTP/1.1"
        with pytest.raises(httpx.LocalProtocolError):
            await http.handle_async_request(request)
        assert await ask(http, url) == b"ok"
        assert server.connections == 2


async def test_request_body_shorter_than_content_length_raises_protocol_error() -> None:
    async with served(answering(OK)) as (_, url), pool() as http:
        with pytest.raises(httpx.LocalProtocolError):
            await ask(http, url, "POST", content=b"ab", headers={"content-length": "5"})


async def test_request_streamed_body_of_unknown_length_is_chunked() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b""
        yield b"0123456789"

    seen = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        seen.set_result(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(OK)
        await reader.read()

    async with served(talk) as (_, url), pool() as http:
        await ask(http, url, "POST", content=body())
    assert await seen == b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n"


async def test_request_response_during_upload_is_returned() -> None:
    """A 413 comes before the body has gone out; the rest of it is not sent."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await asyncio.sleep(0.2)

    async with served(talk) as (_, url), pool() as http:
        files = {"image": ("big.png", bytes(64 * 2**20))}
        request = httpx.Request("POST", url, files=files, extensions=TIMEOUTS)
        response = await http.handle_async_request(request)
        assert (response.status_code, await response.aread()) == (413, b"big")
        await response.aclose()


async def test_request_server_not_reading_raises_write_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2)

    async with served(talk) as (_, url), pool() as http:
        with pytest.raises(httpx.WriteTimeout):
            await ask(http, url, "POST", files={"image": ("big.png", bytes(64 * 2**20))})


async def test_response_read_slowly_is_not_buffered_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 * 2**20)
    async with served(answering(head + bytes(32 * 2**20))) as (_, url), pool() as http:
        request = httpx.Request("GET", url, extensions=TIMEOUTS)
        response = await http.handle_async_request(request)
        await asyncio.sleep(0.1)
        assert response.stream._response.content.total_bytes < 4 * 2**20
        assert sum([len(part) async for part in response.aiter_raw()]) == 32 * 2**20
        await response.aclose()


async def test_request_https_verifies_against_given_context() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with served(answering(OK), tls=context) as (_, url):
        async with pool(tls=trusting) as http:
            assert await ask(http, url) == b"ok"
        async with pool() as http:
            with pytest.raises(httpx.ConnectError) as caught:
                await ask(http, url)
            assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_request_cancelled_while_connecting_leaves_no_socket() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    rng = random.Random(1)
    async with served(silent) as (_, url):
        port = url.split(":")[2].split("/")[0]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            async with pool() as http:
                for _ in range(500):
                    task = asyncio.create_task(ask(http, f"http://localhost:{port}/"))
                    for _ in range(rng.randrange(12)):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_request_silent_address_falls_back_to_next_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "NEXT_ADDRESS_S", 0.05)
    with socket.socket() as full:  # its backlog is full: further connections hang
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            async with served(answering(OK)) as (_, url), pool() as http:
                port = int(url.split(":")[2].split("/")[0])
                addresses = [full.getsockname(), ("127.0.0.1", port)]

                async def two(*_: object, **__: object) -> list[object]:
                    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", a) for a in addresses]

                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
                assert await ask(http, url) == b"ok"
