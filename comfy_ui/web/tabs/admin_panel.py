"""What admins see of all users on the Status tab: their storage and API keys, and the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ...errors import ValidationError
from ...logging import RecentLine, recent_lines
from ...storage.quota import StorageUsage
from ...storage.records import LOCAL_USER_ID
from ..auth.access import LOGIN_USER, Access
from ..auth.api_keys import ApiKey
from ..components.html import Html, duration, size
from ..components.templates import render
from ..http.handlers import PRIVATE, Handler, asked, body, guarded
from ..services import Services

__all__ = ["AdminPanel", "place_for_admin"]

_MOST_USERS: Final = 200
_GB: Final = 1e9


class _AdminChange(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OtherKey(_AdminChange):
    """The id of an API key of any user."""

    id: str = Field(max_length=16)


class NewStorageLimit(_AdminChange):
    """The storage of a user in GB; None: that of the settings, 0: no limit."""

    user_id: str = Field(max_length=200)
    limit_gb: Annotated[float, Field(ge=0, le=1_000_000)] | None


class LogFilter(_AdminChange):
    """What is wanted of the log: from a level on, with a text, after a line."""

    level: Literal["debug", "info", "warning", "error"] = "debug"
    text: str = Field(default="", max_length=200)
    after: int = 0


class AdminPanel:
    """The panel of admins, and its routes."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def routes(self) -> list[BaseRoute]:
        """All routes."""
        changes: dict[str, Handler] = {
            "revoke-key": self._revoke_key,
            "storage": self._limit_storage,
        }
        return [
            Route("/admin", guarded(self._show)),
            Route("/admin/log", guarded(self._log)),
            Route("/admin/log.txt", guarded(self._download_log)),
            *(
                Route(f"/admin/{name}", guarded(change, writes=True), methods=["POST"])
                for name, change in changes.items()
            ),
        ]

    async def _show(self, request: Request) -> Response:
        self._access.require("manage_users", request)
        return await self._drawn()

    async def _revoke_key(self, request: Request) -> Response:
        self._access.require("manage_users", request)
        key = asked(OtherKey, await body(request))
        if not await asyncio.to_thread(self._access.keys.revoke, key.id):
            raise ValidationError("There is no such key.", hint="It may be revoked already.")
        return await self._drawn()

    async def _limit_storage(self, request: Request) -> Response:
        self._access.require("manage_users", request)
        new = asked(NewStorageLimit, await body(request))
        if new.user_id not in await self._user_ids():
            raise ValidationError("There is no such user.", hint="Reload the page.")
        limits = self._services.connection.storage_limits
        if new.limit_gb is None:
            await asyncio.to_thread(limits.reset, new.user_id)
        else:
            bytes_ = int(new.limit_gb * _GB) or None
            await asyncio.to_thread(limits.set, new.user_id, bytes_)
        return await self._drawn()

    async def _log(self, request: Request) -> Response:
        self._access.require("see_server", request)
        lines = self._lines(request)
        answer = {
            "lines": [{"level": line.level, "text": line.text} for line in lines],
            "last": lines[-1].number if lines else None,
        }
        return JSONResponse(answer, headers=PRIVATE)

    async def _download_log(self, request: Request) -> Response:
        self._access.require("see_server", request)
        text = "".join(f"{line.text}\n" for line in self._lines(request))
        attachment = {"Content-Disposition": 'attachment; filename="comfy-ui-log.txt"'}
        return PlainTextResponse(text, headers={**PRIVATE, **attachment})

    def _lines(self, request: Request) -> list[RecentLine]:
        wanted = asked(LogFilter, dict(request.query_params))
        return recent_lines(wanted.level, text=wanted.text, after=wanted.after)

    async def _user_ids(self) -> list[str]:
        """Return the ids of all logins, and of others who have stored jobs."""
        logins = [f"{LOGIN_USER}{name}" for name in self._access.accounts.names()]
        return [*dict.fromkeys([*logins, *await self._services.library.user_ids()])]

    async def _drawn(self) -> Response:
        own = self._services.connection.storage_limits.own()
        library = self._services.library
        usages = [(user_id, await library.usage(user_id)) for user_id in await self._user_ids()]
        usages.sort(key=lambda pair: pair[1].used_bytes, reverse=True)
        keys = _key_rows(self._access.keys.listed(), self._access)
        html = render(
            "admin.html",
            "panel",
            count_users=f"{len(usages)} users" if len(usages) != 1 else "1 user",
            count_keys=f"{len(keys)} keys" if len(keys) != 1 else "1 key",
            users=[_user_row(*pair, own=own) for pair in usages[:_MOST_USERS]],
            hidden=max(0, len(usages) - _MOST_USERS),
            keys=keys,
        )
        return JSONResponse({"html": html}, headers=PRIVATE)


def place_for_admin() -> Html:
    """Where the page's script shows the panel to admins."""
    return render("admin.html", "place")


def _user_row(user_id: str, usage: StorageUsage, *, own: dict[str, int | None]) -> dict[str, Any]:
    limit = usage.limit_bytes
    return {
        "id": user_id,
        "name": _name(user_id),
        "used": size(usage.used_bytes),
        "limit": size(limit) if limit is not None else "",
        "full": usage.is_full,
        "own_gb": f"{(own[user_id] or 0) / _GB:g}" if user_id in own else "",
    }


def _key_rows(keys: Iterable[ApiKey], access: Access) -> list[dict[str, str]]:
    now = time.time()
    rows = []
    for key in keys:
        uses = access.keys.uses(key)
        rows.append(
            {
                "id": key.id,
                "name": key.name,
                "owner": key.owner,
                "role": key.role.title(),
                "used": f"{duration(now - uses[0].at)} ago" if uses else "",
            }
        )
    return rows


def _name(user_id: str) -> str:
    """Return how a user is called on the page: a login's name, or the kind of user."""
    if user_id == LOCAL_USER_ID:
        return "This machine"
    return user_id.removeprefix(LOGIN_USER)
