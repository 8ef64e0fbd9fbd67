"""A fake DNS for tests, in place of ``socket.getaddrinfo``, and a record of every connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest


class Names:
    """The addresses of each name (``answers``), the lookups, and the addresses connected to.

    A name has one or more lists of addresses: each lookup gets the next list, later ones the last.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Sequence[Sequence[str]]] = {}
        self.asked: list[str] = []
        self.connected: list[str] = []
        self._real = socket.getaddrinfo

    def say(self, name: str, *answers: Sequence[str]) -> None:
        self.answers[name] = answers

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in self.answers:
            return self._real(host, port, *args, **kwargs)
        answers = self.answers[name]
        answer = answers[min(self.asked.count(name), len(answers) - 1)]
        self.asked.append(name)
        return [info for one in answer for info in self._real(one, port, *args, **kwargs)]


@contextmanager
def names() -> Iterator[Names]:
    """Patch the lookups and connections of this process."""
    dns = Names()
    connect = socket.socket.connect

    def record_connect(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            dns.connected.append(address[0])
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", dns.getaddrinfo)
        patch.setattr(socket.socket, "connect", record_connect)
        yield dns
