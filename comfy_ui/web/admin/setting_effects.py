"""What a changed setting needs beyond its new value: parts that have read it at their start."""

from __future__ import annotations

from ...models.download import ModelSources
from ..auth.access import Access
from ..services import Services

__all__ = ["SettingEffects"]

_OF_CONNECTIONS = frozenset({"timeout_s", "verify_tls", "comfyui_token", "api_key_comfy_org"})
_OF_DOWNLOADS = frozenset({"download_hosts", "hf_token"})


class SettingEffects:
    """Makes changed settings take effect. Settings that are read on use need nothing here."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    async def apply(self, names: frozenset[str]) -> None:
        """Let the settings of these names take effect.

        Raises:
            StorageError: the servers cannot be reopened.
        """
        settings = self._services.settings
        if "paid_runs" in names:
            self._access.users_spend = settings.paid_runs == "users"
        if names & _OF_DOWNLOADS:
            self._services.downloads.sources = ModelSources.of(settings)
        if names & _OF_CONNECTIONS:
            await self._services.connection.reopen()
