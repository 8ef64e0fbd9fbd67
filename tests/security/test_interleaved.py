"""Two people at once, over and over: nothing of one's reaches the other.

What they make carries their name wherever it can come out: the prompt in result, row and page, and
every preview, to whose bytes the engine adds it here.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from comfy_ui.demo import executor
from comfy_ui.web.auth.rate_limit import RateLimiter
from tests.security.support import GRADIO, Person

pytestmark = [*GRADIO, pytest.mark.slow]

SMALL = {"steps": 4, "width": 384, "height": 384}
NAMES = ("vera", "viktor")
PREVIEW = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


def tag(name: str, number: object = "") -> str:
    return f"made-by-{name}-{number}"


def signed(step: Any) -> Any:
    """``step`` of the engine's runs, with the maker's name behind the picture of each preview."""

    def signing(self: Any, node_id: str, value: float, total: float, preview: bytes | None) -> None:
        if preview is not None:
            (name,) = {n for n in NAMES if tag(n) in json.dumps(self.prompt)}
            preview += tag(name).encode()
        step(self, node_id, value, total, preview)

    return signing


@dataclass
class Heard:
    """All that reached one person."""

    texts: list[str] = field(default_factory=list)
    previews: int = 0

    def add(self, text: str) -> None:
        self.texts.append(PREVIEW.sub("", text))
        for coded in PREVIEW.findall(text):
            self.previews += 1
            self.texts.append(base64.b64decode(coded)[-64:].decode("latin-1"))

    def of(self, name: str) -> int:
        return sum(tag(name) in text for text in self.texts)


@contextmanager
def listening(person: Person, heard: Heard) -> Iterator[None]:
    """The Queue tab is open all the time."""
    over = threading.Event()

    def listen() -> None:
        with person.client.stream("GET", "/queue/events") as stream:
            for line in stream.iter_lines():
                heard.add(line)
                if over.is_set():
                    return

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(listen)
        try:
            yield
        finally:
            over.set()
            run(person, "the last", heard)  # a line comes, and the listener goes
            done.result(30)


def run(person: Person, number: object, heard: Heard) -> str:
    """Make one picture, with the stage open, and look at all that comes of it."""
    said = tag(person.name or "", number)
    body = {"preset": "sd15", "prompt": said, "values": {**SMALL, "seed": hash(said) % 2**31}}
    event = person.client.post("/gradio_api/call/v2/generate", json=body).json()["event_id"]
    jobs, last = set(), {}
    with person.client.stream("GET", f"/gradio_api/call/generate/{event}") as answers:
        for line in answers.iter_lines():
            heard.add(line)
            if line.startswith("data: ["):
                last = json.loads(line[6:])[0]
                if not jobs:
                    follow(person, last["job"], heard)
                jobs.add(last["job"])
    assert jobs == {last["job"]}
    (file,) = last["files"]
    content = person.client.get(file["url"].partition("?")[0]).content
    assert said in Image.open(io.BytesIO(content)).text["prompt"]
    return str(last["job"])


def follow(person: Person, job: str, heard: Heard) -> None:
    with person.client.stream("GET", "/stage/events", params={"job": job}) as stage:
        for line in stage.iter_lines():
            heard.add(line)
            if line == "event: over":
                return


def pry(page: Any, person: Person, other_job: str, heard: Heard) -> None:
    """Ask for a job of somebody else, on every path that takes one."""
    for endpoint in ("job", "cancel"):
        assert "no such job" in str(person.call(endpoint, other_job)[-1])
    assert person.client.get("/stage/events", params={"job": other_job}).status_code == 422
    for route in ("cancel", "retry", "move"):
        answer = person.client.post(f"/queue/{route}", json={"job": other_job})
        assert answer.json().get("done", False) is False
    draft = json.dumps({"prompt": tag(person.name or "", "draft"), "preset": "sd15", "values": {}})
    data = {"job": other_job, "what": "all", "draft": draft}
    for number in (fn._id for fn in page.fns.values() if fn.name == "_recall"):
        heard.add(json.dumps(person.fire(number, [], event_data=data)))


def work(page: Any, name: str, runs: int, others: dict[str, list[str]]) -> Heard:
    """Make ``runs`` pictures, and pry in between; ``others`` are the jobs by their maker."""
    heard = Heard()
    (other,) = set(NAMES) - {name}
    with Person.comes(page, name) as person, listening(person, heard):
        for number in range(runs):
            others[name].append(run(person, number, heard))
            if number % 10 == 5:
                pry(page, person, others[other][-1], heard)
                draft = person.call("enhance", tag(name, number), "balanced", "")[-1]
                assert draft["original"] == tag(name, number)
        heard.add(person.client.get("/stage").text)
        heard.add(person.client.get("/library").text)
    return heard


@pytest.mark.parametrize(
    "runs", [100, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
def test_nothing_crosses_over(
    shared: Any,
    monkeypatch: pytest.MonkeyPatch,
    runs: int,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr(RateLimiter, "wait_s", lambda *_: 0.0)
    monkeypatch.setattr(executor._Job, "step", signed(executor._Job.step))
    jobs: dict[str, list[str]] = {name: [] for name in NAMES}
    with ThreadPoolExecutor() as pool:
        working = [pool.submit(work, shared, name, runs // 2, jobs) for name in NAMES]
        vera, viktor = (one.result() for one in working)
    assert [len(made) for made in jobs.values()] == [runs // 2] * 2
    assert len(set(itertools.chain(*jobs.values()))) == runs
    record_property("interleaved runs", runs)
    record_property("pieces of text looked at", len(vera.texts) + len(viktor.texts))
    record_property("previews looked at", vera.previews + viktor.previews)
    record_property("pieces of somebody else's", vera.of("viktor") + viktor.of("vera"))
    assert (vera.of("viktor"), viktor.of("vera")) == (0, 0)
    assert min(vera.of("vera"), viktor.of("viktor")) > runs
    assert min(vera.previews, viktor.previews) > runs / 10
