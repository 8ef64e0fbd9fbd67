"""A canary in each secret setting, servers that echo requests, and a search of all output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.demo import DemoServer
from comfy_ui.settings import Settings
from tests.browser.support import running_app
from tests.security.support import PageClient, until
from tests.storage.s3_server import BUCKET, SECRET as S3_SECRET, s3_server

CANARIES = {
    "COMFYUI_TOKEN": "canary-of-the-server-token",
    "COMFY_UI_API_KEY_COMFY_ORG": "canary-of-the-comfy-account",
    "OPENAI_API_KEY": "sk-canary-of-the-model-key",
    "HF_TOKEN": "hf_canaryOfTheHubToken",
    "COMFY_UI_METRICS_TOKEN": "canary-of-the-metrics",
    "COMFY_UI_AUTH": "anna:canary-of-the-login",
}
URL_SECRET = "canary-in-the-address"
SAVED_TOKEN = "hf_canaryOfTheSavedToken"  # typed on the page; HF_TOKEN wins, so it is refused
ADDED = {"token": "canary-of-an-added-server", "headers": "X-Gate: canary-of-a-gate"}
"""Of a server that an admin adds on the page."""
SECRETS = [value.rpartition(":")[2] for value in CANARIES.values()]
SECRETS += [URL_SECRET, S3_SECRET, SAVED_TOKEN]
SECRETS += [value.rpartition(" ")[2] for value in ADDED.values()]
PRIVATE_FILES = {"servers.json"}
"""Hold such secrets, readable for the app's account only."""


class Echo:
    """A server that refuses every request and echoes its headers."""

    def __init__(self, status: int) -> None:
        self.headers_received: list[str] = []
        self.bodies: list[bytes] = []
        echo = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                echo.headers_received.append(str(self.headers))
                echo.bodies.append(body)
                reply = f'{{"error": {{"message": "no: {" ".join(self.headers.values())}"}}}}'
                content = reply.replace("\n", " ").encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815 -- names of the standard library

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def received(self, secret: str) -> bool:
        return any(secret in headers for headers in self.headers_received)


@contextmanager
def echo(status: int) -> Iterator[Echo]:
    server = Echo(status)
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def test_settings_every_secret_field_has_a_canary() -> None:
    secret = {
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    # The password of the database is in tests/scale: the app here has no PostgreSQL.
    assert secret == {
        "comfyui_token",
        "api_key_comfy_org",
        "openai_api_key",
        "hf_token",
        "auth",
        "database",
        "metrics_token",
    }


@pytest.mark.slow
def test_app_secrets_appear_in_no_response_log_or_file(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    data = tmp_path / "data"
    texts: dict[str, str] = {}
    with (
        echo(401) as refusing,
        echo(401) as added,
        echo(400) as model,
        echo(200) as collector,
        DemoServer(speed="instant").in_thread() as engine,
        s3_server(tmp_path / "s3") as s3,
    ):
        port = engine.url.rpartition(":")[2]
        environment = {
            **CANARIES,
            **s3.environment,
            "COMFY_UI_FILES": f"s3://{BUCKET}/a",
            "COMFYUI_URL": f"http://me:{URL_SECRET}@127.0.0.1:{port}/ {refusing.url}",
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "COMFY_UI_LLM_MODEL": "m",
            "COMFY_UI_HOST": "0.0.0.0",
            "COMFY_UI_MCP": "true",
            "COMFY_UI_LOG_LEVEL": "debug",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        with running_app(data, **environment) as url:
            texts |= add_server(url, added.url)
            for name in ("anna", None):
                texts |= collect_texts(url, name)
            # Sent every 5 s.
            until(lambda: b"comfyui" in b"".join(collector.bodies).lower(), within_s=30)
        assert refusing.received(CANARIES["COMFYUI_TOKEN"])
        assert model.received(CANARIES["OPENAI_API_KEY"])
        assert all(added.received(secret.rpartition(" ")[2]) for secret in ADDED.values())
        texts["spans"] = b"".join(collector.bodies).decode("latin-1")
    texts["log"] = data.with_suffix(".log").read_text(errors="replace")
    assert "comfy_ui" in texts["log"]
    for path in data.rglob("*"):
        if path.name in PRIVATE_FILES:
            assert path.stat().st_mode & 0o077 == 0
        elif path.is_file():
            texts[path.name] = path.read_bytes().decode("latin-1")
    assert any(name.endswith(".png") for name in texts)
    leaks = [
        (place, secret) for place, text in texts.items() for secret in SECRETS if secret in text
    ]
    assert leaks == [], [
        texts[place][max(0, texts[place].find(secret) - 300) :][:400] for place, secret in leaks
    ]
    record_property("places searched for secrets", len(texts))


def add_server(url: str, address: str) -> dict[str, str]:
    """Test and add a server as an admin; return the app's responses."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        form = {"username": "anna", "password": CANARIES["COMFY_UI_AUTH"].partition(":")[2]}
        assert client.post("/login", data=form).status_code == 200
        server = {"address": address, **ADDED}
        answers = [client.post(f"/admin/servers/{do}", json=server) for do in ("test", "save")]
        assert [answer.status_code for answer in answers] == [422, 200]
        answers += [client.get("/admin/servers"), client.get("/admin/settings")]
        return {f"{answer.url.path} for an admin": answer.text for answer in answers}


def collect_texts(url: str, name: str | None) -> dict[str, str]:
    """Collect the app's responses to an admin, or to a guest."""
    texts: dict[str, str] = {}
    with httpx.Client(base_url=url, timeout=60, trust_env=False, follow_redirects=True) as client:
        if name is not None:
            form = {"username": name, "password": CANARIES["COMFY_UI_AUTH"].partition(":")[2]}
            assert client.post("/login", data=form).status_code == 200
        for path in ("/", "/config", "/gradio_api/info", "/library", "/files/1", "/alive"):
            answer = client.get(path, headers={"accept": "text/html"})
            texts[f"{path} for {name}"] = f"{answer.headers} {answer.text}"
        if name is None:
            return texts
        person: Any = PageClient(client, name)
        for token in (SAVED_TOKEN, f"{SAVED_TOKEN} in two words"):
            answer = client.post("/admin/settings", json={"name": "hf_token", "value": token})
            texts[f"token for {name}"] = f"{answer.headers} {answer.text}"
        texts["models"] = client.get("/model-files").text
        address = {"address": "https://huggingface.co/owner/name"}  # cannot be reached
        texts["look-up"] = client.post("/model-files/look-up", json=address).text
        values = {"steps": 4, "width": 384, "height": 384}
        for call in (
            ("generate", "sd15", "a cat", values),
            ("generate", "sd15", "a cat", {"steps": "x"}),
            ("run_workflow", {"1": {"class_type": "NoSuchNode", "inputs": {}}}, None),
            ("enhance", "a cat", "balanced", ""),
            ("presets",),
            ("job", "none"),
        ):
            texts[f"{call} for {name}"] = str(person.call(*call))
        for handler in client.get("/config").json()["dependencies"]:
            data = [None] * len(handler["inputs"])
            number = handler["id"]
            texts[f"handler {number}"] = str(person.fire(number, data, event_data={}))
    return texts
