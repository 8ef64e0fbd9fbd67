"""The servers that admins have added on the page, with their credentials: a private document."""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ...client import parse_address
from ...client.transport.address import MAX_PARALLEL_JOBS
from ...errors import ComfyHeadlessError, ValidationError
from ...logging import hide_secret
from ...private_files import Documents
from ...private_json import PrivateJson

__all__ = ["SavedServer", "SavedServers", "new_server"]

logger = logging.getLogger(__name__)

_SERVERS_FILE: Final = "servers.json"
_MAX_SERVERS: Final = 50
_CHECK_EVERY_S: Final = 5.0


class SavedServer(BaseModel):
    """A server and how to log in there. The credentials never leave this machine's app."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str = ""
    address: str
    """Without a login and a number of jobs."""
    parallel_jobs: Annotated[int, Field(ge=1, le=MAX_PARALLEL_JOBS)] | None = None
    token: str = Field(default="", repr=False)
    username: str = ""
    password: str = Field(default="", repr=False)
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The address with the number of jobs, as in COMFYUI_URL."""
        return f"{self.address}#jobs={self.parallel_jobs}" if self.parallel_jobs else self.address

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers of every request besides the token's."""
        if not self.username:
            return dict(self.headers)
        pair = f"{self.username}:{self.password}".encode()
        return {"authorization": f"Basic {b64encode(pair).decode('ascii')}", **self.headers}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must appear nowhere."""
        return tuple(filter(None, (self.token, self.password, *self.headers.values())))


def new_server(
    address: str, server_id: str = "", *, parallel_jobs: int | None = None, **details: object
) -> SavedServer:
    """Return a server as it was entered; a login in its address becomes its user and password.

    Raises:
        InvalidAddressError: this is no address.
    """
    parsed = parse_address(address)
    if parsed.userinfo and not details.get("username"):
        details |= dict(zip(("username", "password"), parsed.userinfo, strict=True))
    return SavedServer.model_validate(
        {
            "id": server_id or secrets.token_hex(4),
            "address": parsed.base_url,
            "parallel_jobs": parallel_jobs or parsed.parallel_jobs,
            **details,
        }
    )


class SavedServers:
    """The list of servers, in a document that only the app can read."""

    def __init__(self, documents: Documents) -> None:
        kind = TypeAdapter(list[SavedServer])
        self._file = PrivateJson(documents, _SERVERS_FILE, kind, "servers")

    def listed(self) -> tuple[SavedServer, ...]:
        """Return all servers in the order in which they were added.

        Raises:
            StorageError: the list cannot be read.
        """
        servers = tuple(self._file.read() or ())
        for server in servers:
            for secret in server.secrets:
                hide_secret(secret)
        return servers

    def get(self, server_id: str) -> SavedServer:
        """Return a server.

        Raises:
            ValidationError: there is none.
        """
        for server in self.listed():
            if server.id == server_id:
                return server
        raise ValidationError("There is no such server.", hint="Reload the page.")

    def put(self, server: SavedServer) -> None:
        """Add a server, or replace the one with its id.

        Raises:
            ValidationError: another one has its address, or there are too many.
            StorageError: the list cannot be written.
        """

        def changed(stored: list[SavedServer] | None) -> list[SavedServer]:
            servers = stored or []
            others = [other for other in servers if other.id != server.id]
            if any(other.address == server.address for other in others):
                raise ValidationError("This address is in the list already.")
            if len(others) >= _MAX_SERVERS:
                raise ValidationError("There are too many servers.", hint="Remove one first.")
            if len(others) == len(servers):
                return [*servers, server]
            return [server if other.id == server.id else other for other in servers]

        self._file.update(changed)

    def remove(self, server_id: str) -> None:
        """Remove a server.

        Raises:
            StorageError: the list cannot be written.
        """
        self._file.update(lambda stored: [one for one in stored or () if one.id != server_id])

    async def keep_current(self, apply: Callable[[], Awaitable[None]]) -> None:
        """Follow the list, which other apps may change, until cancelled.

        ``apply`` is called at the start and after each change.
        """
        applied: tuple[SavedServer, ...] | None = None
        while True:
            try:
                servers = await asyncio.to_thread(self.listed)
                if servers != applied:
                    await apply()
                    applied = servers
            except ComfyHeadlessError as error:
                logger.warning("The list of servers could not be applied: %s", error)
            await asyncio.sleep(_CHECK_EVERY_S)
