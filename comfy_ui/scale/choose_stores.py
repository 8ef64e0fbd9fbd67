"""The choice of the database and of the file store by the settings."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import StorageError
from ..features import require_feature
from ..library.stores import OpenStores, Stores, open_sqlite_stores
from ..private_files import Documents, FileDocuments, make_folder
from ..settings import Settings
from ..storage.database import DATABASE_FILE, lock_folder
from ..storage.file_stores.choose_file_store import choose_file_store

if TYPE_CHECKING:
    from .postgres_limit_counters import PostgresLimitCounters
    from .shared_folders.postgres_folders import PostgresFolders

_CONNECTIONS: Final = 4  # of an app that is one of many


def choose_stores(settings: Settings, *, wait_s: float = 10.0) -> OpenStores:
    """Return what opens the stores: of PostgreSQL if the setting ``database`` is set.

    Apps whose jobs are run by external workers share the database and the data folder. An app that
    runs jobs itself has both for itself.

    ``wait_s``: how long a call waits while PostgreSQL does not answer.

    Raises:
        MissingFeatureError: the extra [scale] or [s3] is not installed.
    """
    if (settings.files or "").startswith("s3://"):
        require_feature("s3")
    if settings.database is None:
        return partial(_open_sqlite_stores, settings)
    require_feature("scale")
    url, alone = settings.database.get_secret_value(), settings.workers == "app"
    return partial(_open_postgres_stores, settings, url, wait_s, alone)


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


def choose_limit_counters(settings: Settings) -> PostgresLimitCounters | None:
    """Return the counters of rate limits that several apps share; None for an app on its own.

    Raises:
        MissingFeatureError: the extra [scale] is not installed.
    """
    if settings.database is None or settings.workers == "app":
        return None
    require_feature("scale")
    from .postgres_limit_counters import PostgresLimitCounters

    return PostgresLimitCounters(settings.database.get_secret_value())


def choose_shared_folders(settings: Settings) -> PostgresFolders | None:
    """Return what keeps presets, styles and wildcards equal in all apps; None without a database.

    Raises:
        MissingFeatureError: the extra [scale] is not installed.
    """
    if settings.database is None:
        return None
    require_feature("scale")
    from .shared_folders.postgres_folders import PostgresFolders

    return PostgresFolders(settings.database.get_secret_value(), settings.data_dir)


def _open_sqlite_stores(settings: Settings, folder: Path) -> AbstractAsyncContextManager[Stores]:
    return open_sqlite_stores(folder, files=choose_file_store(settings, folder))


@asynccontextmanager
async def _open_postgres_stores(
    settings: Settings, url: str, wait_s: float, alone: bool, folder: Path
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
            files = choose_file_store(settings, folder, shared=not alone)
            yield Stores(
                PostgresJobStore(database, files.folder),
                PostgresLibraryStore(database, files.folder),
                PostgresWebhookStore(database),
                files,
            )
        finally:
            await database.close()
