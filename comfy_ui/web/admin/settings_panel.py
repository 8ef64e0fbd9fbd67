"""The form of the settings on the Status tab, made from the settings' own table."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...admin_settings.changed_settings import ChangedSettings, SettingChange, is_secret
from ...errors import ValidationError
from ...settings import CHANGEABLE, Settings, variable_of
from ...storage.records import LOCAL_USER_ID
from ..auth.access import LOGIN_USER, Access, AccessMode
from ..components.html import Html, duration
from ..components.templates import render
from ..http.handlers import PRIVATE, asked, body, guarded
from ..services import Services
from .setting_effects import SettingEffects

__all__ = ["SettingsPanel", "place_for_settings"]

_SHOWN_CHANGES: Final = 20
_GROUPS: Final[dict[str, dict[str, str]]] = {
    "Users": {"paid_runs": "Paid workflows", "storage_gb": "Storage of a user (GB)"},
    "ComfyUI": {
        "timeout_s": "Timeout (seconds)",
        "verify_tls": "Check certificates",
        "comfyui_token": "ComfyUI token",
        "api_key_comfy_org": "Comfy API key",
    },
    "Language model": {
        "openai_base_url": "Server address",
        "openai_api_key": "API key",
        "llm_model": "Model",
        "llm_shares_gpu": "Shares the GPU",
    },
    "Network": {
        "cors_origins": "Pages that may call the API",
        "webhook_hosts": "Private webhook hosts",
        "download_hosts": "Download hosts",
        "hf_token": "Hugging Face token",
    },
    "Log": {"log_level": "Level", "trace_prompts": "Prompts in traces"},
}
_LOCAL_ONLY: Final = frozenset({"openai_base_url", "webhook_hosts", "verify_tls"})
"""With a stolen password they would open the network behind a shared page."""


class _NewSetting(BaseModel):
    """A setting and its new value; None: the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=80)
    value: str | float | bool | None = Field(union_mode="left_to_right")


class SettingsPanel:
    """The settings of the app, for admins; those that need no restart can be changed."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._changing = asyncio.Lock()

    def routes(self) -> list[BaseRoute]:
        """All routes."""
        return [
            Route("/admin/settings", guarded(self._show)),
            Route("/admin/settings", guarded(self._change, writes=True), methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        self._access.require("change_settings", request)
        html = await asyncio.to_thread(self._panel)
        return JSONResponse({"html": html}, headers=PRIVATE)

    async def _change(self, request: Request) -> Response:
        user_id = self._access.require("change_settings", request)
        new = asked(_NewSetting, await body(request))
        if self._is_local_only(new.name):
            raise ValidationError("This can be changed on the page in local mode only.")
        changed = self._changed
        async with self._changing:
            await asyncio.to_thread(changed.change, new.name, new.value, user_id=user_id)
            names = await asyncio.to_thread(changed.follow_file)
            await SettingEffects(self._services, self._access).apply(names)
        answer = {"row": self._row_html(new.name), "history": self._history_html()}
        return JSONResponse(answer, headers=PRIVATE)

    @property
    def _changed(self) -> ChangedSettings:
        return self._services.changed_settings

    def _is_local_only(self, name: str) -> bool:
        return name in _LOCAL_ONLY and self._access.mode is not AccessMode.LOCAL

    def _panel(self) -> Html:
        groups = [
            (title, [self._row_html(name) for name in labels]) for title, labels in _GROUPS.items()
        ]
        fixed = [self._fixed_row(name) for name in Settings.model_fields if name not in CHANGEABLE]
        return render(
            "settings.html",
            "panel",
            groups=groups,
            fixed=fixed,
            history=self._history_html(),
        )

    def _row_html(self, name: str) -> Html:
        return render("settings.html", "setting", setting=self._row(name))

    def _row(self, name: str) -> dict[str, Any]:
        field = Settings.model_fields[name]
        value = getattr(self._changed.settings, name)
        kinds = get_args(field.annotation)
        source = self._changed.source(name)
        reason = ""
        if source == "start":
            variable = variable_of(name)
            set_there = variable.upper() in map(str.upper, os.environ)
            reason = f"Set by {variable}" if set_there else "Set on the command line"
        elif self._is_local_only(name):
            reason = "Can be changed here in local mode only"
        secret = is_secret(name)
        return {
            "name": name,
            "label": _LABELS[name],
            "help": field.description,
            "kind": "secret" if secret else _kind(field.annotation),
            "choices": [str(kind) for kind in kinds if isinstance(kind, str)],
            "value": "" if secret else _shown(value),
            "is_set": value is not None,
            "default": "" if secret else _shown(field.default),
            "changed": source == "page",
            "reason": reason,
        }

    def _fixed_row(self, name: str) -> dict[str, str]:
        value = getattr(self._changed.settings, name)
        shown = ("Set" if value is not None else "") if is_secret(name) else _shown(value)
        return {
            "variable": variable_of(name),
            "value": _without_login(shown),
            "source": "Set" if self._changed.is_fixed(name) else "Default",
        }

    def _history_html(self) -> Html:
        now = time.time()
        rows = [_change_row(change, now) for change in self._changed.history()[:_SHOWN_CHANGES]]
        return render("settings.html", "history", changes=rows)


_LABELS: Final = {name: label for group in _GROUPS.values() for name, label in group.items()}


def place_for_settings() -> Html:
    """Where the page's script shows the settings to admins."""
    return render("settings.html", "place")


def _kind(annotation: Any) -> str:
    if annotation is bool:
        return "bool"
    kinds = [kind for kind in (get_args(annotation) or [annotation]) if kind is not type(None)]
    if all(isinstance(kind, str) for kind in kinds):
        return "choice"
    return "number" if kinds in ([float], [int]) else "text"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_login(addresses: str) -> str:
    """Return addresses such as http://me:secret@gpu without their logins."""
    return " ".join(
        f"{one[: one.find('://') + 3] if '://' in one else ''}{one.rpartition('@')[2]}"
        if "@" in one
        else one
        for one in addresses.split(" ")
    )


def _change_row(change: SettingChange, now: float) -> dict[str, str]:
    user = change.user_id.removeprefix(LOGIN_USER)
    if change.value is None:
        what = "Default"
    elif is_secret(change.name):
        what = "Replaced"
    else:
        what = change.value or "Empty"
    return {
        "at": f"{duration(now - change.at)} ago",
        "user": "This machine" if change.user_id == LOCAL_USER_ID else user,
        "label": _LABELS.get(change.name, change.name),
        "what": what,
    }
