"""What the client needs of the API that a server speaks, as protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeVar

from ...protocol.messages import Message
from ..operations import Flow
from ..transport.request import ApiRequest, ApiResponse, Receiver

T = TypeVar("T")
Send = Callable[[ApiRequest[object], Receiver | None], Awaitable[ApiResponse]]
OnMessage = Callable[[str, Message], None]
OnChange = Callable[[str | None], None]


class LiveFeed(Protocol):
    """Messages that a server pushes, within one event loop. It makes progress fast; polls decide.

    ``on_message(client_id, message)`` and ``on_change(client_id | None)`` must return at once.
    """

    fell_silent: bool
    """Whether the last connection was closed only because the server was silent."""

    async def ready(self) -> str | None:
        """The clientId to post jobs with; None if messages are not tied to one."""

    def want(self, prompt_ids: Collection[str]) -> None:
        """Set the jobs that are followed; without any, no lost connection is replaced."""

    def cycle(self) -> None:
        """Replace a connection that no longer delivers."""

    async def close(self) -> None:
        """Close all connections and end all tasks."""


class ServerApi(Protocol):
    """Carries what the client does to a server that speaks one API."""

    def carry(self, flow: Flow[T]) -> Flow[T]:
        """The flow, its requests in the server's API, and the answers in ComfyUI's form."""

    def open_feed(self, send: Send, *, on_message: OnMessage, on_change: OnChange) -> LiveFeed:
        """The messages of this server."""
