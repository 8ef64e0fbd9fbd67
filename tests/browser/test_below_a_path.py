"""The app below a path of a real nginx: page, streams, files, APIs, login, manifest."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

from tests.browser import support
from tests.browser.nginx import running_nginx

pytestmark = pytest.mark.browser

LOGIN = ("anna", "anna's password")
CONF = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 404 "not the app"; }}
    location /comfy/ {{
      proxy_pass {app}/;
      {options}
    }}
  }}
}}
"""


def documented_options() -> str:
    """The lines of the documentation's snippet that follow `proxy_pass`."""
    text = (support.ROOT / "docs/use/deployment.md").read_text(encoding="utf-8")
    snippet = text.split("proxy_pass http://127.0.0.1:7860/;", 1)[1]
    return snippet.split("}", 1)[0]


def nginx_conf(folder: Path, port: int, app: str) -> str:
    return CONF.format(folder=folder, port=port, app=app, options=documented_options())


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app with a login, below a path of nginx."""
    folder = tmp_path_factory.mktemp("nginx")
    environment = {
        "COMFY_UI_DEMO": "true",
        "COMFY_UI_DEMO_SPEED": "instant",
        "COMFY_UI_MCP": "true",
        "COMFY_UI_AUTH": ":".join(LOGIN),
        "COMFY_UI_TRUSTED_PROXIES": "127.0.0.1",
    }
    with (
        support.running_app(folder / "data", **environment) as app,
        running_nginx(folder, partial(nginx_conf, folder, app=app), login="/comfy/login") as url,
    ):
        yield f"{url}/comfy/"


@pytest.fixture
def program(below: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=below, auth=LOGIN, trust_env=False, timeout=60) as client:
        yield client


def test_images_api_below_a_path_answers_with_addresses_below_it(
    below: str, program: httpx.Client
) -> None:
    request = {"model": "sd15", "prompt": "a harbor", "size": "256x256", "x_comfy_ui": {"steps": 2}}
    answer = program.post("v1/images/generations", json={**request, "response_format": "url"})
    assert answer.status_code == 200, answer.text
    url = answer.json()["data"][0]["url"]
    assert url.startswith(f"{below}files/")
    assert program.get(url).content.startswith(b"\x89PNG")


def test_mcp_below_a_path_links_to_files_below_it(below: str, program: httpx.Client) -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "generate",
            "arguments": {
                "preset": "sd15",
                "prompt": "a harbor",
                "values": {"steps": 2, "width": 384, "height": 384},
            },
        },
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    answer = program.post("mcp", json=call, headers=headers)
    assert answer.status_code == 200, answer.text
    assert f"{below}files/" in answer.text


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_mcp_client_of_either_protocol_works_below_a_path(below: str, mode: str) -> None:
    pair = base64.b64encode(":".join(LOGIN).encode()).decode()
    headers = {"Authorization": f"Basic {pair}"}
    arguments = {"preset": "sd15", "prompt": f"a harbor, {mode}", "values": {"steps": 2}}
    progress: list[float] = []

    async def on_progress(now: float, total: float | None, message: str | None) -> None:
        progress.append(now)

    async def call() -> tuple[str, Any]:
        async with (
            create_mcp_http_client(headers=headers) as http,
            Client(streamable_http_client(f"{below}mcp", http_client=http), mode=mode) as opened,
        ):
            tools = await opened.list_tools()
            assert "generate" in {tool.name for tool in tools.tools}
            result = await opened.call_tool("generate", arguments, progress_callback=on_progress)
            return opened.protocol_version, result

    with ThreadPoolExecutor(1) as pool:  # the loop of Playwright runs in this thread
        version, result = pool.submit(asyncio.run, call()).result()
    assert (version == "2026-07-28") is (mode == "auto")
    assert progress[-1] == 100, "progress passes through nginx"
    (link,) = [str(part.uri) for part in result.content if part.type == "resource_link"]
    assert link.startswith(f"{below}files/")
    assert httpx.get(link, headers=headers, trust_env=False).content.startswith(b"\x89PNG")


def test_page_below_a_path_logs_in_makes_an_image_and_logs_out(
    below: str, chromium: support.Chromium
) -> None:
    context = chromium.browser.new_context(viewport=support.WIDE)
    context.set_default_timeout(30_000)
    watch = support.Watch(below)
    page = context.new_page()
    outside: list[str] = []
    page.on(
        "request", lambda r: r.url.startswith((below, "data:", "blob:")) or outside.append(r.url)
    )
    # Without the slash, as people type it.
    page.goto(below.rstrip("/"))
    page.fill("[name=username]", LOGIN[0])
    page.fill("[name=password]", LOGIN[1])
    page.click(".login button")
    page.wait_for_selector("form.settings")
    watch.over(page)
    support.generate(page, "below a path", steps=2)
    image = page.wait_for_selector("#stage img.frame.final")
    assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
    assert {cookie["path"] for cookie in context.cookies()} == {"/comfy"}
    manifest = page.evaluate("document.querySelector('link[rel=manifest]').href")
    content = page.evaluate("(url) => fetch(url).then((answer) => answer.json())", manifest)
    assert urljoin(manifest, content["start_url"]) == below
    assert urljoin(manifest, content["scope"]) == below
    icon = urljoin(manifest, content["icons"][0]["src"])
    assert page.evaluate("(url) => fetch(url).then((answer) => answer.status)", icon) == 200
    assert watch.troubles == []
    page.click("a[href=logout]")
    page.wait_for_selector(".login")
    assert page.url == below
    assert {url.rstrip("/") for url in outside} <= {below.rstrip("/")}
    context.close()
