"""The services that the tabs and routes use."""

from __future__ import annotations

from dataclasses import dataclass

from ..admin_settings.changed_settings import ChangedSettings
from ..client import ComfyWSClient
from ..engine.engine_manager import EngineManager
from ..engine.idle_stop import IdleStop
from ..engine.packs.pack_source import known_packs
from ..engine.setup_task import SetupTask
from ..jobs.job_service import JobService
from ..library.library_service import LibraryService
from ..library.saved_workflows import SavedWorkflows
from ..models.download import ModelSources
from ..models.download_queue import DownloadQueue
from ..models.model_facts_reader import ModelFactsReader
from ..private_files import Documents, FileDocuments
from ..settings import Settings
from ..worker_processes.process_pool import LIBRARY_WORKERS, WORKERS
from .admin.saved_servers import SavedServers
from .open_workflows import OpenWorkflows
from .preset_catalog import PresetCatalog
from .server_choice import ServerChoice
from .server_connection import ServerConnection

__all__ = ["Services"]


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one running page.

    The properties read what a reconnect replaces from :attr:`connection`, so do not hold on to
    their values across an ``await``.
    """

    settings: Settings
    connection: ServerConnection
    saved_workflows: SavedWorkflows
    open_workflows: OpenWorkflows
    downloads: DownloadQueue
    model_facts: ModelFactsReader
    setup: SetupTask
    """The setup of a managed ComfyUI."""
    idle_stop: IdleStop
    """Stops the managed ComfyUI after idling."""
    documents: Documents
    """Logins, keys and limits."""
    changed_settings: ChangedSettings
    saved_servers: SavedServers

    @classmethod
    def create(
        cls,
        settings: Settings,
        choice: ServerChoice,
        documents: Documents | None = None,
        changed: ChangedSettings | None = None,
    ) -> Services:
        """Create the services for ``choice`` without connecting or starting anything.

        ``documents``: by default those of the data folder. ``changed``: what admins have changed of
        ``settings``, read already.
        """
        documents = documents or FileDocuments(settings.data_dir)
        saved_servers = SavedServers(documents)
        list_saved = tuple if settings.demo else saved_servers.listed
        choice = choice.with_saved(list_saved())
        saved_workflows = SavedWorkflows(settings.data_dir)
        manager = EngineManager(settings)
        connection = ServerConnection(
            settings,
            choice,
            saved_workflows,
            manager.start,
            documents,
            managed_absence=lambda: manager.supervisor.absence,
            list_saved=list_saved,
        )
        setup = SetupTask(manager, connection.use_managed)
        return cls(
            settings=settings,
            connection=connection,
            saved_workflows=saved_workflows,
            open_workflows=OpenWorkflows(connection, saved_workflows),
            downloads=DownloadQueue(ModelSources.of(settings), arrived=connection.refresh),
            model_facts=ModelFactsReader(
                lambda: connection.client, lambda: connection.model_folders
            ),
            setup=setup,
            idle_stop=IdleStop(
                setup,
                idle_min=settings.engine_idle_min,
                in_use=lambda: connection.choice.kind == "managed",
                has_jobs=connection.has_jobs,
                is_busy=connection.is_busy,
                connect=connection.use_managed,
            ),
            documents=documents,
            saved_servers=saved_servers,
            changed_settings=changed or ChangedSettings(settings, documents),
        )

    @property
    def jobs(self) -> JobService:
        """The jobs of all users."""
        return self.connection.jobs

    @property
    def library(self) -> LibraryService:
        """The results and uploads of all users."""
        return self.connection.jobs.library

    @property
    def client(self) -> ComfyWSClient:
        """The client of the first server."""
        return self.connection.client

    @property
    def catalog(self) -> PresetCatalog:
        """The presets and whether each can run."""
        return self.connection.catalog

    @property
    def addable_packs(self) -> frozenset[str]:
        """The names of the node packs that an admin can add to the server: to the managed one."""
        if self.connection.choice.kind != "managed":
            return frozenset()
        return frozenset(pack.name for pack in known_packs())

    async def aclose(self) -> None:
        """Stop the downloads and worker processes, and close the connection."""
        WORKERS.close()
        await self.downloads.aclose()
        await self.model_facts.aclose()
        await self.connection.aclose()
        await self.setup.aclose()
        self.documents.close()
        LIBRARY_WORKERS.close()
