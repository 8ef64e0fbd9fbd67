from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.resources import assets_dir
from comfy_ui.settings import Settings
from comfy_ui.web import page, serve
from comfy_ui.web.api.program_endpoints import NAMES
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.server_choice import ServerChoice
from comfy_ui.web.services import Services
from comfy_ui.web.tabs.create import create_tab


def run_in_loop(make: Callable[[], Any]) -> Any:
    """Build inside an event loop: outside of one Gradio opens loops and never closes them."""

    async def run() -> Any:
        return make()

    return asyncio.run(run())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(folder: Path, **more: Any) -> Settings:
    options = {
        "demo": True,
        "demo_speed": "instant",
        "port": free_port(),
        "data_dir": folder / "data",
    }
    return Settings(**{**options, **more})


def built(mode: AccessMode) -> Any:
    services, access = Services.create(Settings(), ServerChoice("embedded")), Access(mode, b"s")
    return run_in_loop(lambda: page.build(services, access))


def element_ids(page: Any) -> set[str]:
    return {part["props"].get("elem_id") for part in page.config["components"]} - {None}


def test_page_without_ai_extra_has_no_enhance(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "enhance" in element_ids(built(AccessMode.LOCAL))
    monkeypatch.setattr(create_tab, "FEATURES", {"ai": False})
    assert not {"enhance", "draft"} & element_ids(built(AccessMode.LOCAL))


def test_page_in_shared_mode_hides_admin_controls() -> None:
    assert {"address", "connect"} <= element_ids(built(AccessMode.LOCAL))
    (form,) = [
        part["props"]
        for part in built(AccessMode.SHARED).config["components"]
        if part["props"].get("elem_id") == "reconnect"
    ]
    assert form["visible"] is False, "shown to admins when they load the page"


def test_launch_port_in_use_raises_with_hint(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValidationError, match=f"Port {port} is in use") as caught:
            serve.launch(settings(tmp_path, port=port))
    assert "--port" in caught.value.hint


def test_launch_unusable_data_dir_raises_and_frees_the_port(tmp_path: Path) -> None:
    (tmp_path / "data" / "comfy_ui.db").mkdir(parents=True)  # where the database should be
    chosen = settings(tmp_path)
    with pytest.raises(StorageError):
        run_in_loop(lambda: serve.launch(chosen, block=False))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", chosen.port))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    chosen = settings(tmp_path_factory.mktemp("app"))
    app = run_in_loop(lambda: serve.launch(chosen, block=False))
    yield app.local_url.rstrip("/")
    app.close(verbose=False)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_page_loads_no_third_party_resources(url: str) -> None:
    status, html = get(url)
    assert status == 200
    assert "window.comfy" in html
    for far in ("fonts.googleapis", "cdnjs", "huggingface.co/front", "google-analytics"):
        assert far not in html


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "monitoring", "gradio_api/mcp/"])
def test_app_unneeded_routes_are_closed(url: str, path: str) -> None:
    assert get(f"{url}/{path}")[0] in {403, 404, 405}


def test_api_info_lists_exactly_the_program_endpoints(url: str) -> None:
    _, text = get(f"{url}/gradio_api/info")
    assert set(json.loads(text)["named_endpoints"]) == {f"/{name}" for name in NAMES}


def test_styles_do_not_search_the_whole_page_after_each_change() -> None:
    styles = "".join(path.read_text("utf-8") for path in (assets_dir() / "css").glob("*.css"))
    assert "#stage-area" in styles
    assert "&:has(" not in styles


def test_app_serves_covers_and_favicon(url: str) -> None:
    with urllib.request.urlopen(f"{url}/covers/z_image_turbo", timeout=20) as answer:
        assert answer.headers["content-type"] == "image/webp"
    with urllib.request.urlopen(f"{url}/favicon.ico", timeout=20) as answer:
        assert answer.headers["content-type"].startswith("image/svg")
