"""The address, credentials, TLS settings and time-outs of one server."""

from __future__ import annotations

import math
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from ... import __version__
from ...errors import ValidationError
from .address import DEFAULT_HOST, DEFAULT_PORT, Address, parse_address
from .environment import Environment, FromSettings
from .options import ClientOptions

Verify = bool | str | Path | ssl.SSLContext
Certificate = str | Path | tuple[str | Path, str | Path]
PLAIN_HEADERS: Final = {
    "user-agent": f"comfy-ui/{__version__}",
    "accept": "*/*",
    "accept-encoding": "identity",
}
"""The headers that say nothing about the user; every request has them, or others in their place."""


@dataclass(frozen=True)
class ServerAddress:
    """What both transports need. ``headers`` hold credentials: never shown, never logged."""

    address: Address
    timeout_s: float
    """Infinite without a limit."""
    headers: Mapping[str, str] = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """None for a plain http address."""
    trust_env: bool = False
    """Whether proxies and ``.netrc`` of the environment are used."""
    guarded: bool = False
    """Whether to refuse addresses that ``ssrf.py`` refuses."""
    partner_key: str = field(default="", repr=False)
    """The Comfy API key for partner nodes; empty without one."""
    options: ClientOptions = field(default_factory=ClientOptions)
    has_own_transport: bool = False
    """Whether the caller passed ``http=``."""

    @property
    def may_speak_v2(self) -> bool:
        """Whether the server speaks the Comfy API v2, or is to be asked whether it does."""
        return self.options.api == "v2" or (self.options.api is None and self.address.ends_in_v2)

    @property
    def assigns_ids(self) -> bool:
        """Whether the server gives jobs ids of its own, as Comfy Cloud does."""
        return self.address.is_cloud or self.may_speak_v2

    @property
    def reason_to_poll(self) -> str:
        """Why no WebSocket is opened; empty if one is."""
        if self.options.websocket is False:
            return "the WebSocket is turned off"
        if self.has_own_transport and self.options.websocket is None:
            return "http= carries no WebSocket, and ClientOptions(websocket=True) opens one"
        return ""

    @cached_property
    def connect_timeout_s(self) -> float:
        """Seconds for opening a connection."""
        return min(self.options.connect_timeout_s, self.timeout_s)

    @property
    def route(self) -> str:
        """Identifies the address, the way to it and the credentials, without showing them."""
        way = repr((self.options.proxy, self.trust_env, self.guarded, sorted(self.headers.items())))
        return f"{self.address.base_url} {sha256(way.encode()).hexdigest()}"

    def http_url(self, path: str) -> str:
        """The URL of one of ComfyUI's routes on this server."""
        if self.address.is_cloud:  # everything below /api, and history under another name
            path = path.replace("/history", "/history_v2", 1)
            path = path if path.startswith("/api/") else f"/api{path}"
        return self.address.base_url + path

    def ws_url(self, client_id: str) -> str:
        """The URL of the WebSocket. Comfy Cloud takes its key from the query."""
        query = {"clientId": client_id}
        if self.address.is_cloud and (key := self.headers.get("x-api-key")):
            query["token"] = key
        return f"{self.address.ws_base_url}/ws?{urlencode(query)}"


def make_server_address(
    host: str | None = None,
    port: int | None = None,
    *,
    url: str | None = None,
    timeout: float | FromSettings | None = FromSettings.TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    api_key_comfy_org: str | None = None,
    verify: Verify | None = None,
    cert: Certificate | None = None,
    trust_env: bool = False,
    guarded: bool = False,
    options: ClientOptions | None = None,
    has_own_transport: bool = False,
    environment: Environment | None = None,
) -> ServerAddress:
    """Build a ServerAddress from the arguments of both clients.

    ``environment`` has the values of the arguments that are not given.

    Raises:
        InvalidAddressError: the address is not that of a server.
        ValidationError: a certificate file cannot be read, or a value is out of its range.
    """
    options = options or ClientOptions()
    if guarded and (trust_env or options.proxy):
        raise ValidationError(
            "guarded= excludes trust_env= and a proxy, which chooses the address itself."
        )
    environment = environment or Environment()
    address = _address(host, port, url, environment)
    if token is None and not guarded:  # the token is not for addresses of other users
        token = environment.token_for(address.base_url)
    if api_key_comfy_org is None and not guarded:
        api_key_comfy_org = environment.partner_key_for(address.base_url)
    if verify is None:
        verify = environment.verify_tls
    if timeout is FromSettings.TIMEOUT_S:
        timeout = environment.timeout_s
    return ServerAddress(
        address=address,
        timeout_s=_timeout_s(timeout),
        headers=_headers(address, headers or {}, token),
        tls=_tls(verify, cert) if address.scheme == "https" else None,
        trust_env=trust_env,
        guarded=guarded,
        partner_key=api_key_comfy_org or "",
        options=options,
        has_own_transport=has_own_transport,
    )


def _address(
    host: str | None, port: int | None, url: str | None, environment: Environment
) -> Address:
    text = host if url is None else url
    if text is None and port is None:
        text = environment.url
    return parse_address(
        DEFAULT_HOST if text is None else text, default_port=DEFAULT_PORT if port is None else port
    )


def _timeout_s(timeout: object) -> float:
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValidationError(
            f"timeout must be more than 0 seconds, not {timeout!r}.", hint="None sets no limit."
        )
    return float(timeout)


def _headers(address: Address, custom: Mapping[str, str], token: str | None) -> dict[str, str]:
    headers = {**PLAIN_HEADERS}
    if address.userinfo:
        pair = ":".join(address.userinfo).encode()
        headers["authorization"] = f"Basic {b64encode(pair).decode('ascii')}"
    if token:
        if address.is_cloud:
            headers["x-api-key"] = token
        else:
            headers["authorization"] = f"Bearer {token}"
    headers.update({name.lower(): value for name, value in custom.items()})
    for name, value in headers.items():
        if not value.isascii() or any(ord(sign) < 32 for sign in value):
            raise ValidationError(
                f"The header '{name}' holds a character that HTTP does not allow.",
                hint="Check the token for a line break or a typographic quote.",
            )
    return headers


def _tls(verify: Verify, cert: Certificate | None) -> ssl.SSLContext:
    context = verify if isinstance(verify, ssl.SSLContext) else tls_context(verify=verify)
    if cert is not None:
        chain, key = cert if isinstance(cert, tuple) else (cert, None)
        try:
            context.load_cert_chain(chain, key)
        except (OSError, ssl.SSLError) as error:
            raise ValidationError(f"The client certificate cannot be read: {error}.") from error
    return context


def tls_context(*, verify: bool | str | Path) -> ssl.SSLContext:
    """The TLS settings for ``verify=`` of a client."""
    if verify is True:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    path = Path(verify).expanduser()
    try:
        return ssl.create_default_context(
            cafile=None if path.is_dir() else str(path), capath=str(path) if path.is_dir() else None
        )
    except (OSError, ssl.SSLError) as error:
        raise ValidationError(
            f"The certificates in '{path}' cannot be read: {error}.",
            hint="verify= takes a PEM file or a folder of them.",
        ) from error
