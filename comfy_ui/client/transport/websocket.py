"""The WebSocket over which a server pushes progress. It makes progress fast; polling decides.

It stays open while a job is being tracked. Rules (protocol notes §7): a fresh clientId for each
connection (trap 2), ``feature_flags`` first (§4), a reader that never waits for a consumer
(trap 1), frames up to 64 MiB, a ping time-out longer than the server's own pauses (trap 20), full
jitter between attempts, no further attempt if the server requires a login.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Collection
from contextvars import Context
from typing import TYPE_CHECKING, Literal, cast
from urllib.request import getproxies, proxy_bypass
from uuid import uuid4

from ...features import require_feature
from ...protocol.frames import parse_binary, parse_text
from ...protocol.messages import FeatureFlags, Message
from ...protocol.retry import Backoff
from .resolver import connected
from .server_address import PLAIN_HEADERS, ServerAddress

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed
    from websockets.protocol import Event

    class _PushConnection(ClientConnection):
        on_frame: Callable[[str | bytes], None] | None
        """Called with each frame that arrives, instead of what :meth:`recv` returns."""


logger = logging.getLogger(__name__)

MAX_FRAME_BYTES = 64 * 1024 * 1024  # SaveImageWebsocket sends a whole PNG
PING_INTERVAL_S = 30.0  # shorter than the idle time-out of common proxies (60 s)
PING_TIMEOUT_S = 90.0  # the server's event loop blocks while it loads models
CLOSE_TIMEOUT_S = 2.0
_RECONNECT = Backoff(base_s=0.5, cap_s=30.0, attempts=None)

_TEXT_METADATA = "supports_progress_text_metadata"
_HANDSHAKE = json.dumps(
    {"type": "feature_flags", "data": {"supports_preview_metadata": True, _TEXT_METADATA: True}}
)
_TOO_BIG = 1009
_PING_TIMEOUT = 1011  # what websockets closes with when no ping is answered


class Socket:
    """One socket at a time to one server, within one event loop.

    ``on_message(client_id, message)`` and ``on_change(client_id | None)`` (opened, closed) are
    called from the reader: they must return at once.
    """

    def __init__(
        self,
        server: ServerAddress,
        *,
        on_message: Callable[[str, Message], None],
        on_change: Callable[[str | None], None],
        rng: random.Random | None = None,
    ) -> None:
        require_feature("websocket")
        self._server = server
        self._on_message, self._on_change = on_message, on_change
        self._rng = rng or random.Random()
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self._asking = 0  # tasks in ready(), which need it whatever want() says
        self._connection: ClientConnection | None = None
        self.client_id: str | None = None
        """The clientId of the open connection."""
        self.fell_silent = False
        """Whether the last connection was closed only because no ping was answered."""
        self.refused = server.reason_to_poll
        """Why no connection is attempted any more; empty while it is."""
        if self.refused:
            logger.info("Tracking jobs on %s by polling: %s", server.address, self.refused)

    async def ready(self) -> str | None:
        """The clientId to post jobs with; None while there is no connection.

        Waits for the first attempt to connect, not for further attempts after a failure.
        """
        if self.client_id is None and not self.refused:
            self._asking += 1
            self._wanted.set()
            if self._task is None:
                self._task = asyncio.create_task(
                    self._keep_open(), name="comfy-ui socket", context=Context()
                )
            try:
                await self._tried.wait()
            finally:
                self._asking -= 1
        return self.client_id

    def want(self, prompt_ids: Collection[str]) -> None:
        """Set the jobs that are followed: with any, a lost connection is replaced."""
        if prompt_ids:
            self._wanted.set()
        elif not self._asking:
            self._wanted.clear()

    def cycle(self) -> None:
        """Drop a connection that no longer delivers; a new one gets a new clientId."""
        if self._connection is not None:
            self._connection.transport.abort()

    async def close(self) -> None:
        """Close the connection and end its task."""
        self.refused = self.refused or "the client is closed"
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep_open(self) -> None:
        failures = 0
        try:
            while not self.refused:
                await self._wanted.wait()
                if await self._connect_and_read():
                    failures = 0
                    self._tried.clear()  # after a good connection the next one is worth waiting for
                else:
                    failures += 1
                    self._tried.set()
                await asyncio.sleep(self._rng.uniform(0, _RECONNECT.ceiling_s(failures + 1)))
        finally:
            self._tried.set()

    async def _connect_and_read(self) -> bool:
        """Run one connection to its end; return whether it was open at all."""
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        client_id = str(uuid4())
        texts_have_prompt_id = False

        def read(frame: str | bytes) -> None:
            nonlocal texts_have_prompt_id
            message = (
                parse_text(frame)
                if isinstance(frame, str)
                else parse_binary(frame, texts_have_prompt_id=texts_have_prompt_id)
            )
            if isinstance(message, FeatureFlags):
                texts_have_prompt_id = message.flags.get("supports_progress_text_metadata") is True
            self._on_message(client_id, message)

        try:
            connection = await _connect(self._server, client_id)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403):
                self._refuse(f"the server answered {status}")
            else:
                logger.info("No socket at %s: status %d", self._server.address, status)
            return False
        except ImportError:
            self._refuse("a SOCKS proxy needs the package python-socks")
            return False
        except (OSError, TimeoutError, InvalidHandshake, ValueError, EOFError) as error:
            logger.info("No socket at %s: %s", self._server.address, type(error).__name__)
            return False
        self._connection = connection
        try:
            await connection.send(_HANDSHAKE)
            self._open(client_id)
            connection.on_frame = read
            while True:  # until the end of the connection, which recv() raises
                read(await connection.recv())
        except ConnectionClosed as error:
            self.fell_silent = _is_ping_timeout(error)
            if error.sent is not None and error.sent.code == _TOO_BIG:
                self._refuse("it sends frames larger than 64 MiB")
        finally:
            self._connection = None
            self.client_id = None
            self._on_change(None)
            await connection.close()
        return True

    def _open(self, client_id: str) -> None:
        self.client_id, self.fell_silent = client_id, False
        self._on_change(client_id)
        self._tried.set()

    def _refuse(self, reason: str) -> None:
        self.refused = reason
        logger.warning("Tracking jobs on %s by polling: %s", self._server.address, reason)


def _is_ping_timeout(error: ConnectionClosed) -> bool:
    return error.rcvd is None and error.sent is not None and error.sent.code == _PING_TIMEOUT


async def _connect(server: ServerAddress, client_id: str) -> _PushConnection:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.frames import Frame, Opcode

    class PushConnection(ClientConnection):
        on_frame: Callable[[str | bytes], None] | None = None

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.protocol.handshake_exc is not None:  # a refusal may be followed by anything
                self.transport.abort()

        def process_event(self, event: Event) -> None:
            # recv() passes a message through a queue and a task, which takes as long as parsing it.
            content: str | bytes | None = None
            if self.on_frame is not None and isinstance(event, Frame):
                if not event.fin:  # recv() joins the parts, and keeps the order of what follows
                    self.on_frame = None
                elif event.opcode is Opcode.BINARY:
                    content = bytes(event.data)
                elif event.opcode is Opcode.TEXT:
                    try:
                        content = str(event.data, "utf-8")
                    except UnicodeDecodeError:
                        content = None  # recv() closes the connection
            if content is None or self.on_frame is None:
                super().process_event(event)
            else:
                self.on_frame(content)

    class Connect(connect):
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc  # our headers hold credentials for this server only

    where = server.address
    async with asyncio.timeout(server.connect_timeout_s):
        sock = (
            None  # websockets knows the proxies
            if server.trust_env or server.options.proxy
            else await connected(where.host, where.port, guarded=server.guarded)
        )
        connection = await Connect(
            server.ws_url(client_id),
            create_connection=PushConnection,
            additional_headers={k: v for k, v in server.headers.items() if k not in PLAIN_HEADERS},
            user_agent_header=server.headers.get("user-agent"),
            proxy=server.options.proxy
            or (_environment_proxy(where.host) if server.trust_env else None),
            compression=None,  # previews are JPEGs; the server would compress in its one thread
            max_size=MAX_FRAME_BYTES,
            open_timeout=None,
            sock=sock,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ssl=server.tls,
            logger=_WithoutHeaders(logger, {}),
        )
    return cast("_PushConnection", connection)


def _environment_proxy(host: str) -> str | Literal[True]:
    """ALL_PROXY, which httpx uses and websockets does not; True: what websockets chooses."""
    proxies = getproxies()
    specific = proxies.keys() & {"ws", "wss", "socks", "http", "https"}
    return True if specific or proxy_bypass(host) else proxies.get("all", True)


class _WithoutHeaders(logging.LoggerAdapter[logging.Logger]):
    """Suppresses DEBUG, at which websockets logs the headers with their credentials."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 -- logging's own name
        return level > logging.DEBUG and super().isEnabledFor(level)
