"""Fixtures shared by all tests: the embedded engine over real sockets, and the recorded facts."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"  # recordings and conformance data; present in CI, not in a clone


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for the whole suite, which waits more than it computes; none for a part of it.

    More would make what is timed meaningless on a small machine, and live tests share one server.
    """
    whole = config.args == config.getini("testpaths")
    return 2 if whole and config.option.markexpr.startswith("not live") else 0


class _Files(LoadFileScheduling):
    """A file stays in one worker, and so do all tests before Chromium: they share one app."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/browser/"):
            return "tests/browser"
        return super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Files:
    return _Files(config, log)


@cache
def recorded_object_info(version: str) -> dict[str, Any]:
    """The node list of a real server, ``0.33.0`` or ``0.3.64``. Skips without the recordings."""
    path = SHARED / "conformance" / f"object_info-{version}.json.gz"
    if not path.exists():
        pytest.skip("needs the recordings in ../shared")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """What a command sets up of the log is for its own process; here others come after it."""
    logger = logging.getLogger("comfy_ui")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings. Skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the recordings in ../shared")
    return SHARED


@pytest.fixture(params=["0.33.0", "0.3.64"])
def object_info(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The node lists of both recorded servers, one after the other."""
    return recorded_object_info(request.param)


@pytest.fixture
def engine() -> Iterator[Any]:
    """The embedded engine at full speed on a free port, new for each test."""
    from comfy_ui.demo import DemoServer

    with DemoServer(speed="instant").in_thread() as server:
        yield server


@pytest.fixture(autouse=True)
def _closed_circuits() -> None:
    """Forget which servers failed: ports come again, with the servers of other tests on them."""
    from comfy_ui.client.transport import circuit_breakers

    circuit_breakers._breakers.clear()
