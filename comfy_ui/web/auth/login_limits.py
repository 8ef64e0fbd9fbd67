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

from .limit_counters import LimitCounters, counter_key
from .rate_limit import LoginDelay, RateLimit

__all__ = ["Caller", "LoginLimits", "network_of"]

_PER_ADDRESS: Final = RateLimit(burst=30, per_minute=10)
"""Against one password tried on many names."""
_PER_NAME: Final = RateLimit(burst=100, per_minute=10)
"""Against guesses on one name from many addresses."""
_DELAY: Final = LoginDelay()
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
    """The limits of the attempts of one kind, such as "password"."""

    def __init__(self, counters: LimitCounters, kind: str) -> None:
        self._counters = counters
        self._kind = kind

    async def begin(self, name: str, caller: Caller) -> float:
        """Count an attempt and return 0, or return the seconds until the next is allowed."""
        if wait_s := await self.wait_s(name, caller):
            return wait_s
        # The address first: one address cannot make counters of any number of names.
        for key, rate in self._rates(name, caller):
            if wait_s := await self._counters.update(key, rate.take):
                return wait_s
        return await self._counters.update(self._key(name, caller), _DELAY.attempt)

    async def wait_s(self, name: str, caller: Caller) -> float:
        """Return the seconds that the caller's wrong passwords for this name last."""
        return await self._counters.update(self._key(name, caller), _DELAY.wait)

    async def succeeded(self, name: str, caller: Caller) -> None:
        """Take back an attempt that had the right password."""
        await self._counters.update(self._key(name, caller), _DELAY.reset)
        for key, rate in self._rates(name, caller):
            await self._counters.update(key, rate.give_back)

    def _key(self, name: str, caller: Caller) -> str:
        return counter_key(self._kind, name[:_MAX_NAME], caller.device or caller.network)

    def _rates(self, name: str, caller: Caller) -> list[tuple[str, RateLimit]]:
        if caller.device:
            return []
        # Behind a tunnel all callers may have the address of this machine.
        shared = caller.network in {"", "127.0.0.1", "::1"}
        address = counter_key(f"{self._kind} of address", caller.network)
        name = counter_key(f"{self._kind} of name", name[:_MAX_NAME])
        return [*(() if shared else [(address, _PER_ADDRESS)]), (name, _PER_NAME)]
