"""Run one job through the faulty proxy with one of the clients, and record its events."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_ui import ComfyClient, ComfyHeadlessError, ComfyWSClient
from comfy_ui.client.transport import circuit_breakers
from tests import graphs
from tests.faults.catalogue import Expect
from tests.faults.oracle import Run, Truth, Violation, ask_server, judge
from tests.faults.proxy import FaultProxy
from tests.shells import Shell

SECRET = "sk-fault-4f9d2c"


@dataclass(frozen=True)
class Case:
    """One cell of the matrix."""

    name: str
    shell: Shell
    arm: Callable[[FaultProxy], None]
    expect: Expect = "recovers"
    tolerates: tuple[type[ComfyHeadlessError], ...] = ()
    timeout_s: float = 20.0
    silence_s: float | None = None  # None: as timeout_s
    patience_s: float = 10.0  # beyond the timeout, before it counts as hung
    steps: int = 6


def run_case(case: Case, proxy: FaultProxy, server_url: str) -> tuple[Run, list[Violation]]:
    """Run it, ask the server for the truth, and judge."""
    proxy.forget()
    circuit_breakers._breakers.clear()  # forget failures of the last case
    if proxy.thief:
        proxy.thief.forget()
    tag = f"f{uuid.uuid4().hex[:12]}"
    run = Run(case.name, case.expect, SECRET, case.tolerates)
    with _clean(run), _logs(run):
        case.arm(proxy)
        start = time.monotonic()
        job = graphs.sampled(prefix=tag, steps=case.steps)
        if case.shell == "async":
            asyncio.run(_run_async(case, proxy, job, run))
        else:
            _run_sync(case, proxy, job, run)
        run.seconds = time.monotonic() - start
        _await_closed(proxy, run)
    run.hits = proxy.hits
    run.accepted = sum(1 for _, posted in proxy.accepted if posted == job)
    run.stolen = proxy.thief.secrets if proxy.thief else []
    truth: Truth = ask_server(server_url, tag)
    return run, judge(run, truth)


async def _run_async(case: Case, proxy: FaultProxy, job: dict[str, Any], run: Run) -> None:
    async with _no_task_left(run):
        silence_s = case.silence_s or case.timeout_s
        client = ComfyWSClient(url=proxy.url, token=SECRET, timeout=silence_s)
        try:
            async with asyncio.timeout(case.timeout_s + case.patience_s), client:
                result = await client.run(
                    job, on_progress=run.progress.append, timeout=case.timeout_s
                )
                for file in result.files:
                    run.files[file.filename] = await client.download(file)
                run.result = result
        except TimeoutError as error:
            run.hung, run.error = True, None
            run.written += f"{error!r}"
        except Exception as error:  # noqa: BLE001 -- the oracle judges whatever came
            run.error = error
        run.written += repr(client)


def _run_sync(case: Case, proxy: FaultProxy, job: dict[str, Any], run: Run) -> None:
    silence_s = case.silence_s or case.timeout_s

    def work() -> None:
        try:
            with ComfyClient(url=proxy.url, token=SECRET, timeout=silence_s) as client:
                run.written += repr(client)
                result = client.run(job, on_progress=run.progress.append, timeout=case.timeout_s)
                for file in result.files:
                    run.files[file.filename] = client.download(file)
                run.result = result
        except Exception as error:  # noqa: BLE001 -- the oracle judges whatever came
            run.error = error

    thread = threading.Thread(target=work, name="sync-client", daemon=True)
    thread.start()
    thread.join(case.timeout_s + case.patience_s)
    run.hung = thread.is_alive()


def _await_closed(proxy: FaultProxy, run: Run) -> None:
    """Wait briefly until the proxy has no open connection; record those that stay open."""
    give_up = time.monotonic() + 1.0
    while proxy.open_connections and time.monotonic() < give_up:
        time.sleep(0.005)
    if proxy.open_connections:
        run.left_behind.append(f"{proxy.open_connections} open connections")


@asynccontextmanager
async def _no_task_left(run: Run) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    run.left_behind += [f"task {task!r}" for task in asyncio.all_tasks() - before]


@contextmanager
def _clean(run: Run) -> Iterator[None]:
    """Record the threads and temporary files that outlive the client."""
    threads = set(threading.enumerate())
    old = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = old
        run.left_behind += [f"file {path.name}" for path in Path(folder).iterdir()]
    if not run.hung:
        extra = {t for t in threading.enumerate() if t.is_alive()} - threads
        # The engine lives in this process too: its workers are not the client's.
        names = [t.name for t in extra if not t.name.startswith(("demo", "AnyIO"))]
        run.left_behind += [f"thread {name}" for name in names]


class _Collect(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def _logs(run: Run) -> Iterator[None]:
    """Record the output of all loggers, at debug level."""
    handler, root = _Collect(), logging.getLogger()
    names = ["comfy_ui", "httpx", "httpcore", "websockets"]
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(handler)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        root.removeHandler(handler)
        run.written += "\n".join(handler.lines)
