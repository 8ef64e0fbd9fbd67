"""What both clients are made of: the same arguments, the same flows, another way to drive them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import httpx

from .address import DEFAULT_HOST, DEFAULT_PORT
from .endpoint import Certificate, Endpoint, Verify, make_endpoint
from .files import safe_name
from .flows import Asker
from .following import Following
from .sources import Sources
from .submission import check_prompt_id
from .transfers import Transfers
from .transport import Breaker

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 300.0
# The server runs one job at a time; some more in its queue keep it busy while answers travel.
DEFAULT_CONCURRENCY = 4
CANCEL_TIMEOUT_S = 30.0
DEFAULT_PRESETS = MappingProxyType(
    {"image": "z_image_turbo", "video": "wan21_t2v_1_3b", "audio": "ace_step_15"}
)


class Base:
    """A ComfyUI server.

    Args:
        host: host name, or anything that ``url`` takes.
        port: used where the address names none.
        url: an address as people paste it; wins over ``host``. ``base_url`` is the same.
        timeout: the longest silence of the server, in seconds. Jobs may take longer.
        headers: sent with every request.
        token: a bearer token; for Comfy Cloud, the API key.
        verify: False trusts any certificate; else a PEM file, a folder of them, or an SSLContext.
        cert: client certificate: a PEM file, or (certificate, key).
        trust_env: use the proxies and the ``.netrc`` of the environment.
        breaker: a circuit breaker, shared by the clients of this server.
        http: carries the requests in place of a network, for tests.

    Every method raises ComfyUIConnectionError (also ComfyUIOfflineError, AuthenticationError) when
    the server does not answer as one, and ServerRejectedError when it refuses.
    """

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        *,
        url: str | None = None,
        base_url: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        verify: Verify = True,
        cert: Certificate | None = None,
        trust_env: bool = False,
        breaker: Breaker | None = None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._endpoint = make_endpoint(
            host,
            port,
            url=url if url is not None else base_url,
            timeout=timeout,
            headers=headers,
            token=token,
            verify=verify,
            cert=cert,
            trust_env=trust_env,
        )
        self._asker = Asker(timeout_s=self._endpoint.timeout_s)
        self._following = Following(self._asker)
        self._transfers = Transfers(self._asker)
        self._sources = Sources(self._asker, self._transfers)
        self._connect(self._endpoint, breaker, http)

    def _connect(
        self,
        endpoint: Endpoint,
        breaker: Breaker | None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
    ) -> None:
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The server's address, without credentials."""
        return self._endpoint.address.base_url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"


def prompt_id_or_new(prompt_id: str | None) -> str:
    """A canonical lowercase UUID, as every core takes it."""
    return str(uuid4()) if prompt_id is None else check_prompt_id(prompt_id)


def target_path(filename: str, to: str | Path) -> Path:
    """Where a download goes: ``to`` itself, or into it if it is a folder."""
    path = Path(to).expanduser()
    return path / safe_name(filename) if path.is_dir() else path


def log_callback_error(error: Exception) -> None:
    """A callback's error is its owner's; the job goes on."""
    logger.error("on_progress raised; the job goes on", exc_info=error)
