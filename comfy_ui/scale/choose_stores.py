"""The choice of the database by the settings."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Final

from ..errors import StorageError
from ..features import require_feature
from ..library.stores import OpenStores, Stores, open_sqlite_stores
from ..private_files import Documents, FileDocuments, make_folder
from ..settings import Settings
from ..storage.database import DATABASE_FILE, lock_folder
from ..storage.file_stores.file_store import FolderFileStore

_CONNECTIONS: Final = 4  # of an app that is one of many


def choose_stores(settings: Settings, *, wait_s: float = 10.0) -> OpenStores:
    """Return what opens the stores: of PostgreSQL if the setting ``database`` is set.

    Apps whose jobs are run by external workers share the database and the data folder. An app that
    runs jobs itself has both for itself.

    ``wait_s``: how long a call waits while PostgreSQL does not answer.

    Raises:
        MissingFeatureError: the extra [scale] is not installed.
    """
    if settings.database is None:
        return open_sqlite_stores
    require_feature("scale")
    url, alone = settings.database.get_secret_value(), settings.workers == "app"
    return partial(_open_postgres_stores, url, wait_s, alone)


def open_documents(settings: Settings) -> Documents:
    """Open the private documents: in PostgreSQL if the setting ``database`` is set.

    Those that only the data folder has are moved there first.

    Raises:
        MissingFeatureError: the extra [scale] is not installed.
        StorageError: the database cannot be used.
    """
    files = FileDocuments(settings.data_dir)
    if settings.database is None:
        return files
    require_feature("scale")
    from .postgres_documents import PostgresDocuments

    documents = PostgresDocuments(settings.database.get_secret_value())
    documents.open()
    documents.adopt(settings.data_dir)
    return documents


@asynccontextmanager
async def _open_postgres_stores(
    url: str, wait_s: float, alone: bool, folder: Path
) -> AsyncIterator[Stores]:
    """Open the stores in a PostgreSQL database; ``alone``: no other app may use it meanwhile."""
    from .postgres_database import PostgresDatabase
    from .postgres_job_store import PostgresJobStore
    from .postgres_library_store import PostgresLibraryStore
    from .postgres_webhook_store import PostgresWebhookStore

    try:
        make_folder(folder)
        lock = lock_folder(folder, shared=not alone)  # the files of results are there
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"The folder {folder} cannot be used: {error}.") from error
    with closing(lock):
        if (folder / DATABASE_FILE).exists():
            raise StorageError(
                f"The data folder has a SQLite database, {DATABASE_FILE}, and COMFY_UI_DATABASE"
                " names another one.",
                hint="Copy its jobs and results there: comfy-ui db import. Or choose another"
                " folder with --data-dir.",
            )
        database = PostgresDatabase(
            url,
            exclusive=alone,
            one_of_many=not alone,
            connections=_CONNECTIONS,
            wait_s=wait_s,
            name="stores",
        )
        await database.open()
        try:
            files = FolderFileStore(folder)
            yield Stores(
                PostgresJobStore(database, files.folder),
                PostgresLibraryStore(database, files.folder),
                PostgresWebhookStore(database),
                files,
            )
        finally:
            await database.close()
