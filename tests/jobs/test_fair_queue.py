"""Turns are shared by cost between owners, and are the owner's own within."""

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


def _line(user_id: str, count: int, *, cost_s: float = 1.0, at: float = 0.0) -> list[Job]:
    return [waiting_job(f"{user_id}{n}", user_id, float(n), cost_s, at + n) for n in range(count)]


def test_two_owners_with_equal_jobs_take_turns() -> None:
    waiting = [*_line("a", 3), *_line("b", 3, at=100.0)]
    assert [t.id for t in fair_order(waiting, FairQueueClock())] == [
        "a0",
        "b0",
        "a1",
        "b1",
        "a2",
        "b2",
    ]


def test_an_owner_of_long_jobs_gets_fewer_of_them() -> None:
    waiting = [*_line("long", 10, cost_s=30.0), *_line("short", 30, cost_s=10.0, at=1.0)]
    first = Counter(t.user_id for t in fair_order(waiting, FairQueueClock())[:12])
    assert first == {"long": 3, "short": 9}


def test_one_who_comes_late_waits_for_one_turn_not_for_the_backlog() -> None:
    clock, backlog = FairQueueClock(), _line("a", 50)
    for turn in backlog[:20]:
        clock = clock.after(turn)
    order = fair_order([*backlog[20:], *_line("b", 1, at=1000.0)], clock)
    assert [t.user_id for t in order].index("b") == 0


def test_time_spent_away_is_not_saved_up() -> None:
    clock = FairQueueClock()
    for turn in _line("a", 20):
        clock = clock.after(turn)
    order = fair_order([*_line("a", 5), *_line("b", 5)], clock)
    owners = [t.user_id for t in order]
    assert owners[:4] in (["b", "a", "b", "a"], ["b", "b", "a", "b"])


@given(turns)
def test_the_order_has_every_job_once_and_keeps_each_owners_own(waiting: list[Job]) -> None:
    order = fair_order(waiting, FairQueueClock())
    assert sorted(t.id for t in order) == sorted(t.id for t in waiting)
    for user_id in "abc":
        ranks = [t.rank for t in order if t.user_id == user_id]
        assert all(earlier <= later for earlier, later in pairwise(ranks))


@given(turns)
def test_the_order_foretold_is_the_order_in_which_turns_are_taken(
    waiting: list[Job],
) -> None:
    clock, left, taken = FairQueueClock(), list(waiting), []
    while left:
        turn = fair_order(left, clock)[0]
        clock = clock.after(turn)
        left.remove(turn)
        taken.append(turn)
    assert taken == fair_order(waiting, FairQueueClock())


@given(turns)
def test_nobody_gets_ahead_by_more_than_one_job(waiting: list[Job]) -> None:
    """The bound of start-time fair queuing, while both owners have something waiting."""
    longest = max((t.cost_s for t in waiting), default=0.0)
    left, used = Counter(t.user_id for t in waiting), Counter[str]()
    for turn in fair_order(waiting, FairQueueClock()):
        used[turn.user_id] += turn.cost_s  # type: ignore[assignment]
        left[turn.user_id] -= 1
        shares = [used[user_id] for user_id in left if left[user_id] > 0]
        if len(shares) > 1:
            assert max(shares) - min(shares) <= 2 * longest + 1e-6


def test_work_grows_with_size_steps_and_count_and_ignores_nonsense() -> None:
    small = relative_work({"width": 512, "height": 512, "steps": 10})
    assert relative_work({"width": 1024, "height": 1024, "steps": 10}) == 4 * small
    assert relative_work({"width": 512, "height": 512, "steps": 10, "batch": 3}) == 3 * small
    assert relative_work({"steps": "many", "batch": -4}) == 1.0
