from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.web.auth import accounts as module
from comfy_ui.web.auth.accounts import Accounts, Role, TooManyTriesError


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the scrypt cost, which would only slow the tests down."""
    monkeypatch.setitem(module._COST, "n", 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "accounts.json"


async def test_accounts_add_stores_a_hash_that_another_instance_verifies(file: Path) -> None:
    Accounts(file).add("anna", "correct horse", Role.ADMIN)
    assert "correct horse" not in file.read_text()  # noqa: ASYNC240
    assert file.stat().st_mode & 0o077 == 0  # noqa: ASYNC240
    other = Accounts(file)
    assert other.role("anna") is Role.ADMIN
    assert await other.verify("anna", "correct horse")
    assert not await other.verify("anna", "correct horsf")
    assert not await other.verify("bob", "correct horse")


def test_accounts_readable_by_others_become_private(file: Path) -> None:
    Accounts(file).add("anna", "correct horse", Role.USER)
    file.chmod(0o644)
    assert Accounts(file).names() == {"anna": Role.USER}
    assert file.stat().st_mode & 0o777 == 0o600


def test_accounts_full_disk_leaves_the_old_file_only(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Accounts(file).add("anna", "correct horse", Role.USER)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        Accounts(file).add("bob", "battery staple", Role.USER)
    assert Accounts(file).names() == {"anna": Role.USER}
    assert [*file.parent.iterdir()] == [file]


async def test_accounts_removed_by_another_instance_no_longer_verifies(file: Path) -> None:
    running = Accounts(file)
    running.add("anna", "correct horse", Role.USER)
    assert await running.verify_often("anna", "correct horse")
    assert Accounts(file).remove("anna")
    assert running.role("anna") is Role.ANONYMOUS
    assert not await running.verify_often("anna", "correct horse")
    assert not running
    assert not Accounts(file).remove("anna")


async def test_accounts_changed_password_invalidates_cached_verification(file: Path) -> None:
    accounts = Accounts(file)
    accounts.add("anna", "correct horse", Role.USER)
    assert await accounts.verify_often("anna", "correct horse")
    Accounts(file).add("anna", "battery staple", Role.USER)
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


async def test_verify_unknown_names_share_one_attempt_counter() -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    for number in range(5):
        assert not await accounts.verify(f"unknown{number}", "x")
    with pytest.raises(TooManyTriesError):
        await accounts.verify("another", "x")
    assert await accounts.verify("anna", "secret")


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
        Accounts(file).add(name, "correct horse", Role.USER)
    assert not file.exists()


def test_accounts_add_short_password_is_refused(file: Path) -> None:
    with pytest.raises(ValidationError, match="8 characters"):
        Accounts(file).add("anna", "short", Role.USER)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"anna": {}}', json.dumps({"a": {"role": "king", "salt": "", "key": ""}})]
)
def test_accounts_role_with_invalid_file_raises_storage_error(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(StorageError, match="cannot be read"):
        Accounts(file).role("anna")
