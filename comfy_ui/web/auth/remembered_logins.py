"""Logins that outlast the browser and the app: "Stay logged in".

Gradio's cookie of a login ends with the browser or the app. A browser that was asked to stay logged
in gets a second cookie, with a random token, whose hash is stored with the name in
``remembered_logins.json``. It ends after 30 days, by logging out, and with a new password.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...errors import StorageError
from ...private_files import Documents
from ...private_json import PrivateJson, token_digest
from .accounts import Accounts

__all__ = ["LOGIN_COOKIE", "REMEMBERED_S", "RememberedLogins"]

logger = logging.getLogger(__name__)

LOGIN_COOKIE: Final = "comfy_ui_login"
REMEMBERED_S: Final = 30 * 86400
_MAX_OF_NAME: Final = 50
_MAX_OF_NAME_OF_ALL_APPS: Final = 1_000
_FILE: Final = "remembered_logins.json"


class RememberedLogin(BaseModel):
    """A login as stored. ``generation`` is that of the account, in hex digits.

    ``stays``: its cookie outlasts the browser.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    generation: str
    until: float  # seconds since the epoch
    stays: bool = True


_LOGINS: Final = TypeAdapter(dict[str, RememberedLogin])


class RememberedLogins:
    """The remembered logins, by hashed token.

    Args:
        accounts: the logins.
        documents: where they are stored.
        clock: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, accounts: Accounts, documents: Documents, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts = accounts
        self._file = PrivateJson(documents, _FILE, _LOGINS, "remembered logins")
        self._clock = clock
        self.of_all_apps = documents.shared
        """Whether several apps share these logins: then each login is one of them, because a
        session of Gradio is known to one app only."""
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None

    def remember(self, name: str, *, stays: bool = True) -> str | None:
        """Return the token of a new remembered login; None if it cannot be remembered."""
        generation = self._accounts.generation(name)
        if generation is None:
            return None
        token = secrets.token_urlsafe(32)
        login = RememberedLogin(
            name=name,
            generation=generation.hex(),
            until=self._clock() + REMEMBERED_S,
            stays=stays,
        )
        most = _MAX_OF_NAME_OF_ALL_APPS if self.of_all_apps else _MAX_OF_NAME

        def add(stored: Mapping[str, RememberedLogin]) -> dict[str, RememberedLogin]:
            logins = {key: old for key, old in stored.items() if self._is_valid(old)}
            of_name = [key for key, old in logins.items() if old.name == name]
            for key in of_name[: max(0, len(of_name) - most + 1)]:
                del logins[key]
            return {**logins, token_digest(token): login}

        return token if self._update(add) else None

    def name(self, token: str) -> str | None:
        """Return the name of a remembered login; None if it has ended."""
        login = self._login(token)
        return login.name if login is not None else None

    async def arrives(self, token: str) -> None:
        """Look for a login that another app may have stored just now.

        A browser that has logged in may come to this app with its next request, before this app has
        heard of the login, and would be asked to log in again.
        """
        if not token or not self.of_all_apps or self.name(token):
            return
        if self._next_look is None:  # all who come during a look share the next one
            self._next_look = asyncio.create_task(self._look(), name="remembered logins")
        await asyncio.shield(self._next_look)

    async def _look(self) -> None:
        async with self._looking:
            self._next_look = None
            try:
                await asyncio.to_thread(self._file.refresh)
            except StorageError as error:
                logger.warning("%s", error)

    def stays(self, token: str) -> bool:
        """Whether the cookie of a remembered login outlasts the browser."""
        login = self._login(token)
        return login is not None and login.stays

    def forget(self, token: str) -> None:
        """End a remembered login, also one of another app that has not come here yet."""
        ended = token_digest(token)
        self._update(lambda logins: {key: each for key, each in logins.items() if key != ended})

    def forget_all(self, name: str) -> None:
        """End all remembered logins of a name."""
        self._update(lambda logins: {k: each for k, each in logins.items() if each.name != name})

    def _login(self, token: str) -> RememberedLogin | None:
        login = self._read().get(token_digest(token))
        return login if login is not None and self._is_valid(login) else None

    def _is_valid(self, login: RememberedLogin) -> bool:
        generation = self._accounts.generation(login.name)
        return (
            generation is not None
            and generation.hex() == login.generation
            and self._clock() < login.until
        )

    # A file that fails costs its users another login, nothing more.

    def _read(self) -> Mapping[str, RememberedLogin]:
        try:
            return self._file.read() or {}
        except StorageError as error:
            logger.warning("%s", error)
            return {}

    def _update(
        self,
        change: Callable[[Mapping[str, RememberedLogin]], dict[str, RememberedLogin]],
    ) -> bool:
        try:
            self._file.update(lambda logins: change(logins or {}), on_broken="replace")
        except StorageError as error:
            logger.warning("%s", error)
            return False
        return True
