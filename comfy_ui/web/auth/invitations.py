"""Invitations: links with which a teammate creates a login of their own, once and within a week.

The document ``invitations.json`` holds the hash of each code, so that neither it nor a backup of it
invites anyone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...errors import ComfyHeadlessError, ValidationError
from ...private_files import Documents
from ...private_json import PrivateJson, token_digest
from .accounts import Accounts, Role

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
    """The open invitations.

    Args:
        accounts: where the new logins go.
        documents: where the invitations are stored.
        clock: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, accounts: Accounts, documents: Documents, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts = accounts
        self._file = PrivateJson(documents, "invitations.json", _INVITATIONS, "invitations")
        self._clock = clock

    def create(self, role: Role = Role.USER) -> str:
        """Store an invitation and return its code, which is not stored.

        Raises:
            ValidationError: there are too many open ones.
            StorageError: they cannot be read or written.
        """
        code = secrets.token_urlsafe(24)
        invitation = Invitation(
            id=secrets.token_hex(4),
            role=role.name.lower(),
            until=self._clock() + INVITATION_S,
            digest=token_digest(code),
        )

        def add(stored: list[Invitation] | None) -> list[Invitation]:
            invitations = self._open(stored)
            if len(invitations) >= _MAX_OPEN:
                raise ValidationError(
                    f"There are {_MAX_OPEN} open invitations already.", hint="Take some back."
                )
            return [*invitations, invitation]

        self._file.update(add)
        return code

    def open(self) -> list[Invitation]:
        """Return the invitations that can still be used, the oldest first.

        Raises:
            StorageError: they cannot be read.
        """
        return self._open(self._file.read())

    def take_back(self, invitation_id: str) -> None:
        """Remove an open invitation."""
        self._file.update(lambda all_: [i for i in self._open(all_) if i.id != invitation_id])

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
            StorageError: it cannot be read or written.
        """
        if name in reserved:
            raise _name_taken()
        invitation = self._use_up(code)
        role = Role[invitation.role.upper()]
        try:
            if not self._accounts.add(name, password, role, replace=False):
                raise _name_taken()
        except ComfyHeadlessError:
            self._file.update(lambda all_: [*self._open(all_), invitation])
            raise
        return role

    def _use_up(self, code: str) -> Invitation:
        """Remove an invitation first, so that it creates one login, whichever app is asked."""
        digest, used = token_digest(code), list[Invitation]()

        def remove(stored: list[Invitation] | None) -> list[Invitation]:
            invitations = self._open(stored)
            used[:] = [i for i in invitations if i.digest == digest]
            if not used:
                raise InvitationEndedError
            return [i for i in invitations if i.digest != digest]

        self._file.update(remove)
        return used[0]

    def _open(self, stored: list[Invitation] | None) -> list[Invitation]:
        return [invitation for invitation in stored or () if self._clock() < invitation.until]


def _name_taken() -> ValidationError:
    return ValidationError("This username is taken.", hint="Choose another one.")
