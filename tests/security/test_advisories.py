"""Each known advisory about a dependency: the version that fixes it, and the closed attack path.

Versions are compared with the installed ones; ``pip-audit`` knows newer advisories.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import requires, version
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from comfy_ui.workflow.checks.allow_list import check_allowed
from comfy_ui.workflow.presets.preset_store import compile_workflow, get_preset
from tests.security.support import GRADIO, PageClient

pytestmark = GRADIO

FLOORS = {
    "CVE-2026-28414: Gradio reads absolute paths on Windows": ("gradio", "6.7"),
    "CVE-2026-28415, GHSA-vwgg-rgg9-xx9q: open redirect after OAuth": ("gradio", "6.16"),
    "CVE-2026-28416, GHSA-jmh7-g254-2cq9: gr.load requests other URLs": ("gradio", "6.6"),
    "GHSA-2mr9-9r47-px2g: /proxy= forwards cookies": ("gradio", "6.15.0"),
    "Gradio 6.16: FileExplorer leaves its folder": ("gradio", "6.16"),
    "Gradio 6.16: SVG and audio from anywhere": ("gradio", "6.16"),
    "Gradio 6.20: /file= redirects anywhere": ("gradio", "6.20"),
    "Gradio 6.22: logins and redirects": ("gradio", "6.22"),
    "Gradio 6.24: auth_dependency was not awaited": ("gradio", "6.24"),
    "Gradio 6.26: packages of its frontend": ("gradio", "6.26"),
    "CVE-2026-111497: brotli": ("brotli", "1.2.1"),
    "Gradio 6.15.2: starlette": ("starlette", "1.0.1"),
    "CVE-2025-43859: h11 takes malformed chunks": ("h11", "0.16"),
    "CVE-2025-48379: Pillow writes past a DDS buffer": ("pillow", "11.3"),
}


@pytest.mark.parametrize("advisory", FLOORS)
def test_installed_package_is_at_or_above_the_fixed_version(advisory: str) -> None:
    package, floor = FLOORS[advisory]
    assert Version(version(package)) >= Version(floor)


def test_requirements_exclude_vulnerable_versions() -> None:
    """The package's requirements admit no release below the fixed version."""
    requirements = [Requirement(line) for line in requires("comfy-ui") or ()]
    for package in ("gradio", "starlette", "h11", "pillow"):
        floors = [Version(floor) for name, floor in FLOORS.values() if name == package]
        below = str(max(floors)) + ".dev0"
        specs = [one.specifier for one in requirements if one.name == package]
        assert specs, package
        assert not any(spec.contains(below, prereleases=True) for spec in specs), package


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that must not be contacted, and the paths that were requested."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_POST = do_GET  # noqa: N815 -- names of the standard library

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requested
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["vera", "anna"])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/gradio_api/proxy={}/x", id="GHSA-2mr9-9r47-px2g"),
        pytest.param("/proxy={}/x", id="CVE-2026-28416"),
        pytest.param("/gradio_api/file={}/x", id="gradio-6.20-file-redirect"),
        pytest.param("/file={}/x", id="gradio-4-6794-file-ssrf"),
        pytest.param("/gradio_api/file=/etc/passwd", id="gradio-4-6833-file-traversal"),
        pytest.param("/gradio_api/file=C:/Windows/win.ini", id="CVE-2026-28414"),
        pytest.param("/static/../../../../../../etc/passwd", id="static-traversal"),
        pytest.param("/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd", id="static-traversal-coded"),
        pytest.param("/assets/..%2f..%2f..%2fetc/passwd", id="assets-traversal"),
        pytest.param("/svelte/../../../etc/passwd", id="svelte-traversal"),
        pytest.param("/gradio_api/component_server", id="gradio-6.20-component-server"),
        pytest.param("/monitoring", id="monitoring"),
    ],
)
def test_vulnerable_routes_are_closed(
    request: Any, listener: tuple[str, list[str]], name: str, path: str
) -> None:
    url, requested = listener
    person: PageClient = request.getfixturevalue(name)
    answer = person.client.get(path.format(url))
    assert answer.status_code in {403, 404, 405}, answer.text[:200]
    assert "root:" not in answer.text
    assert requested == []


@pytest.mark.slow
def test_handlers_with_urls_and_paths_request_and_read_nothing(
    shared: Any,
    vera: PageClient,
    listener: tuple[str, list[str]],
    record_property: Callable[[str, object], None],
) -> None:
    """SSRF through queue/join (Gradio 4, fixed in 5.0), SVG and audio (6.16), FileData."""
    url, requested = listener
    file = {"path": f"{url}/x.svg", "url": f"{url}/x.png", "meta": {"_type": "gradio.FileData"}}
    local = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    tried = 0
    for handler in shared.fns.values():
        if handler.fn is None:
            continue
        for hostile in (file, f"{url}/x.png", local):
            message = vera.fire(handler._id, [hostile] * len(handler.inputs), event_data=hostile)
            assert "root:" not in json.dumps(message)
            tried += 1
    assert requested == []
    record_property("addresses and paths sent to handlers", tried)


def test_login_redirects_stay_on_the_page(shared: Any, vera: PageClient) -> None:
    """CVE-2026-28415 and later redirects."""
    for target in ("https://evil.example", "//evil.example", "////evil.example", "/\\evil.example"):
        for path in ("/logout", "/login", "/login/callback", "/login/huggingface"):
            with vera.client.stream("GET", path, params={"_target_url": target}) as answer:
                assert "evil" not in answer.headers.get("location", ""), (path, target)
        with PageClient.open(shared, "vera") as again:
            vera.client.cookies.update(again.client.cookies)


def test_page_has_no_components_with_past_vulnerabilities(shared: Any) -> None:
    kinds = {type(block).__name__ for block in shared.blocks.values()}
    assert not kinds & {"FileExplorer", "File", "Audio", "Video", "Image", "Model3D", "Code"}


def test_run_workflow_cve_2026_68771_changed_graph_of_a_user_is_refused(vera: PageClient) -> None:
    """Core nodes are enough to run code on a ComfyUI, so users may send preset graphs only."""
    graph = compile_workflow("sd15", prompt="a cat", seed=1)
    for node in (
        {"class_type": "LoadImage", "inputs": {"image": "/etc/passwd"}},
        {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "../../x"}},
        {"class_type": "SaveLatent", "inputs": {"samples": ["5", 0], "filename_prefix": "x"}},
        {"class_type": "LoadLatent", "inputs": {"latent": "x"}},
        {"class_type": "CheckpointLoader", "inputs": {"config_name": "../x", "ckpt_name": "x"}},
    ):
        changed = {**graph, "99": node}
        assert check_allowed(changed, get_preset("sd15"))
        assert "Only admins" in str(vera.call("run_workflow", changed, None)[-1])


def test_comfyui_routes_f26_are_not_served(shared: Any, vera: PageClient) -> None:
    """ComfyUI's GET /queue shows all prompts and API keys; the app has none of its routes."""
    for path in ("/queue", "/history", "/prompt", "/api/queue", "/view", "/object_info", "/ws"):
        assert vera.client.get(path).status_code in {404, 405}, path


def test_mcp_without_login_is_refused(guest: PageClient) -> None:
    """With auth= Gradio's own MCP mount listed and ran its tools without a login."""
    for path in ("/mcp", "/gradio_api/mcp", "/gradio_api/mcp/sse", "/gradio_api/mcp/schema"):
        for method in ("GET", "POST"):
            assert guest.client.request(method, path).status_code in {401, 404, 405}, path


def test_login_repeated_wrong_passwords_are_429(shared: Any) -> None:
    """Gradio's login has no limit: it accepts the password after thirty wrong ones."""
    with PageClient.open(shared) as guest:
        form = {"username": "viktor", "password": "wrong"}
        statuses = [guest.client.post("/login", data=form).status_code for _ in range(12)]
    assert statuses[0] == 400
    assert statuses[-1] == 429
