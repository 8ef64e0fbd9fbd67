"""API keys: credentials for programs, each with an owner and a role, stored as hashes.

The document ``api_keys.json`` holds the keys and changes only when one is created or revoked, by
the page or the command line. ``api_key_uses.json`` holds their last uses, which running apps add.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...errors import StorageError, ValidationError
from ...private_files import Documents
from ...private_json import PrivateJson, token_digest
from .accounts import Role, TooManyTriesError
from .key_limits import KeyLimits
from .limit_counters import LimitCounters, LocalCounters
from .login_limits import Caller, LoginLimits

__all__ = ["KEYS_FILE", "ApiKey", "ApiKeys", "InvalidKeyError", "KeyUse"]

logger = logging.getLogger(__name__)

KEYS_FILE: Final = "api_keys.json"
"""The document of the keys."""
USES_FILE: Final = "api_key_uses.json"
_PREFIX: Final = "cui_"
_KEY: Final = re.compile(r"cui_(?P<id>[0-9a-f]{8})_[0-9a-f]{40}")
_MAX_NAME: Final = 64
_MAX_KEYS: Final = 50  # of one owner
_MAX_USES: Final = 20  # of one key
_SAVE_USES_S: Final = 15.0


class InvalidKeyError(ValidationError):
    """A key that does not exist or has been revoked."""

    def __init__(self) -> None:
        super().__init__("This API key is not valid.", hint="Create one on the page, under Status.")


class ApiKey(BaseModel):
    """A key as stored.

    ``owner`` is a login name, ``admin`` for the person at a machine without logins, or
    ``hub:NAME``. ``role`` is the name of the highest role of the key; the owner's role limits it.
    ``digest`` is the SHA-256 of the whole key: a random key of 160 bits needs no slow hash.
    ``may_spend``: it may run partner nodes if its owner may.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    name: str
    role: str
    digest: str
    created_at: float
    limits: KeyLimits = KeyLimits()
    may_spend: bool = False

    @property
    def highest_role(self) -> Role:
        """The role of the key if its owner has that role."""
        return Role[self.role.upper()]


class KeyUse(BaseModel):
    """Requests with a key from one address to one route: how many, and when the last one came."""

    model_config = ConfigDict(frozen=True)

    at: float
    address: str
    route: str
    count: int = 1


_KEYS: Final = TypeAdapter(list[ApiKey])
_USES: Final = TypeAdapter(dict[str, list[KeyUse]])


class ApiKeys:
    """All keys.

    Args:
        documents: where they are stored, read again after each change, so that a key revoked in
            another process ends at once. Without documents there are no keys.
        counters: where wrong keys are counted; by default in this process.
        clock: the time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        documents: Documents | None = None,
        *,
        counters: LimitCounters | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._file = PrivateJson(documents, KEYS_FILE, _KEYS, "API keys") if documents else None
        self._uses_file = (
            PrivateJson(documents, USES_FILE, _USES, "uses of API keys") if documents else None
        )
        self._limits = LoginLimits(counters or LocalCounters(), "API key")
        self._new_uses: dict[str, list[KeyUse]] = {}  # those that are not stored yet

    def create(
        self,
        owner: str,
        name: str,
        role: Role,
        limits: KeyLimits | None = None,
        *,
        may_spend: bool = False,
    ) -> tuple[ApiKey, str]:
        """Store a new key and return it with its text, which is not stored.

        Raises:
            ValidationError: the name is invalid, or the owner has too many keys.
            StorageError: the file cannot be read or written.
        """
        name = name.strip()
        if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            raise ValidationError(
                "Give the key a name.", hint=f"Up to {_MAX_NAME} characters, as 'Open WebUI'."
            )
        key_id = secrets.token_hex(4)
        text = f"{_PREFIX}{key_id}_{secrets.token_hex(20)}"
        key = ApiKey(
            id=key_id,
            owner=owner,
            name=name,
            role=role.name.lower(),
            digest=token_digest(text),
            created_at=self._clock(),
            limits=limits or KeyLimits(),
            may_spend=may_spend,
        )

        def add(keys: list[ApiKey]) -> list[ApiKey]:
            if sum(other.owner == owner for other in keys) >= _MAX_KEYS:
                raise ValidationError(f"There are {_MAX_KEYS} keys already.", hint="Revoke some.")
            return [*keys, key]

        self._change(add)
        return key, text

    def set_limits(
        self,
        key_id: str,
        limits: KeyLimits,
        owner: str | None = None,
        *,
        may_spend: bool | None = None,
    ) -> bool:
        """Replace the limits of a key, of this owner if one is given; False if there is none.

        ``may_spend``: None leaves that right as it is.
        """
        changes: dict[str, object] = {"limits": limits}
        if may_spend is not None:
            changes["may_spend"] = may_spend
        found = False

        def limit(key: ApiKey) -> ApiKey:
            nonlocal found
            if key.id != key_id or owner not in {None, key.owner}:
                return key
            found = True
            return key.model_copy(update=changes)

        self._change(lambda keys: [limit(key) for key in keys])
        return found

    def revoke(self, key_id: str, owner: str | None = None) -> bool:
        """Remove a key, of this owner if one is given; False if there is none."""
        return self._remove(lambda key: key.id == key_id and (owner is None or key.owner == owner))

    def revoke_all(self, owner: str) -> bool:
        """Remove all keys of an owner; False if there is none."""
        return self._remove(lambda key: key.owner == owner)

    def _remove(self, matches: Callable[[ApiKey], bool]) -> bool:
        if not any(map(matches, self._read().values())):
            return False
        self._change(lambda keys: [key for key in keys if not matches(key)])
        return True

    def listed(self, owner: str | None = None) -> list[ApiKey]:
        """Return the keys, of this owner if one is given, the newest first."""
        keys = [key for key in self._read().values() if owner is None or key.owner == owner]
        return sorted(keys, key=lambda key: key.created_at, reverse=True)

    def exists(self, key: ApiKey) -> bool:
        """Whether the key has not been revoked."""
        current = self._read().get(key.id)
        return current is not None and current.digest == key.digest

    async def verify(self, text: str, caller: Caller) -> ApiKey | None:
        """Return the key with that text; None if the text is another program's kind of token.

        A right key is never delayed: unlike a password it cannot be guessed, and wrong keys from
        the same address must not keep it out.

        Raises:
            InvalidKeyError: it is not valid.
            TooManyTriesError: the same, after too many wrong keys.
        """
        if not text.startswith(_PREFIX):
            return None
        match = _KEY.fullmatch(text)
        key = self._read().get(match["id"]) if match else None
        if key is not None and hmac.compare_digest(key.digest, token_digest(text)):
            return key
        if wait_s := await self._limits.begin(match["id"] if match else "", caller):
            raise TooManyTriesError(wait_s, "Too many wrong API keys.")
        raise InvalidKeyError

    # Uses

    def used(self, key: ApiKey, address: str, route: str) -> None:
        """Record a use. Uses with the same address and route are counted together."""
        use = KeyUse(at=self._clock(), address=address, route=route)
        self._new_uses[key.id] = _with_uses(self._new_uses.get(key.id, ()), [use])

    def uses(self, key: ApiKey) -> tuple[KeyUse, ...]:
        """Return the last uses of a key by address and route, the newest first."""
        stored: Mapping[str, list[KeyUse]] = {}
        if self._uses_file is not None:
            try:
                stored = self._uses_file.read() or {}
            except StorageError as error:
                logger.warning("The last uses of API keys cannot be read: %s", error)
        return (*_with_uses(stored.get(key.id, ()), self._new_uses.get(key.id, ())),)

    async def keep_uses(self) -> None:
        """Store the uses every few seconds, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(_SAVE_USES_S)
                await asyncio.to_thread(self._save, self._take_uses())
        finally:
            self.save_uses()

    def save_uses(self) -> None:
        """Store the new uses of the keys that still exist."""
        self._save(self._take_uses())

    def _take_uses(self) -> dict[str, list[KeyUse]]:
        new, self._new_uses = self._new_uses, {}
        return new

    def _save(self, new: Mapping[str, list[KeyUse]]) -> None:
        if not new or self._uses_file is None:
            return
        try:
            keys = self._read()

            def add(stored: Mapping[str, list[KeyUse]] | None) -> dict[str, list[KeyUse]]:
                uses = {**(stored or {})}
                for key_id, of_key in new.items():
                    uses[key_id] = _with_uses(uses.get(key_id, ()), of_key)
                return {key_id: of_key for key_id, of_key in uses.items() if key_id in keys}

            self._uses_file.update(add)
        except StorageError as error:
            logger.warning("The last uses of API keys cannot be written: %s", error)

    # The document

    def _read(self) -> Mapping[str, ApiKey]:
        """Read the keys. If that raises StorageError, no key is accepted."""
        keys = self._file.read() if self._file is not None else None
        return {key.id: key for key in keys or ()}

    def _change(self, change: Callable[[list[ApiKey]], list[ApiKey]]) -> None:
        if self._file is None:
            raise StorageError("API keys cannot be stored here.")
        self._file.update(lambda keys: change(keys or []))


def _with_uses(uses: Sequence[KeyUse], new: Sequence[KeyUse]) -> list[KeyUse]:
    """Add uses to others, the newest first, and count those of one address and route together."""
    merged = {(use.address, use.route): use for use in uses}
    for use in new:
        place = use.address, use.route
        count = use.count + (merged[place].count if place in merged else 0)
        merged[place] = use.model_copy(update={"count": count})
    return sorted(merged.values(), key=lambda use: use.at, reverse=True)[:_MAX_USES]
