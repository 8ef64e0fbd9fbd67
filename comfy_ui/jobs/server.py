"""One ComfyUI as the studio sees it: its name in the database, its nodes, how it is."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Collection, Iterable
from typing import Final

from ..client import ComfyWSClient
from ..errors import ComfyUIConnectionError
from ..features import FEATURES
from ..health import HealthTracker, with_local_facts
from ..library.uploads import UploadStore
from ..protocol.object_info import NodeRegistry
from ..storage.records import JobError, ServerStatus
from ..workflow.graph import AnyGraph

logger = logging.getLogger(__name__)

NODE_LIST_S: Final = 60.0
"""Models that somebody adds are seen after this."""


class Server:
    """A ComfyUI that jobs can be given to.

    ``name`` is stored with them: made of the address, so that it holds when the list of servers
    changes, and no address, as a visitor may come to see it. ``answers`` is what the last look
    said; True before the first.
    """

    def __init__(self, client: ComfyWSClient) -> None:
        self.client = client
        self.name = hashlib.sha256(client.url.encode()).hexdigest()[:12]
        self.answers = True
        self._health = HealthTracker(client.url)
        self._nodes: tuple[NodeRegistry | None, float] = (None, 0.0)  # and when they were read
        self._given: dict[str, str] = {}  # uploads that it has, and what it calls them

    def __str__(self) -> str:
        return self.client.url

    async def node_library(self, *, max_age_s: float = NODE_LIST_S) -> NodeRegistry | None:
        """What the server can do; what is known of that while it is away."""
        known, asked_at = self._nodes
        if known is not None and time.monotonic() - asked_at < max_age_s:
            return known
        try:
            known = await self.client.object_info(fresh=True)
        except ComfyUIConnectionError as error:
            logger.info("The workflow is checked without asking the server: %s", error)
        else:
            self._nodes = known, time.monotonic()
        return known

    async def give(self, inputs: UploadStore, names: Iterable[str]) -> dict[str, str]:
        """See to it that the server has these uploads; gives what it calls them.

        Raises:
            ComfyUIConnectionError, ServerRejectedError: it did not take one.
        """
        for name in names:
            path = inputs.path(name)
            if name not in self._given and path is not None:
                self._given[name] = await self.client.upload_image(path, filename=name)
        return {name: self._given.get(name, name) for name in names}

    def forget_inputs(self) -> None:
        """It may have been replaced meanwhile, its folders too: give it everything anew."""
        self._given.clear()

    async def status(self) -> ServerStatus:
        """Ask now. Never raises for a server that is away: see ``.online`` and ``.error``."""
        look = await self.client.look()
        health = with_local_facts(self._health.observe(look)) if FEATURES["health"] else None
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


def with_names(graph: AnyGraph, names: dict[str, str]) -> dict[str, object]:
    """The graph with the names that a server gave to our uploads."""
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


def distinct(clients: Collection[ComfyWSClient]) -> list[Server]:
    """A server for each address, in order; an address given twice counts once."""
    return list({server.name: server for server in map(Server, clients)}.values())
