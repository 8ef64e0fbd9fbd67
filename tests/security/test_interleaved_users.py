"""Two users at once, repeatedly: neither receives anything of the other.

Their name is in everything that they generate: in the prompt of item, row and page, and in every
preview, to whose bytes the engine adds it here.
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
from comfy_ui.web.auth.rate_limit import RateLimit
from tests.security.support import GRADIO, PageClient

pytestmark = [*GRADIO, pytest.mark.slow]

SMALL = {"steps": 4, "width": 384, "height": 384}
NAMES = ("vera", "viktor")
PREVIEW = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


def tag(name: str, number: object = "") -> str:
    return f"made-by-{name}-{number}"


def signed(step: Any) -> Any:
    """Wrap the engine's ``step`` to append the user's name to the bytes of each preview."""

    def signing(self: Any, node_id: str, value: float, total: float, preview: bytes | None) -> None:
        if preview is not None:
            (name,) = {n for n in NAMES if tag(n) in json.dumps(self.prompt)}
            preview += tag(name).encode()
        step(self, node_id, value, total, preview)

    return signing


@dataclass
class Received:
    """Everything that one user received."""

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
def queue_tab_open(person: PageClient, received: Received) -> Iterator[None]:
    """Keep the Queue tab's stream open."""
    over = threading.Event()

    def listen() -> None:
        with person.client.stream("GET", "/queue/events") as stream:
            for line in stream.iter_lines():
                received.add(line)
                if over.is_set():
                    return

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(listen)
        try:
            yield
        finally:
            over.set()
            run(person, "the last", received)  # its event lets the listener end
            done.result(30)


def run(person: PageClient, number: object, received: Received) -> str:
    """Generate one image with the stage open and read all responses."""
    prompt = tag(person.name or "", number)
    body = {"preset": "sd15", "prompt": prompt, "values": {**SMALL, "seed": hash(prompt) % 2**31}}
    event = person.client.post("/gradio_api/call/v2/generate", json=body).json()["event_id"]
    jobs, last = set(), {}
    with person.client.stream("GET", f"/gradio_api/call/generate/{event}") as answers:
        for line in answers.iter_lines():
            received.add(line)
            if line.startswith("data: ["):
                last = json.loads(line[6:])[0]
                if not jobs:
                    follow(person, last["job"], received)
                jobs.add(last["job"])
    assert jobs == {last["job"]}
    (file,) = last["files"]
    content = person.client.get(file["url"].partition("?")[0]).content
    assert prompt in Image.open(io.BytesIO(content)).text["prompt"]
    return str(last["job"])


def follow(person: PageClient, job: str, received: Received) -> None:
    with person.client.stream("GET", "/stage/events", params={"job": job}) as stage:
        for line in stage.iter_lines():
            received.add(line)
            if line == "event: over":
                return


def request_job_of_other_user(
    page: Any, person: PageClient, other_job: str, received: Received
) -> None:
    """Request a job of the other user on every route that takes one."""
    for endpoint in ("job", "cancel"):
        assert "no such job" in str(person.call(endpoint, other_job)[-1])
    assert person.client.get("/stage/events", params={"job": other_job}).status_code == 422
    for route in ("cancel", "retry", "move"):
        answer = person.client.post(f"/queue/{route}", json={"job": other_job})
        assert answer.json().get("done", False) is False
    draft = json.dumps({"prompt": tag(person.name or "", "draft"), "preset": "sd15", "values": {}})
    data = {"job": other_job, "what": "all", "draft": draft}
    for number in (fn._id for fn in page.fns.values() if fn.name == "_recall"):
        received.add(json.dumps(person.fire(number, [], event_data=data)))


def work(page: Any, name: str, runs: int, others: dict[str, list[str]]) -> Received:
    """Generate ``runs`` images; in between request jobs of the other user, from ``others``."""
    received = Received()
    (other,) = set(NAMES) - {name}
    with PageClient.open(page, name) as person, queue_tab_open(person, received):
        for number in range(runs):
            others[name].append(run(person, number, received))
            if number % 10 == 5:
                request_job_of_other_user(page, person, others[other][-1], received)
                draft = person.call("enhance", tag(name, number), "balanced", "")[-1]
                assert draft["original"] == tag(name, number)
        received.add(person.client.get("/stage").text)
        received.add(person.client.get("/library").text)
    return received


@pytest.mark.parametrize(
    "runs", [50, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
def test_interleaved_users_receive_nothing_of_each_other(
    shared: Any,
    monkeypatch: pytest.MonkeyPatch,
    runs: int,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr(RateLimit, "take", lambda _, state, now: (0.0, state))
    monkeypatch.setattr(executor._Job, "step", signed(executor._Job.step))
    jobs: dict[str, list[str]] = {name: [] for name in NAMES}
    with ThreadPoolExecutor() as pool:
        working = [pool.submit(work, shared, name, runs // 2, jobs) for name in NAMES]
        vera, viktor = (one.result() for one in working)
    assert [len(ids) for ids in jobs.values()] == [runs // 2] * 2
    assert len(set(itertools.chain(*jobs.values()))) == runs
    record_property("interleaved runs", runs)
    record_property("texts checked", len(vera.texts) + len(viktor.texts))
    record_property("previews checked", vera.previews + viktor.previews)
    record_property("texts of the other user", vera.of("viktor") + viktor.of("vera"))
    assert (vera.of("viktor"), viktor.of("vera")) == (0, 0)
    assert min(vera.of("vera"), viktor.of("viktor")) > runs
    assert min(vera.previews, viktor.previews) > runs / 10
