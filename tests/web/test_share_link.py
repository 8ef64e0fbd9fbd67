"""The public link with a stand-in for the tunnel; the network is never touched."""

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


class Stand:
    """A tunnel service and a clock: each sleep lets the time pass at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.said: list[str] = []
        self.dead: set[str] = set()
        self.refuse = 0
        self.until: Callable[[], bool] = lambda: False
        self.share = ShareLink(
            self.open, self.probe, say=self.said.append, sleep=self.sleep, now=lambda: self.now
        )

    async def open(self) -> Any:
        if self.refuse:
            self.refuse -= 1
            raise OSError("no network\nand more")
        url = f"https://{len(self.opened)}.example"
        self.opened.append(url)
        stand = self

        class Tunnel:
            def __init__(self) -> None:
                self.url = url

            def close(self) -> None:
                stand.closed.append(url)

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


async def test_a_link_is_made_told_and_looked_at() -> None:
    stand = Stand()
    await stand.run(lambda: stand.now > 200)
    assert stand.said == ["Public link: https://0.example"]
    link = stand.share.link
    assert (link.state, link.made_at, link.made) == ("alive", 0.0, 1)
    assert link.seen_at == pytest.approx(180, abs=60)
    assert stand.closed == ["https://0.example"]


async def test_a_link_that_died_is_told_and_made_anew() -> None:
    stand = Stand()
    stand.dead.add("https://0.example")
    await stand.run(lambda: len(stand.opened) == 2 and stand.now > 300)
    assert stand.opened == ["https://0.example", "https://1.example"]
    assert stand.closed == stand.opened
    assert "has died" in stand.said[1]
    assert stand.said[2] == "Public link: https://1.example"
    assert (stand.share.link.url, stand.share.link.made) == ("https://1.example", 2)


async def test_one_look_that_fails_kills_no_link() -> None:
    stand = Stand()
    answers = iter([False, False, True, True])

    async def shaky(_: str) -> bool:
        return next(answers, True)

    stand.share._probe = shaky
    await stand.run(lambda: stand.now > 200)
    assert stand.opened == ["https://0.example"]
    assert stand.share.link.failures == 0


async def test_without_a_network_it_is_said_once_and_tried_again_ever_more_rarely() -> None:
    stand = Stand()
    stand.refuse = 10**6
    await stand.run(lambda: stand.now > 3600)
    assert len(stand.said) == 1
    assert "no network" in stand.said[0]
    assert "and more" not in stand.said[0]
    assert 10 < 10**6 - stand.refuse < 40
    assert stand.share.link.trouble == "no network"


async def test_the_real_tunnel_without_a_network_is_an_error_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradio import networking

    def away(*_: Any, **__: Any) -> Any:
        raise OSError("away")

    monkeypatch.setattr(networking.httpx, "get", away)
    with pytest.raises(RuntimeError):
        await gradio_tunnel("127.0.0.1", 1)()


async def test_a_probe_believes_only_this_app() -> None:
    word = "word"

    class Page404(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = word if self.path == ALIVE_PATH else "a page of the tunnel's own"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said.encode())

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


def test_status_tells_the_age_of_the_link_and_what_is_wrong() -> None:
    link = ShareLinkState("shaky", "https://<x>.example", 0.0, 60.0, made=3, trouble="<b>no</b>")
    page = Page(share_panel(link, now=3720.0))
    for told in ("https://<x>.example", "1 h 2 min ago", "1 h 1 min ago", "2 times", "<b>no</b>"):
        assert told in page.text
    assert "Starting" in Page(share_panel(ShareLinkState("making"), now=0.0)).text
