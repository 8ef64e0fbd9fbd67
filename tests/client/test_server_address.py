"""TLS certificates and credentials, for HTTP and the WebSocket."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

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


class Certificates:
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

    def server(self, *, client_required: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        if client_required:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_verify_custom_authority_gives_progress_over_wss(
    engine: DemoServer, certificates: Certificates
) -> None:
    engine.faults = Faults(test_nodes=True)
    seen: list[Progress] = []
    async with (
        FaultProxy(engine.url, tls=certificates.server()) as proxy,
        ComfyWSClient(url=proxy.url, verify=certificates.ca) as client,
    ):
        assert (await client.run(sleeper(0.3), on_progress=seen.append)).images
        assert client._session._feed.client_id
    assert any(progress.steps for progress in seen)
    assert proxy.sockets == 1


async def test_verify_unknown_certificate_opens_no_socket(
    engine: DemoServer, certificates: Certificates
) -> None:
    async with (
        FaultProxy(engine.url, tls=certificates.server()) as proxy,
        ComfyWSClient(url=proxy.url) as client,
    ):
        with pytest.raises(ComfyUIConnectionError, match="not trusted"):
            await client.run(image_graph())
    assert proxy.sockets == 0


@BOTH
@pytest.mark.parametrize("files", ["one", "two"])
async def test_cert_client_certificate_is_used_for_http_and_socket(
    kind: str, files: str, engine: DemoServer, certificates: Certificates
) -> None:
    cert = certificates.both if files == "one" else (certificates.cert, certificates.key)
    async with FaultProxy(engine.url, tls=certificates.server(client_required=True)) as proxy:
        async with open_client(kind, proxy.url, verify=certificates.ca, cert=cert) as client:
            assert (await client.run(image_graph(), timeout=20)).images
        assert proxy.sockets == (1 if kind == "async" else 0)


@BOTH
async def test_cert_missing_client_certificate_queues_nothing(
    kind: str, engine: DemoServer, certificates: Certificates
) -> None:
    async with FaultProxy(engine.url, tls=certificates.server(client_required=True)) as proxy:
        async with open_client(kind, proxy.url, verify=certificates.ca, timeout=2) as client:
            # TLS 1.3 rejects it after the handshake, and the reason is often lost.
            with pytest.raises(ComfyUIConnectionError):
                await client.run(image_graph(), timeout=20)
        assert proxy.accepted == []


def test_translate_certificate_required_alert_names_cert_option() -> None:
    alert = httpx.ReadError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert (_ssl.c:2580)")
    error = translate(alert, make_server_address(url="https://gpu"), endpoints.ping())
    assert isinstance(error, AuthenticationError)
    assert "cert=" in error.hint


def test_verify_accepts_certificate_folder_and_ssl_context(certificates: Certificates) -> None:
    assert make_server_address(url="https://gpu", verify=certificates.ca.parent).tls is not None
    context = ssl.create_default_context()
    assert make_server_address(url="https://gpu", verify=context).tls is context
    assert make_server_address(url="http://gpu", verify=context).tls is None


def test_make_server_address_unreadable_certificate_raises_validation_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    for options in ({"verify": broken}, {"verify": tmp_path / "none.pem"}):
        with pytest.raises(ValidationError, match="certificates"):
            make_server_address(url="https://gpu", **options)
    with pytest.raises(ValidationError, match="client certificate"):
        make_server_address(url="https://gpu", cert=broken)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5", True, []])
def test_make_server_address_invalid_timeout_raises(timeout: Any) -> None:
    with pytest.raises(ValidationError, match="timeout") as caught:
        make_server_address(timeout=timeout)
    assert "None" in caught.value.hint


def test_make_server_address_timeout_none_sets_no_limit() -> None:
    server = make_server_address(timeout=None)
    assert (server.timeout_s, server.connect_timeout_s) == (float("inf"), 10.0)


def test_make_server_address_invalid_scheme_raises() -> None:
    with pytest.raises(InvalidAddressError):
        make_server_address(url="ftp://gpu")


def test_make_server_address_credentials_come_from_url_token_or_headers() -> None:
    assert make_server_address(url="http://me:pw@gpu").headers["authorization"] == "Basic bWU6cHc="
    assert make_server_address(token="t").headers["authorization"] == "Bearer t"
    mine = make_server_address(token="t", headers={"Authorization": "Mine"})
    assert mine.headers["authorization"] == "Mine"
    assert "t" not in make_server_address(url="http://cloud.comfy.org", token="t").headers.get(
        "authorization", ""
    )
    assert "pw" not in repr(make_server_address(url="http://me:pw@gpu"))
