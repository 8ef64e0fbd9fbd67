"""SSRF protection: the addresses that a guarded client may connect to, checked after resolution.

A ComfyUI runs on this machine, in a local network or on the internet, but never at a cloud's
metadata service, nor at the addresses below that belong to no host.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["public", "reachable"]

_METADATA: Final = tuple(
    ip_network(f"{address}/32")
    for address in (
        "169.254.169.254",  # AWS, Google, Azure, Oracle, OpenStack, DigitalOcean, Hetzner …
        "169.254.170.2",  # AWS ECS: the credentials of a task
        "169.254.170.23",  # AWS EKS: those of a pod
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle Cloud Classic
    )
)
_REFUSED: Final = (
    *_METADATA,
    *map(
        ip_network,
        (
            "0.0.0.0/8",  # "this host": connects to this machine by another name
            "169.254.0.0/16",  # link-local
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and the broadcast address
            "::/128",
            "fe80::/10",  # link-local
            "ff00::/8",  # multicast
            "fd00:ec2::/32",  # AWS: metadata, credentials, DNS
            "fd20:ce::254/128",  # Google
            "fd00:42::42/128",  # Scaleway
        ),
    ),
)

# IPv6 prefixes with an embedded IPv4 address, and by how many bits it is shifted.
_CARRIERS: Final = tuple(
    (ip_network(prefix), shift)
    for prefix, shift in (
        ("::ffff:0:0/96", 0),  # IPv4-mapped
        ("::ffff:0:0:0/96", 0),  # IPv4-translated (RFC 7915)
        ("::/96", 0),  # IPv4-compatible
        ("64:ff9b::/96", 0),  # NAT64 (RFC 6052)
        ("2002::/16", 80),  # 6to4
    )
)
_SITE_NAT64: Final = ip_network("64:ff9b:1::/48")  # RFC 8215
_TEREDO: Final = ip_network("2001::/32")
_LOW: Final = 0xFFFFFFFF


def reachable(address: str) -> bool:
    """Whether a guarded client may connect to an IP address, as ``getaddrinfo`` writes it.

    >>> reachable("127.0.0.1"), reachable("192.168.1.4"), reachable("2606:4700::1111")
    (True, True, True)
    >>> reachable("169.254.169.254"), reachable("::ffff:169.254.169.254"), reachable("no address")
    (False, False, False)
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if parsed.is_loopback:
        return True
    if isinstance(parsed, IPv4Address):
        return not _refused(parsed)
    return not _refused(parsed) and not any(map(_refused, _carried(parsed)))


def public(address: str) -> bool:
    """Whether an IP address is one of the internet: of no private network, and not this machine.

    >>> public("1.1.1.1"), public("192.168.1.4"), public("::ffff:10.0.0.1"), public("127.0.0.1")
    (True, False, False, False)
    """
    if not reachable(address):
        return False
    parsed = ip_address(address.partition("%")[0])
    carried = _carried(parsed) if isinstance(parsed, IPv6Address) else ()
    return parsed.is_global and all(one.is_global for one in carried)


def _refused(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _REFUSED)


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a packet to ``address`` may reach."""
    number = int(address)
    low = IPv4Address(number & _LOW)
    for prefix, shift in _CARRIERS:
        if address in prefix:
            yield IPv4Address(number >> shift & _LOW)
    if address in _SITE_NAT64:  # at the end, or around bits 64 to 71: the site decides
        around = (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF
        yield from (IPv4Address(one) for one in (number & _LOW, around) if one)
    if address in _TEREDO:  # its server, and its client with all bits inverted
        yield IPv4Address(number >> 64 & _LOW)
        yield IPv4Address(~number & _LOW)
    if number >> 32 & 0xFDFFFFFF == 0x5EFE:  # ISATAP, in any prefix
        yield low
    if any(low in network for network in _METADATA):  # the operator's own NAT64 prefix
        yield low
