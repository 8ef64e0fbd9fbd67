"""The contract of the private documents: in files, and in PostgreSQL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from comfy_ui.errors import StorageError
from comfy_ui.private_files import Documents, FileDocuments
from comfy_ui.private_json import PrivateJson

OpenDocuments = Callable[[], Documents]
NAME = "accounts.json"
COUNTS = 30
COUNT = """
import sys
from pathlib import Path
from comfy_ui.private_files import FileDocuments
place = sys.argv[1]
if place.startswith("postgresql:"):
    from comfy_ui.scale.postgres_documents import PostgresDocuments
    documents = PostgresDocuments(place)
    documents.open()
else:
    documents = FileDocuments(Path(place))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    documents.update("accounts.json", lambda old: b"%d" % (int(old or b"0") + 1))
documents.close()
"""


@pytest.fixture(params=["files", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where the documents are: a folder, or the address of a database."""
    if request.param == "files":
        yield str(tmp_path)
        return
    request.getfixturevalue("postgres")
    from tests.scale.postgres_server import new_database

    async with new_database() as url:
        yield url


@pytest.fixture
async def open_documents(place: str) -> AsyncIterator[OpenDocuments]:
    """Open the documents as another process would."""
    opened: list[Documents] = []

    def open_() -> Documents:
        if place.startswith("postgresql:"):
            from comfy_ui.scale.postgres_documents import PostgresDocuments

            documents: Documents = PostgresDocuments(place)
            documents.open()  # type: ignore[attr-defined]
        else:
            documents = FileDocuments(Path(place))
        opened.append(documents)
        return documents

    yield open_
    for documents in opened:
        documents.close()


def until_read(documents: Documents, content: bytes) -> None:
    """Wait until a change by another process is there."""
    deadline = time.monotonic() + 30
    while (document := documents.read(NAME)) is None or document.content != content:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_document_is_there_for_all_after_an_update(open_documents: OpenDocuments) -> None:
    one, other = open_documents(), open_documents()
    assert one.read(NAME) is None
    one.update(NAME, lambda old: b"1" if old is None else b"?")
    document = one.read(NAME)
    assert document is not None
    assert document.content == b"1"
    assert one.read(NAME) is document
    until_read(other, b"1")
    other.update(NAME, lambda old: (old or b"") + b"2")
    until_read(one, b"12")
    assert one.read(NAME) is not document
    assert open_documents().read(NAME) is not None


async def test_document_stays_if_the_change_is_refused(open_documents: OpenDocuments) -> None:
    documents = open_documents()
    documents.update(NAME, lambda _: b"1")
    document = documents.read(NAME)

    def refuse(old: bytes | None) -> bytes:
        raise StorageError(f"not {old!r}")

    with pytest.raises(StorageError, match="not b'1'"):
        documents.update(NAME, refuse)
    documents.update(NAME, lambda old: old or b"")  # no change
    assert documents.read(NAME) is document


async def test_document_loses_no_change_of_two_processes_at_once(
    place: str, open_documents: OpenDocuments
) -> None:
    await asyncio.to_thread(count_twice, place)
    document = open_documents().read(NAME)
    assert document is not None
    assert document.content == b"%d" % (2 * COUNTS)


def count_twice(place: str) -> None:
    """Have two processes count at once."""
    command = [sys.executable, "-c", COUNT, place, str(COUNTS)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0


async def test_private_json_reads_and_changes_a_value(open_documents: OpenDocuments) -> None:
    numbers = PrivateJson(open_documents(), NAME, TypeAdapter(dict[str, int]), "numbers")
    assert numbers.read() is None
    numbers.update(lambda old: {**(old or {}), "a": 1})
    numbers.update(lambda old: {**(old or {}), "b": 2})
    assert numbers.read() == {"a": 1, "b": 2}
    assert numbers.read() is numbers.read()


async def test_private_json_with_something_else_cannot_be_read_or_changed(
    open_documents: OpenDocuments,
) -> None:
    documents = open_documents()
    documents.update(NAME, lambda _: b"[")
    numbers = PrivateJson(documents, NAME, TypeAdapter(dict[str, int]), "numbers")
    with pytest.raises(StorageError, match=r"The numbers in .* cannot be read") as error:
        numbers.read()
    assert error.value.hint
    with pytest.raises(StorageError, match="cannot be read"):
        numbers.update(lambda _: {})
    assert documents.read(NAME) is not None


def test_file_documents_are_private_and_a_broken_folder_is_an_error(tmp_path: Path) -> None:
    FileDocuments(tmp_path / "new").update(NAME, lambda _: b"1")
    assert (tmp_path / "new" / NAME).stat().st_mode & 0o077 == 0
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        FileDocuments(tmp_path / "file").update(NAME, lambda _: b"1")
