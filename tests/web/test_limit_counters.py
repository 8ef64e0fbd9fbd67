"""The contract of the counters of rate limits: in memory, and of several apps in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.requests import Request

from comfy_ui.errors import StorageError
from comfy_ui.web.auth import limit_counters
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.auth.accounts import Accounts, Role, TooManyTriesError
from comfy_ui.web.auth.key_limits import KeyLimits, KeyRequests
from comfy_ui.web.auth.limit_counters import LimitCounters, LocalCounters, SharedCounters
from comfy_ui.web.auth.login_limits import Caller, LoginLimits
from comfy_ui.web.auth.rate_limit import LoginDelay, RateLimit
from tests.scale.postgres_server import new_database

SLOW = RateLimit(burst=7, per_minute=0.001)


@dataclass
class Apps:
    """The counters of two apps; those in memory are of one app."""

    one: LimitCounters
    other: LimitCounters


@pytest.fixture(params=["memory", "postgres"])
async def apps(request: pytest.FixtureRequest) -> AsyncIterator[Apps]:
    if request.param == "memory":
        counters = LocalCounters()
        yield Apps(counters, counters)
        return
    request.getfixturevalue("postgres")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(new_database())
        yield Apps(*[SharedCounters(await opened(stack, url)) for _ in range(2)])


async def opened(stack: AsyncExitStack, url: str) -> Any:
    from comfy_ui.scale.postgres_limit_counters import PostgresLimitCounters

    counters = PostgresLimitCounters(url)
    await counters.open()
    stack.push_async_callback(counters.close)
    return counters


async def test_rate_limit_holds_for_both_apps_together(apps: Apps) -> None:
    waits = await asyncio.gather(
        *(each.update("ann", SLOW.take) for _ in range(10) for each in (apps.one, apps.other))
    )
    assert waits.count(0.0) == SLOW.burst
    assert await apps.other.update("ann", SLOW.take) > 1000
    assert await apps.other.update("bob", SLOW.take) == 0
    await apps.one.update("ann", SLOW.give_back)
    assert await apps.other.update("ann", SLOW.take) == 0


async def test_access_admits_as_much_at_both_apps_together(apps: Apps) -> None:
    page = Request({"type": "http", "headers": [], "client": ("192.0.2.1", 1), "app": None})
    admitted = 0
    for counters in (apps.one, apps.other):
        access = Access(AccessMode.SHARED, b"secret", paces={"run": SLOW}, counters=counters)
        for _ in range(SLOW.burst):
            with suppress(TooManyTriesError):
                await access.admit("run", page)
                admitted += 1
    assert admitted == SLOW.burst


async def test_rate_limit_refills_with_time(apps: Apps) -> None:
    fast = RateLimit(burst=1, per_minute=6000)
    for _ in range(3):
        async with asyncio.timeout(30):
            while wait_s := await apps.one.update("ann", fast.take):
                assert wait_s <= 0.01
                await asyncio.sleep(wait_s)


@pytest.mark.usefixtures("quick_passwords")
async def test_wrong_passwords_count_for_both_apps_together(apps: Apps) -> None:
    one, other = (Accounts(counters=counters) for counters in (apps.one, apps.other))
    for accounts in (one, other):
        accounts.add_for_now("anna", "secret", Role.ADMIN, salt=b"salt")
    here = Caller("10.0.0.1")
    assert await other.verify_often("anna", "secret", here)
    checks = [each.verify("anna", f"x{n}", here) for n in range(6) for each in (one, other)]
    answers = await asyncio.gather(*checks, return_exceptions=True)
    assert answers.count(False) == 5
    assert sum(isinstance(answer, TooManyTriesError) for answer in answers) == 7
    with pytest.raises(TooManyTriesError):
        await other.verify_often("anna", "secret", here)
    assert await other.verify("anna", "secret", Caller("10.0.0.2"))


async def test_right_password_resets_the_delay_of_both_apps(apps: Apps) -> None:
    one, other = (LoginLimits(counters, "password") for counters in (apps.one, apps.other))
    here = Caller("10.0.0.1")
    for limits in (one, other, one, other):
        assert await limits.begin("anna", here) == 0
    await one.succeeded("anna", here)
    for _ in range(4):
        assert await other.begin("anna", here) == 0


async def test_requests_of_a_key_count_for_both_apps_together(apps: Apps) -> None:
    one, other = (KeyRequests(counters) for counters in (apps.one, apps.other))
    limits = KeyLimits(requests=2)
    async with one.request("key", limits):
        async with other.request("key", limits):
            with pytest.raises(TooManyTriesError):
                async with one.request("key", limits):
                    pass
        async with one.request("key", limits):
            pass
    for each in (one, other, one):
        try:
            async with each.request("key", KeyLimits(per_minute=2)):
                pass
        except TooManyTriesError:
            assert each is one
            break
    else:
        pytest.fail("three requests of two")


class Away:
    """Counters that cannot be reached while ``away`` is set."""

    def __init__(self) -> None:
        self.reached = LocalCounters(lambda: 0.0)
        self.away = False
        self.asked = 0

    async def update(self, key: str, change: Callable[..., Any]) -> float:
        self.asked += 1
        if self.away:
            raise StorageError("The database does not answer.")
        return await self.reached.update(key, change)


async def test_shared_counters_that_are_away_are_counted_on_by_each_app(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(limit_counters.time, "monotonic", lambda: now)
    shared, delay = Away(), LoginDelay()
    counters = SharedCounters(shared, now=lambda: 0.0)
    for _ in range(4):
        assert await counters.update("ann", delay.attempt) == 0
    shared.away = True
    assert await counters.update("bob", SLOW.take) == 0, "nobody is locked out"
    assert await counters.update("ann", delay.attempt) == 0
    assert await counters.update("ann", delay.attempt) > 0, "the count went on"
    assert shared.asked == 5, "asked once"
    now += 6.0
    assert await counters.update("bob", SLOW.take) == 0
    assert await counters.update("bob", SLOW.take) == 0
    assert shared.asked == 6, "asked once more"
    shared.away = False
    now += 6.0
    assert await counters.update("ann", delay.attempt) == 0, "the shared count, of four"
    assert await counters.update("bob", SLOW.take) == 0
    assert shared.asked == 8
    assert caplog.text.count("on its own") == 1


async def test_shared_counters_that_hang_let_a_request_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limit_counters, "_WAIT_S", 0.01)

    class Hanging:
        async def update(self, _: str, __: Callable[..., Any]) -> float:
            await asyncio.Event().wait()
            return 1.0

    counters = SharedCounters(Hanging())
    async with asyncio.timeout(30):
        waits = [await counters.update("ann", SLOW.take) for _ in range(SLOW.burst + 1)]
    assert [wait > 0 for wait in waits] == [False] * SLOW.burst + [True]
