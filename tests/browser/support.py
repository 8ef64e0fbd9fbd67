"""The real app in a process of its own, and a Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest

from tests.preloaded import Fork

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
RUN_APP = "import runpy; runpy.run_path('app.py', run_name='__main__')"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    # Pages of tests end before optimized code pays: an opening costs a tenth less.
    "--js-flags=--no-opt --no-maglev",
]
SMALL_SIZE_JS = """() => {
  for (const field of document.querySelectorAll("form.settings :is([name=width], [name=height])")) {
    field.value = 256;
    field.dispatchEvent(new Event("input", {bubbles: true}));
  }
}"""
IS_RESET_JS = """(start) => {
  const [now, then] = [window.comfy.current(), start].map((form) => JSON.parse(form));
  return JSON.stringify([now.preset, now.values]) === JSON.stringify([then.preset, then.values]);
}"""
RESET_JS = """(start) => {
  document.querySelector("form.settings").dataset.preset = JSON.parse(start).preset;
  window.comfy.actions["reset-form"]();
}"""
EXPECTED = (
    # Gradio's client says this when a page is left while a stream is open.
    "AbortError: signal is aborted",
    "Unexpected error Connection errored out",
    # Chromium's word for an upload that was refused with a reason.
    "Failed to load resource: the server responded with a status of 422",
)
WIDE = {"width": 1440, "height": 900}
FULL_HD = {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}
MOTION = "reduce"


HEADLESS_SHELL = "chromium-headless-shell"
"""Chromium without its window: the same pages with little more than half the work."""


def find_chromium(*, window: bool = True) -> str | None:
    """The system's Chromium or Chrome; without ``window`` the headless shell if there is one."""
    shells = () if window else (HEADLESS_SHELL,)
    for name in (*shells, "chromium", "chromium-browser", "google-chrome", "chrome"):
        path = shutil.which(name)
        if path:
            return path
    return None


class Chromium:
    """The system's Chromium, started on use: without a profile, or with one on disk."""

    def __init__(self, playwright: Any, path: str) -> None:
        self._playwright = playwright
        self._launcher = playwright.chromium
        self._options = {"executable_path": path, "args": CHROMIUM_ARGS}
        self._profiles: list[Any] = []

    @contextmanager
    def with_window(self) -> Iterator[Chromium]:
        """A complete Chromium, for what the headless shell lacks, such as notifications."""
        complete = Chromium(self._playwright, find_chromium() or "")
        yield complete
        complete.browser.close()

    @cached_property
    def browser(self) -> Any:
        """A browser each of whose contexts begins with nothing."""
        return self._launcher.launch(**self._options)

    @property
    def pages(self) -> list[Any]:
        """All open pages."""
        browsers = [self.browser] if "browser" in vars(self) else []
        contexts = [context for browser in browsers for context in browser.contexts]
        return [page for context in (*contexts, *self._profiles) for page in context.pages]

    @cache  # noqa: B019 -- it lives as long as the tests of a folder
    def profile(self, folder: Path) -> Any:
        """A context that keeps compiled scripts in ``folder``: pages load with half the work.

        They do so in one process, one after the other, which saves a fifth of the rest.
        """
        options = {**self._options, "args": [*CHROMIUM_ARGS, "--renderer-process-limit=1"]}
        context = self._launcher.launch_persistent_context(
            folder, viewport=WIDE, reduced_motion=MOTION, **options
        )
        self._profiles.append(context)
        return context

    @staticmethod
    def clear(context: Any, url: str) -> None:
        """Close all pages but the first, and forget what the app at ``url`` has stored."""
        first, *others = context.pages
        for page in others:
            page.close()
        session = context.new_cdp_session(first)
        stored = "cookies,local_storage,indexeddb,service_workers,cache_storage"
        session.send("Storage.clearDataForOrigin", {"origin": url, "storageTypes": stored})
        session.detach()
        context.clear_cookies()
        context.clear_permissions()


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Chromium for tests. Skips them where there is none, but not in CI."""
    from playwright.sync_api import sync_playwright

    path = find_chromium(window=False)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have a Chromium")
        pytest.skip("needs a Chromium")
    with sync_playwright() as playwright:
        yield Chromium(playwright, path)  # stopping Playwright ends what it has started


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_app(data_dir: Path, **environment: str) -> Iterator[str]:
    """Run ``app.py`` in a process of its own and yield its address."""
    with app_process(data_dir, data_dir.with_suffix(".log"), **environment) as (url, _):
        yield url


@contextmanager
def app_process(data_dir: Path, log: Path, **environment: str) -> Iterator[tuple[str, Fork]]:
    """Run ``app.py`` in a process of its own and yield its address and the process.

    Its port is ``COMFY_UI_PORT`` in the environment, else a free one.

    The process is a fork of one that has imported Gradio, which costs four seconds of CPU time.
    ``tests/web/test_space.py`` and ``tests/cli`` start Python itself.
    """
    port = environment.setdefault("COMFY_UI_PORT", str(free_port()))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("COMFY", "GRADIO"))}
    environment = {
        **inherited,
        "COMFY_UI_DATA_DIR": str(data_dir),
        "GRADIO_TEMP_DIR": str(data_dir / "gradio"),
        "NO_PROXY": "127.0.0.1,localhost",
        **environment,
    }
    with Path(os.devnull).open() as nothing, log.open("wb") as output:
        files = nothing.fileno(), output.fileno(), output.fileno()
        process = Fork(RUN_APP, environment, ROOT, files)
    try:
        yield _ready(f"http://127.0.0.1:{port}", process, log), process
    finally:
        process.terminate()
        process.join(20)
        process.kill()
        process.join()
        process.close()


def _ready(url: str, process: Fork, log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if not process.is_alive():
            break
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return url
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"The app did not start:\n{log.read_text(errors='replace')}")


@dataclass
class Watch:
    """What a page did behind the scenes: nothing of this may be there at the end of a test."""

    url: str
    external: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def over(self, page: Any) -> None:
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", self._console)

    def _request(self, request: Any) -> None:
        address = urlsplit(request.url)
        if (
            address.scheme in {"http", "https", "ws"}
            and address.netloc != urlsplit(self.url).netloc
        ):
            self.external.append(request.url)

    def _console(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED):
            self.troubles.append(message.text)


def open_page(
    context: Any, url: str, *, size: dict[str, int] | None = None, scheme: str | None = None
) -> Any:
    """A page that has loaded: form and stage are there.

    Args:
        context: in which it opens.
        url: of the app.
        size: of the window; by default that of the context.
        scheme: ``light`` or ``dark``; by default that of the context.
    """
    page = context.new_page()
    if size is not None:
        page.set_viewport_size(size)
    if scheme is not None:
        page.emulate_media(color_scheme=scheme)
    # Not in every frame, Playwright's default: the page would draw 60 frames a second meanwhile.
    page.wait_for_function = partial(page.wait_for_function, polling=100)
    page.goto(url)
    page.wait_for_selector("form.settings")
    page.wait_for_selector("#stage .stage", state="attached")
    return page


class UsedPage:
    """A wide page in light colors that tests use one after the other. An opening costs a second.

    Args:
        context: in which it opens, with nothing else.
        url: of the app.
    """

    def __init__(self, context: Any, url: str) -> None:
        self._watch = Watch(url)
        context.on("page", self._watch.over)
        context.set_default_timeout(30_000)
        self.page = open_page(context, url)
        context.remove_listener("page", self._watch.over)
        self._start = self.page.evaluate("window.comfy.current()")

    def starts_again(self) -> bool:
        """Go to Create, close all that is open, and restore the form. False: that is not possible.

        Jobs and results, and what the browser stores, stay.
        """
        page = self.page
        page.unroute_all()
        page.set_viewport_size(WIDE)
        while page.locator("dialog[open]").count():
            page.keyboard.press("Escape")
        page.get_by_role("tab", name="Create", exact=True).click()
        if page.locator("#draft .draft").count():
            page.click("#draft .act:is(:text('Stop'), :text('Discard'))")
            page.wait_for_selector("#draft .draft", state="detached")
        reset_form(page, self._start)  # the form may be one without a prompt
        page.fill("#prompt textarea", "")
        if page.locator(".advanced[open]").count():
            page.fill(".advanced .filter", "")
            page.click(".advanced > summary")
        page.evaluate("document.activeElement.blur()")
        return bool(page.evaluate("window.comfy.current()") == self._start)

    def reported(self) -> list[str]:
        """The foreign addresses that were asked, and the errors reported, since the last call."""
        found = [*self._watch.external, *self._watch.troubles]
        self._watch.external.clear()
        self._watch.troubles.clear()
        return found


def generate(page: Any, prompt: str, **values: object) -> None:
    """Type a prompt, set fields by name, and press Generate.

    Without a size, images are small: to draw one of 1024² takes two seconds of CPU time.
    """
    page.fill("#prompt textarea", prompt)
    if not {"width", "height"} & values.keys():
        page.evaluate(SMALL_SIZE_JS)
    for name, value in values.items():
        set_field(page, name, value)
    page.click("#generate")


def choose(page: Any, preset: str) -> None:
    """Choose a preset in the picker and wait for its form."""
    page.click(".picker > summary")
    page.click(f".option[data-preset={preset}]")
    page.wait_for_selector(f"form.settings[data-preset={preset}]")


@contextmanager
def slowly(painter: Any, *, step_s: float = 0.5) -> Iterator[None]:
    """What the engine begins now takes its time: 100 steps outlast a test on a busy machine."""
    executor = painter.engine.executor
    usual, executor.step_s = executor.step_s, step_s
    try:
        yield
    finally:
        executor.step_s = usual


def set_field(page: Any, name: str, value: object) -> None:
    """Put a value into a field of the form, also where it is folded away."""
    field_ = page.locator(f"form.settings [name={name}]")
    if not field_.is_visible():
        page.click(".advanced summary")
    field_.fill(str(value))


def reset_form(page: Any, start: str) -> None:
    """Show the form again that ``window.comfy.current()`` was ``start`` of: preset and values."""
    if not page.evaluate(IS_RESET_JS, start):
        page.evaluate(RESET_JS, start)
        page.wait_for_function(IS_RESET_JS, arg=start)
