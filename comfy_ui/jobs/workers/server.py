"""One ComfyUI server: its stable name, nodes, uploads and status."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from ...client import ComfyWSClient
from ...client.server_check import ServerCheck
from ...client.workflow_source import NOT_IMPLEMENTED
from ...errors import ComfyUIConnectionError, ServerRejectedError
from ...features import FEATURES
from ...health import HealthTracker, with_local_facts
from ...library.uploads import UploadStore
from ...protocol.object_info import NodeRegistry
from ...storage.records import Absence, JobError, ServerStatus
from ...workflow.graph import AnyGraph

logger = logging.getLogger(__name__)

OBJECT_INFO_MAX_AGE_S: Final = 60.0
"""New models on a server are noticed after this time."""
_CHECK_TIMEOUT_S: Final = 30.0  # a server that loads a model can be silent for so long


class Server:
    """A ComfyUI server that runs jobs.

    ``name`` is stored with each job. It is a hash of the address, so that it stays the same when
    the list of servers changes and does not reveal the address to users. ``host`` tells servers
    apart whose addresses are the same on several hosts, such as 127.0.0.1. ``parallel_jobs`` is how
    many jobs it runs at a time; None: one. ``lists_nodes`` is False if the server's API has no
    object_info: it may have everything. ``online`` is the result of the last check, and True before
    the first. ``absence`` returns why it does not answer on purpose.
    """

    def __init__(
        self,
        client: ComfyWSClient,
        *,
        host: str = "",
        absence: Callable[[], Absence | None] = lambda: None,
    ) -> None:
        self.client = client
        self.absence = absence
        address = f"{host} {client.url}" if host else client.url
        self.name = hashlib.sha256(address.encode()).hexdigest()[:12]
        self.parallel_jobs = client.parallel_jobs
        self.lists_nodes = True
        self.online = True
        self._health = HealthTracker(client.url)
        self._object_info: tuple[NodeRegistry | None, float] = (None, 0.0)  # and when it was read
        self._reading = asyncio.Lock()
        self._names_at_server: dict[str, str] = {}  # uploads at the server: our name to its name

    def __str__(self) -> str:
        return self.client.url

    async def node_registry(
        self, *, max_age_s: float = OBJECT_INFO_MAX_AGE_S
    ) -> NodeRegistry | None:
        """Return the server's object_info, cached while the server is offline.

        Calls at the same time share one request.
        """
        async with self._reading:
            registry, read_at = self._object_info
            if registry is not None and time.monotonic() - read_at < max_age_s:
                return registry
            try:
                registry = await self.client.object_info(fresh=True)
            except ComfyUIConnectionError as error:
                logger.info("The workflow is checked against cached object_info: %s", error)
            except ServerRejectedError as error:
                logger.info("The workflow is not checked against object_info: %s", error)
                self.lists_nodes = error.status != NOT_IMPLEMENTED
            else:
                self._object_info = registry, time.monotonic()
            return registry

    async def send_uploads(self, uploads: UploadStore, names: Iterable[str]) -> dict[str, str]:
        """Send the uploads that the server does not have yet; return its names by ours.

        Raises:
            ComfyUIConnectionError, ServerRejectedError: an upload failed.
            StorageError: the file store cannot be used.
        """
        for name in names:
            if name in self._names_at_server:
                continue
            path = await asyncio.to_thread(uploads.path, name)
            if path is not None:
                self._names_at_server[name] = await self.client.upload_image(path, filename=name)
        return {name: self._names_at_server.get(name, name) for name in names}

    def forget_uploads(self) -> None:
        """Send all uploads again: the server or its folders may have been replaced."""
        self._names_at_server.clear()

    async def look(self) -> ServerCheck:
        """Check the server now, within a time limit. An error is part of the check."""
        at = time.time()
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                return await self.client.look()
        except TimeoutError:
            reason = f"The server did not answer within {_CHECK_TIMEOUT_S:g} seconds."
            silence = ComfyUIConnectionError(reason)
            silence.silent = True
            return ServerCheck(at=at, error=silence)

    async def status(self) -> ServerStatus:
        """Check the server now. Never raises for an offline one: see ``.online`` and ``.error``."""
        if self.absence() == "idle":
            return ServerStatus(
                online=False, url=self.client.url, checked_at=time.time(), absence="idle"
            )
        look = await self.look()
        if look.error is not None and (absence := self.absence()) is not None:
            return ServerStatus(
                online=False, url=self.client.url, checked_at=look.at, absence=absence
            )
        health = None
        if FEATURES["health"]:
            health = with_local_facts(self._health.observe(look), self.client.breaker)
        if look.error is not None or look.stats is None or look.queue is None:
            return ServerStatus(
                online=False,
                url=self.client.url,
                checked_at=look.at,
                error=JobError.of(look.error) if look.error else None,
                health=health,
            )
        return ServerStatus(
            online=True,
            url=self.client.url,
            checked_at=look.at,
            latency_s=look.latency_s,
            version=look.stats.comfyui_version or None,
            devices=tuple(look.stats.raw.get("devices") or ()),
            running=len(look.queue.running),
            pending=len(look.queue.pending),
            stats=look.stats.raw,
            health=health,
        )


def with_upload_names(graph: AnyGraph, names: dict[str, str]) -> dict[str, object]:
    """Return the graph with the names that a server gave to our uploads."""
    if all(ours == theirs for ours, theirs in names.items()):
        return dict(graph)
    return {
        node: {
            **content,
            "inputs": {
                key: names.get(value, value) if isinstance(value, str) else value
                for key, value in content.get("inputs", {}).items()
            },
        }
        for node, content in graph.items()
    }


def distinct_servers(
    clients: Collection[ComfyWSClient], absence: Callable[[], Absence | None] = lambda: None
) -> list[Server]:
    """Return one server per address, in order. ``absence``: see :class:`Server`."""
    servers = (Server(client, absence=absence) for client in clients)
    return list({server.name: server for server in servers}.values())
