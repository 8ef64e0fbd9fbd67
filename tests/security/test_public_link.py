"""The app behind a public link that is opened, probed, dies and is replaced.

A fake tunnel on this machine forwards bytes like the real one.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.web import serve, share_link
from tests.security.support import GRADIO, PageClient, served, until

pytestmark = GRADIO


class Tunnel:
    """Forwards connections from its port to the app's."""

    def __init__(self, port: int) -> None:
        class Forward(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as inside:
                    back = threading.Thread(target=pump, args=(inside, self.request))
                    back.start()
                    pump(self.request, inside)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class FakeTunnels:
    """Opens fake tunnels; ``away``: refuses to."""

    def __init__(self) -> None:
        self.tunnels: list[Tunnel] = []
        self.away = True

    def at(self, _: str, port: int) -> Callable[[], Any]:
        async def opened() -> Tunnel:
            if self.away:
                raise OSError("no network")
            self.tunnels.append(Tunnel(port))
            return self.tunnels[-1]

        return opened


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeTunnels:
    fake = FakeTunnels()
    monkeypatch.setattr(serve, "gradio_tunnel", fake.at)
    for pause in ("_PROBE_EVERY_S", "_PROBE_AGAIN_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(share_link, pause, 0.05)
    return fake


def status(url: str, logins: dict[str, str], page: Any) -> Iterator[str]:
    """Yield the Status tab's content for an admin logged in at that URL."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        form = {"username": "admin", "password": logins["admin"]}
        assert client.post("/login", data=form).status_code == 200
        person = PageClient(client, "admin")
        for handler in page.fns.values():
            if handler.fn is not None and handler.name.startswith(("_draw", "_show_to_admins")):
                yield str(person.fire(handler._id, [None] * len(handler.inputs)))


@pytest.mark.slow
def test_share_link_dead_tunnel_is_replaced(
    service: FakeTunnels, tmp_path: Path, patch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []

    def printed(text: str) -> str | None:
        lines.extend(capsys.readouterr().out.splitlines())
        return next((line for line in lines if text in line), None)

    with served(tmp_path, patch, users=False, host="127.0.0.1", share=True) as page:
        until(lambda: printed("No public link could be made (no network)"))
        local = f"http://127.0.0.1:{page.server_port}"
        assert httpx.get(local, trust_env=False).status_code == 200, "it serves without a network"
        service.away = False
        until(lambda: printed("Public link: http"))
        logins = dict(
            line.partition(": ")[2].split(" / ") for line in lines if "ogin" in line.split(":")[0]
        )
        assert set(logins) == {"admin", "guest"}
        first = service.tunnels[0].url
        assert httpx.get(f"{first}/config", trust_env=False).status_code == 401
        assert any(first in text for text in status(first, logins, page))

        service.tunnels[0].close()
        until(lambda: printed(f"The public link {first} has died"))
        second = until(lambda: service.tunnels[1:])[0].url
        until(lambda: printed(f"Public link: {second}"))
        assert second != first
        assert any(second in text for text in status(second, logins, page))
    assert printed("Public link") is not None
    with pytest.raises(httpx.HTTPError):
        httpx.get(second, trust_env=False, timeout=2)
