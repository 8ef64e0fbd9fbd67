"""Two people at once, over and over: nothing of one's reaches the other."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from comfy_ui.ui.limits import Paces
from tests.security.support import Person

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Gradio closes its servers at exit
    pytest.mark.filterwarnings("ignore:.*no_silent_downcasting"),  # Gradio counts with pandas
]

SMALL = {"steps": 4, "width": 384, "height": 384}


def work(page: Any, name: str, runs: int) -> set[str]:
    """Make ``runs`` pictures with prompts of one's own; gives the jobs."""
    jobs = set()
    with Person.comes(page, name) as person:
        for number in range(runs):
            tag = f"{name} number {number} of {runs}"
            answers = person.call("generate", "sd15", tag, {**SMALL, "seed": number})
            last = answers[-1]
            assert {answer["job"] for answer in answers} == {last["job"]}
            (file,) = last["files"]
            content = person.client.get(file["url"].partition("?")[0]).content
            assert tag in Image.open(io.BytesIO(content)).text["prompt"]
            jobs.add(last["job"])
        shelf = person.client.get("/library").text
        others = {"vera", "viktor"} - {name}
        assert f"{name} number" in shelf
        assert not any(f"{other} number" in shelf for other in others)
    return jobs


@pytest.mark.parametrize(
    "runs", [20, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
def test_nothing_crosses_over(shared: Any, monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    monkeypatch.setattr(Paces, "wait_s", lambda *_: 0.0)
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(work, shared, name, runs // 2) for name in ("vera", "viktor")]
        mine, yours = (one.result() for one in both)
    assert len(mine) == len(yours) == runs // 2
    assert not mine & yours
