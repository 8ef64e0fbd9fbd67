from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.logging import redact
from comfy_ui.private_files import FileDocuments
from comfy_ui.web.auth.access import Access, AccessMode, login_missing
from comfy_ui.web.auth.accounts import ADMIN_LOGIN, GUEST, Accounts, Role, TooManyTriesError
from comfy_ui.web.auth.api_keys import KEYS_FILE, USES_FILE, ApiKeys, InvalidKeyError
from comfy_ui.web.auth.key_limits import KeyLimits
from comfy_ui.web.auth.limit_counters import LocalCounters
from comfy_ui.web.auth.login_limits import Caller

HERE = Caller("192.0.2.7")


pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def accounts() -> Accounts:
    accounts = Accounts()
    accounts.add_for_now("anna", "correct horse", Role.ADMIN)
    accounts.add_for_now("vera", "battery staple", Role.USER)
    return accounts


async def test_api_keys_create_stores_no_text_and_another_instance_verifies_it(
    tmp_path: Path,
) -> None:
    key, text = ApiKeys(FileDocuments(tmp_path)).create("anna", " Open WebUI ", Role.USER)
    file = tmp_path / KEYS_FILE
    assert text not in file.read_text()
    assert text.rpartition("_")[2] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert await ApiKeys(FileDocuments(tmp_path)).verify(text, HERE) == key
    assert (key.name, key.owner, key.role) == ("Open WebUI", "anna", "user")


async def test_api_keys_revoked_in_another_process_end_at_once(tmp_path: Path) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    key, text = keys.create("anna", "a", Role.USER)
    assert not ApiKeys(FileDocuments(tmp_path)).revoke(key.id, owner="vera")
    assert await keys.verify(text, HERE) == key
    assert ApiKeys(FileDocuments(tmp_path)).revoke(key.id, owner="anna")
    assert not keys.exists(key)
    with pytest.raises(InvalidKeyError):
        await keys.verify(text, HERE)


async def test_api_keys_verify_leaves_other_tokens_alone(tmp_path: Path) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    assert [await keys.verify(text, HERE) for text in ("", "sk-none", "hf_abc")] == [None] * 3


async def test_api_keys_verify_wrong_keys_are_delayed_and_a_right_one_is_not(
    tmp_path: Path,
) -> None:
    keys = ApiKeys(FileDocuments(tmp_path), counters=LocalCounters(lambda: 0.0))
    key, text = keys.create("anna", "a", Role.USER)
    wrong = f"{text[:-40]}{'0' * 40}"
    errors = []
    for _ in range(8):
        with pytest.raises(ValidationError) as caught:
            await keys.verify(wrong, HERE)
        errors.append(type(caught.value))
        assert await keys.verify(text, HERE) == key
    assert errors == [InvalidKeyError] * 5 + [TooManyTriesError] * 3


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb"])
def test_api_keys_create_refuses_names_that_are_no_labels(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        ApiKeys(FileDocuments(tmp_path)).create("anna", name, Role.USER)


def test_api_keys_create_is_limited_for_each_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.web.auth.api_keys._MAX_KEYS", 2)
    keys = ApiKeys(FileDocuments(tmp_path))
    for owner in ("anna", "anna", "vera"):
        keys.create(owner, "a", Role.USER)
    with pytest.raises(ValidationError, match="2 keys"):
        keys.create("anna", "a", Role.USER)
    assert len(keys.listed("anna")) == 2


async def test_api_keys_damaged_file_accepts_no_key(tmp_path: Path) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    _, text = keys.create("anna", "a", Role.USER)
    (tmp_path / KEYS_FILE).write_text("[{")
    with pytest.raises(StorageError, match="cannot be read"):
        await keys.verify(text, HERE)


def test_api_keys_uses_are_counted_bounded_and_survive_a_restart(tmp_path: Path) -> None:
    time = iter(range(100))
    keys = ApiKeys(FileDocuments(tmp_path), clock=lambda: float(next(time)))
    key, _ = keys.create("anna", "a", Role.USER)
    for port in range(30):
        keys.used(key, f"192.0.2.{port}", "POST /v1/images/generations")
    keys.used(key, "192.0.2.15", "POST /v1/images/generations")
    keys.save_uses()
    uses = ApiKeys(FileDocuments(tmp_path)).uses(key)
    assert len(uses) == 20
    assert [(use.address, use.count) for use in uses[:2]] == [("192.0.2.15", 2), ("192.0.2.29", 1)]
    keys.revoke(key.id)
    keys.used(key, "192.0.2.1", "GET /")
    keys.save_uses()
    assert (tmp_path / USES_FILE).read_text() == "{}"


async def test_api_keys_keep_uses_writes_when_the_app_stops(tmp_path: Path) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    key, _ = keys.create("anna", "a", Role.USER)
    task = asyncio.create_task(keys.keep_uses())
    await asyncio.sleep(0)
    keys.used(key, "192.0.2.1", "GET /v1/models")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ApiKeys(FileDocuments(tmp_path)).uses(key)[0].route == "GET /v1/models"


def request_with(access: Access, key: Any) -> Request:
    scope: dict[str, Any] = {"type": "http", "headers": [], "client": ("192.0.2.1", 1), "app": App}
    access.log_in_by_key(scope, key)
    return Request(scope)


class App:
    """The attributes of Gradio's app that Access reads."""

    auth = None
    tokens: dict[str, str] = {}  # noqa: RUF012
    cookie_id = "c"


def test_access_key_has_its_owner_and_at_most_the_owners_role(
    tmp_path: Path, accounts: Accounts
) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    access = Access(AccessMode.SHARED, b"secret", accounts, keys=keys)
    for owner, role, expected in (
        ("anna", Role.ADMIN, Role.ADMIN),
        ("anna", Role.USER, Role.USER),
        ("vera", Role.ADMIN, Role.USER),
        ("removed", Role.ADMIN, Role.ANONYMOUS),
        (ADMIN_LOGIN, Role.ADMIN, Role.ANONYMOUS),
    ):
        key, _ = keys.create(owner, "a", role)
        request = request_with(access, key)
        assert access.role(request) is expected, owner
        assert login_missing(request) is (expected is Role.ANONYMOUS)
        assert access.user_id(request) == ("local" if owner == ADMIN_LOGIN else f"user:{owner}")
        keys.revoke(key.id)
        assert access.role(request) is Role.ANONYMOUS
        assert login_missing(request)


def test_access_key_of_the_machine_is_valid_without_logins_in_every_mode(tmp_path: Path) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    own, _ = keys.create(ADMIN_LOGIN, "a", Role.ADMIN)
    hub, _ = keys.create("hub:ann", "a", Role.ADMIN)
    for mode in AccessMode:
        access = Access(mode, b"secret", keys=keys)
        assert access.role(request_with(access, own)) is Role.ADMIN
        assert access.user_id(request_with(access, own)) == "local"
        of_hub = Role.USER if mode is AccessMode.SPACE else Role.ANONYMOUS
        assert access.role(request_with(access, hub)) is of_hub
    access = Access(AccessMode.SPACE, b"secret", keys=keys, hub_admins=["Ann"])
    assert access.role(request_with(access, hub)) is Role.ADMIN
    assert access.user_id(request_with(access, hub)) == "hub:ann"


def test_access_key_owner_needs_a_login_of_its_own(tmp_path: Path, accounts: Accounts) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    accounts.add_for_now(GUEST, "guest password", Role.USER)
    access = Access(AccessMode.SHARED, b"secret", accounts, keys=keys)

    class Logged:
        def __init__(self, username: str | None) -> None:
            self.username = username

    assert access.key_owner(Logged("vera")) == "vera"
    key, _ = keys.create("vera", "a", Role.USER)
    for refused in (Logged(GUEST), request_with(access, key)):
        with pytest.raises(ValidationError, match="API keys"):
            access.key_owner(refused)
    nobody = Request({"type": "http", "headers": [], "client": None, "app": App})
    assert Access(AccessMode.LOCAL, b"s").key_owner(nobody) == ADMIN_LOGIN
    with pytest.raises(ValidationError, match="login of your own"):
        Access(AccessMode.SHARED, b"s").key_owner(nobody)


def test_redact_removes_api_keys_from_any_text(tmp_path: Path) -> None:
    key, text = ApiKeys(FileDocuments(tmp_path)).create("anna", "a", Role.USER)
    assert redact(f"refused ({text})") == f"refused (cui_{key.id}_[redacted])"


async def test_api_keys_set_limits_changes_a_key_of_its_owner_and_keeps_logins(
    tmp_path: Path,
) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    key, text = keys.create("anna", "a", Role.USER, KeyLimits(jobs=2))
    assert await ApiKeys(FileDocuments(tmp_path)).verify(text, HERE) == key
    assert not keys.set_limits(key.id, KeyLimits(), owner="vera")
    assert ApiKeys(FileDocuments(tmp_path)).set_limits(
        key.id, KeyLimits(per_minute=9), owner="anna"
    )
    assert keys.exists(key), "responses in progress go on"
    changed = await keys.verify(text, HERE)
    assert changed is not None
    assert changed.limits == KeyLimits(per_minute=9)


async def test_api_keys_of_a_file_without_limits_have_none(tmp_path: Path) -> None:
    key, text = ApiKeys(FileDocuments(tmp_path)).create("anna", "a", Role.USER)
    file = tmp_path / KEYS_FILE
    stored = json.loads(file.read_text())
    del stored[0]["limits"]
    file.write_text(json.dumps(stored))
    assert await ApiKeys(FileDocuments(tmp_path)).verify(text, HERE) == key


async def test_api_keys_of_a_file_without_the_right_to_spend_have_none(tmp_path: Path) -> None:
    key, text = ApiKeys(FileDocuments(tmp_path)).create("anna", "a", Role.ADMIN)
    file = tmp_path / KEYS_FILE
    stored = json.loads(file.read_text())
    del stored[0]["may_spend"]
    file.write_text(json.dumps(stored))
    assert await ApiKeys(FileDocuments(tmp_path)).verify(text, HERE) == key
    assert not key.may_spend


def test_access_spending_is_for_admins_or_users_by_setting_and_for_chosen_keys(
    tmp_path: Path, accounts: Accounts
) -> None:
    keys = ApiKeys(FileDocuments(tmp_path))
    for users_spend in (False, True):
        access = Access(AccessMode.SHARED, b"s", accounts, keys=keys, users_spend=users_spend)
        for owner, is_admin in (("anna", True), ("vera", False)):
            key, _ = keys.create(owner, "a", Role.ADMIN)
            assert not access.allows("spend", request_with(access, key))
            keys.set_limits(key.id, KeyLimits(jobs=1))
            keys.set_limits(key.id, KeyLimits(jobs=1), may_spend=True)
            (changed,) = (one for one in keys.listed(owner) if one.id == key.id)
            request = request_with(access, changed)
            assert access.allows("spend", request) is (is_admin or users_spend)
            if not access.allows("spend", request):
                with pytest.raises(ValidationError, match="Only admins"):
                    access.require("spend", request)
            keys.revoke(key.id)
            assert not access.allows("spend", request)


@pytest.mark.parametrize("users_spend", [False, True])
def test_access_spending_without_a_login_is_for_the_person_at_the_machine(
    users_spend: bool,
) -> None:
    access = Access(AccessMode.LOCAL, b"s", users_spend=users_spend)
    assert access.allows("spend")
    guest = Request({"type": "http", "headers": [], "client": None, "app": App})
    shared = Access(AccessMode.SHARED, b"s", users_spend=users_spend)
    assert shared.allows("spend", guest) is users_spend
