"""The clients against a raw client, with generous bounds for busy test machines."""

from __future__ import annotations

import pytest

from tests.benchmarks import measure, progress
from tests.benchmarks.gap import gaps
from tests.benchmarks.server import embedded

pytestmark = pytest.mark.slow


async def test_latency_is_near_raw_client() -> None:
    with embedded() as url:
        figures = await measure.latency(url, jobs=20)
    raw = figures["raw"].p50_ms
    assert figures["async"].p50_ms < 3 * raw + 5
    assert figures["sync"].p50_ms < 6 * raw + 10


async def test_throughput_is_near_raw_client() -> None:
    with embedded() as url:
        bursts = await measure.at_once(url, jobs=40, rounds=2)
    assert bursts["async"].jobs_per_s > 0.4 * bursts["raw"].jobs_per_s


async def test_server_does_not_idle_between_jobs_of_the_queue() -> None:
    with embedded(node_s={"EmptyImage": 0.2}) as url:
        idle = await gaps(url, jobs=12)
    assert idle.median_ms < 100  # a few on an idle machine; without a job ready, a round trip


def test_import_takes_at_most_twice_the_time_of_asyncio() -> None:
    assert measure.import_ms("comfy_ui", rounds=3) < 2 * measure.import_ms("asyncio", rounds=3)


def test_percentage_of_second_run_is_time() -> None:
    _, second = progress.measure("sdxl", scale=0.1)
    assert second.progress_error < 0.1
    assert second.eta_from_start


@pytest.mark.nightly
async def test_previews_use_bounded_memory_and_cpu() -> None:
    with embedded(20) as url:
        shown = await measure.previews(url, seconds=20)
    assert shown.frames > 100
    assert shown.cpu_percent < 50
    assert shown.grown_mib < 30
    assert shown.largest_fall == 0


@pytest.mark.nightly
async def test_pending_jobs_use_bounded_memory_and_cpu() -> None:
    with embedded(20) as url:
        held = await measure.pending(url, jobs=500)
    assert held.idle_cpu_percent < 30
    assert held.grown_mib < 200
