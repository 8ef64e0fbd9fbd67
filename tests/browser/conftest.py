from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.browser import support
from tests.client.publisher import Publisher, publishing

STEPS_PER_SECOND = 12.0
SHOWN_CHARACTERS = 2_000


@pytest.fixture(scope="session")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The embedded engine, slow enough to watch, in this process: tests read its files.

    It paints large images small, as engines without a pace do: 1024² take 1.1 seconds of CPU time.
    """
    from comfy_ui.demo import DemoServer

    folder = tmp_path_factory.mktemp("engine")
    with DemoServer(speed=STEPS_PER_SECOND, folder=folder).in_thread() as server:
        server.engine.executor.is_hasty = True
        yield server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Whom the app believes."""
    return trustme.CA()


@pytest.fixture(scope="session")
def publisher(authority: trustme.CA) -> Iterator[Publisher]:
    """Where the app may fetch model files from."""
    with publishing(authority) as found:
        yield found


@pytest.fixture(scope="session")
def app(
    painter: Any,
    publisher: Publisher,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The address of the app, connected to ``painter``, whose models folder it may fill."""
    folder = tmp_path_factory.mktemp("app")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    with support.running_app(
        folder / "data",
        COMFYUI_URL=painter.url,
        COMFY_UI_MODELS_DIR=str(painter.folder / "models"),
        COMFY_UI_DOWNLOAD_HOSTS=publisher.host,
        SSL_CERT_FILE=str(folder / "authority.pem"),
    ) as url:
        yield url


_of_this_folder = ExitStack()
_opened: list[support.Chromium] = []


@pytest.fixture(scope="module")
def chromium() -> support.Chromium:
    """Chromium for all tests of this folder: a start costs 1.2 seconds of CPU time.

    Not for the session: while Playwright lives it keeps an event loop running in this thread, and
    no asynchronous test of another folder could run.
    """
    if not _opened:
        _opened.append(_of_this_folder.enter_context(support.chromium()))
        _of_this_folder.callback(_opened.clear)
    return _opened[0]


@pytest.hookimpl(trylast=True)  # after the fixtures of the test
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End Chromium after the last test of this folder. pytest has no scope for a mere folder."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        _of_this_folder.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what its pages show: most failures are waits for what never came."""
    report = yield
    if report.when == "call" and report.failed and _opened:
        for page in _opened[0].pages:
            with suppress(Exception):  # a page may have crashed
                shown = page.inner_text("body", timeout=5_000)
                report.sections.append((page.url, shown[:SHOWN_CHARACTERS]))
    return report


@pytest.fixture(scope="module")
def browser(chromium: support.Chromium) -> Iterator[Any]:
    """Opens contexts that begin with nothing, and closes them after the tests of a file."""
    yield chromium.browser
    for context in chromium.browser.contexts:
        context.close()


@pytest.fixture(scope="session")
def profile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chromium's profile for the whole session, which keeps the app's scripts compiled."""
    return tmp_path_factory.mktemp("profile")


@pytest.fixture
def person(
    chromium: support.Chromium, profile_folder: Path, app: str
) -> Iterator[Callable[..., Any]]:
    """Opens pages, each ``person(...)`` in a browser of its own, of someone who prefers no motion.

    Animations cost a third of the CPU time of a page that generates. The first one uses the
    profile, cleared of what the app has stored, unless it needs ``more``, such as touch.
    At the end no page may have asked another host for anything or have reported an error.
    """
    contexts: list[Any] = []
    profiles: list[Any] = []
    watch = support.Watch(app)

    def arrive(
        *, size: dict[str, int] = support.WIDE, scheme: str = "light", url: str = app, **more: Any
    ) -> Any:
        if (url, more) == (app, {}) and not profiles:
            context = chromium.profile(profile_folder)
            chromium.clear(context, app)
            profiles.append(context)
        else:
            context = chromium.browser.new_context(
                viewport=size, reduced_motion=support.MOTION, **more
            )
            contexts.append(context)
        context.set_default_timeout(30_000)
        context.on("page", watch.over)
        return support.open_page(context, url, size=size, scheme=scheme)

    yield arrive
    for context in profiles:
        context.remove_listener("page", watch.over)
        chromium.clear(context, app)
    for context in contexts:
        context.close()
    assert watch.external == []
    assert watch.troubles == []


@pytest.fixture
def page(person: Callable[..., Any]) -> Any:
    """A wide page in light colours."""
    return person()


@pytest.fixture(scope="module")
def used_pages(
    chromium: support.Chromium, profile_folder: Path, app: str
) -> Iterator[Callable[[], support.UsedPage]]:
    """Returns the open page of a file's tests; opens one if there is none at its start."""
    opened: list[support.UsedPage] = []

    def used() -> support.UsedPage:
        if not opened or opened[-1].page.is_closed() or not opened[-1].starts_again():
            context = chromium.profile(profile_folder)
            chromium.clear(context, app)
            opened.append(support.UsedPage(context, app))
        return opened[-1]

    yield used
    if opened:
        chromium.clear(chromium.profile(profile_folder), app)


@pytest.fixture
def used_page(used_pages: Callable[[], support.UsedPage]) -> Iterator[Any]:
    """A page like ``page`` that other tests of the file have used: see ``UsedPage``.

    For tests that are about neither loading nor what browsers store. Those about jobs know their
    own by its prompt, and wait for its end or stop it.
    """
    used = used_pages()
    yield used.page
    assert used.reported() == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a file's tests of one page in a row: ``person`` would close it."""
    paths = list(dict.fromkeys(item.path for item in items))
    place = {path: number for number, path in enumerate(paths)}
    items.sort(
        key=lambda item: (place[item.path], "used_page" not in getattr(item, "fixturenames", ()))
    )


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"
