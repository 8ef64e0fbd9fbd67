"""Private documents in a PostgreSQL database, which several apps and commands share.

Each request of a page reads some of them, so each app has a copy of all. A thread keeps it up to
date: a notification wakes it, and it also looks every second, because notifications can be lost. So
a change by one app counts for the others within milliseconds, and within a second at the latest.
While the database does not answer, the copy is used as it is, and nothing can be changed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import psycopg
from psycopg.rows import TupleRow

from ..errors import StorageError
from ..private_files import DOCUMENTS, Document
from .postgres_database import CONNECT
from .postgres_migrations import reason_of

logger = logging.getLogger(__name__)

Connection: TypeAlias = psycopg.Connection[TupleRow]

_LOCK: Final = 0x636F6D66_75690003  # of a change of any document
_LOOK_EVERY_S: Final = 1.0
_RECONNECT_S: Final = 1.0
_WAIT_MS: Final = 5_000  # a change may wait for that of another app
_IMPORTED: Final = "imported"
_WRITE: Final = (
    "INSERT INTO documents (name, content, version)"
    " VALUES (%s, %s, (SELECT coalesce(max(version), 0) + 1 FROM documents))"
    " ON CONFLICT (name) DO UPDATE SET content = excluded.content, version = excluded.version"
)


class PostgresDocuments:
    """The :class:`~comfy_ui.private_files.Documents` of a database. Call :meth:`open` first."""

    shared = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._copy: dict[str, tuple[int, Document]] = {}
        self._version = 0
        self._refreshing = threading.Lock()
        self._closed = threading.Event()
        self._answers = threading.Event()  # whether the database answered last time
        self._thread = threading.Thread(target=self._follow, name="documents", daemon=True)

    def open(self) -> None:
        """Read all documents, and follow their changes from then on.

        Raises:
            StorageError: the database does not answer or refuses, or its schema is too old.
        """
        try:
            with self._connect() as connection:
                self._refresh(connection)
        except psycopg.errors.UndefinedTable as error:
            raise StorageError(
                "The schema of the database is too old for this version of the app.",
                hint="Run: comfy-ui db upgrade",
            ) from error
        except psycopg.Error as error:
            raise StorageError(
                f"The database cannot be used: {reason_of(error)}",
                hint="Check COMFY_UI_DATABASE, and that the server runs.",
            ) from error
        self._answers.set()
        self._thread.start()

    def read(self, name: str) -> Document | None:
        """Return a document from the copy of this app."""
        version_and_document = self._copy.get(name)
        return version_and_document[1] if version_and_document is not None else None

    def update(self, name: str, change: Callable[[bytes | None], bytes]) -> None:
        """Change a document, see :meth:`~comfy_ui.private_files.Documents.update`."""
        with self._session() as connection:
            with connection.transaction():
                # Changes come one after the other, so versions are committed in order.
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                row = connection.execute(
                    "SELECT content FROM documents WHERE name = %s", (name,)
                ).fetchone()
                old = row[0] if row is not None else None
                if (content := change(old)) != old:
                    connection.execute(_WRITE, (name, content))
                    connection.execute("NOTIFY comfy_ui_documents")
            self._refresh(connection)

    def refresh(self) -> None:
        """Read what others have written, see :meth:`~comfy_ui.private_files.Documents.refresh`."""
        with self._session() as connection:
            self._refresh(connection)

    def adopt(self, folder: Path) -> None:
        """Move the documents of a data folder that the database does not have to the database.

        Their files have other names afterwards, such as ``accounts.imported.json``.

        Raises:
            StorageError: one of them cannot be read or written.
        """
        for name in DOCUMENTS:
            path = folder / name
            if self.read(name) is not None or not path.is_file():
                continue
            try:
                content = path.read_bytes()
                self.update(name, lambda old, new=content: new if old is None else old)  # type: ignore[misc]
                document = self.read(name)
                if document is not None and document.content == content:
                    path.rename(path.with_name(f"{path.stem}.{_IMPORTED}{path.suffix}"))
                    logger.info("%s is in the database now.", name)
            except FileNotFoundError:  # another app was faster
                continue
            except OSError as error:
                raise StorageError(f"{path} cannot be read: {error.strerror}.") from error

    def place(self, name: str) -> str:
        """Return where a document is, for errors."""
        return f"the database ({name})"

    def close(self) -> None:
        """Stop following changes. May be called twice."""
        self._closed.set()
        if self._answers.is_set() and self._thread.is_alive():
            with suppress(psycopg.Error), self._connect() as connection:
                connection.execute("NOTIFY comfy_ui_documents")
            self._thread.join(2 * _LOOK_EVERY_S)

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """A connection for a moment, whose errors are StorageErrors."""
        if not self._answers.is_set():  # or each caller would block this app for a while
            raise StorageError(
                "The database does not answer.", hint="The app connects again when it does."
            )
        try:
            with self._connect() as connection:
                connection.execute(f"SET statement_timeout = {_WAIT_MS}")
                yield connection
        except psycopg.Error as error:
            raise StorageError(
                f"The database failed: {reason_of(error)}",
                hint="The log of the PostgreSQL server says more.",
            ) from error

    def _connect(self) -> Connection:
        return psycopg.connect(self._url, autocommit=True, **{**CONNECT, "connect_timeout": 2})

    def _follow(self) -> None:
        """Keep the copy up to date until the documents are closed."""
        while not self._closed.is_set():
            try:
                with self._connect() as connection:
                    connection.execute("LISTEN comfy_ui_documents")
                    while not self._closed.is_set():
                        self._refresh(connection)
                        self._answers.set()
                        for _ in connection.notifies(timeout=_LOOK_EVERY_S, stop_after=1):
                            pass
            except psycopg.Error as error:
                if self._answers.is_set():
                    logger.warning("The database does not answer: %s", reason_of(error))
                self._answers.clear()
                self._closed.wait(_RECONNECT_S)

    def _refresh(self, connection: Connection) -> None:
        """Read what has changed since the last time."""
        with self._refreshing:
            rows = connection.execute(
                "SELECT name, content, version FROM documents WHERE version > %s ORDER BY version",
                (self._version,),
            ).fetchall()
            for name, content, version in rows:
                self._copy[name] = version, Document(bytes(content))
                self._version = version
