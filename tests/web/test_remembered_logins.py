"""Remembered logins: stored hashed, until they end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

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


async def test_page_waits_for_a_login_that_another_app_has_just_stored(
    accounts: Accounts, tmp_path: Path
) -> None:
    stored, other = tmp_path / "stored", tmp_path / "late"
    token = RememberedLogins(accounts, SharedDocuments(stored)).remember("ann") or ""
    logins = RememberedLogins(accounts, SharedDocuments(other))
    waiting = asyncio.create_task(logins.arrives(token))
    await asyncio.sleep(0)
    assert logins.name(token) is None
    other.mkdir(exist_ok=True)
    (stored / "remembered_logins.json").rename(other / "remembered_logins.json")
    await waiting
    assert logins.name(token) == "ann"


async def test_page_waits_once_for_a_login_that_is_unknown(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    logins = RememberedLogins(accounts, SharedDocuments(tmp_path))
    await logins.arrives("unknown")
    assert 1.0 < sum(pauses) < 2.0
    pauses.clear()
    await logins.arrives("unknown")
    await RememberedLogins(accounts, FileDocuments(tmp_path)).arrives("unknown")
    assert pauses == []


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
