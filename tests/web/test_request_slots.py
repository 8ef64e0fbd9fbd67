from __future__ import annotations

import asyncio

import pytest

from comfy_ui.web.http.request_budgets import RequestBudget
from comfy_ui.web.http.request_slots import RequestSlots, TooManyRequestsError

BUDGET = RequestBudget("GET", "/x", per_caller=2, total=3)
STREAM = RequestBudget("GET", "/x", per_caller=2, total=3, stream=True)


async def work(slots: RequestSlots, budget: RequestBudget, caller: str, end: asyncio.Event) -> None:
    async with slots.of_caller(budget, caller, "192.0.2.1"), slots.of_all(budget):
        await end.wait()


async def started(
    slots: RequestSlots, budget: RequestBudget, *callers: str
) -> tuple[list[asyncio.Task[None]], asyncio.Event]:
    end = asyncio.Event()
    tasks = [asyncio.create_task(work(slots, budget, caller, end)) for caller in callers]
    await asyncio.sleep(0.01)
    return tasks, end


async def test_slots_further_requests_wait_for_their_turn() -> None:
    slots = RequestSlots()
    tasks, end = await started(slots, BUDGET, *"aaaaabbb")
    assert not any(task.done() for task in tasks)
    end.set()
    await asyncio.gather(*tasks)
    assert len(slots) == 0


async def test_slots_waiting_request_of_one_caller_takes_no_slot_of_another() -> None:
    slots = RequestSlots(longest_wait_s=0.05)
    tasks, end = await started(slots, BUDGET, *"aaaaaa")
    async with asyncio.timeout(1), slots.of_caller(BUDGET, "b", ""), slots.of_all(BUDGET):
        pass
    end.set()
    await asyncio.gather(*tasks)


async def test_slots_request_that_waits_too_long_is_refused() -> None:
    slots = RequestSlots(longest_wait_s=0.02)
    tasks, end = await started(slots, BUDGET, "a", "a")
    with pytest.raises(TooManyRequestsError):
        async with slots.of_caller(BUDGET, "a", ""):
            pass
    end.set()
    await asyncio.gather(*tasks)
    assert len(slots) == 0


async def test_slots_stream_above_the_limit_is_refused_at_once() -> None:
    slots = RequestSlots()
    tasks, end = await started(slots, STREAM, "a", "a")
    with pytest.raises(TooManyRequestsError):
        async with slots.of_caller(STREAM, "a", ""):
            pass
    end.set()
    await asyncio.gather(*tasks)


async def test_slots_canceled_requests_give_their_place_to_others() -> None:
    slots = RequestSlots()
    tasks, end = await started(slots, BUDGET, *"aaaa")
    for task in tasks[:3]:
        task.cancel()
    await asyncio.sleep(0.01)
    assert not tasks[3].done()
    end.set()
    await tasks[3]
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(slots) == 0


async def test_slots_of_one_address_are_limited_for_all_its_callers() -> None:
    slots = RequestSlots()
    callers = [str(number // 2) for number in range(30)]
    end = asyncio.Event()

    async def hold(caller: str) -> None:
        async with slots.of_caller(STREAM, caller, "192.0.2.1"):
            await end.wait()

    tasks = [asyncio.create_task(hold(caller)) for caller in callers]
    await asyncio.sleep(0.01)
    assert sum(task.done() for task in tasks) == 30 - STREAM.per_address
    end.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_slots_waiting_callers_get_shared_slots_in_turn() -> None:
    slots = RequestSlots()
    budget = RequestBudget("GET", "/x", total=1)
    order: list[str] = []

    async def request(caller: str) -> None:
        async with slots.of_all(budget, caller):
            order.append(caller)
            await asyncio.sleep(0)

    await asyncio.gather(*(request(caller) for caller in "aaaaaabbc"))
    assert order == [*"aabcabaaa"]
    assert len(slots) == 0


async def test_slots_many_callers_may_wait_but_not_one_with_many_requests() -> None:
    slots = RequestSlots()
    budget = RequestBudget("GET", "/x", total=1)

    async def request(caller: str) -> None:
        async with slots.of_all(budget, caller):
            await asyncio.sleep(0)

    await asyncio.gather(*(request(str(number)) for number in range(600)))
    refused = await asyncio.gather(*(request("a") for _ in range(600)), return_exceptions=True)
    assert 0 < len([error for error in refused if error]) < 600
    assert {type(error) for error in refused if error} == {TooManyRequestsError}
