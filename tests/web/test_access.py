from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.private_files import FileDocuments
from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import (
    COOKIE,
    GUEST,
    PACES,
    Access,
    AccessMode,
    IdentityMiddleware,
    load_secret,
    login_missing,
    mode_of,
)
from comfy_ui.web.auth.accounts import Accounts, Role
from comfy_ui.web.auth.limit_counters import LocalCounters

pytestmark = pytest.mark.usefixtures("quick_passwords")

ADMIN_ACTIONS = ("free_memory", "import_folder", "reconnect", "see_server", "set_up_engine")


class App:
    """The attributes of Gradio's app that Access reads."""

    def __init__(self, auth: Any = None, tokens: dict[str, str] | None = None) -> None:
        self.auth = auth
        self.tokens = tokens or {}
        self.cookie_id = "c"


def request(
    cookie: str = "", *, app: App | None = None, accept: str = "text/html", host: str = ""
) -> Request:
    headers = [(b"accept", accept.encode())]
    if cookie:
        headers.append((b"cookie", cookie.encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "scheme": "http",
        "query_string": b"",
        "headers": headers,
        "app": app or App(),
        "client": (host, 1) if host else None,
    }
    return Request(scope)


def test_allows_without_a_request_when_a_login_is_required_is_not_the_admin() -> None:
    accounts = Accounts()
    accounts.add_for_now("anna", "correct horse 1", Role.ADMIN)
    access = Access(AccessMode.LOCAL, b"s", accounts)
    assert not access.allows("import_folder")
    assert not access.allows("open_workflow")


def shared() -> Access:
    return Access(AccessMode.SHARED, b"secret")


@pytest.mark.parametrize(
    ("options", "environ", "mode"),
    [
        ({}, {}, AccessMode.LOCAL),
        ({"host": "localhost"}, {}, AccessMode.LOCAL),
        ({"host": "::1"}, {}, AccessMode.LOCAL),
        ({"host": "0.0.0.0"}, {}, AccessMode.SHARED),
        ({"host": "192.168.1.4"}, {}, AccessMode.SHARED),
        ({"host": "gpu.example.com"}, {}, AccessMode.SHARED),
        ({"share": True}, {}, AccessMode.SHARED),
        ({}, {"SPACE_ID": "me/space"}, AccessMode.SPACE),
        ({"share": True}, {"SPACE_ID": "me/space"}, AccessMode.SPACE),
    ],
)
def test_mode_of_public_host_share_or_space_is_not_local(
    options: dict[str, Any], environ: dict[str, str], mode: AccessMode
) -> None:
    assert mode_of(Settings(**options), environ) is mode


@pytest.mark.parametrize("action", ADMIN_ACTIONS)
async def test_access_admin_action_by_user_is_refused(action: Any) -> None:
    assert Access(AccessMode.LOCAL, b"s").allows(action)
    for mode in (AccessMode.SHARED, AccessMode.SPACE):
        access = Access(mode, b"s")
        assert not access.allows(action)
        with pytest.raises(ValidationError, match="Only admins"):
            access.require(action, request())
        with pytest.raises(ValidationError, match="Only admins"):
            await access.admit(action, request())


async def test_access_local_mode_gives_all_browsers_one_user_id() -> None:
    access = Access(AccessMode.LOCAL, b"s")
    other = await access.admit("run", request(f"{COOKIE}=x.y"))
    assert await access.admit("run", request()) == other


def test_access_forged_cookie_identifies_no_browser() -> None:
    access = shared()
    cookie = access.new_cookie()
    mine = access.user_id(request(f"{COOKIE}={cookie}"))
    assert mine.startswith("browser:")
    assert access.user_id(request(f"{COOKIE}={cookie}")) == mine
    assert access.user_id(request(f"{COOKIE}={access.new_cookie()}")) != mine
    identity = cookie.split(".")[0]
    for forged in (
        f"{identity}.{'0' * 64}",
        identity,
        f"{identity}.",
        f".{access.sign('')}",
        "a.b",
    ):
        assert access.user_id(request(f"{COOKIE}={forged}")) != mine
        assert access.browser(forged) is None
    assert Access(AccessMode.SHARED, b"other secret").browser(cookie) is None


def test_access_requests_without_identity_get_different_user_ids() -> None:
    access = shared()
    assert access.user_id(request()) != access.user_id(request())


def test_access_session_user_id_does_not_reveal_the_session() -> None:
    access = shared()

    def user_id(session: str) -> str:
        inner = request(app=App())
        return access.user_id(gr.Request(request=inner, session_hash=session))  # type: ignore[arg-type]

    mine = user_id("abcdefghij")
    assert mine == user_id("abcdefghij") != user_id("abcdefghik")
    assert "abcdefghij" not in mine
    assert user_id(mine.removeprefix("session:")) != mine


def test_access_same_login_on_two_devices_gives_one_user_id() -> None:
    access = shared()
    app = App(auth=object(), tokens={"t1": "anna", "t2": "anna"})
    user_ids = {
        access.user_id(request(f"access-token-c={token}", app=app)) for token in ("t1", "t2")
    }
    assert user_ids == {"user:anna"}


def test_access_guest_login_separates_users_by_browser() -> None:
    access = shared()
    app = App(auth=object(), tokens={"t": GUEST})
    one, two = (
        access.user_id(request(f"access-token-c=t; {COOKIE}={access.new_cookie()}", app=app))
        for _ in range(2)
    )
    assert one != two
    assert one.startswith("browser:")


def test_login_missing_without_a_valid_token_is_true() -> None:
    app = App(auth=object(), tokens={"t": "anna"})
    assert login_missing(request(app=app))
    assert login_missing(request("access-token-c=wrong", app=app))
    assert not login_missing(request("access-token-c=t", app=app))
    assert not login_missing(request(app=App()))


async def _cookies(access: Access, original: Request) -> list[bytes]:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    await IdentityMiddleware(app, access)(dict(original.scope), None, send)
    return [value for name, value in sent[0]["headers"] if name == b"set-cookie"]


async def test_identity_middleware_sets_the_cookie_once() -> None:
    access = shared()
    (cookie,) = await _cookies(access, request())
    assert b"HttpOnly" in cookie
    assert b"SameSite=Lax" in cookie
    again = cookie.split(b";")[0].decode()
    assert await _cookies(access, request(again)) == []
    assert len(await _cookies(access, request(again + "tampered"))) == 1


async def test_identity_middleware_sets_no_cookie_for_json_or_local_mode() -> None:
    assert await _cookies(shared(), request(accept="application/json")) == []
    assert await _cookies(Access(AccessMode.LOCAL, b"s"), request()) == []


async def test_identity_middleware_in_a_space_sets_a_partitioned_cookie() -> None:
    (cookie,) = await _cookies(Access(AccessMode.SPACE, b"s"), request())
    assert b"SameSite=None; Secure; Partitioned" in cookie


def test_load_secret_creates_one_private_file(tmp_path: Path) -> None:
    secret = load_secret(FileDocuments(tmp_path / "new"))
    assert len(secret) == 32
    assert load_secret(FileDocuments(tmp_path / "new")) == secret
    assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o077 == 0


def test_load_secret_empty_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").touch()
    secret = load_secret(FileDocuments(tmp_path))
    assert len(secret) == 32
    assert load_secret(FileDocuments(tmp_path)) == secret
    assert {path.name for path in tmp_path.iterdir()} == {"secret.key", "documents.lock"}


def test_load_secret_short_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"x" * 31)
    with pytest.raises(StorageError, match="31 of 32 bytes") as caught:
        load_secret(FileDocuments(tmp_path))
    assert "delete it" in caught.value.hint
    assert (tmp_path / "secret.key").read_bytes() == b"x" * 31


def test_load_secret_full_disk_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        load_secret(FileDocuments(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["documents.lock"]


def test_load_secret_readable_by_others_becomes_private(tmp_path: Path) -> None:
    secret = load_secret(FileDocuments(tmp_path))
    (tmp_path / "secret.key").chmod(0o644)
    assert load_secret(FileDocuments(tmp_path)) == secret
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_load_secret_in_an_unusable_folder_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be read: Not a directory"):
        load_secret(FileDocuments(tmp_path / "file" / "below"))


async def uploads_of_new_users(access: Access, hosts: Iterable[str]) -> int:
    """Return how many uploads succeed, each from a browser with a new cookie."""
    count = 0
    for host in hosts:
        with suppress(ValidationError):
            await access.admit("upload", request(f"{COOKIE}={access.new_cookie()}", host=host))
            count += 1
    return count


async def test_access_rate_limit_of_an_address_holds_for_all_its_browsers() -> None:
    limit = 10 * PACES["upload"].burst

    def shared() -> Access:
        return Access(AccessMode.SHARED, b"secret", counters=LocalCounters(lambda: 0.0))

    assert await uploads_of_new_users(shared(), ["192.0.2.1"] * 2 * limit) == limit
    network = (f"2001:db8::{number:x}" for number in range(2 * limit))
    assert await uploads_of_new_users(shared(), network) == limit
    for host in ("127.0.0.1", "::1"):
        assert await uploads_of_new_users(shared(), [host] * 2 * limit) == 2 * limit, (
            "tunnels and proxies"
        )


async def test_access_rate_limit_of_an_address_spares_logins() -> None:
    accounts = Accounts()
    names = [f"user{number}" for number in range(250)]
    for name in names:
        accounts.add_for_now(name, "correct horse 1", Role.USER)
    app = App(auth=True, tokens={name: name for name in names})
    access = Access(AccessMode.SHARED, b"s", accounts)
    for name in names:
        await access.admit("upload", request(f"access-token-c={name}", app=app, host="192.0.2.1"))
