"""``python -m tests.web.soak [--minutes M] [--people N]``: the whole app for an hour, from outside.

The app, the engine and this program are three processes; a proxy between app and engine injects a
fault every few seconds. Users with their own browsers open pages, generate images, watch, cancel,
disconnect halfway and leave. At the end every job has one final phase, every image is the engine's,
byte for byte, and belongs to its own job, and the app holds no more sockets, files or memory than
after its warm-up. Exits with 1 otherwise.

Now and then all users pause for a minute with their pages open: memory held then is really kept.
Under load it swings by some MiB. Neither the memory in use, which the app reports (see
``memory_probe``), nor the resident memory may grow.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

import httpx
import psutil
from PIL import Image

from tests.benchmarks.page import Visitor, free_port, handlers, started
from tests.benchmarks.server import embedded
from tests.faults.proxy import FaultProxy
from tests.jobs.soak import Account, bad_weather
from tests.web import memory_probe

PAUSE_S = 15.0  # of a user between two jobs, on average
WARM_UP = 1 / 3  # of the time
ROUND_S, REST_S = 240.0, 75.0  # a round ends with a rest; the app gives memory back once a minute
SLOPE_MIB_PER_H = 1.0
SURE_AFTER_MIN = 30.0  # a slope over less time is noise
AT_REST_S = 20.0  # then keep-alive connections have ended


@dataclass(frozen=True, slots=True)
class Sample:
    """The app's memory in MiB, some seconds after the start."""

    seconds: float
    resident: float
    in_use: float


@dataclass(frozen=True, slots=True)
class Trend:
    """The trend of one kind of memory after the warm-up: MiB, and MiB per hour."""

    name: str
    first: float
    last: float
    slope: float
    error: float
    """The slope's standard error, with samples taken as independent."""

    @classmethod
    def of(cls, name: str, samples: list[tuple[float, float]]) -> Trend:
        """Fit a line through samples of seconds and MiB."""
        hours, mib = zip(*((t / 3600, mib) for t, mib in samples), strict=True)
        line = statistics.linear_regression(hours, mib)
        rests = [m - line.slope * h - line.intercept for h, m in zip(hours, mib, strict=True)]
        spread = statistics.pvariance(hours) * len(hours)
        error = (sum(r * r for r in rests) / max(len(rests) - 2, 1) / spread) ** 0.5
        return cls(name, mib[0], mib[-1], line.slope, error)

    def __str__(self) -> str:
        return (
            f"    {self.name:18} {self.first:.1f} after the warm-up, {self.last:.1f} at the end,"
            f" {self.slope:+.2f} ± {self.error:.2f} MiB/h (goal {SLOPE_MIB_PER_H:g})"
        )


@dataclass
class Watch(Account):
    """The result, and the resources that the app used."""

    memory: list[Sample] = field(default_factory=list)
    files: list[int] = field(default_factory=list)  # open ones: sockets too
    threads: list[int] = field(default_factory=list)
    pages: int = 0

    def warm(self, *, resting: bool) -> list[Sample]:
        """Samples after the warm-up: the last of each rest, or all taken under load."""
        warm = [sample for sample in self.memory if sample.seconds > self.seconds * WARM_UP]
        if not resting:
            return [sample for sample in warm if not rest_remaining(sample.seconds)]
        return [*{s.seconds // ROUND_S: s for s in warm if rest_remaining(s.seconds)}.values()]

    def trends(self) -> Iterator[Trend]:
        """Trends of the memory in use and the resident memory, each under load and at rest."""
        kinds = {"in use": attrgetter("in_use"), "resident": attrgetter("resident")}
        for name, mib in kinds.items():
            for when, resting in (("at work", False), ("at rest", True)):
                samples = [(sample.seconds, mib(sample)) for sample in self.warm(resting=resting)]
                if len(samples) > 2:
                    yield Trend.of(f"{name} {when}", samples)

    @property
    def steady(self) -> bool:
        return all(trend.slope < SLOPE_MIB_PER_H for trend in self.trends())

    def __str__(self) -> str:
        return "\n".join(
            [
                super().__str__(),
                f"  pages opened   {self.pages}",
                f"  memory (MiB)   at most {max(sample.resident for sample in self.memory):.1f}",
                *map(str, self.trends()),
                f"  open files     at most {max(self.files)}, at rest {self.files[-1]}",
                f"  threads        {max(self.threads)}",
            ]
        )


def rest_remaining(seconds: float) -> float:
    """Return how much longer the current rest lasts, ``seconds`` after the start."""
    remaining = ROUND_S - seconds % ROUND_S
    return remaining if remaining < REST_S else 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a user got for one seed."""

    seed: int
    phase: str
    cancelled: bool
    digests: tuple[str, ...]


async def soak(*, minutes: float, people: int, seed: int = 0, every_s: float = 5.0) -> Watch:
    watch = Watch()
    with (
        tempfile.TemporaryDirectory() as name,
        embedded(folder=Path(name) / "engine") as engine,
        FaultProxy(engine, seed=seed).in_thread() as proxy,
    ):
        home, port = Path(name), free_port()
        (home / "tmp").mkdir()
        environment = {
            "COMFY_UI_HOST": "0.0.0.0",  # the shared mode: each browser is a user
            "COMFY_UI_PORT": str(port),
            "COMFY_UI_DATA_DIR": str(home / "data"),
            "COMFYUI_URL": proxy.url,
            "TMPDIR": str(home / "tmp"),
        }
        in_use_file = home / "in_use"
        app = [sys.executable, "-m", "tests.web.memory_probe", str(in_use_file)]
        with started(app, port, **environment) as (url, process, _):
            began = time.monotonic()
            until = began + minutes * 60
            helpers = [
                asyncio.create_task(bad_weather(proxy, random.Random(seed), watch, every_s)),
                asyncio.create_task(_measure(process, in_use_file, watch, began)),
            ]
            with (home / "seen.jsonl").open("w") as notes:
                await asyncio.gather(
                    *(
                        _user(
                            url,
                            n,
                            random.Random(seed + n),
                            watch,
                            began=began,
                            until=until,
                            notes=notes,
                        )
                        for n in range(people)
                    )
                )
            watch.seconds = time.monotonic() - began
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            proxy.forget()
            await asyncio.sleep(AT_REST_S)
            watch.files.append(process.num_fds())
            _judge(home, watch)
    return watch


async def _user(
    url: str,
    number: int,
    rng: random.Random,
    watch: Watch,
    *,
    began: float,
    until: float,
    notes: TextIO,
) -> None:
    """Act as one user, who closes and reopens the browser now and then and keeps its cookies."""
    cookies = httpx.Cookies()
    count = 0
    while time.monotonic() < until:
        # Shorter than the server's five seconds: what is sent just then would be lost.
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
        async with httpx.AsyncClient(
            base_url=url, timeout=120, limits=limits, trust_env=False, cookies=cookies
        ) as client:
            (await client.get("/", headers={"accept": "text/html"})).raise_for_status()
            cookies = client.cookies
            watch.pages += 1
            visitor = Visitor(client, await handlers(client))
            beat = asyncio.create_task(visitor.heartbeat())
            for _ in range(rng.randint(1, 8)):
                await asyncio.sleep(rng.uniform(0, 2 * PAUSE_S))
                if rest := rest_remaining(time.monotonic() - began):
                    await asyncio.sleep(rest + rng.uniform(0, 2))  # users return one by one
                if time.monotonic() > until:
                    break
                seen = await _one_job(client, visitor, number * 1_000_000 + count, rng)
                count += 1
                notes.write(json.dumps([seen.seed, seen.phase, seen.cancelled, seen.digests]))
                notes.write("\n")
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)


async def _one_job(
    client: httpx.AsyncClient, visitor: Visitor, seed: int, rng: random.Random
) -> Seen:
    values = {"seed": seed, "steps": 4, "width": 384, "height": 384}
    body = {"preset": "sd15", "prompt": f"harbour {seed}", "values": values}
    sent = await client.post("/gradio_api/call/v2/generate", json=body)
    sent.raise_for_status()
    answers = f"/gradio_api/call/generate/{sent.json()['event_id']}"
    state: dict[str, Any] = {}
    lines: list[str] = []
    looking = asyncio.create_task(_look(client, visitor)) if rng.random() < 0.3 else None
    cancels, leaves = rng.random() < 0.05, rng.random() < 0.1
    async with client.stream("GET", answers) as stream:
        async for line in stream.aiter_lines():
            lines.append(line)
            if line.startswith("data: ["):
                state = json.loads(line[6:])[0]
                if leaves or cancels:
                    break
    if not state:
        raise RuntimeError(f"the app refused a job: {lines}")
    if cancels:
        await _call(client, "cancel", state["job"])
    while not state["done"]:  # a user who left polls later
        await asyncio.sleep(1.0)
        state = await _call(client, "job", state["job"])
    digests = []
    for file in state["files"]:
        picture = (await client.get(file["url"])).raise_for_status().content
        digests.append(hashlib.sha256(picture).hexdigest())
    if looking:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    return Seen(seed, state["phase"], cancels, tuple(digests))


async def _call(client: httpx.AsyncClient, name: str, *data: Any) -> dict[str, Any]:
    """Return the only result of a named endpoint."""
    sent = await client.post(f"/gradio_api/call/{name}", json={"data": data})
    response = await client.get(
        f"/gradio_api/call/{name}/{sent.raise_for_status().json()['event_id']}"
    )
    [line] = [line for line in response.text.splitlines() if line.startswith("data: [")]
    answer: dict[str, Any] = json.loads(line[6:])[0]
    return answer


async def _look(client: httpx.AsyncClient, visitor: Visitor) -> None:
    """Read the stream that an open page reads while a job runs."""
    while (job := await visitor.shown()) is None:  # noqa: ASYNC110 -- asks another process
        await asyncio.sleep(0.1)
    async with client.stream("GET", "/stage/events", params={"job": job}) as stream:
        async for line in stream.aiter_lines():
            if line == "event: over":
                return


async def _measure(process: psutil.Process, in_use_file: Path, watch: Watch, began: float) -> None:
    while True:
        resident = process.memory_info().rss / 2**20
        watch.memory.append(
            Sample(time.monotonic() - began, resident, memory_probe.read(in_use_file))
        )
        watch.files.append(process.num_fds())
        watch.threads.append(process.num_threads())
        await asyncio.sleep(5.0)


def _judge(home: Path, watch: Watch) -> None:
    """Compare each seed's result with the engine's own files, which contain their seed."""
    files_by_seed: dict[int, list[str]] = {}
    for path in (home / "engine" / "output").rglob("*.png"):
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            graph = json.loads(picture.info["prompt"])
        [seed] = {node["inputs"]["seed"] for node in graph.values() if "seed" in node["inputs"]}
        files_by_seed.setdefault(seed, []).append(hashlib.sha256(data).hexdigest())
    phases: Counter[str] = Counter()
    for line in (home / "seen.jsonl").read_text().splitlines():
        seed, phase, cancelled, digests = json.loads(line)
        watch.jobs += 1
        phases[phase] += 1
        of_engine = files_by_seed.pop(seed, [])
        if phase != "succeeded" and not (cancelled and phase == "cancelled"):
            watch.lost.append(f"seed {seed}: {phase}")
        if phase == "succeeded" and not digests:
            watch.lost.append(f"seed {seed}: no picture")
        if len(of_engine) > 1 or len(digests) > 1:
            watch.doubled.append(f"seed {seed}: made {len(of_engine)}, got {len(digests)}")
        if not {*digests} <= {*of_engine}:
            watch.wrong_bytes.append(f"seed {seed}")
    watch.phases = phases
    watch.doubled += [f"seed {seed} belongs to no job" for seed in files_by_seed]
    for folder in ("data/incoming", "tmp"):
        leftovers = (path for path in (home / folder).rglob("*") if path.is_file())
        watch.left_behind += [str(path.relative_to(home)) for path in leftovers]
    if watch.files[-1] > max(watch.files[: len(watch.files) // 3]):
        watch.left_behind.append(f"{watch.files[-1]} open files")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.web.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="a fault each")
    args = parser.parse_args()
    os.chdir(Path(__file__).resolve().parents[2])
    watch = asyncio.run(
        soak(minutes=args.minutes, people=args.people, seed=args.seed, every_s=args.every)
    )
    print(watch)
    steady = args.minutes < SURE_AFTER_MIN or watch.steady
    return 0 if watch.fine and steady else 1


if __name__ == "__main__":
    raise SystemExit(main())
