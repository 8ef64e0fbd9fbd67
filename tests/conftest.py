"""Fixtures shared by all tests: the demo engine, recorded facts, and a clean environment."""

from __future__ import annotations

import gc
import gzip
import json
import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(__file__).resolve().parent / "data"
PROTOCOL = DATA / "protocol"  # requests, answers and messages recorded at a real server
MAX_WORKERS = 6
ALL_BUT_LIVE = "not live and not nightly"
QUICK = f"{ALL_BUT_LIVE} and not slow"  # as in pyproject.toml
# What configures a server or the app here must not change a test that starts its own.
OUR_VARIABLES = ("COMFY_UI_", "COMFYUI_", "OPENAI_", "HF_TOKEN")
_environment = {k: v for k, v in os.environ.items() if k.startswith(OUR_VARIABLES)}


def _is_whole_suite(config: pytest.Config) -> bool:
    return config.args == config.getini("testpaths")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Run slow tests too in CI, and where files are named, unless other marks are asked for.

    Modules read the settings when they are imported, before the first test.
    """
    _remove_settings()
    slow_too = os.environ.get("CI") == "true" or not _is_whole_suite(config)
    if slow_too and config.option.markexpr == QUICK:
        config.option.markexpr = ALL_BUT_LIVE


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import modules and make tests of them without the garbage collector.

    It would search them again and again, a third of the time of every worker, for garbage that they
    are not: they stay to the end. Frozen, they are not searched later either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark browser tests as slow, but for one that shows the app works.

    Files with slow tests come first: a worker gets whole files, and none should begin a long one
    when the others have ended. Those of one folder wait alike, or compute alike, so the folders
    take turns; but not that of the browser, which each worker starts once. Benchmarks do not begin
    while everything is still compiled.
    """
    for item in items:
        if item.get_closest_marker("browser") and not item.get_closest_marker("quick"):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    turns: dict[Path, int] = {}
    folders: Counter[str] = Counter()
    for path in dict.fromkeys(item.path for item in items):
        folder = path.relative_to(ROOT).parts[1]
        turns[path] = folders[folder]
        folders[folder] += 1

    def place(item: pytest.Item) -> tuple[bool, bool, bool, int]:
        parts = item.path.parts
        return item.path not in slow, "benchmarks" in parts, "browser" in parts, turns[item.path]

    items.sort(key=place)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """More workers than cores for the whole suite, whose tests wait for more than half of the time.

    Parts run in this process, and live tests share one server.
    """
    if not _is_whole_suite(config) or "not live" not in config.option.markexpr:
        return 0
    return min(2 * (os.cpu_count() or 1) + 1, MAX_WORKERS)


def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Make workers of forks: each would import Gradio for four seconds of CPU time."""
    if sys.platform == "linux":  # macOS stops forks that use its frameworks, Windows has none
        from tests import preloaded

        preloaded.start()
        for spec in specs:
            spec.python = shlex.join([sys.executable, preloaded.__file__])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give the settings of the environment to live tests, and keep them from all others."""
    _remove_settings()
    if item.get_closest_marker("live") is not None:
        os.environ.update(_environment)


def _remove_settings() -> None:
    for name in [name for name in os.environ if name.upper().startswith(OUR_VARIABLES)]:
        del os.environ[name]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the one line that a test has recorded as its ``note``."""
    for report in terminalreporter.stats.get("passed", []):
        for name, text in report.user_properties:
            if name == "note" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: {text}")


@cache
def recorded_object_info(version: str) -> dict[str, Any]:
    """The facts of a real server's /object_info, ``0.33.0`` or ``0.3.64``. Do not change them."""
    with gzip.open(DATA / f"object_info-{version}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """What a command sets up of the log is for its own process; here others come after it."""
    logger = logging.getLogger("comfy_ui")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture(params=["0.33.0", "0.3.64"])
def object_info(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The node facts of both recorded servers, one after the other."""
    return recorded_object_info(request.param)


@pytest.fixture
def engine() -> Iterator[Any]:
    """The embedded engine at full speed on a free port, new for each test."""
    from comfy_ui.demo import DemoServer

    with DemoServer(speed="instant").in_thread() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server for all tests of this process that need one."""
    from tests.scale.postgres_server import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture(autouse=True, scope="session")
def _one_tls_context() -> Iterator[None]:
    """Read certificates once: httpx takes 28 ms of CPU for those of each client.

    A test with an authority of its own has another file.
    """
    from httpx._transports import default

    create = default.create_ssl_context

    @cache
    def create_with(_file: str | None, _folder: str | None, *args: Any, **options: Any) -> Any:
        return create(*args, **options)

    def create_or_share(*args: Any, **options: Any) -> Any:
        environment = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        return create_with(*environment, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default, "create_ssl_context", create_or_share)
        yield


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in a moment: the real work takes 0.1 s of CPU and 32 MiB each time.

    For tests whose passwords no other process checks.
    """
    from comfy_ui.web.auth import accounts

    monkeypatch.setitem(accounts._COST, "n", 16)


@pytest.fixture(autouse=True)
def _closed_circuits() -> None:
    """Forget which servers failed: ports come again, with the servers of other tests on them."""
    from comfy_ui.client.transport import circuit_breakers

    circuit_breakers._breakers.clear()
