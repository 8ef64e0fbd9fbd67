"""Logins that outlast the browser and the app: "Stay logged in".

Gradio's cookie of a login ends with the browser or the app. A browser that was asked to stay logged
in gets a second cookie, with a random token, whose hash is stored with the name in
``remembered_logins.json``. It ends after 30 days, by logging out, and with a new password.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...errors import StorageError
from .accounts import Accounts
from .private_json import PrivateJson, token_digest

__all__ = ["LOGIN_COOKIE", "REMEMBERED_S", "RememberedLogins"]

logger = logging.getLogger(__name__)

LOGIN_COOKIE: Final = "comfy_ui_login"
REMEMBERED_S: Final = 30 * 86400
_MAX_OF_NAME: Final = 50


class RememberedLogin(BaseModel):
    """A login as stored. ``generation`` is that of the account, in hex digits."""

    model_config = ConfigDict(frozen=True)

    name: str
    generation: str
    until: float  # seconds since the epoch


_LOGINS: Final = TypeAdapter(dict[str, RememberedLogin])


class RememberedLogins:
    """The remembered logins of a data folder, by hashed token.

    Args:
        accounts: the logins.
        folder: the data folder.
        clock: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, accounts: Accounts, folder: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts = accounts
        self._file = PrivateJson(folder / "remembered_logins.json", _LOGINS, "remembered logins")
        self._clock = clock
        self._changing = threading.Lock()

    def remember(self, name: str) -> str | None:
        """Return the token of a new remembered login; None if it cannot be remembered."""
        generation = self._accounts.generation(name)
        if generation is None:
            return None
        token = secrets.token_urlsafe(32)
        login = RememberedLogin(
            name=name, generation=generation.hex(), until=self._clock() + REMEMBERED_S
        )
        with self._changing:
            logins = {key: old for key, old in self._read().items() if self._is_valid(old)}
            of_name = [key for key, old in logins.items() if old.name == name]
            for key in of_name[: max(0, len(of_name) - _MAX_OF_NAME + 1)]:
                del logins[key]
            return token if self._write({**logins, token_digest(token): login}) else None

    def name(self, token: str) -> str | None:
        """Return the name of a remembered login; None if it has ended."""
        login = self._read().get(token_digest(token))
        return login.name if login is not None and self._is_valid(login) else None

    def forget(self, token: str) -> None:
        """End a remembered login."""
        with self._changing:
            logins = {**self._read()}
            if logins.pop(token_digest(token), None) is not None:
                self._write(logins)

    def forget_all(self, name: str) -> None:
        """End all remembered logins of a name."""
        with self._changing:
            logins = self._read()
            kept = {key: login for key, login in logins.items() if login.name != name}
            if len(kept) < len(logins):
                self._write(kept)

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

    def _write(self, logins: dict[str, RememberedLogin]) -> bool:
        try:
            self._file.write(logins)
        except StorageError as error:
            logger.warning("%s", error)
            return False
        return True
