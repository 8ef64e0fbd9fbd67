from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import HTTPException

from comfy_ui.errors import ValidationError
from comfy_ui.private_files import FileDocuments
from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import AccessMode
from comfy_ui.web.auth.accounts import ADMIN_LOGIN, GUEST, Accounts, Role
from comfy_ui.web.auth.logins import checker, logins_of

pytestmark = pytest.mark.usefixtures("quick_passwords")


def logins(
    folder: Path, mode: AccessMode = AccessMode.SHARED, **options: object
) -> tuple[Accounts, list[str]]:
    lines: list[str] = []
    settings, documents = Settings(data_dir=folder, **options), FileDocuments(folder)
    return logins_of(settings, mode, documents, say=lines.append), lines


@pytest.mark.parametrize("auth", ["anna", "anna:", ":secret"])
def test_logins_of_malformed_auth_is_refused(tmp_path: Path, auth: str) -> None:
    with pytest.raises(ValidationError, match="USER:PASSWORD"):
        logins(tmp_path, auth=auth)


async def test_logins_of_share_without_auth_creates_admin_and_guest(
    tmp_path: Path,
) -> None:
    accounts, lines = logins(tmp_path, share=True)
    assert accounts.names() == {ADMIN_LOGIN: Role.ADMIN, GUEST: Role.USER}
    for line in lines:
        name, password = line.split(": ")[1].split(" / ")
        assert len(password) >= 12
        assert await accounts.verify(name, password)


async def test_logins_of_share_with_auth_creates_that_admin_only(
    tmp_path: Path,
) -> None:
    accounts, lines = logins(tmp_path, share=True, auth="anna:b:c")
    assert accounts.names() == {"anna": Role.ADMIN}
    assert await accounts.verify("anna", "b:c")
    assert lines == []


def test_logins_of_share_with_a_stored_admin_adds_none(tmp_path: Path) -> None:
    Accounts(FileDocuments(tmp_path)).add("anna", "long enough", Role.ADMIN)
    accounts, lines = logins(tmp_path, share=True)
    assert accounts.names() == {"anna": Role.ADMIN}
    assert lines == []


def test_logins_of_without_accounts_requires_no_login(tmp_path: Path) -> None:
    for mode in (AccessMode.LOCAL, AccessMode.SPACE):
        accounts, _ = logins(tmp_path, mode, share=mode is AccessMode.SPACE)
        assert not accounts
        assert checker(accounts) is None


async def test_checker_after_five_wrong_passwords_is_429(tmp_path: Path) -> None:
    check = checker(logins(tmp_path, auth="anna:secret")[0])
    assert check is not None
    assert await check("anna", "secret")
    for _ in range(5):
        assert not await check("anna", "wrong")
    with pytest.raises(HTTPException) as caught:
        await check("anna", "secret")
    assert caught.value.status_code == 429


def test_logins_of_share_without_a_stored_admin_adds_one_and_no_guest(tmp_path: Path) -> None:
    Accounts(FileDocuments(tmp_path)).add("vera", "long enough", Role.USER)
    accounts, lines = logins(tmp_path, share=True)
    assert accounts.names() == {"vera": Role.USER, "admin": Role.ADMIN}
    assert len(lines) == 1
