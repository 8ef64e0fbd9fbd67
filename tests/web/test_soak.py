"""Four minutes of the soak test at night; an hour by hand: ``python -m tests.web.soak``."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from tests.web.memory_probe import in_use_mib
from tests.web.soak import Sample, Watch, soak


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_soak_fifty_users_with_faults_lose_nothing() -> None:
    watch = await soak(minutes=4, people=50)
    assert watch.fine, str(watch)
    assert watch.faults > 10
    print(watch)


@pytest.mark.parametrize(
    ("leak", "step", "steady"),
    [(0.0, 0.0, True), (0.9, 0.0, True), (1.1, 0.0, False), (0.0, 0.8, True), (0.0, 1.0, False)],
)
@pytest.mark.parametrize("kind", ["in_use", "resident"])
def test_watch_growing_memory_is_not_steady(
    kind: str, leak: float, step: float, steady: bool
) -> None:
    """``leak`` in MiB per hour; ``step`` in MiB, in the middle."""
    watch = Watch(seconds=7200)
    for seconds in range(0, 7200, 5):
        grown = leak * seconds / 3600 + step * (seconds > 4800)
        watch.memory.append(
            replace(Sample(seconds, resident=190, in_use=150), **{kind: 150 + grown})
        )
    assert len([*watch.trends()]) == 4
    assert watch.steady is steady


def test_in_use_mib_counts_small_and_large_allocations() -> None:
    gc.collect()
    try:
        before = in_use_mib()
    except AttributeError:
        pytest.skip("needs glibc and a CPython that tells what it has allocated")
    kept = [[object() for _ in range(400_000)], bytearray(16 << 20)]
    assert 20 < in_use_mib() - before < 30, len(kept)  # 6.1 + 3.1, and 16
