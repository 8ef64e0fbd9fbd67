"""The processes of :mod:`.kill_workers`: demo engines, workers, and apps behind nginx."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ComfyHeadlessError
from comfy_ui.scale.worker_process import run_worker
from comfy_ui.settings import Settings
from tests import preloaded
from tests.browser import support
from tests.browser.nginx import running_nginx, scale_conf
from tests.jobs.death_processes import serve_engine

_PROCESSES: Final = multiprocessing.get_context("forkserver")
_HZ: Final = os.sysconf("SC_CLK_TCK")


def preload() -> None:
    """Import what engines and workers need once, before the first of them starts."""
    _PROCESSES.set_forkserver_preload([__name__])


def cpu_s(*others: int) -> float:
    """Return the CPU seconds of this process, of all that it has started and that have ended, and
    of ``others``, which are process ids.
    """
    ticks = 0
    for pid in (os.getpid(), *_forkserver_pids(), *others):
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, stat[11:15]))
    return ticks / _HZ


def _forkserver_pids() -> list[int]:
    """Return those that start the processes; their figures include those that have ended."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return [*preloaded.pids(), *([] if pid is None else [pid])]


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and of those that start meanwhile."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def of_host(settings: Settings, name: str) -> Settings:
    """Return the settings of one host: with S3, each has a data folder of its own."""
    if settings.files is None:
        return settings
    return settings.model_copy(update={"data_dir": settings.data_dir / name})


# Demo engines


@dataclass(frozen=True)
class Engine:
    url: str
    output: Path


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = _PROCESSES.Process(target=serve_engine, args=(port, str(folder)), daemon=True)
    process.start()
    try:
        yield Engine(f"http://127.0.0.1:{port}", folder / "output")
    finally:
        process.kill()
        process.join()


# Workers


class Workers:
    """The workers, each started again when it was killed, as a service manager does."""

    def __init__(self, settings: Settings, urls: Sequence[str]) -> None:
        self._settings = settings
        self._urls = urls
        self._processes: list[ForkServerProcess] = [*map(self._start, range(len(urls)))]

    def _start(self, number: int) -> ForkServerProcess:
        settings = of_host(self._settings, f"host{number}")
        # The processes are forked from a server that started before the environment was set.
        arguments = (self._urls[number], settings, dict(os.environ))
        process = _PROCESSES.Process(target=_work, args=arguments, daemon=True)
        process.start()
        return process

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].join()
        self._processes[number] = self._start(number)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(30)
            process.kill()


@contextmanager
def running_workers(settings: Settings, urls: Sequence[str]) -> Iterator[Workers]:
    workers = Workers(settings, urls)
    try:
        yield workers
    finally:
        workers.close()


def _work(url: str, settings: Settings, environment: Mapping[str, str]) -> None:
    """Be a worker, started again while it is refused or the database is down."""
    os.environ.update(environment)
    logging.disable(logging.WARNING)

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        while not stop.is_set():
            try:
                async with ComfyWSClient(url=url) as client:
                    await run_worker(settings, client, drain_s=5.0, stop=stop)
            except ComfyHeadlessError:  # said by the log
                await asyncio.sleep(0.5)

    asyncio.run(run())


# Apps


class Replicas:
    """Real apps that share a data folder, behind nginx at ``url``.

    Attributes:
        addresses: of the apps, as nginx names them in the header ``X-App``.
    """

    def __init__(self, folder: Path, settings: Settings, comfyui_url: str, count: int) -> None:
        self._stack = ExitStack()
        self._data_dir = settings.data_dir
        self._logs = folder
        assert settings.database is not None
        self._environment = {
            "COMFY_UI_DATABASE": settings.database.get_secret_value(),
            "COMFY_UI_WORKERS": "external",
            "COMFY_UI_TRUSTED_PROXIES": "127.0.0.1",
            "COMFYUI_URL": comfyui_url,
            **({"COMFY_UI_FILES": settings.files} if settings.files else {}),
        }
        self._ports = [support.free_port() for _ in range(count)]
        self.addresses = [f"127.0.0.1:{port}" for port in self._ports]
        self._apps = [self._start(number) for number in range(count)]
        conf = partial(scale_conf, folder, addresses=self.addresses)
        self.url = self._stack.enter_context(running_nginx(folder, conf, login="/login"))

    def _start(self, number: int) -> tuple[ExitStack, preloaded.Fork]:
        stack = ExitStack()
        port = {"COMFY_UI_PORT": str(self._ports[number])}
        log = self._logs / f"app{number}.log"
        running = support.app_process(self._data_dir, log, **self._environment, **port)
        _, process = stack.enter_context(running)
        return stack, process

    def kill(self, number: int) -> None:
        self._apps[number][1].kill()

    def start_again(self, number: int) -> None:
        """Start an app that was killed, and wait until it answers."""
        self._apps[number][0].close()
        self._apps[number] = self._start(number)

    def close(self) -> None:
        self._stack.close()
        for stack, _ in self._apps:
            stack.close()


@contextmanager
def running_replicas(
    folder: Path, settings: Settings, comfyui_url: str, count: int
) -> Iterator[Replicas]:
    replicas = Replicas(folder, settings, comfyui_url, count)
    try:
        yield replicas
    finally:
        replicas.close()
