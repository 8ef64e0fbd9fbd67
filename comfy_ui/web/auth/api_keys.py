"""API keys: credentials for programs, each with an owner and a role, stored as hashes.

``api_keys.json`` holds the keys and changes only when one is created or revoked, by the page or the
command line. ``api_key_uses.json`` holds their last uses; only the running app writes it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError as PydanticValidationError

from ...errors import StorageError, ValidationError
from ...private_files import write_private
from .accounts import Role, TooManyTriesError
from .key_limits import KeyLimits
from .login_limits import Caller, LoginLimits
from .private_json import PrivateJson, token_digest

__all__ = ["KEYS_FILE", "ApiKey", "ApiKeys", "InvalidKeyError", "KeyUse"]

logger = logging.getLogger(__name__)

KEYS_FILE: Final = "api_keys.json"
"""Below the data folder."""
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
    """All keys of a data folder.

    Args:
        folder: the data folder. Its file of keys is read again after each change, so that a key
            revoked in another process ends at once. Without a folder there are no keys.
        now: a monotonic clock, in seconds.
        clock: the time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._now = now
        self._clock = clock
        self._file = PrivateJson(folder / KEYS_FILE, _KEYS, "API keys") if folder else None
        self._limits = LoginLimits()
        self._writing = threading.Lock()
        self._uses: dict[str, list[KeyUse]] | None = None
        self._uses_changed = False

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
        with self._writing:
            keys = self._read()
            if sum(other.owner == owner for other in keys.values()) >= _MAX_KEYS:
                raise ValidationError(f"There are {_MAX_KEYS} keys already.", hint="Revoke some.")
            self._write({**keys, key_id: key})
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
        with self._writing:
            keys = self._read()
            key = keys.get(key_id)
            if key is None or owner not in {None, key.owner}:
                return False
            spending = key.may_spend if may_spend is None else may_spend
            changed = key.model_copy(update={"limits": limits, "may_spend": spending})
            self._write({**keys, key_id: changed})
            return True

    def revoke(self, key_id: str, owner: str | None = None) -> bool:
        """Remove a key, of this owner if one is given; False if there is none."""
        return self._remove(lambda key: key.id == key_id and (owner is None or key.owner == owner))

    def revoke_all(self, owner: str) -> bool:
        """Remove all keys of an owner; False if there is none."""
        return self._remove(lambda key: key.owner == owner)

    def _remove(self, matches: Callable[[ApiKey], bool]) -> bool:
        with self._writing:
            keys = self._read()
            kept = {key.id: key for key in keys.values() if not matches(key)}
            if len(kept) == len(keys):
                return False
            self._write(kept)
            for key_id in keys.keys() - kept.keys():
                self._all_uses().pop(key_id, None)
            return True

    def listed(self, owner: str | None = None) -> list[ApiKey]:
        """Return the keys, of this owner if one is given, the newest first."""
        keys = [key for key in self._read().values() if owner is None or key.owner == owner]
        return sorted(keys, key=lambda key: key.created_at, reverse=True)

    def exists(self, key: ApiKey) -> bool:
        """Whether the key has not been revoked."""
        current = self._read().get(key.id)
        return current is not None and current.digest == key.digest

    def verify(self, text: str, caller: Caller) -> ApiKey | None:
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
        if wait_s := self._limits.begin(match["id"] if match else "", caller, self._now()):
            raise TooManyTriesError(wait_s, "Too many wrong API keys.")
        raise InvalidKeyError

    # Uses

    def used(self, key: ApiKey, address: str, route: str) -> None:
        """Record a use. Uses with the same address and route are counted together."""
        uses = self._all_uses().setdefault(key.id, [])
        use = KeyUse(at=self._clock(), address=address, route=route)
        for index, earlier in enumerate(uses):
            if (earlier.address, earlier.route) == (address, route):
                del uses[index]
                use = use.model_copy(update={"count": earlier.count + 1})
                break
        uses.insert(0, use)
        del uses[_MAX_USES:]
        self._uses_changed = True

    def uses(self, key: ApiKey) -> tuple[KeyUse, ...]:
        """Return the last uses of a key by address and route, the newest first."""
        return tuple(self._all_uses().get(key.id, ()))

    async def keep_uses(self) -> None:
        """Write the uses to the disk every few seconds, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(_SAVE_USES_S)
                await asyncio.to_thread(self.save_uses)
        finally:
            self.save_uses()

    def save_uses(self) -> None:
        """Write the uses of the keys that still exist, if there are new ones."""
        if not self._uses_changed or self._folder is None:
            return
        self._uses_changed = False
        try:
            keys = self._read()
            kept = {key_id: [*uses] for key_id, uses in [*self._all_uses().items()]}
            content = _USES.dump_json({i: uses for i, uses in kept.items() if i in keys}, indent=2)
            write_private(self._folder / USES_FILE, content)
        except (OSError, StorageError) as error:
            logger.warning("The last uses of API keys cannot be written: %s", error)

    def _all_uses(self) -> dict[str, list[KeyUse]]:
        if self._uses is None:
            self._uses = {}
            if self._folder is not None:
                try:
                    self._uses = _USES.validate_json((self._folder / USES_FILE).read_bytes())
                except FileNotFoundError:
                    pass
                except (OSError, PydanticValidationError) as error:
                    logger.warning("The last uses of API keys cannot be read: %s", error)
        return self._uses

    # The file

    def _read(self) -> Mapping[str, ApiKey]:
        """Read the file. Raises StorageError if it cannot be read; then no key is accepted."""
        keys = self._file.read() if self._file is not None else None
        return {key.id: key for key in keys or ()}

    def _write(self, keys: Mapping[str, ApiKey]) -> None:
        if self._file is None:
            raise StorageError("There is no folder for API keys.")
        self._file.write([*keys.values()])
