"""Server addresses as users paste them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from comfy_ui.client.transport.address import Address, parse_address
from comfy_ui.errors import InvalidAddressError


@pytest.mark.parametrize(
    ("pasted", "base_url"),
    [
        ("192.168.1.100:8188", "http://192.168.1.100:8188"),
        ("192.168.1.100", "http://192.168.1.100:8188"),
        ("localhost", "http://localhost:8188"),
        ("8189", "http://localhost:8189"),
        (":8189", "http://localhost:8189"),
        ("0.0.0.0:8188", "http://localhost:8188"),
        ("http://0.0.0.0:8188/", "http://localhost:8188"),
        ("[::]:8188", "http://localhost:8188"),
        ("[::1]:8188", "http://[::1]:8188"),
        ("::1", "http://[::1]:8188"),
        ("HTTP://GPU:9000/", "http://gpu:9000"),
        ("http://gpu.example.com", "http://gpu.example.com"),
        ("https://gpu.example.com/comfy/", "https://gpu.example.com/comfy"),
        ("https://gpu.example.com//a//b/", "https://gpu.example.com/a/b"),
        ("http:/gpu:8188", "http://gpu:8188"),
        ("  <http://gpu:8188>  ", "http://gpu:8188"),
        ('"gpu:8188"', "http://gpu:8188"),
        ("gpu:8188/comfy", "http://gpu:8188/comfy"),
        ("gpu\\comfy", "http://gpu:8188/comfy"),
        ("http://gpu:8188/?a=b#workflow", "http://gpu:8188"),
        ("http://gpu:8188/index.html", "http://gpu:8188"),
        ("ws://gpu:8188/ws?clientId=1", "http://gpu:8188"),
        ("wss://gpu/comfy/ws", "https://gpu/comfy"),
        ("abc.trycloudflare.com", "https://abc.trycloudflare.com"),
        ("cloud.comfy.org#jobs=3", "https://cloud.comfy.org"),
        ("cloud.comfy.org", "https://cloud.comfy.org"),
        ("http://comfy_ui:8188", "http://comfy_ui:8188"),
        ("http://host/ü pfad", "http://host/%C3%BC%20pfad"),
    ],
)
def test_parse_address_pasted_text_returns_base_url(pasted: str, base_url: str) -> None:
    assert parse_address(pasted).base_url == base_url


@pytest.mark.parametrize(
    "pasted",
    [
        *("", "   ", "http://", "ftp://host", "file:///etc/passwd", "http//host", "a b", "://"),
        *("host:0", "host:99999", "host:abc", "[::1", "[::1]x", "1::2::3", "http://ho st"),
        *("http://a@b@[", "gpu#jobs=0", "gpu#jobs=65", "gpu#jobs=a"),
    ],
)
def test_parse_address_invalid_text_raises_with_hint(pasted: str) -> None:
    with pytest.raises(InvalidAddressError) as caught:
        parse_address(pasted)
    assert caught.value.hint


def test_parse_address_ws_base_url_keeps_host_port_and_prefix() -> None:
    assert parse_address("https://gpu:8443/comfy").ws_base_url == "wss://gpu:8443/comfy"
    assert parse_address("[::1]:8188").ws_base_url == "ws://[::1]:8188"


def test_parse_address_userinfo_is_read_and_hidden_from_repr() -> None:
    address = parse_address("https://me:se%40cret@gpu/comfy")
    assert address.userinfo == ("me", "se@cret")
    assert "cret" not in f"{address} {address!r} {address.base_url} {address.ws_base_url}"


def test_parse_address_error_omits_password() -> None:
    for pasted in ("http://me:secret@host:abc", "me:secret@host:abc"):
        with pytest.raises(InvalidAddressError) as caught:
            parse_address(pasted)
        assert "secret" not in str(caught.value)


def test_parse_address_default_port_applies_only_without_port() -> None:
    assert parse_address("gpu", default_port=9000).port == 9000
    assert parse_address("http://gpu", default_port=9000).port == 9000
    assert parse_address("gpu:8188", default_port=9000).port == 8188
    assert parse_address("http://gpu").port == 80


def test_parse_address_of_base_url_returns_equal_address() -> None:
    address = parse_address("https://gpu.example.com/comfy")
    assert parse_address(address.base_url) == address
    assert isinstance(address, Address)


@given(st.text(max_size=40))
def test_parse_address_any_text_returns_address_or_raises_invalid_address(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidAddressError:
        return
    assert 1 <= address.port <= 65535
    assert address.host
    assert parse_address(address.base_url).base_url == address.base_url
