"""Invitations: one login each, within a week."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.private_files import FileDocuments
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.auth.invitations import INVITATION_S, InvitationEndedError, Invitations

pytestmark = pytest.mark.usefixtures("quick_passwords")


def test_invitation_gives_its_role_once_and_ends_after_a_week(tmp_path: Path) -> None:
    time = 0.0
    accounts = Accounts(FileDocuments(tmp_path))
    invitations = Invitations(accounts, FileDocuments(tmp_path), clock=lambda: time)
    code, late = invitations.create(Role.ADMIN), invitations.create()
    assert code not in (tmp_path / "invitations.json").read_text()
    with pytest.raises(ValidationError, match="8 characters"):
        invitations.accept(code, "ann", "short")
    assert invitations.accept(code, "ann", "long enough") is Role.ADMIN
    assert accounts.names() == {"ann": Role.ADMIN}
    with pytest.raises(InvitationEndedError):
        invitations.accept(code, "bob", "long enough")
    time += INVITATION_S
    with pytest.raises(InvitationEndedError):
        invitations.accept(late, "bob", "long enough")
    assert invitations.open() == []


def test_invitation_never_replaces_an_account(tmp_path: Path) -> None:
    accounts = Accounts(FileDocuments(tmp_path))
    accounts.add("ann", "ann's password", Role.ADMIN)
    invitations = Invitations(accounts, FileDocuments(tmp_path))
    code = invitations.create()
    for name in ("ann", "admin", "a:b", ""):
        with pytest.raises(ValidationError):
            invitations.accept(code, name, "long enough")
    with pytest.raises(ValidationError, match="taken"):
        invitations.accept(code, "cleo", "long enough", reserved={"cleo"})
    assert accounts.names() == {"ann": Role.ADMIN}
    assert invitations.accept(code, "bob", "long enough") is Role.USER
