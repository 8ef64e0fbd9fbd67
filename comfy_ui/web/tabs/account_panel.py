"""The user's own login and, for admins, all users and invitations: a panel on the Status tab."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...errors import ValidationError
from ..auth.access import LOGIN_USER, Access
from ..auth.accounts import Role
from ..auth.invitations import Invitation, Invitations
from ..auth.login_limits import Caller
from ..components.html import Html
from ..components.templates import render
from ..http.handlers import PRIVATE, Handler, asked, body, guarded
from ..services import Services
from ..share_link import ShareLink

__all__ = ["INVITATION_PATH", "AccountPanel", "place_for_account", "place_for_users"]

INVITATION_PATH: Final = "/invitation"
"""Creates a login with an invitation; open to everyone."""
_MAX_PASSWORD: Final = 256


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NewPassword(_Json):
    """A change of the user's own password."""

    current: str = Field(max_length=_MAX_PASSWORD)
    password: str = Field(max_length=_MAX_PASSWORD)


class LogOut(_Json):
    """The end of all of the user's logins."""

    everywhere: Literal[True]


class UserChange(_Json):
    """A change of another user's login by an admin."""

    name: str = Field(max_length=64)
    role: Literal["user", "admin", "none"]


class NewInvitation(_Json):
    """An invitation by an admin."""

    role: Literal["user", "admin"] = "user"


class OldInvitation(_Json):
    """An open invitation that an admin takes back."""

    id: str = Field(max_length=16)


class NewLogin(_Json):
    """A login that an invited user creates."""

    code: str = Field(max_length=64)
    username: str = Field(max_length=64)
    password: str = Field(max_length=_MAX_PASSWORD)


class AccountPanel:
    """The panel, which exists only where a login is required, and its routes."""

    def __init__(self, services: Services, access: Access, share: ShareLink | None) -> None:
        self._services = services
        self._access = access
        self._share = share
        self._invitations = Invitations(access.accounts, services.documents)

    def routes(self) -> list[BaseRoute]:
        """All routes."""
        changes: dict[str, Handler] = {
            "password": self._change_password,
            "log-out": self._log_out_everywhere,
            "invite": self._invite,
            "take-back": self._take_back,
            "user": self._change_user,
        }
        return [
            Route("/account", guarded(self._show)),
            *(
                Route(f"/account/{name}", guarded(change, writes=True), methods=["POST"])
                for name, change in changes.items()
            ),
            Route(INVITATION_PATH, guarded(self._accept, writes=True), methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        self._access.require("see_own", request)
        return self._drawn(request)

    async def _change_password(self, request: Request) -> Response:
        await self._access.admit("manage_keys", request)
        name = self._own_name(request)
        new = asked(NewPassword, await body(request))
        address = request.client.host if request.client else ""
        if not await self._access.accounts.verify(name, new.current, Caller(address)):
            raise ValidationError("The current password is wrong.")
        role = self._access.accounts.role(name)
        # For the page, which logs in again: a new password ends all logins.
        login, remembered = self._access.remembered_login(request.scope), self._access.remembered
        stays = login is not None and remembered is not None and remembered.stays(login[0])
        await asyncio.to_thread(self._access.accounts.add, name, new.password, role)
        return JSONResponse({"username": name, "remembered": stays}, headers=PRIVATE)

    async def _log_out_everywhere(self, request: Request) -> Response:
        self._access.require("see_own", request)
        name = self._own_name(request)
        asked(LogOut, await body(request))
        if self._access.remembered is not None:
            self._access.remembered.forget_all(name)
        request.app.tokens.end_all(name)
        return JSONResponse({}, headers=PRIVATE)

    async def _invite(self, request: Request) -> Response:
        self._access.require("manage_users", request)
        role = Role[asked(NewInvitation, await body(request)).role.upper()]
        code = await asyncio.to_thread(self._invitations.create, role)
        return self._drawn(request, code=code)

    async def _take_back(self, request: Request) -> Response:
        self._access.require("manage_users", request)
        invitation = asked(OldInvitation, await body(request))
        await asyncio.to_thread(self._invitations.take_back, invitation.id)
        return self._drawn(request)

    async def _change_user(self, request: Request) -> Response:
        self._access.require("manage_users", request)
        change = asked(UserChange, await body(request))
        if change.name == self._access.login_name(request.scope):
            raise ValidationError("You cannot change your own role.", hint="Ask another admin.")
        accounts = self._access.accounts
        if change.role == "none":
            # A new user of an old name must not find the keys of the previous one in use.
            await asyncio.to_thread(self._access.keys.revoke_all, change.name)
            done = await asyncio.to_thread(accounts.remove, change.name)
        else:
            role = Role[change.role.upper()]
            done = await asyncio.to_thread(accounts.set_role, change.name, role)
        if not done:
            raise ValidationError("There is no such user.", hint="Reload the page.")
        return self._drawn(request)

    async def _accept(self, request: Request) -> Response:
        if not self._access.accounts:
            raise ValidationError("This page requires no login.")
        login = asked(NewLogin, await body(request))
        await asyncio.to_thread(
            self._invitations.accept,
            login.code,
            login.username,
            login.password,
            reserved=[
                user_id.removeprefix(LOGIN_USER)
                for user_id in await self._services.library.user_ids()
                if user_id.startswith(LOGIN_USER)
            ],
        )
        return JSONResponse({}, headers=PRIVATE)

    def _own_name(self, request: Request) -> str:
        """Return the name of a login that its user may change."""
        name = self._access.key_owner(request)
        if name not in self._access.accounts.stored():
            raise ValidationError(
                "This login is set where comfy-ui is started.", hint="Change it there."
            )
        return name

    def _drawn(self, request: Request, *, code: str = "") -> Response:
        return JSONResponse({"html": self.draw(request, code=code)}, headers=PRIVATE)

    def draw(self, request: Any, *, code: str = "") -> Html:
        """The panel for a request's user; empty where no login is required. ``code``: a new one."""
        access = self._access
        name = access.login_name(request.scope)
        if not access.accounts or name is None:
            return Html("")
        manages = access.allows("manage_users", request)
        stored = access.accounts.stored()
        now = time.time()
        return render(
            "account.html",
            "account",
            name=name,
            role=access.role(request).name.title(),
            own=name in stored,
            users=[
                {"name": other, "role": role.name.title(), "own": other == name}
                for other, role in sorted(stored.items())
            ]
            if manages
            else None,
            invitations=[_row(i, now) for i in self._invitations.open()] if manages else [],
            code=code,
            link=self._share.link.url if manages and self._share is not None else "",
        )


def place_for_account() -> Html:
    """Where the page's script shows the panel."""
    return render("account.html", "place")


def place_for_users() -> Html:
    """Where the page's script shows the part of the panel about other users."""
    return render("account.html", "users_place")


def _row(invitation: Invitation, now: float) -> dict[str, str]:
    days = math.ceil((invitation.until - now) / 86400)
    return {
        "id": invitation.id,
        "role": invitation.role.title(),
        "left": f"{days} days left" if days > 1 else "1 day left",
    }
