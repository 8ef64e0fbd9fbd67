"""Limits on login attempts: per caller and name, per address, per name.

An attempt counts from its beginning, so that attempts in parallel are limited like attempts in a
row; a right password takes it back. Known and unknown names are counted alike.

A browser that has logged in as a name before has a counter of its own, so strangers cannot keep its
user out by guessing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .rate_limit import LoginAttempts, RateLimit, RateLimiter

__all__ = ["Caller", "LoginLimits", "network_of"]

_PER_ADDRESS: Final = RateLimit(burst=30, per_minute=10)
"""Against one password tried on many names."""
_PER_NAME: Final = RateLimit(burst=100, per_minute=10)
"""Against guesses on one name from many addresses."""
_MAX_NAME: Final = 65  # longer ones are no names


@dataclass(frozen=True, slots=True)
class Caller:
    """The origin of a login attempt.

    ``address`` is the network address. ``device`` is the id of a browser that has logged in with
    the same account before; otherwise empty.
    """

    address: str = ""
    device: str = ""

    @property
    def network(self) -> str:
        """The network of the address, see :func:`network_of`."""
        return network_of(self.address)


@lru_cache(maxsize=1024)
def network_of(host: str) -> str:
    """Return the address, or the /64 network of an IPv6 address, which one customer has as a whole.

    >>> network_of("2001:db8::1:2"), network_of("::ffff:10.0.0.1"), network_of("::1")
    ('2001:db8::/64', '10.0.0.1', '::1')
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None and not address.is_loopback:
            return str(ipaddress.ip_network((int(address), 64), strict=False))
        address = address.ipv4_mapped or address
    return str(address)


class LoginLimits:
    """The counters of all login attempts."""

    def __init__(self) -> None:
        self._attempts = LoginAttempts()
        self._rates = RateLimiter({"address": _PER_ADDRESS, "name": _PER_NAME})

    def begin(self, name: str, caller: Caller, now: float) -> float:
        """Count an attempt and return 0, or return the seconds until the next is allowed."""
        wait_s = self.wait_s(name, caller, now)
        for rate, who in _rates(name, caller):
            wait_s = wait_s or self._rates.wait_s(rate, who, now)
        if not wait_s:
            self._attempts.failed(_key(name, caller), now)
        return wait_s

    def wait_s(self, name: str, caller: Caller, now: float) -> float:
        """Return the seconds that the caller's wrong passwords for this name last."""
        return self._attempts.wait_s(_key(name, caller), now)

    def succeeded(self, name: str, caller: Caller) -> None:
        """Take back an attempt that had the right password."""
        self._attempts.succeeded(_key(name, caller))
        for rate, who in _rates(name, caller):
            self._rates.give_back(rate, who)


def _key(name: str, caller: Caller) -> str:
    return f"{name[:_MAX_NAME]}\0{caller.device or caller.network}"


def _rates(name: str, caller: Caller) -> list[tuple[str, str]]:
    if caller.device:
        return []
    # Behind a tunnel all callers may have the address of this machine.
    shared = caller.network in {"", "127.0.0.1", "::1"}
    return [*(() if shared else [("address", caller.network)]), ("name", name[:_MAX_NAME])]
