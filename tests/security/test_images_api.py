"""The Images API, called by the ``openai`` SDK and byte for byte as other programs call it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from comfy_ui.web.auth.accounts import Role
from tests.client.support import ScriptedServer, response
from tests.conftest import ROOT
from tests.docs import examples
from tests.security.support import GRADIO, PASSWORDS, served, until
from tests.security.test_key_logins import access_of

pytestmark = GRADIO

SCRIPT = Path(__file__).with_name("images_sdk_client.mjs")
NODE_SDK = "openai@6.49.0"
FAST = {"steps": 2}
SMALL = {**FAST, "width": 384, "height": 384}
PNG = b"\x89PNG"


class App:
    """The running app, with keys of vera and viktor."""

    def __init__(self, page: Any) -> None:
        self.url = f"http://127.0.0.1:{page.server_port}"
        self.keys = access_of(page).keys
        self.vera, self.vera_key = self.keys.create("vera", "sdk", Role.USER)
        _, self.viktor_key = self.keys.create("viktor", "sdk", Role.USER)
        self.http = httpx.Client(
            base_url=self.url,
            timeout=30,
            trust_env=False,
            headers={"authorization": f"Bearer {self.vera_key}"},
        )

    def sdk(self, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=key or self.vera_key,
            http_client=httpx.Client(trust_env=False, timeout=30),
        )


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("images api")
    with served(
        folder,
        patch,
        demo_speed="40",
        cors_origins="https://tool.example",
        webhook_hosts="127.0.0.1",
    ) as page:
        app = App(page)
        yield app
        app.http.close()


@pytest.fixture
def sdk(app: App) -> Iterator[openai.OpenAI]:
    with app.sdk() as sdk:
        yield sdk


def picture(image: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


def png(color: Any = "teal", *, mode: str = "RGB", side: int = 64) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side), color).save(file, "PNG")
    return file.getvalue()


def test_sdk_lists_models_that_are_ready(sdk: openai.OpenAI) -> None:
    models = {model.id: model for model in sdk.models.list()}
    assert models["sd15"].kind == "image"
    assert models["ltxv_t2v"].kind == "video"
    assert sdk.models.retrieve("sd15").owned_by == "comfy-ui"
    with pytest.raises(openai.NotFoundError, match="sd15") as caught:
        sdk.models.retrieve("sd_15")
    assert caught.value.code == "model_not_found"


@pytest.mark.slow
def test_sdk_generates_a_batch_that_is_one_job_in_the_library(app: App, sdk: openai.OpenAI) -> None:
    raw = sdk.images.with_raw_response.generate(
        model="sd15",
        prompt="a quiet harbor",
        n=2,
        size="300x200",
        quality="high",
        extra_body={"x_comfy_ui": {**FAST, "seed": 7}},
    )
    response = raw.parse()
    assert response.data is not None
    assert [picture(image).size for image in response.data] == [(576, 384)] * 2
    assert raw.headers["x-comfy-ui-size"] == response.size == "576x384"
    assert raw.headers["x-comfy-ui-model"] == "sd15"
    assert raw.headers["x-request-id"].startswith("req_")
    job_id = raw.headers["x-comfy-ui-jobs"]
    assert response.data[0].x_comfy_ui == {"job": job_id, "seed": 7}
    assert response.data[0].revised_prompt == "a quiet harbor"
    assert job_id in app.http.get("/library").text, "the job is in the library like any other"


@pytest.mark.slow
def test_sdk_prompt_with_an_array_makes_an_image_of_each_entry(sdk: openai.OpenAI) -> None:
    response = sdk.images.generate(
        model="sd15",
        prompt="[[red, green]] harbor",
        size="256x256",
        extra_body={"x_comfy_ui": FAST},
    )
    assert response.data is not None
    assert [image.revised_prompt for image in response.data] == ["red harbor", "green harbor"]


async def test_async_sdk_generates_without_a_model_or_size(app: App) -> None:
    http = httpx.AsyncClient(trust_env=False, timeout=30)
    async with openai.AsyncOpenAI(
        base_url=f"{app.url}/v1", api_key=app.vera_key, http_client=http
    ) as sdk:
        response = await sdk.images.generate(
            model="gpt-image-1.5",
            prompt="a harbor",
            output_format="webp",
            output_compression=50,
            extra_body={"x_comfy_ui": {"width": 384, "height": 384, "steps": 2}},
        )
        assert response.data is not None
        assert picture(response.data[0]).format == "WEBP"
        assert response.output_format == "webp"


def test_sdk_streams_partial_images_then_the_finished_one(sdk: openai.OpenAI) -> None:
    stream = sdk.images.generate(
        model="sd15",
        prompt="a harbor",
        stream=True,
        partial_images=2,
        extra_body={"x_comfy_ui": {**SMALL, "steps": 14}},
    )
    events = [*stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert picture(events[-1]).size == (384, 384)
    assert events[-1].usage.total_tokens == 0


async def test_async_sdk_streams(app: App) -> None:
    http = httpx.AsyncClient(trust_env=False, timeout=30)
    async with openai.AsyncOpenAI(
        base_url=f"{app.url}/v1", api_key=app.vera_key, http_client=http
    ) as sdk:
        stream = await sdk.images.generate(
            model="sd15", prompt="a", stream=True, extra_body={"x_comfy_ui": SMALL}
        )
        assert [event.type async for event in stream] == ["image_generation.completed"]


def test_sdk_edits_an_image_with_a_mask(app: App, sdk: openai.OpenAI) -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 32, 64))
    mask = io.BytesIO()
    clear.save(mask, "PNG")
    raw = sdk.images.with_raw_response.edit(
        image=("a.png", png(), "image/png"),
        mask=("mask.png", mask.getvalue(), "image/png"),
        prompt="a red door",
        extra_body={"x_comfy_ui": {**FAST, "seed": 3}},
    )
    response = raw.parse()
    assert raw.headers["x-comfy-ui-model"] == "sdxl_inpaint"
    assert response.data is not None
    assert response.data[0].x_comfy_ui["seed"] == 3
    assert picture(response.data[0]).format == "PNG"


@pytest.mark.slow
def test_sdk_edits_several_images_and_streams(sdk: openai.OpenAI) -> None:
    files = [(f"{name}.png", png(name), "image/png") for name in ("red", "blue")]
    stream = sdk.images.edit(
        model="qwen_image_edit_2511",
        image=files,
        prompt="both",
        stream=True,
        extra_body={"x_comfy_ui": FAST},
    )
    assert [event.type for event in stream] == ["image_edit.completed"]


def test_sdk_url_is_a_file_that_the_key_opens(app: App, sdk: openai.OpenAI) -> None:
    response = sdk.images.generate(
        model="sd15", prompt="a", response_format="url", extra_body={"x_comfy_ui": SMALL}
    )
    assert response.data is not None
    url = response.data[0].url
    assert url is not None
    assert app.http.get(url).content.startswith(PNG)


def test_sdk_idempotency_key_makes_one_job_for_one_user(app: App, sdk: openai.OpenAI) -> None:
    def jobs(client: openai.OpenAI) -> str:
        raw = client.images.with_raw_response.generate(
            model="sd15",
            prompt="a",
            extra_headers={"Idempotency-Key": "once"},
            extra_body={"x_comfy_ui": SMALL},
        )
        return str(raw.headers["x-comfy-ui-jobs"])

    first = jobs(sdk)
    assert jobs(sdk) == first
    with app.sdk(app.viktor_key) as other:
        assert jobs(other) != first


@pytest.mark.parametrize(
    ("body", "status", "param", "message"),
    [
        ({"prompt": ""}, 400, "prompt", "The prompt is empty."),
        ({"prompt": "a", "size": "big"}, 400, "size", "Use WIDTHxHEIGHT or auto."),
        ({"prompt": "a", "n": 11}, 400, "n", "less than or equal to 10"),
        ({"prompt": "a", "model": "sd_15"}, 404, None, "sd15"),
        ({"prompt": "a", "model": "ltxv_t2v"}, 400, "model", "makes video"),
        ({"prompt": "a", "model": "sd15", "x_comfy_ui": {"stps": 4}}, 400, None, "steps"),
        ({"prompt": "a", "x_comfy_ui": {"steps": 10**6}}, 400, None, "Choose a value"),
    ],
)
def test_generations_errors_have_the_envelope_and_our_hint(
    app: App, body: dict[str, Any], status: int, param: str | None, message: str
) -> None:
    headers = {"x-request-id": "mine-7"}
    answer = app.http.post("/v1/images/generations", json=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), error
    assert message in error["message"]
    assert answer.headers["x-request-id"] == "mine-7"


def test_sdk_errors_are_those_of_the_sdk(app: App) -> None:
    wrong = "cui_00000000_" + "0" * 40
    with app.sdk(wrong) as sdk, pytest.raises(openai.AuthenticationError, match="not valid"):
        sdk.models.list()
    with app.sdk() as sdk, pytest.raises(openai.BadRequestError, match="takes no image"):
        sdk.images.edit(model="sd15", image=("a.png", png(), "image/png"), prompt="a")
    answer = app.http.post("/v1/images/generations", content=b"[" * 300)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_generations_client_that_leaves_cancels_only_if_it_asked(app: App) -> None:
    phases = []
    for cancels in (False, True):
        body = {
            "model": "sd15",
            "prompt": "a",
            "stream": True,
            "x_comfy_ui": {**SMALL, "steps": 12, "cancel_on_disconnect": cancels},
        }
        with app.http.stream("POST", "/v1/images/generations", json=body) as answer:
            job_id = answer.headers["x-comfy-ui-jobs"]
        phases.append(ended_phase(app, job_id))
    assert phases == ["succeeded", "cancelled"]


def ended_phase(app: App, job_id: str) -> str:
    call = {"name": "job", "arguments": {"job_id": job_id}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = app.http.post("/mcp", json=message).json()["result"]["structuredContent"]
        if state["done"]:
            return str(state["phase"])
        time.sleep(0.02)
    raise AssertionError("the job did not end")


def test_page_example_saves_a_picture(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "use" / "openai-api.md").read_text(encoding="utf-8")
    (code,) = examples(page, "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    code = code.replace("http://localhost:7860", app.url).replace("cui_…", app.vera_key)
    exec(f"{code}\nclient.close()", {})
    assert Image.open(tmp_path / "harbor.png").size == (768, 512)


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node")
def test_node_sdk_lists_generates_streams_and_edits(app: App, tmp_path: Path) -> None:
    script = tmp_path / "client.mjs"
    script.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "image.png").write_bytes(png())
    install = ["npm", "install", "--no-audit", "--no-fund", NODE_SDK]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    arguments = [f"{app.url}/v1", app.vera_key, "image.png"]
    process = subprocess.run(
        ["node", script.name, *arguments],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout)
    assert "sd15" in seen["models"]
    assert (seen["made"], seen["edited"]) == ("PNG", "PNG")
    assert seen["events"] == ["image_generation.completed"]
    assert seen["failed"] == [404, "model_not_found"]


# Other programs, byte for byte


def raw(app: App, head: str, content: bytes) -> httpx.Response:
    """Send exactly these headers and this body."""
    line, *lines = head.strip().splitlines()
    method, path = line.split()
    headers = dict(one.split(": ", 1) for one in lines)
    headers["Authorization"] = f"Bearer {app.vera_key}"
    with httpx.Client(base_url=app.url, timeout=30, trust_env=False) as client:
        return client.request(method, path, content=content, headers=headers)


def test_open_webui_generates(app: App) -> None:
    body = (
        b'{"model": "sd15", "prompt": "a harbor", "n": 1, "size": "512x512", '
        b'"response_format": "b64_json"}'
    )
    head = "POST /v1/images/generations?api-version=2025-04-01\nContent-Type: application/json"
    (image,) = raw(app, head, body).json()["data"]
    assert base64.b64decode(image["b64_json"]).startswith(PNG)


@pytest.mark.slow
def test_open_webui_edits(app: App) -> None:
    parts = {"model": "sdxl_img2img", "prompt": "a red door", "n": "1", "size": "512x512"}
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    )
    body += (
        b'--b\r\nContent-Disposition: form-data; name="image[]"; filename="image.png"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )
    body += png() + b"\r\n--b--\r\n"
    head = "POST /v1/images/edits\nContent-Type: multipart/form-data; boundary=b"
    (image,) = raw(app, head, body).json()["data"]
    assert base64.b64decode(image["b64_json"]).startswith(PNG)


def test_librechat_generates(app: App) -> None:
    body = (
        b'{"model":"gpt-image-1","prompt":"a harbor","background":"auto","n":1,'
        b'"output_compression":100,"quality":"auto","size":"auto","user":"64f",'
        b'"x_comfy_ui":{"steps":2,"width":512,"height":512}}'
    )
    head = (
        "POST /v1/images/generations\nContent-Type: application/json\n"
        "User-Agent: OpenAI/JS 5.8.2\nX-Stainless-Retry-Count: 0"
    )
    (image,) = raw(app, head, body).json()["data"]
    assert image["b64_json"]


def test_sillytavern_lists_models_and_generates(app: App) -> None:
    listed = raw(app, "GET /v1/models\nAccept: */*", b"").json()
    assert "sd15" in [model["id"] for model in listed["data"]]
    body = (
        b'{"prompt":"a harbor","model":"sd15","size":"512x512","n":1,'
        b'"quality":"standard","style":"vivid","response_format":"b64_json"}'
    )
    head = "POST /v1/images/generations\nContent-Type: application/json"
    assert base64.b64decode(raw(app, head, body).json()["data"][0]["b64_json"]).startswith(PNG)


def test_cors_is_shut_except_for_the_origins_of_the_setting(app: App) -> None:
    path = "/v1/models"
    for origin in ("https://evil.example", "null", "https://tool.example.evil"):
        answer = app.http.get(path, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    allowed = {"origin": "https://tool.example", "sec-fetch-site": "cross-site"}
    asks = {**allowed, "access-control-request-method": "POST"}
    preflight = httpx.options(f"{app.url}/v1/images/generations", headers=asks, trust_env=False)
    assert preflight.status_code == 204
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    answer = app.http.get(path, headers=allowed)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://tool.example"
    assert "access-control-allow-credentials" not in answer.headers
    assert app.http.get("/library", headers=allowed).status_code == 403, "of /v1 only"


def test_cors_ignores_the_cookies_of_a_login(app: App) -> None:
    with httpx.Client(base_url=app.url, trust_env=False, timeout=30) as browser:
        form = {"username": "vera", "password": PASSWORDS["vera"]}
        assert browser.post("/login", data=form).status_code == 200
        assert browser.get("/v1/models").status_code == 200
        headers = {"origin": "https://tool.example"}
        assert browser.get("/v1/models", headers=headers).status_code == 401


def test_webhook_of_a_request_receives_the_images_that_it_made(
    app: App, sdk: openai.OpenAI
) -> None:
    with ScriptedServer(lambda _: response(b"")) as receiver:
        sdk.images.generate(
            model="sd15",
            size="384x384",
            prompt="told elsewhere",
            extra_body={
                "x_comfy_ui": {**FAST, "webhook": f"http://127.0.0.1:{receiver.port}/hook"}
            },
        )
        (message,) = until(lambda: receiver.requests)
    content = json.loads(message.body)
    assert content["type"] == "job.succeeded"
    (file,) = content["data"]["files"]
    assert file["prompt"] == "told elsewhere"
    assert httpx.get(file["url"], trust_env=False, auth=("vera", PASSWORDS["vera"])).is_success


def test_webhook_that_is_no_address_is_refused_before_the_job_is_queued(app: App) -> None:
    body = {"model": "sd15", "prompt": "x", "x_comfy_ui": {"webhook": "ftp://x.example"}}
    answer = app.http.post("/v1/images/generations", json=body)
    assert answer.status_code == 400
    assert "webhook" in answer.json()["error"]["message"]
