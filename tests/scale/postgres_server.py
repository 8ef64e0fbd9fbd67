"""A throw-away PostgreSQL server for tests, and an empty database for each test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pytest

from comfy_ui.scale import postgres_migrations
from comfy_ui.scale.postgres_database import PostgresDatabase
from comfy_ui.scale.postgres_migrations import read_migrations

DEBIAN_USER = "postgres"  # the server refuses to run as root
TABLES = re.findall(
    r"CREATE (?:UNLOGGED )?TABLE (\w+)", "".join(m.script for m in read_migrations())
)
FAST = "-c fsync=off -c full_page_writes=off"  # a commit survives the server, not the machine

_running: list[PostgresServer] = []


class PostgresServer:
    """A server that listens on a Unix socket in its folder only."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self.known: set[str] = set()
        self.clean: list[str] = []
        """Databases with the app's tables, which are empty."""

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} {FAST}"
        log = self._folder / "log"
        self.run("pg_ctl", "-w", "-t", "60", "-D", self.data, "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "-w", "-D", self.data, "-m", mode, "stop")

    def pids(self) -> list[int]:
        """Return the processes of the server."""
        pid = (self.data / "postmaster.pid").read_text().splitlines()[0]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(pid), *map(int, children)]

    @property
    def data(self) -> Path:
        return self._folder / "data"

    def url(self, database: str) -> str:
        return f"postgresql://{DEBIAN_USER}@/{database}?host={self._folder}"

    def run(self, program: str, *arguments: object) -> None:
        prefix = ["runuser", "-u", DEBIAN_USER, "--"] if os.geteuid() == 0 else []
        command = [*prefix, str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open as long as the server runs
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"

    async def execute(self, statement: str, database: str = "postgres") -> None:
        connection = await psycopg.AsyncConnection.connect(self.url(database), autocommit=True)
        async with connection:
            await connection.execute(statement)


def _programs() -> Path | None:
    if on_path := shutil.which("initdb"):
        return Path(on_path).parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a new server. Skips the test on a machine without PostgreSQL, but never in CI."""
    programs = _programs()
    if programs is None:
        assert os.environ.get("CI") != "true", "CI installs PostgreSQL"
        pytest.skip("PostgreSQL is not installed")
    # pytest's own folders can be entered by their user only.
    folder = Path(tempfile.mkdtemp(prefix="comfy-ui-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, DEBIAN_USER)
        server = PostgresServer(programs, folder)
        no_sync = ["--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", "--auth=trust"]
        server.run("initdb", "-D", server.data, "-U", DEBIAN_USER, *no_sync)
        server.start()
        _running.append(server)
        try:
            yield server
        finally:
            _running.remove(server)
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def new_database(*, upgraded: bool = True) -> AsyncIterator[str]:
    """Yield the URL of a database with the app's empty tables, or of one without any tables.

    The test, or the fixture that calls this, needs the fixture ``postgres``.
    """
    server = _running[0]
    name = server.clean.pop() if upgraded and server.clean else f"test_{uuid.uuid4().hex}"
    if name not in server.known:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        server.known.add(name)
        if upgraded:
            await postgres_migrations.upgrade(server.url(name))
    yield server.url(name)
    if upgraded:  # faster than a new database for each test
        deletions = "; ".join(f"DELETE FROM {table}" for table in TABLES)
        # Without triggers. TRUNCATE takes longer: it makes a new file for each table and index.
        await server.execute(f"SET session_replication_role = replica; {deletions}", name)
        server.clean.append(name)


@asynccontextmanager
async def new_app_database(*, exclusive: bool = False) -> AsyncIterator[PostgresDatabase]:
    """Open the connections of an app to a new database."""
    async with new_database() as url:
        database = PostgresDatabase(url, exclusive=exclusive, connections=4)
        await database.open()
        try:
            yield database
        finally:
            await database.close()
