"""The stores of an app, which share a database, and how they are opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ..storage.database import Database
from ..storage.file_stores.file_store import FileStore, FolderFileStore
from ..storage.job_store import JobStore
from ..storage.sqlite_job_store import SqliteJobStore
from ..storage.sqlite_webhook_store import SqliteWebhookStore
from ..storage.webhook_store import WebhookStore
from .library_store import LibraryStore
from .sqlite_library_store import SqliteLibraryStore


class Stores(NamedTuple):
    """The stores in one database, and the files of their results."""

    jobs: JobStore
    library: LibraryStore
    webhooks: WebhookStore
    files: FileStore


OpenStores: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Stores]]
"""Opens the stores for a data folder.

Raises StorageError if the folder or the database cannot be used, or if another app uses it.
"""


@asynccontextmanager
async def open_sqlite_stores(
    folder: Path, *, files: FileStore | None = None
) -> AsyncIterator[Stores]:
    """Open the stores in the SQLite database of a data folder, which has the files by default."""
    files = files or FolderFileStore(folder)
    database = Database(folder)
    await database.open()
    try:
        yield Stores(
            SqliteJobStore(database, files.folder),
            SqliteLibraryStore(database, files.folder),
            SqliteWebhookStore(database),
            files,
        )
    finally:
        await database.close()
