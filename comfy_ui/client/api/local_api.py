"""ComfyUI's own API: requests go as they are, and messages come over a WebSocket."""

from __future__ import annotations

from typing import TypeVar

from ..operations import Flow
from ..transport.server_address import ServerAddress
from ..transport.websocket import Socket
from .server_api import LiveFeed, OnChange, OnMessage, Send

T = TypeVar("T")


class LocalApi:
    """ComfyUI's own API, which Comfy Cloud's compatible API follows, too."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server

    def carry(self, flow: Flow[T]) -> Flow[T]:
        """The flow itself: its requests are ComfyUI's."""
        return flow

    def open_feed(self, send: Send, *, on_message: OnMessage, on_change: OnChange) -> LiveFeed:  # noqa: ARG002
        """The WebSocket of the server."""
        return Socket(self._server, on_message=on_message, on_change=on_change)
