from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import HTTPException

from comfy_ui.errors import ValidationError
from comfy_ui.settings import Settings
from comfy_ui.web.auth import accounts as accounts_module
from comfy_ui.web.auth.access import AccessMode
from comfy_ui.web.auth.accounts import ADMIN_LOGIN, GUEST, Accounts, Role
from comfy_ui.web.auth.logins import checker, logins_of


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accounts_module._COST, "n", 16)


def logins(
    folder: Path, mode: AccessMode = AccessMode.SHARED, **options: object
) -> tuple[Accounts, list[str]]:
    said: list[str] = []
    return logins_of(Settings(data_dir=folder, **options), mode, say=said.append), said


@pytest.mark.parametrize("auth", ["anna", "anna:", ":secret"])
def test_a_login_that_is_none_is_refused(tmp_path: Path, auth: str) -> None:
    with pytest.raises(ValidationError, match="USER:PASSWORD"):
        logins(tmp_path, auth=auth)


async def test_a_share_link_without_a_login_gets_one_for_the_owner_and_one_for_others(
    tmp_path: Path,
) -> None:
    accounts, said = logins(tmp_path, share=True)
    assert accounts.names() == {ADMIN_LOGIN: Role.ADMIN, GUEST: Role.USER}
    for line in said:
        name, password = line.split(": ")[1].split(" / ")
        assert len(password) >= 12
        assert await accounts.verify(name, password)


async def test_who_starts_the_app_with_a_login_is_an_owner_and_no_other_is_made(
    tmp_path: Path,
) -> None:
    accounts, said = logins(tmp_path, share=True, auth="anna:b:c")
    assert accounts.names() == {"anna": Role.ADMIN}
    assert await accounts.verify("anna", "b:c")
    assert said == []


def test_stored_logins_hold_for_a_share_link_too(tmp_path: Path) -> None:
    Accounts(tmp_path / "accounts.json").add("vera", "long enough", Role.USER)
    accounts, said = logins(tmp_path, share=True)
    assert accounts.names() == {"vera": Role.USER}
    assert said == []


def test_without_any_nobody_has_to_log_in(tmp_path: Path) -> None:
    for mode in (AccessMode.LOCAL, AccessMode.SPACE):
        accounts, _ = logins(tmp_path, mode, share=mode is AccessMode.SPACE)
        assert not accounts
        assert checker(accounts) is None


async def test_gradios_login_says_when_to_try_again(tmp_path: Path) -> None:
    check = checker(logins(tmp_path, auth="anna:secret")[0])
    assert check is not None
    assert await check("anna", "secret")
    for _ in range(5):
        assert not await check("anna", "wrong")
    with pytest.raises(HTTPException) as caught:
        await check("anna", "secret")
    assert caught.value.status_code == 429
