"""Cookies of browsers that have logged in before, and the origin of a login attempt."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Final

from .accounts import Accounts
from .login_limits import Caller

__all__ = ["CURRENT", "LoginRequest"]


class LoginRequest:
    """A request to log in. Gradio passes only name and password to the check, so it is a context.

    Args:
        accounts: the logins.
        sign: signs a text with the key of this installation.
        address: the network address of the caller.
        cookies: the cookies of the request.
    """

    def __init__(
        self,
        accounts: Accounts,
        sign: Callable[[str], str],
        address: str,
        cookies: Mapping[str, str],
    ) -> None:
        self._accounts = accounts
        self._sign = sign
        self._address = address
        self._cookies = cookies
        self.name = ""
        """The name that the request has logged in as."""

    def caller(self, name: str) -> Caller:
        """Return the origin of an attempt to log in as ``name``."""
        device, _, signature = self._cookies.get(self._cookie_name(name), "").partition(".")
        expected = self._signature(name, device)
        if expected is None or not hmac.compare_digest(signature.encode(), expected.encode()):
            device = ""
        return Caller(self._address, device)

    def succeeded(self, name: str) -> None:
        """Remember the name that the request has logged in as."""
        self.name = name

    def cookie(self) -> str | None:
        """Return the cookie for a browser that has just logged in, ``name=value``."""
        if not self.name:
            return None
        device = self.caller(self.name).device or secrets.token_hex(16)
        signature = self._signature(self.name, device)
        return signature and f"{self._cookie_name(self.name)}={device}.{signature}"

    def _cookie_name(self, name: str) -> str:
        return f"comfy_ui_device_{self._sign(f'device of {name}')[:16]}"

    def _signature(self, name: str, device: str) -> str | None:
        generation = self._accounts.generation(name)
        if generation is None:
            return None
        return self._sign(f"device {device} {generation.hex()} {name}")[:43]


CURRENT: Final[ContextVar[LoginRequest | None]] = ContextVar("login request", default=None)
