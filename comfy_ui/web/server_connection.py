"""The connection to ComfyUI: opened at start, replaced when an admin picks another server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress
from dataclasses import replace
from typing import Any, Final

from ..admin_settings.storage_limits import StorageLimits
from ..client import ComfyWSClient
from ..client.server_check import ServerCheck
from ..client.transport.environment import partner_key_for, token_for
from ..errors import (
    AuthenticationError,
    ComfyHeadlessError,
    ComfyUIOfflineError,
    ValidationError,
)
from ..jobs.job_service import JobService, open_jobs
from ..jobs.workers.server import Server
from ..library.saved_workflows import SavedWorkflows
from ..logging import hide_secret
from ..models.model_folders import ModelFolders, find_model_folders
from ..private_files import Documents, FileDocuments
from ..scale.choose_queue import choose_queue
from ..scale.choose_stores import choose_stores
from ..settings import Settings
from ..storage.records import Absence, Job, JobStatus, ServerStatus, Snapshot
from ..storage.uncancellable import uncancellable
from ..workflow.presets.preset_store import list_presets
from .admin.saved_servers import SavedServer
from .auth.access import AccessMode, mode_of
from .import_task import ImportTask
from .preset_catalog import PresetCatalog
from .server_choice import ServerChoice, demo_speed, typed

__all__ = ["ServerConnection"]

logger = logging.getLogger(__name__)

_FIRST_CHECK_S: Final = 4.0
_ONLINE_CHECK_S: Final = 1.0
_ONLINE_AGE_S: Final = 1.0
_RECONNECT_WAIT_S: Final = 10.0
_TYPED_TIMEOUT_S: Final = 30.0  # for an address entered on the page, while an admin waits
_FINISH_JOBS_S: Final = 300.0  # for jobs of the demo engine, which draws in seconds
_LOGIN_HINT: Final = "Check the token, or write http://USER:PASSWORD@HOST:PORT as the address."
_OFFLINE_HINT: Final = "Check the address, and that ComfyUI listens there."
_TYPED_HINT: Final = (
    f"{_OFFLINE_HINT} If it requires a login, enter its token or write "
    "http://USER:PASSWORD@HOST:PORT. Link-local and metadata addresses are never tried from here."
)


class ServerConnection:
    """The servers in use, with everything that is replaced on a reconnect.

    Call :meth:`start_engine` first, then :meth:`open` in the event loop that serves the page.
    """

    jobs: JobService
    client: ComfyWSClient
    """The first server. Its saved workflows and templates are offered on the page."""
    clients: list[ComfyWSClient]
    catalog: PresetCatalog

    def __init__(
        self,
        settings: Settings,
        choice: ServerChoice,
        saved_workflows: SavedWorkflows,
        start_managed: Callable[[], str] | None = None,
        documents: Documents | None = None,
        *,
        managed_absence: Callable[[], Absence | None] = lambda: None,
        list_saved: Callable[[], Sequence[SavedServer]] = tuple,
    ) -> None:
        self.choice = choice
        self.model_folders = ModelFolders()
        self.imports = ImportTask()
        self.end_listeners: list[Callable[[Job], None]] = []
        """Called with each job whose end this process stores, across reconnects."""
        self._settings = settings
        self.storage_limits = StorageLimits(
            settings,
            documents or FileDocuments(settings.data_dir),
            shared=mode_of(settings) is not AccessMode.LOCAL,
        )
        self._saved_workflows = saved_workflows
        self._start_managed = start_managed
        self._managed_absence = managed_absence
        self._list_saved = list_saved
        self._engine = ExitStack()
        self._resources = AsyncExitStack()
        self._reconnecting = asyncio.Lock()
        self._ready = asyncio.Event()  # cleared while the job service is being replaced
        self._ready.set()
        self._check_task: asyncio.Task[list[ServerStatus]] | None = None
        self._online_task: asyncio.Task[None] | None = None
        self._online_until = 0.0  # monotonic seconds

    @property
    def embedded(self) -> bool:
        """Whether the demo engine is in use."""
        return self.choice.kind == "embedded"

    @property
    def keeps_opened(self) -> bool:
        """Whether an opened workflow can run before it is saved as a preset.

        Only in local mode: other users can run only saved presets.
        """
        return mode_of(self._settings) is AccessMode.LOCAL

    def absence(self) -> Absence | None:
        """Why the server in use does not answer on purpose; None: it should."""
        return self._managed_absence() if self.choice.kind == "managed" else None

    def has_jobs(self) -> bool:
        """Whether a job is at a server, or is to go there; not one that waits, as when paused."""
        figures = self.jobs.figures().jobs
        return any(count for (state, _), count in figures.items() if state != JobStatus.WAITING)

    async def is_busy(self) -> bool:
        """Whether the first server has jobs of any program, or does not say."""
        try:
            queue = await self.client.queue()
        except ComfyHeadlessError:
            return True
        return bool(queue.running or queue.pending)

    def start_engine(self) -> None:
        """Start the demo engine or the managed ComfyUI if it is to be used; may take seconds.

        The demo engine runs in its own thread, so that drawing never blocks the page. It is used
        if the managed ComfyUI cannot be started.
        """
        if self.choice.kind == "managed" and self._start_managed is not None:
            try:
                self.choice = replace(self.choice, urls=(self._start_managed(),))
            except ComfyHeadlessError as error:
                logger.warning("The managed ComfyUI cannot be started: %s", error)
                self.choice = ServerChoice("embedded").with_saved(self.choice.saved)
        if self.embedded:
            self.choice = self._with_demo_engine()

    def _with_demo_engine(self) -> ServerChoice:
        """Start the demo engine; return the choice of it."""
        from ..demo import DemoServer

        engine: Any = DemoServer(speed=demo_speed(self._settings.demo_speed))
        url = self._engine.enter_context(engine.in_thread()).url
        return ServerChoice("embedded", (url,))

    def stop_engine(self) -> None:
        """Stop the demo engine."""
        self._engine.close()

    async def open(self) -> None:
        """Connect and resume unfinished jobs. Returns quickly even if the server is away or slow.

        Raises:
            StorageError: the data folder cannot be used.
            InvalidAddressError: a configured address is invalid.
        """
        await self._connect()

    async def aclose(self) -> None:
        """Close the connection. Jobs continue on the server and are resumed at the next start."""
        await self.imports.stop()
        for task in (self._check_task, self._online_task):
            if task is not None:
                task.cancel()
        await self._resources.aclose()

    async def wait_checked(self) -> None:
        """Wait for the running server check, for at most a few seconds."""
        if self._check_task is not None:
            await asyncio.wait([self._check_task], timeout=_FIRST_CHECK_S)

    async def check_online(self) -> None:
        """Update ``catalog.online``, within a second unless a server is slow to answer.

        Calls within a second share one check: it takes as long as all else that opens a page.
        """
        running = self._online_task is not None and not self._online_task.done()
        if self._online_task is None or not (running or time.monotonic() < self._online_until):
            self._online_task = asyncio.create_task(self._is_online(), name="is a server online")
        await asyncio.wait([self._online_task], timeout=_ONLINE_CHECK_S)

    async def _is_online(self) -> None:
        await self._statuses()
        self._online_until = time.monotonic() + _ONLINE_AGE_S

    async def refresh(self) -> list[ServerStatus]:
        """Check every server's status, nodes and models. Concurrent calls share one check."""
        if self._check_task is None or self._check_task.done():
            self._check_task = asyncio.create_task(self._check(), name="check the servers")
        return await asyncio.shield(self._check_task)

    async def _check(self) -> list[ServerStatus]:
        statuses = await self._statuses()
        own = statuses if self._settings.workers == "app" else await self.jobs.server_statuses()
        online = [status for status in own if status.online]
        if online:
            # The demo engine can draw what any version could, so no version is checked.
            versions = {s.url: None if self.embedded else s.version for s in online}
            await self.catalog.refresh(versions=versions)
            folders = await find_model_folders(self.client, self._settings.models_dir)
            self.model_folders = ModelFolders() if self.embedded else folders
        return statuses

    async def _statuses(self) -> list[ServerStatus]:
        statuses = await self.jobs.worker_statuses()
        # One that is away on purpose runs what is submitted.
        self.catalog.online = any(status.online or status.absence for status in statuses)
        return statuses

    @uncancellable
    async def reconnect(self, text: str, token: str = "") -> None:
        """Switch to the servers whose addresses ``text`` holds. On an error nothing changes.

        The saved servers stay in use. ``token`` is sent to each of them, and kept in memory only.

        Raises:
            ValidationError: external workers run the jobs, so no server is chosen here.
            InvalidAddressError: ``text`` holds something other than addresses.
            ComfyUIConnectionError: no server answers. In the shared modes a single server that
                does not answer is enough, and the reason appears only in the log.
        """
        if self._settings.workers == "external":  # other apps would keep the servers they have
            raise ValidationError(
                "Workers run the jobs, each on its own ComfyUI.",
                hint="Start a worker beside another ComfyUI: comfy-ui worker --server ADDRESS.",
            )
        async with self._reconnecting:
            choice = typed(text, token)
            if choice.token:
                hide_secret(choice.token.get_secret_value())
            await self._probe(choice)
            await self._switch(await self._with_saved(choice))
            await asyncio.to_thread(self.stop_engine)

    @uncancellable
    async def use_saved(self) -> None:
        """Use the saved servers as they are now. Unfinished jobs of removed ones run on the others.

        Nothing happens if they are in use already.

        Raises:
            StorageError: the data folder cannot be used.
        """
        async with self._reconnecting:
            if self._settings.demo:
                return
            choice = await self._with_saved(self.choice)
            if choice.saved == self.choice.saved:
                return
            if choice.kind == "embedded":
                if self.embedded:
                    return
                choice = await asyncio.to_thread(self._with_demo_engine)
            await self._switch(choice)
            if not self.embedded:
                await asyncio.to_thread(self.stop_engine)

    async def test(self, server: SavedServer) -> ServerCheck:
        """Ask a server that is not in use yet.

        Raises:
            ComfyUIConnectionError: it does not answer. In the shared modes the reason appears
                only in the log.
        """
        for secret in server.secrets:
            hide_secret(secret)
        (look,) = await self._probe(ServerChoice("typed", saved=(server,)))
        return look

    @uncancellable
    async def use_managed(self, url: str) -> None:
        """Switch to the managed ComfyUI, which answers already. Jobs of the demo engine end first.

        Waiting jobs are run by the new server. On an error nothing changes.

        Raises:
            StorageError: the data folder cannot be used.
        """
        async with self._reconnecting:
            if self.choice.urls == (url,):
                # It was started again: earlier failures do not count, and it may have new nodes.
                _forget_failures(self.client)
                await self.refresh()
                return
            if self.embedded:
                await self.jobs.finish_started(within_s=_FINISH_JOBS_S)
            await self._switch(await self._with_saved(ServerChoice("managed", (url,))))
            await asyncio.to_thread(self.stop_engine)

    @uncancellable
    async def reopen(self) -> None:
        """Connect to the same servers again, with the current settings. Jobs continue there.

        Raises:
            StorageError: the data folder cannot be used.
        """
        async with self._reconnecting:
            await self._switch(self.choice)

    async def _with_saved(self, choice: ServerChoice) -> ServerChoice:
        return choice.with_saved(await asyncio.to_thread(self._list_saved))

    async def _switch(self, choice: ServerChoice) -> None:
        """Use other servers; callers of :meth:`wait_ready` wait meanwhile."""
        self._ready.clear()
        try:
            await self._replace(choice)
        finally:
            self._ready.set()

    async def _replace(self, choice: ServerChoice) -> None:
        previous, self.choice = self.choice, choice
        self._online_until = 0.0
        await self.aclose()
        self._resources = AsyncExitStack()
        try:
            await self._connect()
        except ComfyHeadlessError:
            # A full disk, for example: go back to the previous servers.
            await self._resources.aclose()
            self._resources, self.choice = AsyncExitStack(), previous
            await self._connect()
            raise

    async def wait_ready(self) -> None:
        """Wait, for at most a few seconds, while the servers are being replaced."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECONNECT_WAIT_S):
                await self._ready.wait()

    async def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        """Follow a job as :meth:`.JobService.follow`, across reconnects, until the app stops."""
        service = None
        while service is not self.jobs:
            service = self.jobs
            async with aclosing(service.follow(job_id, user_id)) as snapshots:
                async for snapshot in snapshots:
                    yield snapshot
                    if snapshot.terminal:
                        return
            await self.wait_ready()

    async def _probe(self, choice: ServerChoice) -> list[ServerCheck]:
        """Raise the first server's error if no server answers: the address is probably wrong."""
        async with AsyncExitStack() as stack:
            timeout_s = min(_TYPED_TIMEOUT_S, self._settings.timeout_s)
            clients = await self._open_clients(choice, stack, timeout_s=timeout_s)
            for client in clients:
                _forget_failures(client)  # an admin waits for the answer that it gives now
            looks = await asyncio.gather(*(Server(client).look() for client in clients))
        errors = [(c.url, look.error) for c, look in zip(clients, looks, strict=True) if look.error]
        if self._guards(choice) and errors:
            for url, error in errors:
                logger.warning("No ComfyUI at %s, which was typed on the page: %s", url, error)
            # The same message for every error, so that the page cannot be used to scan the network.
            raise ComfyUIOfflineError(f"No ComfyUI answers at {errors[0][0]}.", hint=_TYPED_HINT)
        if len(errors) == len(looks):
            error = errors[0][1]
            if isinstance(error, AuthenticationError):
                error.hint = _LOGIN_HINT
            elif isinstance(error, ComfyUIOfflineError):
                error.hint = _OFFLINE_HINT  # its own names COMFYUI_URL
            raise error
        return looks

    async def _connect(self) -> None:
        self.clients = await self._open_clients(
            self.choice, self._resources, timeout_s=self._settings.timeout_s
        )
        self.client = self.clients[0]
        opened = self._saved_workflows.opened if self.keeps_opened else None
        tools = self._saved_workflows.tools
        own = [self._saved_workflows.presets, *([opened] if opened else [])]
        folders = [tools, *own]
        queue = choose_queue(self._settings)
        self.jobs = await self._resources.enter_async_context(
            open_jobs(
                client=self.client,
                others=self.clients[1:],
                data_dir=self._settings.data_dir,
                limit_bytes=self.storage_limits,
                preset_folders=folders,
                open_stores=choose_stores(self._settings),
                open_queue=queue.open_queue,
                external_workers=queue.external_workers,
                absence=self.absence,
            )
        )
        for listener in self.end_listeners:
            self.jobs.on_end(listener)
        # In a thread: parsing some forty presets takes a second the first time.
        presets = await asyncio.to_thread(list_presets, folders=own)
        self.catalog = PresetCatalog(
            self.client,
            presets,
            others=self.clients[1:],
            folders=folders,
            opened_folder=opened,
            tools_folder=tools,
        )
        self._check_task = asyncio.create_task(self._check(), name="check the servers")

    async def _open_clients(
        self, choice: ServerChoice, stack: AsyncExitStack, *, timeout_s: float
    ) -> list[ComfyWSClient]:
        """Open a client for each server, to be closed with ``stack``."""
        typed_token = choice.token.get_secret_value() if choice.token else None
        verify = self._settings.verify_tls
        clients = [
            ComfyWSClient(
                url=url,
                timeout=timeout_s,
                token=typed_token or token_for(url, self._settings) or "",
                api_key_comfy_org=""
                if choice.kind == "typed"
                else partner_key_for(url, self._settings) or "",
                verify=verify,
                guarded=self._guards(choice),
            )
            for url in choice.urls
        ]
        clients += [
            ComfyWSClient(
                url=server.url,
                timeout=timeout_s,
                token=server.token,
                headers=server.all_headers,
                api_key_comfy_org="",
                verify=verify,
                guarded=self._is_shared,
            )
            for server in choice.saved
        ]
        return [await stack.enter_async_context(client) for client in clients]

    def _guards(self, choice: ServerChoice) -> bool:
        """Whether the client checks each address before connecting (client/transport/ssrf.py).

        Addresses from the command line are trusted, those typed on a shared page are not.
        """
        return choice.kind == "typed" and self._is_shared

    @property
    def _is_shared(self) -> bool:
        return mode_of(self._settings) is not AccessMode.LOCAL


def _forget_failures(client: ComfyWSClient) -> None:
    """Let the next requests through, whatever failed before."""
    if client.breaker is not None:
        client.breaker.record(reached=True)
