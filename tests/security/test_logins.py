"""Guessed passwords, and sessions that outlive their password."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.private_files import FileDocuments
from comfy_ui.web.auth import logins
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.auth.limit_counters import LocalCounters
from comfy_ui.web.auth.remembered_logins import LOGIN_COOKIE
from tests.security.support import GRADIO, PASSWORDS, PageClient, served

pytestmark = [pytest.mark.slow, *GRADIO]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logins")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        delays = LocalCounters(lambda: 0.0)  # do not end
        patch.setattr(
            logins, "Accounts", lambda documents, **_: Accounts(documents, counters=delays)
        )
        with served(folder, patch) as page:
            yield page


def guess(page: Any, name: str, count: int) -> Counter[int]:
    """Send wrong passwords in parallel; return how often each status was the answer."""
    url = f"http://127.0.0.1:{page.server_port}/login"

    def attempt(number: int) -> int:
        form = {"username": name, "password": f"wrong {number}"}
        return httpx.post(url, data=form, trust_env=False, timeout=60).status_code

    with ThreadPoolExecutor(20) as pool:
        return Counter(pool.map(attempt, range(count)))


def login(client: httpx.Client, name: str, password: str | None = None) -> int:
    form = {"username": name, "password": password or PASSWORDS[name]}
    return client.post("/login", data=form).status_code


def test_login_wrong_passwords_in_parallel_are_five_attempts_and_keep_no_known_browser_out(
    page: Any,
) -> None:
    with PageClient.open(page, "vera") as vera, PageClient.open(page) as stranger:
        answers = guess(page, "vera", 40)
        assert answers == guess(page, "nobody", 40) == {400: 5, 429: 35}
        assert login(stranger.client, "vera") == 429
        assert login(vera.client, "vera") == 200
        (device,) = [c for c in vera.client.cookies.jar if c.name.startswith("comfy_ui_device_")]
        assert device.has_nonstandard_attr("HttpOnly")
        stranger.client.cookies.set(device.name, f"{'0' * 32}.{'0' * 43}")
        assert login(stranger.client, "vera") == 429


def test_session_ends_with_a_new_password_and_with_the_account(page: Any, folder: Path) -> None:
    accounts = Accounts(FileDocuments(folder / "data"))
    with PageClient.open(page, "viktor") as browser:
        program = browser.client.build_request("GET", "/config")
        basic = httpx.BasicAuth("viktor", PASSWORDS["viktor"])

        def statuses() -> list[int]:
            with httpx.Client(base_url=browser.client.base_url, trust_env=False) as other:
                return [
                    browser.client.send(program).status_code,
                    other.get("/config", auth=basic).status_code,
                ]

        assert statuses() == [200, 200]
        accounts.add("viktor", "a new password", Role.USER)
        assert statuses() == [401, 401]
        assert login(browser.client, "viktor", "a new password") == 200
        assert accounts.remove("viktor")
        accounts.add("viktor", "another viktor", Role.ADMIN)
        assert statuses() == [401, 401]


def post(client: httpx.Client, path: str, **data: str) -> httpx.Response:
    return client.post(path, json=data)


def status(page: Any, *, cookie: tuple[str, str] | None = None) -> int:
    """The status of a page that needs a login, for a browser that has only this cookie."""
    url = f"http://127.0.0.1:{page.server_port}/account"
    return httpx.get(url, cookies=dict([cookie]) if cookie else {}, trust_env=False).status_code


def invite(admin: httpx.Client, **data: str) -> str:
    html = post(admin, "/account/invite", **data).json()["html"]
    return re.findall(r'data-invitation="([^"]+)"', html)[0]


def test_invitation_creates_one_login_that_its_admin_can_change_and_remove(page: Any) -> None:
    with PageClient.open(page, "anna") as anna, PageClient.open(page) as stranger:
        code = invite(anna.client)
        new = {"code": code, "username": "wanda", "password": "short"}
        assert "8 characters" in post(stranger.client, "/invitation", **new).json()["error"]
        taken = new | {"username": "anna", "password": "long enough"}
        assert "taken" in post(stranger.client, "/invitation", **taken).json()["error"]
        new["password"] = "long enough"
        assert post(stranger.client, "/invitation", **new).status_code == 200
        assert "no longer" in post(stranger.client, "/invitation", **new).json()["error"]
        assert login(stranger.client, "wanda", "long enough") == 200
        assert post(stranger.client, "/account/invite").status_code == 422  # for admins only

        user = {"name": "wanda", "role": "admin"}
        assert "Make user" in post(anna.client, "/account/user", **user).json()["html"]
        assert post(stranger.client, "/account/invite").status_code == 200
        own = {"name": "anna", "role": "none"}
        assert "own role" in post(anna.client, "/account/user", **own).json()["error"]
        assert post(anna.client, "/account/user", name="wanda", role="none").status_code == 200
        assert stranger.client.get("/account").status_code == 401


def test_invitation_taken_back_or_guessed_is_refused(page: Any) -> None:
    with PageClient.open(page, "anna") as anna, PageClient.open(page) as stranger:
        code = invite(anna.client, role="admin")
        html = anna.client.get("/account").json()["html"]
        *_, open_id = re.findall(r'data-do="take-back" data-id="([^"]+)"', html)
        assert code not in html
        post(anna.client, "/account/take-back", id=open_id)
        for tried in (code, open_id, ""):
            new = {"code": tried, "username": "eve", "password": "long enough"}
            assert "no longer" in post(stranger.client, "/invitation", **new).json()["error"]


def test_remembered_login_outlasts_the_session_and_ends_with_logout_or_a_new_password(
    page: Any, folder: Path
) -> None:
    Accounts(FileDocuments(folder / "data")).add("ron", "ron's password", Role.USER)
    form = {"username": "ron", "password": "ron's password"}

    def remembered() -> tuple[str, str]:
        with PageClient.open(page) as browser:
            assert browser.client.post("/login?remember=1", data=form).status_code == 200
            (cookie,) = [c for c in browser.client.cookies.jar if c.name == LOGIN_COOKIE]
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.value
        return cookie.name, cookie.value

    assert status(page) == 401
    first, second = remembered(), remembered()
    assert status(page, cookie=first) == status(page, cookie=second) == 200
    url = f"http://127.0.0.1:{page.server_port}"
    ended = httpx.get(f"{url}/logout", cookies=dict([first]), trust_env=False)
    assert f"{LOGIN_COOKIE}=; Max-Age=0" in str(ended.headers.get_list("set-cookie"))
    assert status(page, cookie=first) == 401
    assert status(page, cookie=second) == 200
    with httpx.Client(base_url=url, cookies=dict([second]), trust_env=False) as client:
        new = {"current": "a guess", "password": "the new password"}
        assert "wrong" in post(client, "/account/password", **new).json()["error"]
        new["current"] = form["password"]
        answer = post(client, "/account/password", **new).json()
    assert answer == {"username": "ron", "remembered": True}
    assert status(page, cookie=second) == 401
    form["password"] = "the new password"
    third = remembered()
    with httpx.Client(base_url=url, cookies=dict([third]), trust_env=False) as client:
        assert client.post("/account/log-out", json={"everywhere": True}).status_code == 200
    assert status(page, cookie=third) == 401
