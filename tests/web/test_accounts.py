from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.web.auth import accounts as module
from comfy_ui.web.auth.accounts import Accounts, Role, TooManyTriesError


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a hash is for attackers; here it would only be waited for."""
    monkeypatch.setitem(module._COST, "n", 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "accounts.json"


async def test_an_account_is_kept_hashed_and_another_process_knows_it(file: Path) -> None:
    Accounts(file).add("anna", "correct horse", Role.ADMIN)
    assert "correct horse" not in file.read_text()  # noqa: ASYNC240
    assert file.stat().st_mode & 0o077 == 0  # noqa: ASYNC240
    other = Accounts(file)
    assert other.role("anna") is Role.ADMIN
    assert await other.verify("anna", "correct horse")
    assert not await other.verify("anna", "correct horsf")
    assert not await other.verify("bob", "correct horse")


async def test_a_removed_account_is_gone_at_once(file: Path) -> None:
    running = Accounts(file)
    running.add("anna", "correct horse", Role.USER)
    assert await running.verify_often("anna", "correct horse")
    assert Accounts(file).remove("anna")
    assert running.role("anna") is Role.ANONYMOUS
    assert not await running.verify_often("anna", "correct horse")
    assert not running
    assert not Accounts(file).remove("anna")


async def test_a_changed_password_ends_what_was_proven_with_the_old_one(file: Path) -> None:
    accounts = Accounts(file)
    accounts.add("anna", "correct horse", Role.USER)
    assert await accounts.verify_often("anna", "correct horse")
    Accounts(file).add("anna", "battery staple", Role.USER)
    assert not await accounts.verify_often("anna", "correct horse")
    assert await accounts.verify_often("anna", "battery staple")


async def test_the_slow_part_is_done_once_for_programs(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts()
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    assert await accounts.verify_often("anna", "secret")
    monkeypatch.setattr(module, "_key", lambda *_: pytest.fail("hashed again"))
    assert await accounts.verify_often("anna", "secret")


async def test_guessing_is_slowed_down_and_also_the_right_password_has_to_wait() -> None:
    now = 0.0
    accounts = Accounts(now=lambda: now)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    for _ in range(5):
        assert not await accounts.verify("anna", "wrong")
    with pytest.raises(TooManyTriesError, match="Too many wrong passwords"):
        await accounts.verify("anna", "secret")
    now = 61.0
    assert await accounts.verify("anna", "secret")


async def test_names_that_do_not_exist_share_one_count() -> None:
    accounts = Accounts(now=lambda: 0.0)
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    for number in range(5):
        assert not await accounts.verify(f"nobody{number}", "x")
    with pytest.raises(TooManyTriesError):
        await accounts.verify("another", "x")
    assert await accounts.verify("anna", "secret")


async def test_an_unknown_name_costs_as_much_as_a_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = Accounts()
    accounts.add_for_now("anna", "secret", Role.ADMIN)
    hashed: list[str] = []
    right = module._key
    monkeypatch.setattr(module, "_key", lambda p, salt: hashed.append(p) or right(p, salt))
    await accounts.verify("anna", "zero")  # the first of all makes what unknown names meet
    hashed.clear()
    await accounts.verify("anna", "one")
    await accounts.verify("nobody", "two")
    assert hashed == ["one", "two"]


@pytest.mark.parametrize("name", ["", "a:b", " anna", "x" * 65, "a\nb", "guest", "admin"])
def test_names_that_cannot_be_logins_are_refused(file: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        Accounts(file).add(name, "correct horse", Role.USER)
    assert not file.exists()


def test_short_passwords_are_refused(file: Path) -> None:
    with pytest.raises(ValidationError, match="8 characters"):
        Accounts(file).add("anna", "short", Role.USER)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"anna": {}}', json.dumps({"a": {"role": "king", "salt": "", "key": ""}})]
)
def test_a_broken_file_lets_nobody_in(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(StorageError, match="cannot be read"):
        Accounts(file).role("anna")
