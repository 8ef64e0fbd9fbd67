"""A canary in each secret setting, servers that echo what they get, and a search everywhere."""

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
from tests.security.support import Person

CANARIES = {
    "COMFYUI_TOKEN": "canary-of-the-server-token",
    "OPENAI_API_KEY": "sk-canary-of-the-model-key",
    "HF_TOKEN": "hf_canaryOfTheHubToken",
    "COMFY_UI_AUTH": "anna:canary-of-the-login",
}
URL_SECRET = "canary-in-the-address"
SECRETS = [value.rpartition(":")[2] for value in CANARIES.values()] + [URL_SECRET]


class Echo:
    """Refuses everything, and says in its refusal all that it was sent."""

    def __init__(self, status: int) -> None:
        self.said: list[str] = []
        self.bodies: list[bytes] = []
        echo = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                echo.said.append(str(self.headers))
                echo.bodies.append(body)
                told = f'{{"error": {{"message": "no: {" ".join(self.headers.values())}"}}}}'
                content = told.replace("\n", " ").encode()
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

    def heard(self, secret: str) -> bool:
        return any(secret in said for said in self.said)


@contextmanager
def echo(status: int) -> Iterator[Echo]:
    made = Echo(status)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


def test_every_secret_setting_has_a_canary() -> None:
    secret = {
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert secret == {"comfyui_token", "openai_api_key", "hf_token", "auth"}


@pytest.mark.slow
def test_no_secret_comes_out_anywhere(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    data = tmp_path / "data"
    texts: dict[str, str] = {}
    with (
        echo(401) as refusing,
        echo(400) as model,
        echo(200) as collector,
        DemoServer(speed="instant").in_thread() as engine,
    ):
        port = engine.url.rpartition(":")[2]
        environment = {
            **CANARIES,
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
            for name in ("anna", None):
                texts |= looked(url, name)
        assert refusing.heard(CANARIES["COMFYUI_TOKEN"])
        assert model.heard(CANARIES["OPENAI_API_KEY"])
        spans = b"".join(collector.bodies)
        assert b"comfyui" in spans.lower()
        texts["spans"] = spans.decode("latin-1")
    texts["log"] = data.with_suffix(".log").read_text(errors="replace")
    assert "comfy_ui" in texts["log"]
    for path in data.rglob("*"):
        if path.is_file():
            texts[path.name] = path.read_bytes().decode("latin-1")
    assert any(name.endswith(".png") for name in texts)
    found = [
        (where, secret) for where, text in texts.items() for secret in SECRETS if secret in text
    ]
    assert found == [], [
        texts[where][max(0, texts[where].find(secret) - 300) :][:400] for where, secret in found
    ]
    record_property("places searched for secrets", len(texts))


def looked(url: str, name: str | None) -> dict[str, str]:
    """All that the app says to the owner, or to nobody."""
    told: dict[str, str] = {}
    with httpx.Client(base_url=url, timeout=60, trust_env=False, follow_redirects=True) as client:
        if name is not None:
            form = {"username": name, "password": CANARIES["COMFY_UI_AUTH"].partition(":")[2]}
            assert client.post("/login", data=form).status_code == 200
        for path in ("/", "/config", "/gradio_api/info", "/library", "/files/1", "/alive"):
            answer = client.get(path, headers={"accept": "text/html"})
            told[f"{path} for {name}"] = f"{answer.headers} {answer.text}"
        if name is None:
            return told
        person: Any = Person(client, name)
        values = {"steps": 4, "width": 384, "height": 384}
        for call in (
            ("generate", "sd15", "a cat", values),
            ("generate", "sd15", "a cat", {"steps": "x"}),
            ("run_workflow", {"1": {"class_type": "NoSuchNode", "inputs": {}}}, None),
            ("enhance", "a cat", "balanced", ""),
            ("presets",),
            ("job", "none"),
        ):
            told[f"{call} for {name}"] = str(person.call(*call))
        for handler in client.get("/config").json()["dependencies"]:
            data = [None] * len(handler["inputs"])
            number = handler["id"]
            told[f"handler {number}"] = str(person.fire(number, data, event_data={}))
    return told
