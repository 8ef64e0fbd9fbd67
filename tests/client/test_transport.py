"""Misbehaving servers and proxies: each fault is survived or raises its typed error."""

# ruff: noqa: ASYNC240 -- tests may poll, and read small files

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest
import trustme

from comfy_ui.client import ClientOptions, ComfyClient, ComfyWSClient, OutputFile
from comfy_ui.client.transfer.files import DownloadTarget
from comfy_ui.client.transport.http_transport import translate
from comfy_ui.errors import (
    AuthenticationError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    InvalidWorkflowError,
    OutputMissingError,
    ServerRejectedError,
    StorageError,
    ValidationError,
)
from comfy_ui.protocol.retry import Backoff
from tests.client.support import (
    EMPTY_QUEUE,
    Request,
    ScriptedServer,
    history_of,
    image_graph,
    open_client,
    response,
)

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
FILE = OutputFile("a.png")
PAGE = response(b"<html><title>Sign in</title></html>", headers={"content-type": "text/html"})


def not_a_socket(request: Request) -> bytes | None:
    """The answer to a WebSocket handshake, for servers of which only HTTP matters."""
    return response(status=404) if request.path.startswith("/ws") else None


# -- no server


@BOTH
async def test_client_refused_connection_is_offline_within_seconds(kind: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    started = time.monotonic()
    async with open_client(kind, f"127.0.0.1:{port}") as client:
        with pytest.raises(ComfyUIOfflineError, match=str(port)) as caught:
            await client.run(image_graph())
    assert time.monotonic() - started < 3
    assert caught.value.retryable


@BOTH
async def test_client_unknown_host_is_named_in_error(kind: str) -> None:
    async with open_client(kind, "http://no-such-host.invalid:8188") as client:
        with pytest.raises(ComfyUIOfflineError, match=r"no-such-host\.invalid"):
            await client.ping()


@BOTH
async def test_client_silent_server_times_out(kind: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with open_client(kind, url, timeout=0.2) as client:
            with pytest.raises(ComfyUIConnectionError, match="silent"):
                await client.system_stats()


@BOTH
async def test_f22_wait_until_ready_waits_for_starting_server(kind: str) -> None:
    attempts = 0

    def starting(request: Request) -> bytes | None:
        nonlocal attempts
        attempts += 1
        return (
            response({"exec_info": {"queue_remaining": 0}})
            if attempts > 3
            else response(status=502)
        )

    with ScriptedServer(starting) as server:
        async with open_client(kind, server.url) as client:
            await client.wait_until_ready(every=0.01)
            assert attempts == 4
            attempts = 0
            with pytest.raises(ComfyUIConnectionError):
                await client.wait_until_ready(every=0.01, timeout=0.015)


@BOTH
async def test_f21_client_localhost_connects_to_ipv4_address(kind: str) -> None:
    with ScriptedServer(lambda _: response({"exec_info": {"queue_remaining": 7}})) as server:
        async with open_client(kind, f"localhost:{server.port}") as client:
            assert await client.ping() == 7


@BOTH
async def test_f21_client_ipv6_address_connects(kind: str) -> None:
    try:
        server = ScriptedServer(lambda _: response({}), host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        async with open_client(kind, f"[::1]:{server.port}") as client:
            assert await client.features() == {}


# -- another program


@BOTH
@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (PAGE, AuthenticationError),
        (response(b"<html><title>nginx</title></html>"), ComfyUIConnectionError),
        (response(status=401), AuthenticationError),
        (response(status=403), AuthenticationError),
        (response(status=500), ServerRejectedError),
        (response(b"[]"), ComfyUIConnectionError),
        (response({"error": "nope"}), ComfyUIConnectionError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ComfyUIConnectionError),
    ],
)
async def test_client_server_that_is_not_comfyui_raises_typed_error(
    kind: str, raw: bytes, error: type[Exception]
) -> None:
    with ScriptedServer(lambda _: raw) as server:
        async with open_client(kind, server.url) as client:
            with pytest.raises(error) as caught:
                await client.queue()
    assert caught.value.hint  # type: ignore[attr-defined]  # all of ours have one


@BOTH
async def test_client_redirect_to_other_host_gets_no_credentials(kind: str) -> None:
    with ScriptedServer(lambda _: response({"stolen": True})) as other:

        def elsewhere(_: Request) -> bytes:
            return response(status=302, headers={"location": f"{other.url}/queue"})

        with ScriptedServer(elsewhere) as server:
            async with open_client(kind, server.url, token="secret") as client:
                with pytest.raises(ComfyUIConnectionError, match="elsewhere"):
                    await client.queue()
                with pytest.raises(ComfyUIConnectionError):
                    await client.download(FILE)
        assert other.requests == []


@BOTH
async def test_client_redirect_on_same_server_is_followed_but_not_in_loop(kind: str) -> None:
    def moving(request: Request) -> bytes:
        if request.path == "/queue":
            return response(status=307, headers={"location": "/elsewhere/queue"})
        if request.path == "/elsewhere/queue":
            return response(EMPTY_QUEUE)
        return response(status=302, headers={"location": request.path})

    with ScriptedServer(moving) as server:
        async with open_client(kind, server.url, token="mine") as client:
            assert not (await client.queue()).pending
            with pytest.raises(ComfyUIConnectionError, match="redirect loop"):
                await client.features()
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer mine"}


@BOTH
@pytest.mark.parametrize(
    "place", ["http://x:99999/a", "ftp://127.0.0.1/a", "http://[::1/", "//a:b"]
)
async def test_client_redirect_to_invalid_address_raises_connection_error(
    kind: str, place: str
) -> None:
    moved = response(status=302, headers={"location": place})
    with ScriptedServer(lambda _: moved) as server:
        async with open_client(kind, server.url) as client:
            with pytest.raises(ComfyUIConnectionError):
                await client.queue()


# -- credentials


@BOTH
async def test_f9_client_prefix_headers_and_token_are_sent_with_every_request_and_socket(
    kind: str,
) -> None:
    def handler(request: Request) -> bytes:
        return not_a_socket(request) or response({"prompt_id": "x"}, status=200)

    with ScriptedServer(handler) as server:
        url = server.url.replace("http://", "http://me:pw@") + "/comfy/"
        async with open_client(kind, url, headers={"X-Team": "a"}) as client:
            await client.features()
            await client.queue_prompt(image_graph())
    assert all(request.path.startswith("/comfy/") for request in server.requests)
    assert {request.headers["authorization"] for request in server.requests} == {"Basic bWU6cHc="}
    assert {request.headers["x-team"] for request in server.requests} == {"a"}
    assert any("/ws?" in request.path for request in server.requests) == (kind == "async")


def test_client_repr_and_errors_omit_secrets() -> None:
    with ComfyClient(url="http://me:pwsecret@127.0.0.1:9", token="toksecret") as client:
        with pytest.raises(ComfyUIOfflineError) as caught:
            client.ping()
        shown = f"{client!r} {client._server!r} {caught.value} {caught.value!r} {client.url}"
    assert "secret" not in shown


def test_client_token_with_line_break_is_rejected() -> None:
    with pytest.raises(Exception, match="authorization"):
        ComfyClient(token="abc\n")


@BOTH
async def test_client_proxy_environment_is_ignored_unless_trust_env(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(lambda _: response({"via": "proxy"})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with ScriptedServer(lambda _: response({"via": "direct"})) as server:
            async with open_client(kind, server.url) as client:
                assert await client.features() == {"via": "direct"}
            async with open_client(kind, "http://gpu.invalid", trust_env=True) as client:
                assert await client.features() == {"via": "proxy"}


@BOTH
async def test_client_options_proxy_carries_requests_and_is_not_shown(kind: str) -> None:
    with ScriptedServer(lambda _: response({"via": "proxy"})) as proxy:
        address = proxy.url.replace("http://", "http://user:secret@")
        options = ClientOptions(proxy=address)
        async with open_client(kind, "http://gpu.invalid", options=options) as client:
            assert await client.features() == {"via": "proxy"}
        (request,) = proxy.requests
    assert request.path.startswith("http://gpu.invalid/")
    assert request.headers["proxy-authorization"].startswith("Basic ")
    assert "secret" not in f"{client} {options}"


@pytest.mark.parametrize(
    ("client", "http"),
    [
        (ComfyClient, httpx.AsyncHTTPTransport),
        (ComfyClient, httpx.Client),
        (ComfyWSClient, httpx.HTTPTransport),
        (ComfyWSClient, httpx.AsyncClient),
    ],
)
def test_client_http_of_another_kind_raises_validation_error(
    client: type[ComfyClient | ComfyWSClient], http: type[Any]
) -> None:
    with pytest.raises(ValidationError, match=f"not a {http.__name__}"):
        client(http=http())


@BOTH
async def test_client_options_max_retries_limits_attempts(kind: str) -> None:
    with ScriptedServer(lambda _: response(status=503)) as server:
        for retries in (0, 1):
            options = ClientOptions(max_retries=retries)
            async with open_client(kind, server.url, options=options) as client:
                with pytest.raises(ComfyUIConnectionError):
                    await client.features()
        assert len(server.requests) == 1 + 2


@pytest.mark.parametrize(
    "values",
    [
        {"max_connections": 0},
        {"max_retries": -1},
        {"keep_alive_s": -1.0},
        {"connect_timeout_s": 0.0},
        {"proxy": "proxy:3128"},
    ],
)
def test_client_options_out_of_range_raise_validation_error(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ClientOptions(**values)


@BOTH
async def test_client_logs_each_request_at_debug(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "comfy_ui")
    with ScriptedServer(lambda _: response({"a": 1})) as server:
        async with open_client(kind, server.url, token="secret") as client:
            await client.features()
            server.handler = lambda _: None
            with pytest.raises(ComfyUIConnectionError):
                await client.features()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("comfy_ui")]
    assert any("GET /features: 200 in " in line for line in lines)
    assert any("GET /features: ReadError in " in line for line in lines) or any(
        "GET /features: RemoteProtocolError in " in line for line in lines
    )
    assert "secret" not in caplog.text


def test_client_comfy_cloud_uses_its_paths_and_key() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.host == "signed.example.com":
            return httpx.Response(200, content=b"bytes")
        if request.url.path == "/api/view":
            return httpx.Response(302, headers={"location": "https://signed.example.com/x?s=1"})
        return httpx.Response(404)

    http = httpx.MockTransport(handler)
    with ComfyClient(url="https://cloud.comfy.org", token="key", http=http) as client:
        assert client.history("x") is None
        assert client.download(FILE) == b"bytes"
        assert "token=key" in client._server.ws_url("id")
    assert seen[0].url.path == "/api/history_v2/x"
    assert seen[0].headers["x-api-key"] == "key"
    assert "x-api-key" not in seen[-1].headers


# -- TLS


@pytest.fixture
def tls_server() -> Iterator[tuple[str, trustme.CA]]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Server(ScriptedServer):
        def _serve(self, connection: socket.socket) -> None:
            try:
                secure = context.wrap_socket(connection, server_side=True)
            except (ssl.SSLError, OSError):
                connection.close()
                return
            super()._serve(secure)

    with Server(lambda _: response({"exec_info": {"queue_remaining": 1}})) as server:
        yield f"https://localhost:{server.port}", authority


@BOTH
async def test_f9_client_unknown_certificate_is_refused_and_custom_authority_accepted(
    kind: str, tls_server: tuple[str, trustme.CA], tmp_path: Path
) -> None:
    url, authority = tls_server
    async with open_client(kind, url) as client:
        with pytest.raises(ComfyUIConnectionError, match="not trusted") as caught:
            await client.ping()
        assert not caught.value.retryable
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    for verify in (pem, False):
        async with open_client(kind, url, verify=verify) as client:
            assert await client.ping() == 1


@BOTH
async def test_client_https_to_plain_server_names_scheme(kind: str) -> None:
    with ScriptedServer(lambda _: response({})) as server:
        async with open_client(kind, server.url.replace("http", "https")) as client:
            with pytest.raises(ComfyUIConnectionError, match="TLS"):
                await client.ping()


# -- retries


@BOTH
async def test_client_truncated_response_is_retried(kind: str) -> None:
    answers = iter([None, response(b'{"a"', length=99), response(status=502), response({"a": 1})])
    with ScriptedServer(lambda _: next(answers)) as server:
        async with open_client(kind, server.url) as client:
            assert await client.features() == {"a": 1}
    assert len(server.requests) == 4


@BOTH
async def test_client_retry_after_is_honored(kind: str) -> None:
    answers = iter([response(status=429, headers={"retry-after": "1"}), response({"a": 1})])
    with ScriptedServer(lambda _: next(answers)) as server:
        async with open_client(kind, server.url) as client:
            started = time.monotonic()
            assert await client.features() == {"a": 1}
            assert time.monotonic() - started >= 1


@BOTH
async def test_f20_upload_image_too_large_names_server_setting(kind: str) -> None:
    with ScriptedServer(lambda _: response(b"Maximum exceeded.", status=413)) as server:
        async with open_client(kind, server.url) as client:
            with pytest.raises(ServerRejectedError, match="max-upload-size") as caught:
                await client.upload_image(b"\x89PNG" * 1000)
    assert caught.value.status == 413
    assert len(server.requests) == 1


@BOTH
async def test_upload_image_same_bytes_is_sent_once_with_utf8_name(kind: str) -> None:
    body = {"name": "other.png", "subfolder": "", "type": "input"}

    def handler(request: Request) -> bytes:
        return response(b"") if request.method == "HEAD" else response(body)

    with ScriptedServer(handler) as server:
        async with open_client(kind, server.url) as client:
            names = [await client.upload_image(b"bytes", filename="Kätzchen.png") for _ in range(3)]
            if kind == "async":
                await asyncio.gather(*(client.upload_image(b"more") for _ in range(3)))
    assert names == ["other.png"] * 3
    posts = [request for request in server.requests if request.method == "POST"]
    assert len(posts) == (1 if kind == "sync" else 2)
    assert 'filename="Kätzchen.png"'.encode() in server.requests[0].body


@BOTH
async def test_upload_image_deleted_at_server_is_sent_again(kind: str, engine: Any) -> None:
    async with open_client(kind, engine.url) as client:
        first = await client.upload_image(b"some bytes", filename="a.png")
        stored = engine.folder / "input" / first.filename
        before = stored.stat().st_mtime_ns
        assert await client.upload_image(b"some bytes", filename="a.png") == first
        assert stored.stat().st_mtime_ns == before
        stored.unlink()
        assert await client.upload_image(b"some bytes", filename="a.png") == first
        assert stored.read_bytes() == b"some bytes"


# -- posting


class Flaky:
    """A server whose answers to the post are lost, after (or before) it has queued the job."""

    def __init__(self, *lost: str) -> None:
        self.lost = list(lost)
        self.queued: list[str] = []

    def __call__(self, request: Request) -> bytes | None:
        if request.path.startswith("/ws"):
            return response(status=404)
        if request.path == "/queue":
            return response(EMPTY_QUEUE)
        if request.path.startswith("/history/"):
            prompt_id = request.path.rpartition("/")[2]
            return response(history_of(prompt_id) if prompt_id in self.queued else {})
        how = self.lost.pop(0) if self.lost else "none"
        prompt_id = json.loads(request.body)["prompt_id"]
        if how != "before":
            self.queued.append(prompt_id)
        if how == "none":
            return response({"prompt_id": prompt_id, "number": 1, "node_errors": {}})
        return response(status=502) if how == "gateway" else None


@BOTH
@pytest.mark.parametrize("lost", ["after", "gateway"])
async def test_f13_post_with_lost_response_is_looked_up_not_repeated(kind: str, lost: str) -> None:
    flaky = Flaky(lost)
    with ScriptedServer(flaky) as server:
        async with open_client(kind, server.url) as client:
            assert (await client.run(image_graph())).images
    assert len(flaky.queued) == 1
    assert server.paths().count("POST /prompt") == 1
    order = [path for path in server.paths() if "ws" not in path]
    assert order[1] == "GET /queue"
    assert order[2].startswith("GET /history/")


@BOTH
async def test_f13_post_that_never_arrived_is_repeated_with_same_id(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.job_state.RESUBMIT_AFTER_S", 0.1)
    flaky = Flaky("before")
    with ScriptedServer(flaky) as server:
        async with open_client(kind, server.url) as client:
            assert (await client.run(image_graph())).images
    posted = [json.loads(r.body)["prompt_id"] for r in server.requests if r.path == "/prompt"]
    assert len(posted) == 2
    assert len(set(posted)) == 1
    assert flaky.queued == posted[:1]


@BOTH
async def test_f13_post_with_server_side_ids_and_lost_response_raises_not_repeated(
    kind: str,
) -> None:
    posts = 0

    def own_ids(request: Request) -> bytes | None:
        nonlocal posts
        if request.path == "/prompt":
            posts += 1
            own = {"prompt_id": f"own-{posts}", "number": 1, "node_errors": {}}
            return response(own) if posts == 1 else None
        return not_a_socket(request) or response(EMPTY_QUEUE)

    with ScriptedServer(own_ids) as server:
        async with open_client(kind, server.url) as client:
            assert await client.queue_prompt(image_graph()) == "own-1"
            with pytest.raises(ComfyUIConnectionError) as caught:
                await client.queue_prompt(image_graph())
    assert "queue" in caught.value.hint
    assert not caught.value.retryable
    assert posts == 2


@BOTH
async def test_f13_post_with_server_error_is_looked_up_then_raised(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.job_state.RESUBMIT_AFTER_S", 0.1)

    def failing(request: Request) -> bytes:
        if request.path == "/queue":
            return response(EMPTY_QUEUE)
        return response({}) if "history" in request.path else response(status=500)

    with ScriptedServer(failing) as server:
        async with open_client(kind, server.url) as client:
            with pytest.raises(ServerRejectedError) as caught:
                await client.queue_prompt(image_graph())
    assert caught.value.status == 500
    assert server.paths().count("POST /prompt") == 1


@BOTH
async def test_post_rejected_workflow_is_sent_once(kind: str) -> None:
    body = {"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs"}}
    with ScriptedServer(lambda r: not_a_socket(r) or response(body, status=400)) as server:
        async with open_client(kind, server.url) as client:
            with pytest.raises(InvalidWorkflowError, match="no outputs"):
                await client.run(image_graph())
    assert server.paths().count("POST /prompt") == 1


# -- downloads


class Cutting:
    """A file server that gives at most ``piece`` bytes at a time and then hangs up."""

    def __init__(self, content: bytes, *, piece: int, etag: str | None = '"v1"') -> None:
        self.content, self.piece, self.etag = content, piece, etag

    def __call__(self, request: Request) -> bytes:
        tag = {"etag": self.etag} if self.etag else {}
        start = 0
        if request.headers.get("if-range") == self.etag and "range" in request.headers:
            start = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        rest = self.content[start:]
        status = 206 if start else 200
        if start:
            tag["content-range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        return response(rest[: self.piece], status=status, headers=tag, length=len(rest))


@BOTH
async def test_f20_download_repeatedly_cut_is_resumed_to_end(kind: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    with ScriptedServer(Cutting(content, piece=3000)) as server:
        async with open_client(kind, server.url) as client:
            assert await client.download(FILE) == content
            path = await client.download(FILE, tmp_path / "x.png")
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    ranges = [request.headers.get("range") for request in server.requests]
    assert ranges[:4] == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]


@BOTH
async def test_download_without_any_data_raises_and_leaves_no_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "comfy_ui.client.transfer.file_transfers._PATIENT", Backoff(base_s=0.0, attempts=3)
    )
    with ScriptedServer(Cutting(b"x" * 100, piece=0)) as server:
        async with open_client(kind, server.url) as client:
            with pytest.raises(ComfyUIConnectionError):
                await client.download(FILE, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


async def test_download_cancelled_while_opening_file_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, open_now, opens = threading.Event(), threading.Event(), DownloadTarget._open

    def slow(download: DownloadTarget, folder: Path) -> BinaryIO:
        opening.set()
        open_now.wait(5)
        return opens(download, folder)

    monkeypatch.setattr(DownloadTarget, "_open", slow)
    large = b"bytes" * 2**20  # a small file is written when it is complete
    with ScriptedServer(lambda _: response(large)) as server:
        async with open_client("async", server.url) as client:
            task = asyncio.ensure_future(client.download(FILE, tmp_path / "x.png"))
            assert await asyncio.to_thread(opening.wait, 5)
            for _ in range(3):  # repeated cancellations too
                task.cancel()
                await asyncio.sleep(0.01)
            open_now.set()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert list(tmp_path.iterdir()) == []


@BOTH
async def test_download_large_file_after_small_one_replaces_it(kind: str, tmp_path: Path) -> None:
    small, large = b"small", b"large" * 2**20
    with ScriptedServer(lambda _: response(small)) as server:
        async with open_client(kind, server.url) as client:
            path = await client.download(FILE, tmp_path / "x.png")
            assert path.read_bytes() == small
            server.handler = lambda _: response(large)
            await client.download(FILE, path)
    assert path.read_bytes() == large
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]


@BOTH
async def test_download_missing_file_and_unwritable_path_raise_different_errors(
    kind: str, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with ScriptedServer(lambda _: response(status=404)) as server:
        async with open_client(kind, server.url) as client:
            with pytest.raises(OutputMissingError):
                await client.download(FILE, tmp_path)
            server.handler = lambda _: response(b"bytes")
            with pytest.raises(StorageError):
                await client.download(FILE, blocked / "x.png")


def test_translate_every_httpx_error_has_hint() -> None:
    def kinds(cls: type[Exception]) -> Iterator[type[Exception]]:
        yield cls
        for sub in cls.__subclasses__():
            yield from kinds(sub)

    with ComfyClient() as client:
        call: Any = type("Call", (), {"where": "GET /x", "timeout_s": None})
        for kind in kinds(httpx.RequestError):
            error = translate(kind("x"), client._server, call)
            assert error.hint, kind
