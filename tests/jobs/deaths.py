"""``python -m tests.jobs.deaths``: ComfyUI and the app are killed, and no job is lost.

Thirty jobs of three users; ``kill -9`` of ComfyUI every few seconds, ten times, and of the app in
turn with ``--kill-app``. One more job is killed with its server whenever it runs. Afterwards, each
job has exactly one result in the library, without a click; only the last one has stopped, after
its second death. Exits with 1 otherwise.

By default, ComfyUI is the embedded engine in a process of its own. With ``--comfyui COMMAND`` it is
what the command starts, which must be one process (in a shell script: ``exec``) that answers at
``--url``. Jobs there blur an image, or run ``--graph FILE``: a graph in API format, in which
``NONCE`` stands for a number of each job. A kill waits for a job to run that was not hit before, so
jobs have to take about a second, and there must be more of them than kills::

    python -m tests.jobs.deaths --every-s 10 --url http://127.0.0.1:8195 --comfyui \\
        "-C path/to/ComfyUI venv/bin/python main.py --cpu --port 8195"
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import socket
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from comfy_ui.storage.database import Database
from comfy_ui.storage.records import Phase, make_id
from comfy_ui.storage.sqlite_job_store import SqliteJobStore
from tests.jobs.death_processes import KILLER, USERS, Plan, run_command, serve_app, serve_engine

_FORKS: Final = multiprocessing.get_context("forkserver")  # a start costs no import
_FORKS.set_forkserver_preload(["tests.jobs.death_processes"])


@dataclass
class Account:
    """The outcome."""

    seconds: float = 0.0
    jobs: int = 0
    server_kills: int = 0
    app_kills: int = 0
    killer_deaths: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {phase}" for phase, count in sorted(self.phases.items()))
        return "\n".join(
            [
                f"{self.jobs} jobs in {self.seconds:.0f} s: {ends}",
                f"  {self.server_kills} kills of ComfyUI, {self.app_kills} of the app",
                f"  the killer took down ComfyUI {self.killer_deaths} times",
                f"  {len(self.wrong)} jobs lost, doubled or stopped",
                *(f"  {text}" for text in self.wrong),
            ]
        )


class Child:
    """A process that is killed and started again."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self._target, self._args = target, args
        self._process: BaseProcess | None = None

    def start(self) -> None:
        self._process = _FORKS.Process(target=self._target, args=self._args, daemon=True)
        self._process.start()

    @property
    def ended(self) -> bool:
        return self._process is None or not self._process.is_alive()

    async def kill(self) -> None:
        """Send SIGKILL."""
        if self._process is not None:
            self._process.kill()
            await self.wait()

    async def wait(self) -> int | None:
        """Wait for the end; return the exit code."""
        assert self._process
        await asyncio.to_thread(self._process.join)
        return self._process.exitcode


class Run:
    """One run of a plan."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.account = Account()
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._folder = folder
        url = plan.url or f"http://127.0.0.1:{_free_port()}"
        self._server = (
            Child(run_command, plan.comfyui)
            if plan.comfyui
            else Child(serve_engine, int(url.rpartition(":")[2]), str(folder / "engine"))
        )
        self._app = Child(serve_app, url, str(folder / "data"), plan)
        self._url = url
        self._job_ids = {
            f"made_{request.key}": make_id(request.user_id, request.key)
            for request in plan.requests()
        }
        self._changing = asyncio.Lock()  # the server is being killed and started

    async def run(self) -> Account:
        began = time.monotonic()
        try:
            await self._start_server()
            self._app.start()
            tasks = [
                asyncio.create_task(self._kill_under_the_killer()),
                asyncio.create_task(self._kill_at_times()),
            ]
            while await self._app.wait() != 0:
                self.account.app_kills += 1
                self._app.start()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._app.kill()
            await self._server.kill()
        self.account.seconds = time.monotonic() - began
        await self._judge()
        return self.account

    async def _start_server(self) -> None:
        self._server.start()
        while await self._queue() is None:
            if self._server.ended:
                raise RuntimeError("ComfyUI has ended by itself: see its output above.")
            await asyncio.sleep(0.1)

    async def _queue(self) -> list[list[Any]] | None:
        """The running jobs as the server lists them; None: it does not answer."""

        def ask() -> list[list[Any]]:
            with urlopen(f"{self._url}/queue", timeout=5) as answer:
                running: list[list[Any]] = json.load(answer)["queue_running"]
                return running

        try:
            return await asyncio.to_thread(ask)
        except (OSError, ValueError):
            return None

    async def _running(self) -> str:
        """The beginning of the file names of the running job."""
        for item in await self._queue() or ():
            for node in item[2].values():
                if prefix := node["inputs"].get("filename_prefix"):
                    return str(prefix)
        return ""

    async def _kill_server(self) -> None:
        async with self._changing:
            await self._server.kill()
            await asyncio.sleep(0.3)
            await self._start_server()

    async def _kill_under_the_killer(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            if (
                not self._changing.locked()
                and await self._running() == KILLER
                and self._deaths_when_started(KILLER) is not None
            ):
                self.account.killer_deaths += 1
                await self._kill_server()

    def _deaths_when_started(self, name: str) -> int | None:
        """The stored deaths of a job; None before the app has stored that the job runs.

        If the server, or the app, is killed before that, the death may be that of the job before.
        """
        with closing(sqlite3.connect(self._folder / "data" / "comfy_ui.db")) as connection:
            query = (
                "SELECT server_deaths FROM jobs "
                "WHERE id = ? AND started_at IS NOT NULL AND status IN ('claimed', 'sent')"
            )
            row = connection.execute(query, (self._job_ids.get(name),)).fetchone()
            return None if row is None else int(row[0])

    async def _kill_at_times(self) -> None:
        for number in range(self._plan.kills):
            await asyncio.sleep(self._plan.every_s * self._rng.uniform(0.7, 1.3))
            await self._wait_for_victim()
            if self._app.ended:
                return
            self.account.server_kills += 1
            await self._kill_server()
            if self._plan.kill_app:
                await asyncio.sleep(self._plan.every_s * self._rng.uniform(0.1, 0.7))
                if number % 2 or not self._app.ended:
                    await self._app.kill()

    async def _wait_for_victim(self) -> None:
        """Wait until the server has just begun a job under which none died before.

        A job that is hit twice by chance would stop, as it may be what kills the server. Near the
        end of a job, the kill might hit the next one.
        """
        before, began = "", 0.0
        while True:
            running = await self._running()
            if running != before:
                before, began = running, time.monotonic()
            if (
                running != KILLER
                and self._deaths_when_started(running) == 0
                and time.monotonic() - began < 0.6 * self._plan.job_s
                and not self._changing.locked()
            ):
                return
            await asyncio.sleep(0.02)

    async def _judge(self) -> None:
        database = Database(self._folder / "data")
        await database.open()
        store = SqliteJobStore(database, self._folder / "data")
        stored_ids = {item for user_id in USERS for item in await self._recent_ids(store, user_id)}
        requests = self._plan.requests()
        self.account.jobs = len(requests)
        for request in requests:
            job_id = make_id(request.user_id, request.key)
            stored_ids.discard(job_id)
            stored = await store.get_with_items(job_id, request.user_id)
            if stored is None:
                self.account.wrong.append(f"{request.key}: not stored")
                continue
            job, items = stored
            self.account.phases[job.status] += 1
            if f"made_{request.key}" == KILLER:
                right = job.status.phase is Phase.LOST and job.server_deaths == 2 and not items
                right = right and self.account.killer_deaths == 2
            else:
                right = job.status.phase is Phase.SUCCEEDED and len(items) == 1
            if not right:
                self.account.wrong.append(
                    f"{request.key}: {job.status}, {len(items)} results, "
                    f"{job.server_deaths} deaths, {job.error}"
                )
        self.account.wrong += [f"{job_id}: nobody submitted it" for job_id in stored_ids]
        await database.close()

    async def _recent_ids(self, store: SqliteJobStore, user_id: str) -> list[str]:
        return [job.id for job in await store.recent(user_id, 1000)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def deaths(plan: Plan) -> Account:
    """Carry out a plan in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        return await Run(plan, Path(folder)).run()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.jobs.deaths",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--every-s", type=float, default=5.0, help="between kills of ComfyUI")
    parser.add_argument("--kill-app", action="store_true", help="kill the app in turn")
    parser.add_argument("--job-s", type=float, default=1.0, help="how long a job takes")
    parser.add_argument("--comfyui", default="", help="the command that starts ComfyUI")
    parser.add_argument("--url", default="", help="where that ComfyUI answers")
    parser.add_argument("--graph", default="", help="a graph for that ComfyUI, in API format")
    parser.add_argument("--blurs", type=int, default=4, help="work of a job without --graph")
    parser.add_argument("--seed", type=int, default=0)
    account = asyncio.run(deaths(Plan(**vars(parser.parse_args()))))
    print(account)
    return 1 if account.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
