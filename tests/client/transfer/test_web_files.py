"""Files of web addresses, for uploads."""

from __future__ import annotations

import httpx
import pytest

from comfy_ui.client.transfer.upload_sources import prepare_upload
from comfy_ui.client.transfer.web_files import download_web_file
from comfy_ui.errors import ValidationError
from tests.client.names import names
from tests.client.support import ScriptedServer, response


def _answer(request: httpx.Request) -> httpx.Response:
    match request.url.path:
        case "/moved":
            return httpx.Response(302, headers={"location": "/a/K%C3%A4tzchen.png?key=secret"})
        case "/missing":
            return httpx.Response(404)
    return httpx.Response(200, content=b"picture")


def test_download_web_file_follows_redirects_and_names_the_file() -> None:
    transport = httpx.MockTransport(_answer)
    assert download_web_file("https://pictures.example/moved", transport=transport) == (
        b"picture",
        "Kätzchen.png",
    )


@pytest.mark.parametrize(
    ("path", "reason"), [("missing", "404"), ("large", "larger than"), ("x", "larger")]
)
def test_download_web_file_failure_names_the_host_alone(path: str, reason: str) -> None:
    transport = httpx.MockTransport(_answer)
    url = f"https://pictures.example/{path}?key=secret"
    with pytest.raises(ValidationError, match=reason) as caught:
        download_web_file(url, transport=transport, max_bytes=3)
    assert "pictures.example" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_prepare_upload_url_of_this_machine_is_refused_under_any_name() -> None:
    with ScriptedServer(lambda _: response(b"private")) as server, names() as dns:
        dns.say("pictures.example", ["127.0.0.1"])
        for host in ("127.0.0.1", "localhost", "pictures.example", "[::ffff:127.0.0.1]"):
            with pytest.raises(ValidationError, match="cannot be downloaded"):
                prepare_upload(f"http://{host}:{server.port}/a.png")
        assert dns.connected == []
        assert server.requests == []
