"""A name server for tests, at the lowest level there is, and a note of every connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest


class Names:
    """What names mean (``answers``), who asked, and where was connected to.

    An answer is a list of addresses, or several of them, of which each question takes the next and
    all later ones the last.
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
    """Both are in force for all of this process."""
    made = Names()
    connect = socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            made.connected.append(address[0])
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", made.getaddrinfo)
        patch.setattr(socket.socket, "connect", noted)
        yield made
