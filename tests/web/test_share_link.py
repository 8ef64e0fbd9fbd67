"""ShareLink over fake tunnels, without network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from comfy_ui.web.components.server_cards import share_panel
from comfy_ui.web.share_link import (
    ALIVE_PATH,
    ShareLink,
    ShareLinkState,
    alive_route,
    gradio_tunnel,
    probe,
)
from tests.web.support import Page


class FakeTunnels:
    """A tunnel service and a clock that each sleep advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.printed: list[str] = []
        self.dead: set[str] = set()
        self.refuse = 0
        self.until: Callable[[], bool] = lambda: False
        self.share = ShareLink(
            self.open, self.probe, say=self.printed.append, sleep=self.sleep, now=lambda: self.now
        )

    async def open(self) -> Any:
        if self.refuse:
            self.refuse -= 1
            raise OSError("no network\nand more")
        url = f"https://{len(self.opened)}.example"
        self.opened.append(url)
        tunnels = self

        class Tunnel:
            def __init__(self) -> None:
                self.url = url

            def close(self) -> None:
                tunnels.closed.append(url)

        return Tunnel()

    async def probe(self, url: str) -> bool:
        return url not in self.dead

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        if self.until():
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    async def run(self, until: Callable[[], bool]) -> None:
        self.until = until
        with pytest.raises(asyncio.CancelledError):
            await self.share.run()


async def test_share_link_is_opened_printed_and_probed() -> None:
    tunnels = FakeTunnels()
    await tunnels.run(lambda: tunnels.now > 200)
    assert tunnels.printed == ["Public link: https://0.example"]
    link = tunnels.share.link
    assert (link.state, link.made_at, link.made) == ("alive", 0.0, 1)
    assert link.seen_at == pytest.approx(180, abs=60)
    assert tunnels.closed == ["https://0.example"]


async def test_share_link_dead_link_is_printed_and_replaced() -> None:
    tunnels = FakeTunnels()
    tunnels.dead.add("https://0.example")
    await tunnels.run(lambda: len(tunnels.opened) == 2 and tunnels.now > 300)
    assert tunnels.opened == ["https://0.example", "https://1.example"]
    assert tunnels.closed == tunnels.opened
    assert "has died" in tunnels.printed[1]
    assert tunnels.printed[2] == "Public link: https://1.example"
    assert (tunnels.share.link.url, tunnels.share.link.made) == ("https://1.example", 2)


async def test_share_link_two_failed_probes_keep_the_link() -> None:
    tunnels = FakeTunnels()
    answers = iter([False, False, True, True])

    async def shaky(_: str) -> bool:
        return next(answers, True)

    tunnels.share._probe = shaky
    await tunnels.run(lambda: tunnels.now > 200)
    assert tunnels.opened == ["https://0.example"]
    assert tunnels.share.link.failures == 0


async def test_share_link_without_network_prints_once_and_backs_off() -> None:
    tunnels = FakeTunnels()
    tunnels.refuse = 10**6
    await tunnels.run(lambda: tunnels.now > 3600)
    assert len(tunnels.printed) == 1
    assert "no network" in tunnels.printed[0]
    assert "and more" not in tunnels.printed[0]
    assert 10 < 10**6 - tunnels.refuse < 40
    assert tunnels.share.link.trouble == "no network"


async def test_gradio_tunnel_without_network_raises_runtime_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradio import networking

    def away(*_: Any, **__: Any) -> Any:
        raise OSError("away")

    monkeypatch.setattr(networking.httpx, "get", away)
    with pytest.raises(RuntimeError):
        await gradio_tunnel("127.0.0.1", 1)()


async def test_probe_accepts_the_response_of_this_app_only() -> None:
    word = "word"

    class Page404(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = word if self.path == ALIVE_PATH else "a page of the tunnel's own"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page404) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert await probe("word")(url)
        assert not await probe("another")(url)
        assert not await probe("word")(f"{url}/elsewhere")
        server.shutdown()
        thread.join()
    assert not await probe("word")(url)
    assert not await probe("word")("file:///etc/passwd")
    assert alive_route("word").path == ALIVE_PATH


def test_share_panel_shows_age_and_error_of_the_link() -> None:
    link = ShareLinkState("shaky", "https://<x>.example", 0.0, 60.0, made=3, trouble="<b>no</b>")
    page = Page(share_panel(link, now=3720.0))
    for text in ("https://<x>.example", "1 h 2 min ago", "1 h 1 min ago", "2 times", "<b>no</b>"):
        assert text in page.text
    assert "Starting" in Page(share_panel(ShareLinkState("making"), now=0.0)).text
