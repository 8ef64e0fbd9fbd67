"""The sessions of logged-in users, in place of the dict in which Gradio keeps them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final

from .accounts import Accounts

__all__ = ["LoginSessions"]

_MAX_SESSIONS: Final = 10_000


class LoginSessions(MutableMapping[str, str]):
    """The names of logged-in users by token.

    A session ends when its account is removed or added again, so a new password ends all sessions
    of the old one, and a name that is given to another user does not carry them over. Beyond 10,000
    sessions, the oldest of the same name ends.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._sessions: dict[str, tuple[str, bytes]] = {}

    def __getitem__(self, token: str) -> str:
        name, generation = self._sessions[token]
        if generation != self._accounts.generation(name):
            raise KeyError(token)
        return name

    def __setitem__(self, token: str, name: str) -> None:
        generation = self._accounts.generation(name)
        if generation is None:  # removed since its password was checked
            return
        for old, (other, other_generation) in [*self._sessions.items()]:
            if other == name and other_generation != generation:
                del self._sessions[old]
        self._sessions[token] = name, generation
        if len(self._sessions) > _MAX_SESSIONS:  # of the same name: guests cannot log others out
            del self._sessions[next(t for t, (other, _) in self._sessions.items() if other == name)]

    def __delitem__(self, token: str) -> None:
        del self._sessions[token]

    def end_all(self, name: str) -> None:
        """End all sessions of a name."""
        for token, (other, _) in [*self._sessions.items()]:
            if other == name:
                del self._sessions[token]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)
