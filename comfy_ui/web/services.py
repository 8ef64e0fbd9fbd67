"""What the page stands on: the connections to ComfyUI, the studio and the presets' readiness."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress
from dataclasses import replace
from typing import Any, Final

from ..client import ComfyWSClient
from ..errors import AuthenticationError, ComfyHeadlessError, ComfyUIOfflineError
from ..jobs.studio import Studio
from ..library.saved_workflows import SavedWorkflows
from ..models.download import ModelSources
from ..models.download_queue import DownloadQueue
from ..models.model_folders import ModelFolders, find_model_folders
from ..settings import Settings
from ..storage.records import LOCAL_USER_ID, ServerStatus, Snapshot
from ..storage.uncancellable import uncancellable
from ..workflow.presets.preset_store import list_presets
from .auth.access import AccessMode, mode_of
from .open_workflows import OpenWorkflows
from .preset_catalog import PresetCatalog
from .server_choice import ServerChoice, demo_speed, token_for, typed
from .tabs.import_progress import ImportTasks

__all__ = ["Services"]

logger = logging.getLogger(__name__)

_FIRST_CHECK_S: Final = 4.0
_MOVING_S: Final = 10.0
_PATIENCE_S: Final = 30.0  # with an address that somebody typed and waits for
_VISITOR_BYTES: Final = 10 * 10**9
_LOGIN_HINT: Final = (
    "Write http://USER:PASSWORD@HOST:PORT, or start the app with COMFYUI_URL and COMFYUI_TOKEN."
)
_TYPED_HINT: Final = (
    "Check the address, and that ComfyUI listens there. If it wants a login, write "
    "http://USER:PASSWORD@HOST:PORT. Link-local and metadata addresses are never tried from here."
)


class Services:
    """One per page. :meth:`start_engine` first, then :meth:`open` in the page's event loop."""

    studio: Studio
    client: ComfyWSClient
    """The first server: its own workflows and templates are offered."""
    clients: list[ComfyWSClient]
    catalog: PresetCatalog

    def __init__(self, settings: Settings, choice: ServerChoice) -> None:
        self.settings = settings
        self.choice = choice
        self._engine = ExitStack()
        self.presets = SavedWorkflows(settings.data_dir)
        self.desk = OpenWorkflows(self)
        self.imports = ImportTasks(self)
        self.folders = ModelFolders()
        self.downloads = DownloadQueue(ModelSources.of(settings), arrived=self.refresh)
        self._connection = AsyncExitStack()
        self._changing = asyncio.Lock()
        self._there = asyncio.Event()  # a studio to ask
        self._there.set()
        self._checking: asyncio.Task[list[ServerStatus]] | None = None

    @property
    def embedded(self) -> bool:
        """Whether the embedded engine serves."""
        return self.choice.kind == "embedded"

    @property
    def keeps_opened(self) -> bool:
        """Whether opened workflows can be run before they are saved as presets.

        Not where others reach the page: what they may run is what was saved.
        """
        return mode_of(self.settings) is AccessMode.LOCAL

    def start_engine(self) -> None:
        """Start the embedded engine if it is to serve; it may take seconds to load.

        It lives in a thread of its own, so that painting never holds up the page.
        """
        if not self.choice.urls:
            from ..demo import DemoServer

            engine: Any = DemoServer(speed=demo_speed(self.settings.demo_speed))
            url = self._engine.enter_context(engine.in_thread()).url
            self.choice = replace(self.choice, urls=(url,))

    async def open(self) -> None:
        """Connect and take up unfinished jobs. Quick, also while the server is away or slow.

        Raises:
            StorageError: the data folder cannot be used.
            InvalidAddressError: a configured address is none.
        """
        await self._connect()

    async def aclose(self) -> None:
        """Stop following and close the connection. Jobs go on at the server and are found again."""
        await self.downloads.aclose()
        await self._disconnect()

    async def _disconnect(self) -> None:
        await self.imports.stop()
        if self._checking is not None:
            self._checking.cancel()
        await self._connection.aclose()

    def stop_engine(self) -> None:
        """End the embedded engine."""
        self._engine.close()

    async def checked(self) -> None:
        """Wait until the server was asked what it has, or a moment if it is slow to say."""
        if self._checking is not None:
            await asyncio.wait([self._checking], timeout=_FIRST_CHECK_S)

    async def refresh(self) -> list[ServerStatus]:
        """Ask each server how it is and what it has; who comes while that runs gets its answer."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check(), name="look at the server")
        return await asyncio.shield(self._checking)

    async def _check(self) -> list[ServerStatus]:
        told = await self.studio.statuses()
        answering = [status for status in told if status.online]
        if answering:
            # The embedded engine paints what any version could have made.
            versions = {s.url: None if self.embedded else s.version for s in answering}
            await self.catalog.refresh(versions=versions)
            folders = await find_model_folders(self.client, self.settings.models_dir)
            self.folders = ModelFolders() if self.embedded else folders
        return told

    @uncancellable
    async def reconnect(self, text: str) -> None:
        """Use another server from now on, or several. Those before stay when that raises.

        Raises:
            InvalidAddressError: ``text`` holds something else than addresses.
            ComfyUIConnectionError: none of them answers; where others reach the page, one that
                does not is enough, and what is wrong with it stands in the log alone.
        """
        async with self._changing:
            choice = typed(text)
            await self._reach(choice)
            self._there.clear()
            try:
                await self._move(choice)
            finally:
                self._there.set()
            await asyncio.to_thread(self.stop_engine)

    async def _move(self, choice: ServerChoice) -> None:
        before, self.choice = self.choice, choice
        await self._disconnect()
        self._connection = AsyncExitStack()
        try:
            await self._connect()
        except ComfyHeadlessError:
            # The disk is full, for instance: better the one before than none.
            await self._connection.aclose()
            self._connection, self.choice = AsyncExitStack(), before
            await self._connect()
            raise

    async def ready(self) -> None:
        """Wait a moment where the servers are just being changed: there is no studio then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOVING_S):
                await self._there.wait()

    async def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        """As :meth:`.Studio.follow`, also while the servers change; ends when the app does."""
        studio = None
        while studio is not self.studio:
            studio = self.studio
            async with aclosing(studio.follow(job_id, user_id)) as snapshots:
                async for snapshot in snapshots:
                    yield snapshot
                    if snapshot.terminal:
                        return
            await self.ready()

    async def _reach(self, choice: ServerChoice) -> None:
        """Raises what the first said, if none answers: a slip of the pen, most likely."""
        async with AsyncExitStack() as opened:
            patience_s = min(_PATIENCE_S, self.settings.timeout_s)
            clients = await self._clients_of(choice, opened, timeout_s=patience_s)
            looks = await asyncio.gather(*(client.look() for client in clients))
        errors = [(c.url, look.error) for c, look in zip(clients, looks, strict=True) if look.error]
        if self._guards(choice) and errors:
            for url, error in errors:
                logger.warning("No ComfyUI at %s, which was typed on the page: %s", url, error)
            # One sentence for all that can be wrong, or the page could be used to look around.
            raise ComfyUIOfflineError(f"No ComfyUI answers at {errors[0][0]}.", hint=_TYPED_HINT)
        if len(errors) == len(looks):
            error = errors[0][1]
            if isinstance(error, AuthenticationError):
                error.hint = _LOGIN_HINT
            raise error

    async def _connect(self) -> None:
        self.clients = await self._clients_of(
            self.choice, self._connection, timeout_s=self.settings.timeout_s
        )
        self.client = self.clients[0]
        opened = self.presets.opened if self.keeps_opened else None
        folders = [self.presets.presets, *([opened] if opened else [])]
        self.studio = await self._connection.enter_async_context(
            Studio(
                client=self.client,
                others=self.clients[1:],
                data_dir=self.settings.data_dir,
                limit_bytes=storage_limit(self.settings),
                preset_folders=folders,
            )
        )
        # Reading some forty presets takes a second the first time.
        listed = await asyncio.to_thread(list_presets, folders=folders)
        self.catalog = PresetCatalog(
            self.client, listed, others=self.clients[1:], folders=folders, opened_folder=opened
        )
        self._checking = asyncio.create_task(self._check(), name="look at the server")

    async def _clients_of(
        self, choice: ServerChoice, opened: AsyncExitStack, *, timeout_s: float
    ) -> list[ComfyWSClient]:
        """A client for each server, closed with ``opened``."""
        return [
            await opened.enter_async_context(
                ComfyWSClient(
                    url=url,
                    timeout=timeout_s,
                    token=token_for(url, self.settings),
                    verify=self.settings.verify_tls,
                    guarded=self._guards(choice),
                )
            )
            for url in choice.urls
        ]

    def _guards(self, choice: ServerChoice) -> bool:
        """Whether the client looks at addresses before it connects (see client/transport/ssrf.py).

        Whoever starts the app may name any; a page that others reach may not.
        """
        return choice.kind == "typed" and mode_of(self.settings) is not AccessMode.LOCAL


def storage_limit(settings: Settings) -> Callable[[str], int | None]:
    """How much of results an owner may keep, in bytes."""
    shared = mode_of(settings) is not AccessMode.LOCAL

    def limit(user_id: str) -> int | None:
        if settings.storage_gb is not None:
            return int(settings.storage_gb * 1e9)
        return _VISITOR_BYTES if shared and user_id != LOCAL_USER_ID else None

    return limit
