"""Logins: names, roles and hashed passwords, stored or for this run only."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...errors import StorageError, ValidationError
from ...private_files import Documents
from ...private_json import PrivateJson
from .limit_counters import LimitCounters, LocalCounters
from .login_limits import Caller, LoginLimits

__all__ = ["ACCOUNTS_FILE", "ADMIN_LOGIN", "GUEST", "Accounts", "Role", "TooManyTriesError"]

ACCOUNTS_FILE: Final = "accounts.json"
"""The document of the accounts."""
GUEST: Final = "guest"
"""The guest login that ``--share`` creates. Several users share it, so it identifies none."""
ADMIN_LOGIN: Final = "admin"
"""The admin login that ``--share`` creates."""
MIN_PASSWORD: Final = 8

# scrypt: 32 MiB and about a tenth of a second per attempt (OWASP's second parameter set).
_COST: Final = {"n": 2**15, "r": 8, "p": 3}
_MEMORY_BYTES: Final = 64 * 2**20
_HASH_THREADS: Final = max(1, min(4, (os.cpu_count() or 2) // 2))
_MAX_PENDING: Final = 16
_MAX_PENDING_OF_DEVICES: Final = 24
_BUSY_S: Final = 2.0
_REMEMBERED_S: Final = 600.0
_MAX_REMEMBERED: Final = 64
_UNKNOWN_CALLER: Final = Caller()


class Role(IntEnum):
    """The role of a user; a higher role includes the permissions of lower ones."""

    ANONYMOUS = 0
    USER = 1
    ADMIN = 2


class TooManyTriesError(ValidationError):
    """Too many attempts in a short time; ``wait_s`` is the remaining delay."""

    def __init__(self, wait_s: float, message: str = "Too many wrong passwords.") -> None:
        super().__init__(message, hint=f"Try again in {max(1.0, wait_s):.0f} s.")
        self.wait_s = wait_s


class _Account(BaseModel):
    model_config = ConfigDict(frozen=True)

    role: Role
    salt: bytes
    key: bytes


class _Stored(BaseModel):
    """An account as stored: bytes as hex digits, the role by name."""

    role: str
    salt: str
    key: str


_ACCOUNTS: Final = TypeAdapter(dict[str, _Stored])


class Accounts:
    """All accounts. Falsy if there are none: then no login is required.

    Args:
        documents: where they are stored, read again after each change so that a removed account
            is gone at once. Without documents there are only those of :meth:`add_for_now`.
        counters: where wrong passwords are counted; by default in this process.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        documents: Documents | None = None,
        *,
        counters: LimitCounters | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = (
            PrivateJson(documents, ACCOUNTS_FILE, _ACCOUNTS, "accounts") if documents else None
        )
        self._now = now
        self._fleeting: dict[str, _Account] = {}
        self._loaded: tuple[Mapping[str, _Stored], Mapping[str, _Account]] = {}, {}
        self._limits = LoginLimits(counters or LocalCounters(now), "password")
        # Of its own, so that wrong passwords keep no other work from its threads.
        self._hashing = ThreadPoolExecutor(_HASH_THREADS, thread_name_prefix="passwords")
        self._pending = 0
        self._checks: dict[tuple[bytes, Caller], asyncio.Task[bool]] = {}
        self._proven: dict[bytes, tuple[_Account, float]] = {}
        self._proof_key = secrets.token_bytes(32)

    def __bool__(self) -> bool:
        return bool(self._all())

    def names(self) -> dict[str, Role]:
        """Return all names with their roles."""
        return {name: account.role for name, account in self._all().items()}

    def role(self, name: str) -> Role:
        """Return the role of a name; ANONYMOUS if there is no such account."""
        account = self._all().get(name)
        return account.role if account else Role.ANONYMOUS

    def stored(self) -> dict[str, Role]:
        """Return the stored names with their roles."""
        return {name: account.role for name, account in self._read().items()}

    def add(self, name: str, password: str, role: Role, *, replace: bool = True) -> bool:
        """Store an account, or change it; False if there is one that ``replace`` protects.

        Raises:
            ValidationError: the name or password is invalid.
            StorageError: the accounts cannot be written.
        """
        if name in {GUEST, ADMIN_LOGIN}:
            raise ValidationError(f"'{name}' is a login that --share creates.")
        name = _name(name)
        if not replace and name in self._all():
            return False
        account = _stored(_hashed(_password(password), role))

        def put(accounts: dict[str, _Stored]) -> bool:
            if not replace and name in accounts:  # another app was faster
                return False
            accounts[name] = account
            return True

        return self._change(put)

    def set_role(self, name: str, role: Role) -> bool:
        """Change the role of a stored account; False if there is none.

        Raises:
            StorageError: the accounts cannot be written.
        """

        def put(accounts: dict[str, _Stored]) -> bool:
            if name not in accounts:
                return False
            accounts[name] = accounts[name].model_copy(update={"role": role.name.lower()})
            return True

        return self._change(put)

    def remove(self, name: str) -> bool:
        """Remove a stored account; False if there is none."""
        return name in self._read() and self._change(lambda all_: bool(all_.pop(name, None)))

    def add_for_now(
        self, name: str, password: str, role: Role, *, salt: bytes | None = None
    ) -> None:
        """Add an account for this run only, which is not stored.

        ``salt``: the same in all apps that have this account, so that a login with one of them is
        valid for the others.
        """
        self._fleeting[_name(name)] = _hashed(password, role, salt)

    def generation(self, name: str) -> bytes | None:
        """Return a value that changes with each new password of a name; None without an account."""
        account = self._all().get(name)
        return account.salt if account else None

    async def verify(self, name: str, password: str, caller: Caller = _UNKNOWN_CALLER) -> bool:
        """Check a password. Takes as long for unknown names.

        Raises:
            TooManyTriesError: after too many wrong passwords, or if too many are being checked.
        """
        if self._pending >= (_MAX_PENDING_OF_DEVICES if caller.device else _MAX_PENDING):
            raise TooManyTriesError(_BUSY_S, "Too many logins at once.")
        self._pending += 1
        try:
            if wait_s := await self._limits.begin(name, caller):
                raise TooManyTriesError(wait_s)
            account = self._all().get(name)
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(
                self._hashing, _matches, account or _NO_ACCOUNT, password
            )
        finally:
            self._pending -= 1
        if not right or account is None or account != self._all().get(name):
            return False
        await self._limits.succeeded(name, caller)
        return True

    async def verify_often(
        self, name: str, password: str, caller: Caller = _UNKNOWN_CALLER
    ) -> bool:
        """Check a password like :meth:`verify`, but hash it only once in ten minutes.

        For programs that send both name and password with every request, and for many users of one
        login. Equal checks at the same time are one attempt.
        """
        credentials = f"{len(name)}:{name}{password}".encode(errors="replace")
        proof = hmac.digest(self._proof_key, credentials, "sha256")
        check = self._checks.get((proof, caller))
        if check is None:
            check = asyncio.create_task(self._verify_and_remember(name, password, caller, proof))
            self._checks[proof, caller] = check
        return await asyncio.shield(check)

    async def _verify_and_remember(
        self, name: str, password: str, caller: Caller, proof: bytes
    ) -> bool:
        try:
            # In front of what is remembered, which could be guessed without limit otherwise.
            if wait_s := await self._limits.wait_s(name, caller):
                raise TooManyTriesError(wait_s)
            proven, until = self._proven.get(proof, (None, 0.0))
            if proven is not None and proven == self._all().get(name) and self._now() < until:
                return True
            if not await self.verify(name, password, caller):
                return False
            while len(self._proven) >= _MAX_REMEMBERED:
                self._proven.pop(next(iter(self._proven)))
            self._proven[proof] = self._all()[name], self._now() + _REMEMBERED_S
            return True
        finally:
            del self._checks[proof, caller]

    def _all(self) -> Mapping[str, _Account]:
        return {**self._read(), **self._fleeting}

    def _read(self) -> Mapping[str, _Account]:
        """Return the stored accounts. If that raises StorageError, no login succeeds."""
        if self._file is None:
            return {}
        stored = self._file.read() or {}
        if stored is not self._loaded[0]:
            try:
                self._loaded = stored, {name: _loaded(each) for name, each in stored.items()}
            except (ValueError, KeyError) as error:
                raise StorageError("The accounts cannot be read.") from error
        return self._loaded[1]

    def _change(self, change: Callable[[dict[str, _Stored]], bool]) -> bool:
        """Change the stored accounts; return what ``change`` returned."""
        if self._file is None:
            raise StorageError("There are no stored accounts.")
        changed = False

        def apply(stored: Mapping[str, _Stored] | None) -> dict[str, _Stored]:
            nonlocal changed
            accounts = {**(stored or {})}
            changed = change(accounts)
            return dict(sorted(accounts.items()))

        self._file.update(apply)
        return changed


# What unknown names are compared with.
_NO_ACCOUNT: Final = _Account(
    role=Role.ANONYMOUS, salt=secrets.token_bytes(16), key=secrets.token_bytes(32)
)


def _matches(account: _Account, password: str) -> bool:
    return hmac.compare_digest(_key(password, account.salt), account.key)


def _loaded(stored: _Stored) -> _Account:
    role = Role[stored.role.upper()]
    return _Account(role=role, salt=bytes.fromhex(stored.salt), key=bytes.fromhex(stored.key))


def _stored(account: _Account) -> _Stored:
    role = account.role.name.lower()
    return _Stored(role=role, salt=account.salt.hex(), key=account.key.hex())


def _hashed(password: str, role: Role, salt: bytes | None = None) -> _Account:
    salt = salt or secrets.token_bytes(16)
    return _Account(role=role, salt=salt, key=_key(password, salt))


def _key(password: str, salt: bytes) -> bytes:
    options: Any = _COST
    return hashlib.scrypt(
        password.encode(errors="replace"), salt=salt, maxmem=_MEMORY_BYTES, dklen=32, **options
    )


def _name(name: str) -> str:
    if not 0 < len(name) <= 64 or not name.isprintable() or name != name.strip() or ":" in name:
        raise ValidationError(
            "This cannot be a login name.",
            hint="Up to 64 visible characters, no colon, no space at the ends.",
        )
    return name


def _password(password: str) -> str:
    if len(password) < MIN_PASSWORD:
        raise ValidationError(f"A password has {MIN_PASSWORD} characters or more.")
    return password
