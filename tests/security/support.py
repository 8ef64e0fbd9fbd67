"""The whole app in this process, in any mode, and people who knock at its doors."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.settings import Settings
from comfy_ui.web.api.program_endpoints import NAMES
from comfy_ui.web.auth import accounts
from comfy_ui.web.auth.access import TABLE, Access, AccessMode
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.serve import launch

PASSWORDS = {"anna": "anna's password", "vera": "vera's password", "viktor": "viktor's password"}
GRADIO = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # it closes its servers at exit
    pytest.mark.filterwarnings("ignore:.*no_silent_downcasting"),  # it counts with pandas
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]
"""Marks of tests that run the app in this process."""
ROLES = {"anna": Role.ADMIN, "vera": Role.USER, "viktor": Role.USER}


@dataclass
class Asked:
    """Every question that ``access`` was asked, and whether it refused."""

    questions: list[tuple[str, bool]] = field(default_factory=list)

    def take(self) -> list[tuple[str, bool]]:
        """Those since the last time."""
        taken, self.questions = self.questions, []
        return taken


@contextmanager
def listening(patch: Any) -> Iterator[Asked]:
    """Notes what is asked of all ``Access``."""
    asked, require, allows = Asked(), Access.require, Access.allows

    def looked(self: Access, action: Any, request: Any = None) -> bool:
        if request is not None:
            asked.questions.append((action, False))
        return allows(self, action, request)

    def noted(self: Access, action: Any, request: Any) -> str:
        try:
            user_id = require(self, action, request)
        except Exception:
            asked.questions.append((action, True))
            raise
        asked.questions.append((action, False))
        return user_id

    with patch.context() as patched:
        patched.setattr(Access, "require", noted)
        patched.setattr(Access, "allows", looked)
        yield asked


@contextmanager
def served(folder: Path, patch: Any, *, users: bool = True, **options: Any) -> Iterator[Any]:
    """The running ``gr.Blocks``; ``users``: with the logins above."""
    patch.setitem(accounts._COST, "n", 16)
    data = folder / "data"
    if users:
        file = Accounts(data / accounts.ACCOUNTS_FILE)
        for name, password in PASSWORDS.items():
            file.add(name, password, ROLES[name])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chosen = {"host": "0.0.0.0", "demo": True, "demo_speed": "instant", "mcp": True, **options}

    async def launched() -> Any:
        return launch(Settings(port=port, data_dir=data, **chosen), block=False)

    page = asyncio.run(launched())  # outside of a loop Gradio opens some and closes none
    try:
        yield page
    finally:
        page.close(verbose=False)


_sessions = itertools.count()


@dataclass
class Person:
    """Somebody with a client of their own. ``name`` None: without a login."""

    client: httpx.Client
    name: str | None = None

    @classmethod
    @contextmanager
    def comes(cls, page: Any, name: str | None = None) -> Iterator[Person]:
        """Opens the page, and logs in where they have a name."""
        url = f"http://127.0.0.1:{page.server_port}"
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            client.get("/", headers={"accept": "text/html"})
            if name is not None:
                form = {"username": name, "password": PASSWORDS[name]}
                assert client.post("/login", data=form).status_code == 200
            yield cls(client, name)

    def fire(self, number: int, data: list[Any], *, event_data: Any = None) -> dict[str, Any]:
        """Call a handler by its number, as anybody can; gives the last message about it."""
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
        """Call a named endpoint; gives all its answers. The last may be ``{"error": …}``."""
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
                    told = json.loads(line[6:])
                    answers += told[:1] if told else []
                elif line.startswith("data: ") and event == "error":
                    answers.append({"error": json.loads(line[6:])})
        return answers


# They show more to an owner; the tests of these panels say what.
ONLY_LOOK = {"_banner", "_draw", "_show_to_admins", "_submit", "generate", "run_workflow", "_apply"}
ONLY_OWNERS = {action for action in TABLE if TABLE[action][AccessMode.SHARED] is not Role.USER}


def handlers(page: Any) -> list[Any]:
    """All of Gradio's registry that run something here, private ones too."""
    return [found for found in page.fns.values() if found.fn is not None]


def knock(page: Any, visitor: Person) -> set[str]:
    """Call every handler by its number as a visitor; gives the actions that were refused.

    Each must ask before it does anything, be refused what only owners may, and nothing else.
    """
    refused = set()
    with pytest.MonkeyPatch.context() as patch, listening(patch) as asked:
        for handler in handlers(page):
            named = handler.api_name in NAMES and handler.api_visibility == "public"
            data = ["x" if named else None] * len(handler.inputs)
            visitor.fire(handler._id, data, event_data={})
            questions = asked.take()
            assert questions, f"{handler.name} asked nothing"
            for action, no in questions:
                assert not no or action in ONLY_OWNERS, (handler.name, action)
            if any(action in ONLY_OWNERS and not no for action, no in questions):
                # Only looked: nothing but what everybody may see can have come of it.
                assert handler.name in ONLY_LOOK, handler.name
            refused |= {action for action, no in questions if no}
    return refused
