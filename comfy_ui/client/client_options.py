"""What both clients are made of: the same arguments, the same flows, another way to drive them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from uuid import uuid4

import httpx

from ..features import check_feature
from .file_transfers import FileTransfers
from .files import safe_name
from .job_telemetry import Telemetry
from .operations import Asker
from .socket_pictures import SocketPictures
from .submission import check_prompt_id
from .tracking import JobTracking
from .transport.address import DEFAULT_HOST, DEFAULT_PORT
from .transport.circuit_breakers import breaker_for
from .transport.http_transport import Breaker
from .transport.server_address import Certificate, ServerAddress, Verify, make_endpoint
from .workflow_source import WorkflowSources

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 300.0
# The server runs one job at a time; some more in its queue keep it busy while answers travel.
DEFAULT_CONCURRENCY = 4
CANCEL_TIMEOUT_S = 30.0
# How long a client that is given up goes on to take back a job of which nobody knows.
FAREWELL_S = 2.0
DEFAULT_PRESETS = MappingProxyType(
    {"image": "z_image_turbo", "video": "wan21_t2v_1_3b", "audio": "ace_step_15"}
)


class Base:
    """Address, credentials and flows of one server; the arguments are told at ComfyClient."""

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
        guarded: bool = False,
        breaker: Breaker | Literal[False] | None = None,
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
            guarded=guarded,
        )
        self._asker = Asker(timeout_s=self._endpoint.timeout_s)
        self._telemetry = Telemetry(self._endpoint.address)
        self._pictures = SocketPictures()
        is_cloud = self._endpoint.address.is_cloud
        self._following = JobTracking(self._asker, self._telemetry, is_cloud=is_cloud)
        self._transfers = FileTransfers(self._asker, self._telemetry, self._pictures)
        self._sources = WorkflowSources(self._asker, self._transfers)
        if breaker is None and http is None and check_feature("health"):
            breaker = breaker_for(self.url)
        self._connect(self._endpoint, breaker or None, http)

    def _connect(
        self,
        endpoint: ServerAddress,
        breaker: Breaker | None,
        http: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
    ) -> None:
        raise NotImplementedError  # either client has a transport of its own

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
