"""The app in this process, in any mode, and clients that call it."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.private_files import FileDocuments
from comfy_ui.settings import Settings
from comfy_ui.web.api.program_endpoints import NAMES
from comfy_ui.web.auth import accounts
from comfy_ui.web.auth.access import TABLE, Access, AccessMode
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.serve import launch

PASSWORDS = {"anna": "anna's password", "vera": "vera's password", "viktor": "viktor's password"}
GRADIO = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # it closes its servers at exit
]
"""Marks of tests that run the app in this process."""
ROLES = {"anna": Role.ADMIN, "vera": Role.USER, "viktor": Role.USER}


@dataclass
class AccessChecks:
    """Every access check as (action, whether it was refused)."""

    recorded: list[tuple[str, bool]] = field(default_factory=list)

    def take(self) -> list[tuple[str, bool]]:
        """Return the checks since the last call."""
        taken, self.recorded = self.recorded, []
        return taken


@contextmanager
def record_access_checks(patch: Any) -> Iterator[AccessChecks]:
    """Record the checks of all ``Access`` objects."""
    checks = AccessChecks()
    require, admit, allows = Access.require, Access.admit, Access.allows

    def recording_allows(self: Access, action: Any, request: Any = None) -> bool:
        if request is not None:
            checks.recorded.append((action, False))
        return allows(self, action, request)

    def recording_require(self: Access, action: Any, request: Any) -> str:
        try:
            user_id = require(self, action, request)
        except Exception:
            checks.recorded.append((action, True))
            raise
        checks.recorded.append((action, False))
        return user_id

    async def recording_admit(self: Access, action: Any, request: Any) -> str:
        try:
            user_id = await admit(self, action, request)
        except Exception:
            checks.recorded.append((action, True))
            raise
        checks.recorded.append((action, False))
        return user_id

    with patch.context() as patched:
        patched.setattr(Access, "require", recording_require)
        patched.setattr(Access, "admit", recording_admit)
        patched.setattr(Access, "allows", recording_allows)
        yield checks


@contextmanager
def served(folder: Path, patch: Any, *, users: bool = True, **options: Any) -> Iterator[Any]:
    """Run the app and yield its ``gr.Blocks``; ``users``: with the accounts above."""
    patch.setitem(accounts._COST, "n", 16)
    data = folder / "data"
    if users:
        file = Accounts(FileDocuments(data))
        for name, password in PASSWORDS.items():
            file.add(name, password, ROLES[name])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chosen = {"host": "0.0.0.0", "demo": True, "demo_speed": "instant", "mcp": True, **options}

    async def launched() -> Any:
        return launch(Settings(port=port, data_dir=data, **chosen), block=False)

    page = asyncio.run(launched())  # outside of a loop Gradio opens loops and never closes them
    try:
        yield page
    finally:
        page.close(verbose=False)


_sessions = itertools.count()


@dataclass
class PageClient:
    """A user's HTTP client. ``name`` None: without a login."""

    client: httpx.Client
    name: str | None = None

    @classmethod
    @contextmanager
    def open(cls, page: Any, name: str | None = None) -> Iterator[PageClient]:
        """Open the page, and log in if there is a name."""
        url = f"http://127.0.0.1:{page.server_port}"
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            client.get("/", headers={"accept": "text/html"})
            if name is not None:
                form = {"username": name, "password": PASSWORDS[name]}
                assert client.post("/login", data=form).status_code == 200
            yield cls(client, name)

    def fire(self, number: int, data: list[Any], *, event_data: Any = None) -> dict[str, Any]:
        """Call a handler by its number and return its last message."""
        session = f"session{next(_sessions)}"
        sent = self.client.post(
            "/gradio_api/queue/join",
            json={
                "fn_index": number,
                "data": data,
                "event_data": event_data,
                "session_hash": session,
                "trigger_id": None,
            },
        )
        if sent.status_code != 200:
            return {"msg": "refused", "status": sent.status_code}
        with self.client.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": session}
        ) as s:
            for line in s.iter_lines():
                if line.startswith("data: "):
                    message = json.loads(line[6:])
                    if message["msg"] in {"process_completed", "unexpected_error"}:
                        return message
        return {"msg": "ended"}

    def call(self, name: str, *arguments: Any, session: str | None = None) -> list[Any]:
        """Call a named endpoint and return all results. The last may be ``{"error": …}``."""
        body: dict[str, Any] = {"data": list(arguments)}
        if session is not None:
            body["session_hash"] = session
        sent = self.client.post(f"/gradio_api/call/{name}", json=body)
        assert sent.status_code == 200, sent.text
        answers = []
        path = f"/gradio_api/call/{name}/{sent.json()['event_id']}"
        with self.client.stream("GET", path) as stream:
            event = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event in {"generating", "complete"}:
                    data = json.loads(line[6:])
                    answers += data[:1] if data else []
                elif line.startswith("data: ") and event == "error":
                    answers.append({"error": json.loads(line[6:])})
        return answers


# They only show more to an admin; the tests of these panels check that.
READ_ONLY_HANDLERS = {
    "_draw",
    "_follow",
    "_submit",
    "generate",
    "extend",
    "trim",
    "run_workflow",
    "_apply",
    # The user's own keys: whether they may spend is shown.
    "_create",
    "_limit",
    "_revoke",
}
ADMIN_ACTIONS = {action for action in TABLE if TABLE[action][AccessMode.SHARED] is not Role.USER}


def until(condition: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """Wait until ``condition`` returns something true; return it."""
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def handlers(page: Any) -> list[Any]:
    """Return all handlers of Gradio's registry, private ones too."""
    return [handler for handler in page.fns.values() if handler.fn is not None]


def call_every_handler(page: Any, client: PageClient) -> set[str]:
    """Call every handler by its number as a user and return the refused actions.

    Each must check access first; only the admin actions may be refused.
    """
    refused = set()
    with pytest.MonkeyPatch.context() as patch, record_access_checks(patch) as checks:
        for handler in handlers(page):
            named = handler.api_name in NAMES and handler.api_visibility == "public"
            data = ["x" if named else None] * len(handler.inputs)
            client.fire(handler._id, data, event_data={})
            taken = checks.take()
            assert taken, f"{handler.name} checked nothing"
            for action, no in taken:
                assert not no or action in ADMIN_ACTIONS, (handler.name, action)
            if any(action in ADMIN_ACTIONS and not no for action, no in taken):
                # It only asked what to show, which every user may see.
                assert handler.name in READ_ONLY_HANDLERS, handler.name
            refused |= {action for action, no in taken if no}
    return refused
