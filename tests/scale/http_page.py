"""A page of the app without its browser: it presses Generate and follows the stage over HTTP.

It does what ``assets/js/generate.js`` and ``live_preview.js`` do: a press that was lost is sent
again with its key, a lost stream is opened again after a second, and after the end of a job the
stage says which one to follow next.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx

from tests.jobs.support import sleepy_graph

PRESET: Final = "sleep"
_RETRY_S: Final = 1.0  # of an EventSource, as the app sets it
_DEATH_S: Final = 5.0  # until the connections of a killed process are closed, on a busy machine
_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 60.0
_SIDECAR: Final = """title = "Sleep"
description = "Takes its time."
family = "Test"
task = "t2i"
outputs = [{ node = "3", kind = "image" }]

[params.nonce]
role = "int"
label = "Number"
targets = ["1.color", "2.nonce"]
default = 0
"""
_TAGS: Final = re.compile(r"<[^>]+>")


def write_preset(folder: Path, *, job_s: float) -> None:
    """Write the preset of the pages' jobs to an app's folder of presets."""
    folder.mkdir(parents=True)
    graph = sleepy_graph(seconds=job_s)
    graph["2"]["inputs"]["steps"] = 4
    graph["3"]["inputs"]["filename_prefix"] = "made"
    (folder / f"{PRESET}.json").write_text(json.dumps(graph))
    (folder / f"{PRESET}.toml").write_text(_SIDECAR)


class HttpPage:
    """The page of a user, who is logged in.

    Attributes:
        ended: when the page was told that a job has ended, by job; UNIX time.
        resumed_s: after the death of an app, until the next event of a stream that it had served.
        refusals: the notices of presses that were refused, each with its number.
    """

    def __init__(self, url: str, killed_at: Mapping[str, float]) -> None:
        """``killed_at``: by address of an app that was killed, when; UNIX time."""
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=60)
        self._killed_at = killed_at
        self._job = ""  # that the stage shows; empty while it asks for the next one
        self._lost_app = ""  # that was killed, until the next event of a stream
        self._stage: asyncio.Task[None] | None = None
        self.ended: dict[str, float] = {}
        self.resumed_s: list[float] = []
        self.refusals = Counter[str]()

    async def log_in(self, name: str, password: str) -> None:
        """Log in and open the page."""
        form = {"username": name, "password": password}
        answer = await self._http.post("/login", data=form)
        answer.raise_for_status()
        (await self._http.get("/")).raise_for_status()

    async def aclose(self) -> None:
        """Leave the page. Raises the error if the stage has failed."""
        if self._stage is not None:
            self._stage.cancel()
            with suppress(asyncio.CancelledError):
                await self._stage
        await self._http.aclose()

    async def pause_everyone(self, *, paused: bool) -> None:
        answer = await self._http.post("/queue/pause", json={"everyone": True, "paused": paused})
        answer.raise_for_status()

    async def press(self, number: int) -> str:
        """Press Generate until the job is in the queue; return its id."""
        form = {"preset": PRESET, "values": {"nonce": number}, "press": f"press-{number}"}
        while True:
            try:
                answer = await self._http.post("/create/press", json=form)
            except httpx.TransportError:
                await asyncio.sleep(_RETRY_S)
                continue
            pressed: dict[str, Any] = answer.json() if answer.is_success else {}
            if job := str(pressed.get("job", "")):
                self._queued(job, shown=pressed["shown"])
                return job
            notice = _TAGS.sub(" ", pressed.get("notice", f"status {answer.status_code}"))
            assert "database" in notice or answer.status_code >= 500, notice
            self.refusals[" ".join(notice.split())] += 1
            await asyncio.sleep(_RETRY_S)

    def _queued(self, job: str, *, shown: str) -> None:
        if shown == self._job != "":
            return
        if self._stage is not None:
            self._stage.cancel()
        self._job = shown
        self._stage = asyncio.create_task(self._show(shown, ended="" if shown else job))

    async def _show(self, job: str, *, ended: str) -> None:
        """Follow a job, or show that one has ended, and then those that come next."""
        pause_s = _FIRST_PAUSE_S
        while True:
            if not job or await self._read_stream(job):
                ended = job or ended
                self.ended[ended] = time.time()
            self._job = ""
            while (state := await self._state(ended)) is None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            pause_s = _FIRST_PAUSE_S
            job, ended, self._job = state["job"], "", state["job"]
            if not job:
                return

    async def _read_stream(self, job: str) -> bool:
        """Follow a job to its end as an EventSource; False if there is no stream."""
        app = ""
        while True:
            with suppress(httpx.TransportError):
                async with self._http.stream("GET", "/stage/events", params={"job": job}) as answer:
                    if not answer.headers["content-type"].startswith("text/event-stream"):
                        await asyncio.sleep(_FIRST_PAUSE_S)
                        return False
                    app = answer.headers["x-app"].rpartition(", ")[2]  # after those that failed
                    async for line in answer.aiter_lines():
                        if self._lost_app and line.startswith(("data:", "event:")):
                            self.resumed_s.append(time.time() - self._killed_at[self._lost_app])
                            self._lost_app = ""
                        if line == "event: over":
                            return True
            if time.time() - self._killed_at.get(app, 0.0) < _DEATH_S:
                self._lost_app = app
            await asyncio.sleep(_RETRY_S)

    async def _state(self, ended: str) -> dict[str, Any] | None:
        """Ask what the stage shows now; None if there was no answer."""
        with suppress(httpx.TransportError):
            answer = await self._http.get("/stage", params={"ended": ended})
            if answer.is_success:
                state: dict[str, Any] = answer.json()
                return state
        return None
