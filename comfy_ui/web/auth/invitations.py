"""Invitations: links with which a teammate creates a login of their own, once and within a week.

``invitations.json`` holds the hash of each code, so that neither the file nor a backup of it
invites anyone.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...errors import ValidationError
from .accounts import Accounts, Role
from .private_json import PrivateJson, token_digest

__all__ = ["INVITATION_S", "Invitation", "InvitationEndedError", "Invitations"]

INVITATION_S: Final = 7 * 86400
_MAX_OPEN: Final = 100


class InvitationEndedError(ValidationError):
    """An invitation that has been used or taken back, is too old, or never was one."""

    def __init__(self) -> None:
        super().__init__(
            "This invitation is no longer valid.", hint="Ask for a new link: each works once."
        )


class Invitation(BaseModel):
    """An open invitation. ``id`` names it for those who may take it back."""

    model_config = ConfigDict(frozen=True)

    id: str
    role: str
    until: float  # seconds since the epoch
    digest: str


_INVITATIONS: Final = TypeAdapter(list[Invitation])


class Invitations:
    """The open invitations of a data folder.

    Args:
        accounts: where the new logins go.
        folder: the data folder.
        clock: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, accounts: Accounts, folder: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts = accounts
        self._file = PrivateJson(folder / "invitations.json", _INVITATIONS, "invitations")
        self._clock = clock
        self._changing = threading.Lock()

    def create(self, role: Role = Role.USER) -> str:
        """Store an invitation and return its code, which is not stored.

        Raises:
            ValidationError: there are too many open ones.
            StorageError: the file cannot be read or written.
        """
        code = secrets.token_urlsafe(24)
        invitation = Invitation(
            id=secrets.token_hex(4),
            role=role.name.lower(),
            until=self._clock() + INVITATION_S,
            digest=token_digest(code),
        )
        with self._changing:
            invitations = self.open()
            if len(invitations) >= _MAX_OPEN:
                raise ValidationError(
                    f"There are {_MAX_OPEN} open invitations already.", hint="Take some back."
                )
            self._file.write([*invitations, invitation])
        return code

    def open(self) -> list[Invitation]:
        """Return the invitations that can still be used, the oldest first.

        Raises:
            StorageError: the file cannot be read.
        """
        invitations = self._file.read() or []
        return [invitation for invitation in invitations if self._clock() < invitation.until]

    def take_back(self, invitation_id: str) -> None:
        """Remove an open invitation."""
        with self._changing:
            self._file.write([i for i in self.open() if i.id != invitation_id])

    def accept(
        self, code: str, name: str, password: str, *, reserved: Collection[str] = ()
    ) -> Role:
        """Create a login with an invitation, and use the invitation up.

        It hashes the password: call it in a thread. ``reserved``: names that have no account now
        and must not get one, because results belong to them.

        Raises:
            InvitationEndedError: it cannot be used.
            ValidationError: the name is taken or invalid, or the password is too short. The
                invitation stays open.
            StorageError: a file cannot be read or written.
        """
        with self._changing:
            invitations = self.open()
            invitation = next((i for i in invitations if i.digest == token_digest(code)), None)
            if invitation is None:
                raise InvitationEndedError
            if name in reserved or name in self._accounts.names():
                raise ValidationError("This username is taken.", hint="Choose another one.")
            role = Role[invitation.role.upper()]
            self._accounts.add(name, password, role)
            self._file.write([i for i in invitations if i != invitation])
        return role
