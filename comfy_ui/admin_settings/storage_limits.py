"""How much disk space the results of each user may take up; admins change it on the page."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter

from ..private_files import Documents
from ..private_json import PrivateJson
from ..settings import Settings
from ..storage.records import LOCAL_USER_ID

__all__ = ["StorageLimits"]

_FILE: Final = "storage_limits.json"
_SHARED_LIMIT_BYTES: Final = 10 * 10**9
_LIMITS: Final = TypeAdapter(dict[str, int | None])


class StorageLimits:
    """Returns the quota of a ``user_id`` in bytes when it is called; None: no limit.

    A limit that an admin has set for a user is stored. All others have that of the
    settings; ``shared``: without one there, users of a shared page have 10 GB.
    """

    def __init__(self, settings: Settings, documents: Documents, *, shared: bool = False) -> None:
        self._settings = settings
        self._shared = shared
        self._file = PrivateJson(documents, _FILE, _LIMITS, "storage limits")

    def __call__(self, user_id: str) -> int | None:
        own = self.own()
        return own[user_id] if user_id in own else self._general(user_id)

    def own(self) -> dict[str, int | None]:
        """Return the limits that admins have set, by ``user_id``."""
        return self._file.read() or {}

    def set(self, user_id: str, limit_bytes: int | None) -> None:
        """Set the limit of a user; None: no limit.

        Raises:
            StorageError: the file cannot be written.
        """
        self._file.update(lambda limits: {**(limits or {}), user_id: limit_bytes})

    def reset(self, user_id: str) -> None:
        """Give a user the limit of the settings again.

        Raises:
            StorageError: the file cannot be written.
        """
        self._file.update(
            lambda limits: {i: limit for i, limit in (limits or {}).items() if i != user_id}
        )

    def _general(self, user_id: str) -> int | None:
        if self._settings.storage_gb is not None:
            return int(self._settings.storage_gb * 1e9)
        return _SHARED_LIMIT_BYTES if self._shared and user_id != LOCAL_USER_ID else None
