"""Which ComfyUI to use: configured, found here, managed by comfy-ui, or the demo engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import SecretStr

from ..client import ComfyClient, parse_address
from ..engine.engine_paths import EnginePaths
from ..errors import ComfyHeadlessError, ValidationError
from ..settings import DEFAULT_URL, Settings, split_addresses
from .admin.saved_servers import SavedServer

__all__ = ["ServerChoice", "answers", "choose", "configured", "demo_speed", "typed"]

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """Which servers to use.

    ``urls`` is empty until the demo engine (``embedded``) or the ``managed`` ComfyUI has started.
    ``typed``: entered on the page.
    """

    kind: Literal["configured", "found", "embedded", "typed", "managed", "saved"]
    urls: tuple[str, ...] = ()
    token: SecretStr | None = None
    """The bearer token entered with the addresses."""
    saved: tuple[SavedServer, ...] = ()
    """Servers besides ``urls`` that admins have added on the page."""

    def with_saved(self, servers: Sequence[SavedServer]) -> ServerChoice:
        """Return this choice with other saved servers. Any of them replaces the demo engine."""
        if self.kind in {"embedded", "saved"}:
            return ServerChoice("saved", saved=(*servers,)) if servers else ServerChoice("embedded")
        bases = {parse_address(url).base_url for url in self.urls}
        return replace(self, saved=tuple(s for s in servers if s.address not in bases))


def choose(settings: Settings, *, probe: Callable[[str], bool] | None = None) -> ServerChoice:
    """Choose the server. Calls ``probe`` only if none is configured.

    A configured address is used even if it does not respond now: jobs wait for it.

    Raises:
        InvalidAddressError: one of the configured addresses is invalid.
    """
    if settings.demo:
        return ServerChoice("embedded")
    if settings.comfyui_urls:
        return configured(settings.comfyui_urls)
    installed = EnginePaths.of(settings).current() is not None
    if installed and settings.engine:
        return ServerChoice("managed")
    if (probe or answers)(DEFAULT_URL):
        return ServerChoice("found", (DEFAULT_URL,))
    if installed:
        return ServerChoice("managed")
    return ServerChoice("embedded")


def configured(urls: Sequence[str]) -> ServerChoice:
    """Return the choice of these servers.

    Raises:
        InvalidAddressError: one of them is not an address, or there is none.
    """
    for url in urls or [""]:
        parse_address(url)
    return ServerChoice("configured", (*urls,))


def typed(text: str, token: str = "") -> ServerChoice:
    """Return the choice of servers whose addresses, and token, were entered on the page.

    Raises:
        InvalidAddressError: one of them is not an address, or there is none.
    """
    secret = SecretStr(token.strip()) if token.strip() else None
    return replace(configured(split_addresses(text)), kind="typed", token=secret)


def answers(url: str) -> bool:
    """Whether a ComfyUI responds there within two seconds."""
    try:
        with ComfyClient(url=url, timeout=PROBE_TIMEOUT_S) as client:
            client.system_stats()
    except ComfyHeadlessError:
        return False
    return True


def demo_speed(text: str) -> Literal["instant"] | float:
    """Convert the setting ``demo_speed`` for the engine.

    >>> demo_speed("instant"), demo_speed("12")
    ('instant', 12.0)

    Raises:
        ValidationError: neither ``instant`` nor a number.
    """
    if text == "instant":
        return "instant"
    try:
        return float(text)
    except ValueError as error:
        raise ValidationError(
            f"The demo speed cannot be '{text}'.", hint="Use 'instant' or steps per second, as 6."
        ) from error
