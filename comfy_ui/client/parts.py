"""The parts that both clients are composed of; only the way they run a flow differs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Self
from uuid import uuid4

from ..errors import ValidationError
from ..protocol.durations import NodeDurations
from .api.api_choice import choose_api
from .api.server_api import ServerApi
from .operations import Asker
from .submission import check_prompt_id
from .tracking.job_telemetry import Telemetry
from .tracking.job_tracking import JobTracking
from .transfer.file_transfers import FileTransfers, SocketPictures
from .transport.circuit_breakers import CircuitBreaker, breaker_for
from .transport.environment import Environment
from .transport.server_address import ServerAddress
from .workflow_source import WorkflowSources

# The server runs one job at a time; a few more in its queue keep it busy between answers.
DEFAULT_CONCURRENCY = 4
CANCEL_TIMEOUT_S = 30.0
# How long an interrupted or closing client keeps cancelling a job whose id the caller never got.
CLEANUP_TIMEOUT_S = 2.0
DEFAULT_PRESETS = MappingProxyType(
    {"image": "z_image_turbo", "video": "wan21_t2v_1_3b", "audio": "ace_step_15"}
)


@dataclass(frozen=True, slots=True)
class ClientParts:
    """Everything about one server that opens no connections."""

    asker: Asker
    telemetry: Telemetry
    pictures: SocketPictures
    tracking: JobTracking
    transfers: FileTransfers
    sources: WorkflowSources
    durations: NodeDurations
    api: ServerApi

    @classmethod
    def for_server(
        cls,
        server: ServerAddress,
        environment: Environment,
        durations: NodeDurations | None = None,
    ) -> Self:
        """Build the parts of a new client."""
        asker = Asker(timeout_s=server.timeout_s, max_retries=server.options.max_retries)
        telemetry = Telemetry(server.address)
        pictures = SocketPictures()
        transfers = FileTransfers(asker, telemetry, pictures)
        return cls(
            asker=asker,
            telemetry=telemetry,
            pictures=pictures,
            tracking=JobTracking(asker, telemetry, is_cloud=server.assigns_ids),
            transfers=transfers,
            sources=WorkflowSources(asker, transfers, environment, partner_key=server.partner_key),
            durations=NodeDurations() if durations is None else durations,
            api=choose_api(server),
        )


def choose_breaker(
    breaker: CircuitBreaker | Literal[False] | None, server: ServerAddress, *, has_network: bool
) -> CircuitBreaker | None:
    """The breaker passed to a client, or the one that all clients with this route share.

    None without a network: a test's transport has no server to spare.
    """
    if breaker is None and has_network:
        return breaker_for(server.address.base_url, server.route)
    return breaker or None


def check_timeout(timeout: object, name: str = "timeout") -> None:
    """Check how long a caller wants to wait, before a job is queued for it.

    Raises:
        ValidationError: it is neither None nor a number.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise ValidationError(
            f"{name} must be a number of seconds, not {timeout!r}.", hint="None sets no limit."
        )


def prompt_id_or_new(prompt_id: str | None) -> str:
    """A canonical lowercase UUID, which every version of ComfyUI accepts."""
    return str(uuid4()) if prompt_id is None else check_prompt_id(prompt_id)
