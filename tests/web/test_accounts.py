from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.private_files import FileDocuments
from comfy_ui.web.auth import accounts as module, login_sessions
from comfy_ui.web.auth.accounts import Accounts, Role, TooManyTriesError
from comfy_ui.web.auth.login_limits import Caller
from comfy_ui.web.auth.login_sessions import LoginSessions

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "accounts.json"


async def test_accounts_add_stores_a_hash_that_another_instance_verifies(file: Path) -> None:
    Accounts(FileDocuments(file.parent)).add("anna", "correct horse", Role.ADMIN)
    assert "correct horse" not in file.read_text()  # noqa: ASYNC240
    assert file.stat().st_mode & 0o077 == 0  # noqa: ASYNC240
    other = Accounts(FileDocuments(file.parent))
    assert other.role("anna") is Role.ADMIN
    assert await other.verify("anna", "correct horse")
    assert not await other.verify("anna", "correct horsf")
    assert not await other.verify("bob", "correct horse")


def test_accounts_readable_by_others_become_private(file: Path) -> None:
    Accounts(FileDocuments(file.parent)).add("anna", "correct horse", Role.USER)
    file.chmod(0o644)
    assert Accounts(FileDocuments(file.parent)).names() == {"anna": Role.USER}
    assert file.stat().st_mode & 0o777 == 0o600


def test_accounts_full_disk_leaves_the_old_file_only(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Accounts(FileDocuments(file.parent)).add("anna", "correct horse", Role.USER)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        Accounts(FileDocuments(file.parent)).add("bob", "battery staple", Role.USER)
    assert Accounts(FileDocuments(file.parent)).names() == {"anna": Role.USER}
    assert {path.name for path in file.parent.iterdir()} == {file.name, "documents.lock"}


async def test_accounts_removed_by_another_instance_no_longer_verifies(file: Path) -> None:
    running = Accounts(FileDocuments(file.parent))
    running.add("anna", "correct horse", Role.USER)
    assert await running.verify_often("anna", "correct horse")
    assert Accounts(FileDocuments(file.parent)).remove("anna")
    assert running.role("anna") is Role.ANONYMOUS
    assert not await running.verify_often("anna", "correct horse")
    assert not running
    assert not Accounts(FileDocuments(file.parent)).remove("anna")


async def test_accounts_changed_password_invalidates_cached_verification(file: Path) -> None:
    accounts = Accounts(FileDocuments(file.parent))
    accounts.add("anna", "correct horse", Role.USER)
    assert await accounts.verify_often("anna", "correct horse")
    Accounts(FileDocuments(file.parent)).add("anna", "battery staple", Role.USER)
    assert not await accounts.verify_often("anna", "correct horse")
    assert await accounts.verify_often("anna", "battery staple")


async def test_verify_often_same_password_is_hashed_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts()
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    assert await accounts.verify_often("anna", "secret")
    monkeypatch.setattr(module, "_key", lambda *_: pytest.fail("hashed again"))
    assert await accounts.verify_often("anna", "secret")


async def test_verify_after_five_wrong_passwords_refuses_the_right_one_too() -> None:
    now = 0.0
    accounts = Accounts(now=lambda: now)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    for _ in range(5):
        assert not await accounts.verify("anna", "wrong")
    with pytest.raises(TooManyTriesError, match="Too many wrong passwords"):
        await accounts.verify("anna", "secret")
    now = 61.0
    assert await accounts.verify("anna", "secret")


async def answers_of(accounts: Accounts, name: str, count: int, caller: Caller) -> list[object]:
    """Return the answers to ``count`` wrong passwords in parallel."""
    checks = (accounts.verify_often(name, f"wrong {n}", caller) for n in range(count))
    return await asyncio.gather(*checks, return_exceptions=True)


async def test_verify_wrong_passwords_in_parallel_are_limited_as_in_a_row() -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    answers = await answers_of(accounts, "anna", 100, Caller("10.0.0.1"))
    assert answers.count(False) == 5
    assert {str(answer) for answer in answers[5:]} == {
        "Too many wrong passwords. Try again in 1 s."
    }


async def test_verify_locked_name_answers_alike_whether_it_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    scrypt, hashes = module.hashlib.scrypt, []

    def counted(*arguments: Any, **options: Any) -> bytes:
        hashes.append(options)
        return scrypt(*arguments, **options)

    monkeypatch.setattr(module.hashlib, "scrypt", counted)
    seen = []
    for name in ("anna", "nobody"):
        answers = await answers_of(accounts, name, 12, Caller("10.0.0.1"))
        seen.append(([str(answer) for answer in answers], len(hashes)))
        hashes.clear()
    known, unknown = seen
    assert known == unknown, "texts, and hashes, which take all of the time"
    assert known[1] == 5


async def test_verify_one_address_on_many_names_is_limited() -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    caller = Caller("2001:db8::1")
    for number in range(30):
        assert not await accounts.verify(f"name{number}", "x", caller)
    for address in ("2001:db8::1", "2001:db8::2"):  # one network
        with pytest.raises(TooManyTriesError):
            await accounts.verify("anna", "x", Caller(address))
    assert await accounts.verify("anna", "secret", Caller("2001:db8:0:1::1"))


async def test_verify_many_addresses_on_one_name_are_limited_but_not_known_devices() -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    for number in range(100):
        assert not await accounts.verify("anna", "x", Caller(f"10.0.0.{number}"))
    with pytest.raises(TooManyTriesError):
        await accounts.verify("anna", "secret", Caller("10.0.1.1"))
    assert await accounts.verify("anna", "secret", Caller("10.0.1.1", device="d"))


async def test_verify_strangers_do_not_keep_out_other_addresses_or_known_devices() -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    await answers_of(accounts, "anna", 20, Caller("10.0.0.1"))
    assert await accounts.verify("anna", "secret", Caller("10.0.0.2"))
    assert await accounts.verify("anna", "secret", Caller("10.0.0.1", device="d"))
    with pytest.raises(TooManyTriesError):
        await accounts.verify("anna", "secret", Caller("10.0.0.1"))


async def test_verify_full_queue_is_refused_at_once_and_leaves_room_for_known_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = Accounts()
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    go = threading.Event()
    right = module._key
    monkeypatch.setattr(module, "_key", lambda p, salt: (go.wait(10), right(p, salt))[1])
    many = [
        asyncio.create_task(accounts.verify("anna", "x", Caller(f"10.0.0.{n}"))) for n in range(16)
    ]
    await asyncio.sleep(0)
    with pytest.raises(TooManyTriesError, match="Too many logins at once"):
        await accounts.verify("anna", "secret", Caller("10.0.1.1"))
    device = asyncio.create_task(accounts.verify("anna", "secret", Caller("10.0.1.1", device="d")))
    await asyncio.to_thread(lambda: None)  # other work is not kept waiting
    go.set()
    assert not any(await asyncio.gather(*many))
    assert await device


async def test_verify_often_right_password_in_parallel_is_one_attempt() -> None:
    accounts = Accounts()
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    checks = (accounts.verify_often("anna", "secret", Caller("10.0.0.1")) for _ in range(100))
    assert all(await asyncio.gather(*checks))


async def test_verify_often_after_wrong_passwords_refuses_the_remembered_one() -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    assert await accounts.verify_often("anna", "secret", Caller("10.0.0.2"))
    await answers_of(accounts, "anna", 20, Caller("10.0.0.1"))
    with pytest.raises(TooManyTriesError):  # otherwise it could be guessed without limit
        await accounts.verify_often("anna", "secret", Caller("10.0.0.1"))
    assert await accounts.verify_often("anna", "secret", Caller("10.0.0.2"))


async def test_verify_password_changed_meanwhile_is_wrong(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts(FileDocuments(file.parent))
    accounts.add("anna", "correct horse", Role.USER)
    started, go = threading.Event(), threading.Event()
    right = module._key

    def slow(password: str, salt: bytes) -> bytes:
        started.set()
        go.wait(10)
        return right(password, salt)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_key", slow)
        check = asyncio.create_task(accounts.verify("anna", "correct horse"))
        await asyncio.to_thread(started.wait, 10)
    Accounts(FileDocuments(file.parent)).add("anna", "battery staple", Role.USER)
    go.set()
    assert not await check


def test_login_sessions_end_with_their_password_or_account(file: Path) -> None:
    accounts = Accounts(FileDocuments(file.parent))
    accounts.add("anna", "correct horse", Role.USER)
    accounts.add("bob", "battery staple", Role.USER)
    sessions = LoginSessions(accounts)
    sessions["a"], sessions["b"] = "anna", "bob"
    assert (sessions.get("a"), sessions.get("b")) == ("anna", "bob")
    Accounts(FileDocuments(file.parent)).add("anna", "new password", Role.USER)
    assert (sessions.get("a"), "a" in sessions, sessions.get("b")) == (None, False, "bob")
    Accounts(FileDocuments(file.parent)).remove("bob")
    assert sessions.get("b") is None
    Accounts(FileDocuments(file.parent)).add(
        "bob", "another bob", Role.ADMIN
    )  # the name is given to another user
    assert sessions.get("b") is None
    sessions["c"] = "anna"
    assert sessions.get("c") == "anna"
    del sessions["c"]
    assert sessions.get("c") is None


def test_login_sessions_of_one_name_do_not_end_those_of_another(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_sessions, "_MAX_SESSIONS", 3)
    accounts = Accounts(FileDocuments(file.parent))
    accounts.add("anna", "correct horse", Role.USER)
    accounts.add("vera", "battery staple", Role.USER)
    sessions = LoginSessions(accounts)
    sessions["a"] = "anna"
    for number in range(9):
        sessions[f"v{number}"] = "vera"
    assert sorted(sessions) == ["a", "v7", "v8"]


async def test_verify_unknown_name_hashes_as_often_as_an_existing_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = Accounts()
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    hashed: list[str] = []
    right = module._key
    monkeypatch.setattr(module, "_key", lambda p, salt: hashed.append(p) or right(p, salt))
    await accounts.verify("anna", "zero")  # the first call creates the dummy hash
    hashed.clear()
    await accounts.verify("anna", "one")
    await accounts.verify("unknown", "two")
    assert hashed == ["one", "two"]


@pytest.mark.parametrize("name", ["", "a:b", " anna", "x" * 65, "a\nb", "guest", "admin"])
def test_accounts_add_invalid_name_is_refused(file: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        Accounts(FileDocuments(file.parent)).add(name, "correct horse", Role.USER)
    assert not file.exists()


def test_accounts_add_short_password_is_refused(file: Path) -> None:
    with pytest.raises(ValidationError, match="8 characters"):
        Accounts(FileDocuments(file.parent)).add("anna", "short", Role.USER)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"anna": {}}', json.dumps({"a": {"role": "king", "salt": "", "key": ""}})]
)
def test_accounts_role_with_invalid_file_raises_storage_error(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(StorageError, match="cannot be read"):
        Accounts(FileDocuments(file.parent)).role("anna")
