"""Settings of a client's connections that are rarely changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from ...errors import ValidationError

# A closed port answers at once; a longer silence means a wrong address or a firewall.
CONNECT_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client connects, and how persistent it is.

    Raises:
        ValidationError: a value is out of its range.

    Example::

        client = ComfyClient(options=ClientOptions(proxy="http://proxy:3128", max_retries=0))
    """

    proxy: str | None = field(default=None, repr=False)
    """A proxy for HTTP and the WebSocket: ``http://user:password@proxy:3128``. None: connect
    directly, or as the environment says with ``trust_env=True``."""
    max_connections: int = 32
    """How many requests run at a time; further ones wait."""
    keep_alive_s: float = 30.0
    """How long an unused connection stays open."""
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    """How long to wait for a connection; at most the client's ``timeout``."""
    max_retries: int = 3
    """How often a request is repeated after a failure, if that is safe. A post of a job is never
    simply repeated, and transfers of files and the wait for a job have a persistence of their
    own."""
    websocket: bool | None = None
    """Whether :class:`.ComfyWSClient` opens a WebSocket for progress with steps and previews; False
    tracks jobs by polling. None: True, except with a transport of your own, ``http=``, which
    carries no WebSocket. True opens it beside that transport, with the proxy, certificates and
    headers of the client's other arguments."""

    api: Literal["local", "v2"] | None = None
    """The API that the server speaks: ComfyUI's own (``local``), or the Comfy API v2. None: an
    address that ends in ``/v2`` is asked whether it has the routes of v2, and any other one is
    taken for a ComfyUI."""

    def __post_init__(self) -> None:
        if self.api not in (None, "local", "v2"):
            raise ValidationError("api must be 'local', 'v2' or None.")
        if self.max_connections < 1 or self.max_retries < 0:
            raise ValidationError("max_connections starts at 1, and max_retries at 0.")
        if not (self.keep_alive_s >= 0 and self.connect_timeout_s > 0):
            raise ValidationError(
                "keep_alive_s cannot be negative, and connect_timeout_s must be more than 0."
            )
        if self.proxy is not None and not self.proxy.startswith(("http://", "https://")):
            raise ValidationError(
                "The proxy's address must start with http:// or https://.",
                hint="SOCKS proxies are used through trust_env=True.",
            )
