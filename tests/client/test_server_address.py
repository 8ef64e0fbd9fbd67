"""Certificates and credentials, on HTTP and on the socket alike."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from comfy_ui.client import ComfyWSClient, Progress, endpoints
from comfy_ui.client.transport.http_transport import translate
from comfy_ui.client.transport.server_address import make_server_address
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import (
    AuthenticationError,
    ComfyUIConnectionError,
    InvalidAddressError,
    ValidationError,
)
from tests.client.support import image_graph, open_client
from tests.client.test_both_clients import sleeper
from tests.faults.proxy import FaultProxy

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


class Papers:
    """An authority's certificate, a server's and a client's, as files and contexts."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        client = self.authority.issue_cert("me@example.com")
        self.both = folder / "both.pem"
        client.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        client.private_key_pem.write_to_path(str(self.key))
        for number, pem in enumerate(client.cert_chain_pems):
            pem.write_to_path(str(self.cert), append=number > 0)

    def server(self, *, asks_for_one: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        if asks_for_one:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


async def test_progress_comes_over_wss_with_an_authority_of_ones_own(
    engine: DemoServer, papers: Papers
) -> None:
    engine.faults = Faults(test_nodes=True)
    seen: list[Progress] = []
    async with (
        FaultProxy(engine.url, tls=papers.server()) as proxy,
        ComfyWSClient(url=proxy.url, verify=papers.ca) as client,
    ):
        assert (await client.run(sleeper(0.3), on_progress=seen.append)).images
        assert client._session._socket.client_id
    assert any(progress.steps for progress in seen)
    assert proxy.sockets == 1


async def test_a_socket_with_an_unknown_certificate_is_never_opened(
    engine: DemoServer, papers: Papers
) -> None:
    async with (
        FaultProxy(engine.url, tls=papers.server()) as proxy,
        ComfyWSClient(url=proxy.url) as client,
    ):
        with pytest.raises(ComfyUIConnectionError, match="not trusted"):
            await client.run(image_graph())
    assert proxy.sockets == 0


@BOTH
@pytest.mark.parametrize("files", ["one", "two"])
async def test_a_client_certificate_opens_http_and_the_socket(
    kind: str, files: str, engine: DemoServer, papers: Papers
) -> None:
    cert = papers.both if files == "one" else (papers.cert, papers.key)
    async with FaultProxy(engine.url, tls=papers.server(asks_for_one=True)) as proxy:
        async with open_client(kind, proxy.url, verify=papers.ca, cert=cert) as client:
            assert (await client.run(image_graph(), timeout=20)).images
        assert proxy.sockets == (1 if kind == "async" else 0)


@BOTH
async def test_without_the_certificate_wanted_nothing_is_queued(
    kind: str, engine: DemoServer, papers: Papers
) -> None:
    async with FaultProxy(engine.url, tls=papers.server(asks_for_one=True)) as proxy:
        async with open_client(kind, proxy.url, verify=papers.ca, timeout=2) as client:
            # TLS 1.3 refuses it after the handshake, and the reason is often lost on the way.
            with pytest.raises(ComfyUIConnectionError):
                await client.run(image_graph(), timeout=20)
        assert proxy.accepted == []


def test_a_certificate_that_the_server_wants_is_named() -> None:
    told = httpx.ReadError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert (_ssl.c:2580)")
    error = translate(told, make_server_address(url="https://gpu"), endpoints.ping())
    assert isinstance(error, AuthenticationError)
    assert "cert=" in error.hint


def test_a_folder_of_certificates_or_a_context_of_ones_own_is_taken(papers: Papers) -> None:
    assert make_server_address(url="https://gpu", verify=papers.ca.parent).tls is not None
    context = ssl.create_default_context()
    assert make_server_address(url="https://gpu", verify=context).tls is context
    assert make_server_address(url="http://gpu", verify=context).tls is None


def test_papers_that_cannot_be_read_are_said_before_anything_is_sent(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    for options in ({"verify": broken}, {"verify": tmp_path / "none.pem"}):
        with pytest.raises(ValidationError, match="certificates"):
            make_server_address(url="https://gpu", **options)
    with pytest.raises(ValidationError, match="client certificate"):
        make_server_address(url="https://gpu", cert=broken)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match="timeout"):
        make_server_address(timeout=0)
    with pytest.raises(InvalidAddressError):
        make_server_address(url="ftp://gpu")


def test_credentials_come_from_the_address_the_token_or_the_headers() -> None:
    assert make_server_address(url="http://me:pw@gpu").headers["authorization"] == "Basic bWU6cHc="
    assert make_server_address(token="t").headers["authorization"] == "Bearer t"
    mine = make_server_address(token="t", headers={"Authorization": "Mine"})
    assert mine.headers["authorization"] == "Mine"
    assert "t" not in make_server_address(url="http://cloud.comfy.org", token="t").headers.get(
        "authorization", ""
    )
    assert "pw" not in repr(make_server_address(url="http://me:pw@gpu"))
