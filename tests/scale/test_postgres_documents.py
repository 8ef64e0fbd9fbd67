"""Private documents in PostgreSQL: what the contract of the documents does not cover."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import StorageError
from comfy_ui.scale.choose_stores import open_documents
from comfy_ui.scale.postgres_documents import PostgresDocuments
from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import AccessMode, load_secret
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.auth.login_limits import Caller
from comfy_ui.web.auth.logins import logins_of
from comfy_ui.web.auth.remembered_logins import RememberedLogins

from .postgres_server import PostgresServer, new_database


@pytest.fixture
async def url(postgres: Any) -> AsyncIterator[str]:
    async with new_database() as url:
        yield url


def opened(url: str, folder: Path, **options: Any) -> tuple[PostgresDocuments, Settings]:
    settings = Settings(data_dir=folder, database=url, **options)
    documents = open_documents(settings)
    assert isinstance(documents, PostgresDocuments)
    return documents, settings


def until(condition: Callable[[], bool]) -> None:
    """Wait until a change has come to another app."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_documents_of_a_data_folder_move_to_the_database_once(
    url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "one"
    files = open_documents(Settings(data_dir=folder))
    Accounts(files).add("anna", "correct horse", Role.ADMIN)
    secret = load_secret(files)
    documents, _ = opened(url, folder)
    assert Accounts(documents).names() == {"anna": Role.ADMIN}
    assert load_secret(documents) == secret
    assert not (folder / "accounts.json").exists()
    assert (folder / "accounts.imported.json").exists()
    # The documents of another folder do not replace those of the database.
    other = tmp_path / "other"
    Accounts(open_documents(Settings(data_dir=other))).add("eve", "correct horse", Role.ADMIN)
    second, _ = opened(url, other)
    assert Accounts(second).names() == {"anna": Role.ADMIN}
    assert (other / "accounts.json").exists()
    documents.close()
    second.close()


async def test_login_of_the_settings_is_remembered_by_all_apps(url: str, tmp_path: Path) -> None:
    logins = []
    for password in ("a password", "a password", "another password"):
        documents, settings = opened(url, tmp_path, auth=f"admin:{password}")
        accounts = logins_of(settings, AccessMode.SHARED, documents, say=print)
        logins.append((documents, accounts, RememberedLogins(accounts, documents)))
    token = logins[0][2].remember("admin")
    assert token is not None
    await logins[1][2].arrives(token)
    assert logins[1][2].name(token) == "admin"
    assert logins[2][2].name(token) is None
    assert await logins[1][1].verify("admin", "a password", Caller())
    logins[1][2].forget(token)
    until(lambda: logins[0][2].name(token) is None)
    for documents, _, _ in logins:
        documents.close()


async def test_refresh_reads_what_no_notification_has_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, _ = opened(url, tmp_path)
    monkeypatch.setattr(PostgresDocuments, "_follow", lambda _: None)
    deaf, _ = opened(url, tmp_path)
    documents.update("accounts.json", lambda _: b"1")
    assert deaf.read("accounts.json") is None
    deaf.refresh()
    document = deaf.read("accounts.json")
    assert document is not None
    assert document.content == b"1"
    documents.close()
    deaf.close()


async def test_documents_can_be_read_while_the_database_is_away_and_follow_it_again(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    documents, _ = opened(url, tmp_path)
    documents.update("accounts.json", lambda _: b"1")
    postgres.stop()
    try:
        document = documents.read("accounts.json")
        assert document is not None
        assert document.content == b"1"
        with pytest.raises(StorageError, match="database"):
            documents.update("accounts.json", lambda _: b"2")
        with pytest.raises(StorageError, match="database"):
            documents.refresh()
    finally:
        postgres.start()

    def changed() -> bool:
        try:
            documents.update("accounts.json", lambda old: (old or b"") + b"3")
        except StorageError:
            return False
        return True

    until(changed)
    document = documents.read("accounts.json")
    assert document is not None
    assert document.content == b"13"
    documents.close()


async def test_documents_without_their_table_ask_for_an_upgrade(postgres: Any) -> None:
    async with new_database(upgraded=False) as url:
        with pytest.raises(StorageError) as error:
            PostgresDocuments(url).open()
    assert error.value.hint == "Run: comfy-ui db upgrade"
