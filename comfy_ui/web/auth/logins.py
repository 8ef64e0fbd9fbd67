"""The logins of one run: those of the file, of ``--auth``, and those that ``--share`` creates."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping

from fastapi import HTTPException

from ...errors import ValidationError
from ...private_files import Documents
from ...settings import Settings
from .access import AccessMode, load_secret
from .accounts import ADMIN_LOGIN, GUEST, Accounts, Role, TooManyTriesError
from .limit_counters import LimitCounters
from .login_devices import CURRENT

__all__ = ["checker", "hub_admins", "logins_of"]


def logins_of(
    settings: Settings,
    mode: AccessMode,
    documents: Documents,
    *,
    say: Callable[[str], None],
    counters: LimitCounters | None = None,
) -> Accounts:
    """Return the accounts for this run, and announce each created password once.

    ``--auth`` creates an admin. A share link without an admin's login creates ``admin`` and, if
    there is no other login, ``guest`` to pass on.

    Raises:
        ValidationError: the setting is not a valid login.
        StorageError: the accounts cannot be read.
    """
    accounts = Accounts(documents, counters=counters)
    if settings.auth is not None:
        user, _, password = settings.auth.get_secret_value().partition(":")
        if not user or not password:
            raise ValidationError("The login must be USER:PASSWORD.")
        accounts.add_for_now(user, password, Role.ADMIN, salt=_salt(documents, user, password))
    elif settings.share and mode is AccessMode.SHARED:
        created = [] if Role.ADMIN in accounts.names().values() else [(ADMIN_LOGIN, Role.ADMIN)]
        created += [] if accounts else [(GUEST, Role.USER)]
        for name, role in created:
            whose = "Your login" if role is Role.ADMIN else "Login for others"
            password = secrets.token_urlsafe(9)
            accounts.add_for_now(name, password, role)
            say(f"{whose}: {name} / {password}")
    return accounts


def _salt(documents: Documents, user: str, password: str) -> bytes | None:
    """Return the salt of ``--auth``: of several apps the same one, as long as the password is."""
    if not documents.shared:
        return None
    text = f"{len(user)}:{user}{password}".encode(errors="replace")
    return hmac.digest(load_secret(documents), text, "sha256")[:16]


def hub_admins(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return the admins of a Space by their Hugging Face names.

    >>> hub_admins(Settings(space_owners="ann, bob"), {"SPACE_AUTHOR_NAME": "carl"})
    ['ann', 'bob']
    """
    names = settings.space_owners or environ.get("SPACE_AUTHOR_NAME", "")
    return [name.strip() for name in names.split(",") if name.strip()]


def checker(accounts: Accounts) -> Callable[[str, str], Awaitable[bool]] | None:
    """Return the callback for Gradio's login; None if no login is required."""

    async def check(name: str, password: str) -> bool:
        try:
            request = CURRENT.get()
            if request is None:
                return await accounts.verify_often(name, password)
            right = await accounts.verify_often(name, password, request.caller(name))
            if right:
                request.succeeded(name)
            return right
        except TooManyTriesError as error:
            raise HTTPException(429, str(error)) from error

    return check if accounts else None
