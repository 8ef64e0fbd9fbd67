"""The list of servers on the Status tab, for admins: add, test, edit and remove."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...client.server_check import ServerCheck
from ...client.transport.address import MAX_PARALLEL_JOBS
from ...errors import ValidationError
from ..auth.access import Access
from ..components.html import Html
from ..components.templates import render
from ..http.handlers import PRIVATE, Handler, asked, body, guarded
from ..services import Services
from .saved_servers import SavedServer, SavedServers, new_server

__all__ = ["ServersPanel", "place_for_servers"]

_Line = Annotated[str, Field(max_length=500)]


class _ServerForm(BaseModel):
    """A server as it was entered. Secrets that are None stay as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(default="", max_length=16)
    name: Annotated[str, Field(max_length=80)] = ""
    address: _Line
    parallel_jobs: Annotated[int, Field(ge=1, le=MAX_PARALLEL_JOBS)] | None = None
    username: _Line = ""
    token: _Line | None = None
    password: _Line | None = None
    headers: Annotated[str, Field(max_length=4000)] | None = None


class _ServerId(BaseModel):
    """A server of the list."""

    id: str = Field(max_length=16)


class ServersPanel:
    """The panel and its routes. The page never receives a token, password or header."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def routes(self) -> list[BaseRoute]:
        """All routes."""
        changes: dict[str, Handler] = {
            "test": self._test,
            "save": self._save,
            "remove": self._remove,
        }
        return [
            Route("/admin/servers", guarded(self._show)),
            *(
                Route(f"/admin/servers/{name}", guarded(change, writes=True), methods=["POST"])
                for name, change in changes.items()
            ),
        ]

    @property
    def _saved(self) -> SavedServers:
        return self._services.saved_servers

    async def _show(self, request: Request) -> Response:
        self._access.require("see_server", request)
        return await self._drawn()

    async def _test(self, request: Request) -> Response:
        """Ask the server as it was entered; nothing is stored."""
        await self._access.admit("reconnect", request)
        server = await self._entered(request)
        look = await self._services.connection.test(server)
        return JSONResponse({"text": _answer(look)}, headers=PRIVATE)

    async def _save(self, request: Request) -> Response:
        await self._access.admit("reconnect", request)
        server = await self._entered(request)
        if server.address in self._fixed_addresses():
            raise ValidationError("This address is in the list already.")
        await asyncio.to_thread(self._saved.put, server)
        return await self._used()

    async def _remove(self, request: Request) -> Response:
        await self._access.admit("reconnect", request)
        server_id = asked(_ServerId, await body(request)).id
        await asyncio.to_thread(self._saved.remove, server_id)
        return await self._used()

    async def _entered(self, request: Request) -> SavedServer:
        form = asked(_ServerForm, await body(request))
        kept = await asyncio.to_thread(self._saved.get, form.id) if form.id else None
        server = new_server(
            form.address,
            form.id,
            name=form.name.strip(),
            parallel_jobs=form.parallel_jobs,
            username=form.username.strip(),
            token=(form.token or "").strip(),
            password=form.password or "",
            headers=_headers(form.headers or ""),
        )
        if kept is None:
            return server
        if kept.address != server.address:
            # A changed address must not receive the credentials of the old one.
            return server
        unchanged = {
            name: getattr(kept, name)
            for name in ("token", "password", "headers")
            if getattr(form, name) is None
        }
        return server.model_copy(update=unchanged)

    async def _used(self) -> Response:
        await self._services.connection.use_saved()
        return await self._drawn()

    def _fixed_addresses(self) -> list[str]:
        """The addresses of the servers in use that are not in the list."""
        connection = self._services.connection
        return [client.url for client in connection.clients[: len(connection.choice.urls)]]

    async def _drawn(self) -> Response:
        servers = await asyncio.to_thread(self._saved.listed)
        choice = self._services.connection.choice
        html = render(
            "servers.html",
            "panel",
            servers=[_row(server) for server in servers],
            fixed=[client.url for client in self._services.connection.clients[: len(choice.urls)]],
            kind=choice.kind,
            is_demo=self._services.settings.demo,
        )
        return JSONResponse({"html": html}, headers=PRIVATE)


def place_for_servers() -> Html:
    """Where the page's script shows the list to admins."""
    return render("servers.html", "place")


def _row(server: SavedServer) -> dict[str, Any]:
    return {
        "id": server.id,
        "name": server.name,
        "address": server.address,
        "jobs": server.parallel_jobs or "",
        "username": server.username,
        "has_token": bool(server.token),
        "has_password": bool(server.password),
        "header_names": ", ".join(server.headers),
    }


def _headers(text: str) -> dict[str, str]:
    """Parse lines such as ``X-Key: abc``.

    Raises:
        ValidationError: a line is no header.
    """
    headers = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not (colon and value.strip() and name.replace("-", "").isalnum() and name.isascii()):
            raise ValidationError("Write headers as Name: value, one on each line.")
        headers[name.strip().lower()] = value.strip()
    return headers


def _answer(look: ServerCheck) -> str:
    version = look.stats.comfyui_version if look.stats else ""
    return f"Online: ComfyUI {version}" if version else "Online"
