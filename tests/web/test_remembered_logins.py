"""Remembered logins: stored hashed, until they end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from comfy_ui.errors import StorageError
from comfy_ui.private_files import FileDocuments
from comfy_ui.web.auth.access import Access, AccessMode, IdentityMiddleware
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.auth.login_devices import CURRENT
from comfy_ui.web.auth.remembered_logins import LOGIN_COOKIE, REMEMBERED_S, RememberedLogins

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def accounts() -> Accounts:
    accounts = Accounts()
    accounts.add_for_now("ann", "a password", Role.USER)
    return accounts


def test_remembered_login_survives_a_restart_until_its_time_is_over(
    accounts: Accounts, tmp_path: Path
) -> None:
    time = 1000.0
    logins = RememberedLogins(accounts, FileDocuments(tmp_path), clock=lambda: time)
    token = logins.remember("ann")
    assert token is not None
    assert token not in (tmp_path / "remembered_logins.json").read_text()
    restarted = RememberedLogins(accounts, FileDocuments(tmp_path), clock=lambda: time)
    assert restarted.name(token) == "ann"
    assert restarted.name(f"{token}x") is None
    time += REMEMBERED_S
    assert restarted.name(token) is None


def test_remembered_login_of_a_replaced_account_has_ended(
    accounts: Accounts, tmp_path: Path
) -> None:
    logins = RememberedLogins(accounts, FileDocuments(tmp_path))
    token = logins.remember("ann")
    assert token is not None
    assert logins.remember("nobody") is None
    accounts.add_for_now("ann", "another password", Role.ADMIN)
    assert logins.name(token) is None


def test_remembered_logins_of_one_name_are_limited_and_others_stay(
    accounts: Accounts, tmp_path: Path
) -> None:
    accounts.add_for_now("bob", "a password", Role.USER)
    logins = RememberedLogins(accounts, FileDocuments(tmp_path))
    bob = logins.remember("bob")
    tokens = [logins.remember("ann") or "" for _ in range(52)]
    assert [logins.name(token) for token in tokens[:3]] == [None, None, "ann"]
    logins.forget_all("ann")
    assert logins.name(tokens[-1]) is None
    assert logins.name(bob or "") == "bob"


def test_remembered_logins_with_a_broken_file_require_a_login(
    accounts: Accounts, tmp_path: Path
) -> None:
    (tmp_path / "remembered_logins.json").write_text("{")
    logins = RememberedLogins(accounts, FileDocuments(tmp_path))
    assert logins.name("x") is None
    token = logins.remember("ann")
    assert token is not None
    assert logins.name(token) == "ann"


class SharedDocuments(FileDocuments):
    """Documents that other apps have open, too."""

    shared = True


@pytest.mark.parametrize(("query", "age"), [("", ""), ("?remember=1", f"; Max-Age={REMEMBERED_S}")])
def test_login_with_one_of_several_apps_gives_the_browser_no_cookie_of_this_app_alone(
    accounts: Accounts, tmp_path: Path, query: str, age: str
) -> None:
    logins = RememberedLogins(accounts, SharedDocuments(tmp_path))
    answer = log_in(accounts, logins, query)
    cookies = answer.headers.get_list("set-cookie")
    assert not [cookie for cookie in cookies if cookie.startswith("access-token")]
    (remembered,) = [cookie for cookie in cookies if cookie.startswith(LOGIN_COOKIE)]
    token, _, rest = remembered.removeprefix(f"{LOGIN_COOKIE}=").partition(";")
    assert f";{rest}".startswith(f"{age}; Path=/; HttpOnly")
    assert logins.name(token) == "ann"
    assert logins.stays(token) == bool(age)


class LateDocuments(SharedDocuments):
    """Documents whose changes by other apps are seen after a look only."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.looks = 0
        self.written: Path | None = None

    def refresh(self) -> None:
        self.looks += 1
        time.sleep(0.05)
        if self.written is not None:
            self.written.rename(self._folder / self.written.name)
            self.written = None


async def test_page_looks_for_a_login_that_another_app_has_just_stored(
    accounts: Accounts, tmp_path: Path
) -> None:
    stored, here = tmp_path / "stored", tmp_path / "here"
    here.mkdir()
    token = RememberedLogins(accounts, SharedDocuments(stored)).remember("ann") or ""
    documents = LateDocuments(here)
    documents.written = stored / "remembered_logins.json"
    logins = RememberedLogins(accounts, documents)
    assert logins.name(token) is None
    await logins.arrives(token)
    assert logins.name(token) == "ann"
    await logins.arrives(token)
    assert documents.looks == 1, "a login that is known needs no look"


async def test_page_looks_for_many_unknown_logins_at_once(
    accounts: Accounts, tmp_path: Path
) -> None:
    documents = LateDocuments(tmp_path)
    logins = RememberedLogins(accounts, documents)
    first = asyncio.create_task(logins.arrives("unknown"))
    while not documents.looks:  # noqa: ASYNC110 -- a thread has no event
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(logins.arrives(f"unknown {n}")) for n in range(100)]
    await asyncio.gather(first, *others)
    assert documents.looks == 2, "a look that had begun before may have seen too little"


async def test_one_app_looks_for_no_logins_of_others(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = FileDocuments(tmp_path)
    monkeypatch.setattr(documents, "refresh", Mock(side_effect=AssertionError))
    await RememberedLogins(accounts, documents).arrives("unknown")


async def test_page_comes_although_the_logins_of_other_apps_cannot_be_read(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = LateDocuments(tmp_path)
    monkeypatch.setattr(documents, "refresh", Mock(side_effect=StorageError("no answer")))
    await RememberedLogins(accounts, documents).arrives("unknown")


def test_login_that_several_apps_cannot_store_is_no_success(
    accounts: Accounts, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    logins = RememberedLogins(accounts, SharedDocuments(tmp_path / "file"))
    answer = log_in(accounts, logins, "")
    assert answer.status_code == 503
    assert "set-cookie" not in answer.headers


def log_in(accounts: Accounts, logins: RememberedLogins, query: str) -> httpx.Response:
    """Log in as Gradio does it."""
    access = Access(AccessMode.SHARED, b"0" * 32, accounts, remembered=logins)

    async def gradio(_: Request) -> Response:
        request = CURRENT.get()
        assert request is not None
        request.succeeded("ann")
        answer = JSONResponse({"success": True})
        answer.set_cookie("access-token-x", "t")
        answer.set_cookie("access-token-unsecure-x", "t")
        return answer

    app = Starlette(
        routes=[Route("/login", gradio, methods=["POST"])],
        middleware=[Middleware(IdentityMiddleware, access=access)],
    )
    with TestClient(app) as browser:
        return browser.post(f"/login{query}")
