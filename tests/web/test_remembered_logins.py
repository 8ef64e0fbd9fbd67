"""Remembered logins: stored hashed, until they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.auth.remembered_logins import REMEMBERED_S, RememberedLogins


@pytest.fixture
def accounts() -> Accounts:
    accounts = Accounts()
    accounts.add_for_now("ann", "a password", Role.USER)
    return accounts


def test_remembered_login_survives_a_restart_until_its_time_is_over(
    accounts: Accounts, tmp_path: Path
) -> None:
    time = 1000.0
    logins = RememberedLogins(accounts, tmp_path, clock=lambda: time)
    token = logins.remember("ann")
    assert token is not None
    assert token not in (tmp_path / "remembered_logins.json").read_text()
    restarted = RememberedLogins(accounts, tmp_path, clock=lambda: time)
    assert restarted.name(token) == "ann"
    assert restarted.name(f"{token}x") is None
    time += REMEMBERED_S
    assert restarted.name(token) is None


def test_remembered_login_of_a_replaced_account_has_ended(
    accounts: Accounts, tmp_path: Path
) -> None:
    logins = RememberedLogins(accounts, tmp_path)
    token = logins.remember("ann")
    assert token is not None
    assert logins.remember("nobody") is None
    accounts.add_for_now("ann", "another password", Role.ADMIN)
    assert logins.name(token) is None


def test_remembered_logins_of_one_name_are_limited_and_others_stay(
    accounts: Accounts, tmp_path: Path
) -> None:
    accounts.add_for_now("bob", "a password", Role.USER)
    logins = RememberedLogins(accounts, tmp_path)
    bob = logins.remember("bob")
    tokens = [logins.remember("ann") or "" for _ in range(52)]
    assert [logins.name(token) for token in tokens[:3]] == [None, None, "ann"]
    logins.forget_all("ann")
    assert logins.name(tokens[-1]) is None
    assert logins.name(bob or "") == "bob"


def test_remembered_logins_with_a_broken_file_require_a_login(
    accounts: Accounts, tmp_path: Path
) -> None:
    (tmp_path / "remembered_logins.json").write_text("{")
    logins = RememberedLogins(accounts, tmp_path)
    assert logins.name("x") is None
    token = logins.remember("ann")
    assert token is not None
    assert logins.name(token) == "ann"
