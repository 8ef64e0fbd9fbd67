"""Defaults of a client's arguments: the settings of the environment, loaded once per client."""

from __future__ import annotations

import os
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from .address import DEFAULT_HOST, parse_address

if TYPE_CHECKING:
    from ...settings import Settings

DEFAULT_TIMEOUT_S = 300.0
_VARIABLES = {
    "COMFYUI_URL",
    "COMFYUI_TOKEN",
    "COMFY_UI_API_KEY_COMFY_ORG",
    "COMFY_UI_TIMEOUT_S",
    "COMFY_UI_VERIFY_TLS",
}


class FromSettings(Enum):
    """The default of an argument whose None has a meaning."""

    TIMEOUT_S = "COMFY_UI_TIMEOUT_S"


class Environment:
    """The settings of the environment, for one client."""

    @cached_property
    def settings(self) -> Settings:
        """All settings, loaded on first use."""
        from ...settings import load_settings

        return load_settings()

    @cached_property
    def _configured(self) -> Settings | None:
        # Loading pydantic takes as long as loading a client, so it waits until a variable is set.
        return None if _VARIABLES.isdisjoint(map(str.upper, os.environ)) else self.settings

    @property
    def url(self) -> str | None:
        """The first address of COMFYUI_URL."""
        return next(iter(self._configured.comfyui_urls), None) if self._configured else None

    @property
    def timeout_s(self) -> float:
        """COMFY_UI_TIMEOUT_S, or its default."""
        return self._configured.timeout_s if self._configured else DEFAULT_TIMEOUT_S

    @property
    def verify_tls(self) -> bool:
        """COMFY_UI_VERIFY_TLS, or its default."""
        return self._configured.verify_tls if self._configured else True

    def token_for(self, url: str) -> str | None:
        """The token for a server, see :func:`token_for`."""
        return token_for(url, self._configured) if self._configured else None

    def partner_key_for(self, url: str) -> str | None:
        """The Comfy API key for a server, see :func:`partner_key_for`."""
        return partner_key_for(url, self._configured) if self._configured else None


def token_for(url: str, settings: Settings) -> str | None:
    """Return the token for an address that it was configured with, and None for any other.

    >>> from comfy_ui import load_settings
    >>> settings = load_settings(comfyui_url="http://gpu:8188/a", comfyui_token="t")
    >>> token_for("gpu:8188/a/", settings), token_for("http://gpu:8188/b", settings)
    ('t', None)
    """
    token = settings.comfyui_token
    return token.get_secret_value() if token and _is_configured(url, settings) else None


def partner_key_for(url: str, settings: Settings) -> str | None:
    """Return the Comfy API key for an address that it was configured with, and None for others."""
    key = settings.api_key_comfy_org
    return key.get_secret_value() if key and _is_configured(url, settings) else None


def _is_configured(url: str, settings: Settings) -> bool:
    configured = {parse_address(one).base_url for one in settings.comfyui_urls or (DEFAULT_HOST,)}
    return parse_address(url).base_url in configured
