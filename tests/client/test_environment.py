"""The settings of the environment as defaults of both clients' arguments."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import Any

import pytest

from comfy_ui import settings
from comfy_ui.client import ComfyClient, ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.errors import ValidationError

CLIENTS = pytest.mark.parametrize("client", [ComfyClient, ComfyWSClient])


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_URL", "https://gpu.test/comfy, http://second.test:8188")
    monkeypatch.setenv("COMFYUI_TOKEN", "secret")


@CLIENTS
def test_client_without_arguments_uses_the_first_server_of_the_settings(client: type[Any]) -> None:
    one = client()
    assert one.url == "https://gpu.test/comfy"
    assert one._server.headers["authorization"] == "Bearer secret"


@CLIENTS
@pytest.mark.parametrize(
    "url", ["https://gpu.test/comfy/", "second.test", "http://second.test:8188/"]
)
def test_client_of_a_server_of_the_settings_gets_the_token(client: type[Any], url: str) -> None:
    assert client(url=url)._server.headers["authorization"] == "Bearer secret"


@CLIENTS
@pytest.mark.parametrize(
    "arguments",
    [
        {"host": "other.test"},
        {"port": 8189},
        {"url": "http://gpu.test/comfy"},
        {"url": "https://gpu.test/comfy", "token": ""},
        {"url": "https://gpu.test/comfy", "guarded": True},
    ],
)
def test_client_of_another_address_gets_no_token(
    client: type[Any], arguments: dict[str, Any]
) -> None:
    assert "authorization" not in client(**arguments)._server.headers


@CLIENTS
def test_client_argument_wins_over_the_settings(
    client: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_UI_TIMEOUT_S", "7")
    monkeypatch.setenv("COMFY_UI_VERIFY_TLS", "false")
    by_settings = client()._server
    assert (by_settings.timeout_s, by_settings.tls.verify_mode) == (7.0, ssl.CERT_NONE)
    chosen = client(timeout=9, verify=True, token="mine")._server
    assert (chosen.timeout_s, chosen.tls.verify_mode) == (9.0, ssl.CERT_REQUIRED)
    assert chosen.headers["authorization"] == "Bearer mine"
    assert client(timeout=None)._server.timeout_s == float("inf")


@CLIENTS
def test_client_invalid_setting_raises_with_its_name(
    client: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_UI_TIMEOUT_S", "soon")
    with pytest.raises(ValidationError, match="timeout_s"):
        client()


def test_client_loads_the_settings_once(
    engine: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = settings.load_settings
    monkeypatch.setattr(settings, "load_settings", lambda: loads.append(1) or load())
    monkeypatch.setenv("COMFYUI_URL", engine.url)
    with ComfyClient() as client:
        client.queue_prompt("sd15")
    assert len(loads) == 1


def test_client_without_variables_does_not_load_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYUI_URL")
    monkeypatch.delenv("COMFYUI_TOKEN")
    code = (
        "import sys, comfy_ui; client = comfy_ui.ComfyClient(); "
        "print(client.url, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["http://localhost:8188", "False"]
