"""Every notation of an address that a guarded client must not connect to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from comfy_ui.client.transport.ssrf import reachable

METADATA = (
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
)
OTHERS = (
    "169.254.0.1",
    "169.254.255.255",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "ff02::1",
    "ff0e::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:42::42",
    "fd00:c1::a9fe:a9fe",
)
REACHABLE = (
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "::ffff:127.0.0.1",
    "10.0.0.5",
    "172.16.0.1",
    "192.168.1.100",
    "100.64.0.1",  # Tailscale and providers' own networks
    "::ffff:192.168.1.100",
    "64:ff9b::192.0.2.1",
    "2002:c000:201::1",
    "fd12:3456::1",
    "fdaa::3",
    "1.1.1.1",
    "8.8.8.8",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
)


def carriers(address: str) -> dict[str, str]:
    """IPv6 addresses that embed an IPv4 address, by the name of the scheme."""
    number = int(IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    prefix = int(IPv6Address("64:ff9b:1::"))
    return {
        "mapped": f"::ffff:{address}",
        "compatible": f"::{address}",
        "translated": f"::ffff:0:{address}",
        "NAT64": f"64:ff9b::{address}",
        "NAT64 of a site": f"64:ff9b:1::{address}",
        "NAT64 of a site, split": str(IPv6Address(prefix | high << 64 | low << 40)),
        "6to4": f"2002:{high:x}:{low:x}::1",
        "Teredo server": f"2001:0:{high:x}:{low:x}:0:0:fefd:fcfb",
        "Teredo client": f"2001:0:102:304:0:0:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
        "ISATAP": f"2001:db8::5efe:{address}",
        "ISATAP, global": f"2001:db8::200:5efe:{address}",
    }


@pytest.mark.parametrize("address", [*METADATA, *OTHERS])
def test_reachable_blocked_address_is_false(address: str) -> None:
    assert not reachable(address)


@pytest.mark.parametrize("address", REACHABLE)
def test_reachable_usual_comfyui_address_is_true(address: str) -> None:
    assert reachable(address)


@pytest.mark.parametrize("address", [*METADATA, "169.254.1.2", "224.0.0.1"])
def test_reachable_blocked_address_embedded_in_ipv6_is_false(address: str) -> None:
    assert [name for name, form in carriers(address).items() if reachable(form)] == []
    far = [name for name, form in carriers("192.0.2.1").items() if not reachable(form)]
    assert far == [], "only embedded blocked addresses are refused"


@pytest.mark.parametrize("address", METADATA)
def test_reachable_blocked_address_behind_custom_nat64_is_false(address: str) -> None:
    assert not reachable(f"2001:db8:64::{address}")


@pytest.mark.parametrize("text", ["", "localhost", "169.254.169.254.", "0xa9fea9fe", "1.2.3.4:80"])
def test_reachable_invalid_address_is_false(text: str) -> None:
    assert not reachable(text)
