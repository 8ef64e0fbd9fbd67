"""The fair queue shares time between users by cost, and keeps each user's own order."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, strategies as st

from comfy_ui.jobs.fair_queue import FairQueueClock, fair_order, relative_work
from comfy_ui.storage.records import Job
from tests.jobs.support import a_job


def waiting_job(job_id: str, user_id: str, rank: float, cost_s: float, created_at: float) -> Job:
    return a_job(user_id, id=job_id, rank=rank, cost_s=cost_s, created_at=created_at)


turns = st.lists(
    st.builds(
        lambda user_id, rank, cost: (user_id, rank, cost),
        st.sampled_from("abc"),
        st.integers(-5, 50),
        st.floats(0.1, 60.0),
    ),
    max_size=30,
).map(
    lambda rows: [
        waiting_job(str(n), user_id, float(rank), cost, float(n))
        for n, (user_id, rank, cost) in enumerate(rows)
    ]
)


def _waiting(user_id: str, count: int, *, cost_s: float = 1.0, at: float = 0.0) -> list[Job]:
    return [waiting_job(f"{user_id}{n}", user_id, float(n), cost_s, at + n) for n in range(count)]


def test_fair_order_equal_jobs_of_two_users_alternate() -> None:
    waiting = [*_waiting("a", 3), *_waiting("b", 3, at=100.0)]
    assert [t.id for t in fair_order(waiting, FairQueueClock())] == [
        "a0",
        "b0",
        "a1",
        "b1",
        "a2",
        "b2",
    ]


def test_fair_order_long_jobs_get_fewer_places() -> None:
    waiting = [*_waiting("long", 10, cost_s=30.0), *_waiting("short", 30, cost_s=10.0, at=1.0)]
    first = Counter(t.user_id for t in fair_order(waiting, FairQueueClock())[:12])
    assert first == {"long": 3, "short": 9}


def test_fair_order_late_user_does_not_wait_for_backlog() -> None:
    clock, backlog = FairQueueClock(), _waiting("a", 50)
    for turn in backlog[:20]:
        clock = clock.after(turn)
    order = fair_order([*backlog[20:], *_waiting("b", 1, at=1000.0)], clock)
    assert [t.user_id for t in order].index("b") == 0


def test_fair_order_idle_time_gives_no_credit() -> None:
    clock = FairQueueClock()
    for turn in _waiting("a", 20):
        clock = clock.after(turn)
    order = fair_order([*_waiting("a", 5), *_waiting("b", 5)], clock)
    user_ids = [t.user_id for t in order]
    assert user_ids[:4] in (["b", "a", "b", "a"], ["b", "b", "a", "b"])


@given(turns)
def test_fair_order_keeps_every_job_and_each_users_order(waiting: list[Job]) -> None:
    order = fair_order(waiting, FairQueueClock())
    assert sorted(t.id for t in order) == sorted(t.id for t in waiting)
    for user_id in "abc":
        ranks = [t.rank for t in order if t.user_id == user_id]
        assert all(earlier <= later for earlier, later in pairwise(ranks))


@given(turns)
def test_fair_order_equals_order_of_claims(
    waiting: list[Job],
) -> None:
    clock, remaining, taken = FairQueueClock(), list(waiting), []
    while remaining:
        turn = fair_order(remaining, clock)[0]
        clock = clock.after(turn)
        remaining.remove(turn)
        taken.append(turn)
    assert taken == fair_order(waiting, FairQueueClock())


@given(turns)
def test_fair_order_lead_of_a_user_is_bounded(waiting: list[Job]) -> None:
    """The bound of start-time fair queuing, while both users have waiting jobs."""
    longest = max((t.cost_s for t in waiting), default=0.0)
    remaining, used = Counter(t.user_id for t in waiting), Counter[str]()
    for turn in fair_order(waiting, FairQueueClock()):
        used[turn.user_id] += turn.cost_s  # type: ignore[assignment]
        remaining[turn.user_id] -= 1
        shares = [used[user_id] for user_id in remaining if remaining[user_id] > 0]
        if len(shares) > 1:
            assert max(shares) - min(shares) <= 2 * longest + 1e-6


def test_relative_work_grows_with_size_steps_and_batch() -> None:
    small = relative_work({"width": 512, "height": 512, "steps": 10})
    assert relative_work({"width": 1024, "height": 1024, "steps": 10}) == 4 * small
    assert relative_work({"width": 512, "height": 512, "steps": 10, "batch": 3}) == 3 * small
    assert relative_work({"steps": "many", "batch": -4}) == 1.0
