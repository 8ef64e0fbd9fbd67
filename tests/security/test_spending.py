"""Workflows that cost credits: refused on every way without the right to spend."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from comfy_ui.demo import DemoServer, Faults
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.web.auth.accounts import Role
from comfy_ui.workflow.presets.preset_files import graph_text, sidecar_text
from comfy_ui.workflow.presets.preset_from_workflow import preset_from_workflow
from tests.jobs.support import sleepy_graph
from tests.security.support import GRADIO, PageClient, served, until
from tests.security.test_key_logins import access_of

pytestmark = GRADIO

KEY = "canary-of-the-comfy-account"
REFUSED = "costs credits, and you may not spend any"


def paid_graph() -> dict[str, Any]:
    graph = sleepy_graph()
    graph["4"] = {"class_type": "DemoPartner", "inputs": {"image": ["1", 0]}}
    graph["2"]["inputs"]["image"] = ["4", 0]
    return graph


@pytest.fixture(scope="module")
def paid_page(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[Any]:
    """The app over an engine with a partner node, and a preset that uses it."""
    folder = tmp_path_factory.mktemp("paid")
    with DemoServer(speed="instant", faults=Faults(test_nodes=True)).in_thread() as engine:
        registry = NodeRegistry(httpx.get(f"{engine.url}/object_info", trust_env=False).json())
        preset = preset_from_workflow(paid_graph(), registry, title="Paid")
        presets = folder / "data" / "presets"
        presets.mkdir(parents=True)
        (presets / "paid.json").write_text(graph_text(preset))
        (presets / "paid.toml").write_text(sidecar_text(preset))
        options = {"demo": False, "comfyui_url": engine.url, "api_key_comfy_org": KEY}
        with served(folder, patch, **options) as page:
            yield page


class Program:
    """A program with a key, or a browser with a login."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self._client = PageClient(http)

    def press(self, **form: Any) -> str:
        draft = {"preset": "paid", "prompt": "", "values": {}, **form}
        return self.http.post("/create/press", json=draft).text

    def grid(self) -> str:
        return self.press(grid=[["width", "64, 128"]])

    def vary(self) -> str:
        return self.press(times=2, front=True)

    def generate(self) -> str:
        return json.dumps(self._client.call("generate", "paid", "", {}))

    def run_workflow(self) -> str:
        return json.dumps(self._client.call("run_workflow", paid_graph(), None))

    def mcp(self) -> str:
        call = {"name": "generate", "arguments": {"prompt": "", "preset": "paid"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        return self.http.post("/mcp", json=message).text

    def images(self) -> str:
        body = {"model": "paid", "prompt": "a"}
        return self.http.post("/v1/images/generations", json=body).text


WAYS = pytest.mark.parametrize(
    "way",
    [
        Program.press,
        Program.grid,
        Program.vary,
        Program.generate,
        Program.run_workflow,
        Program.mcp,
        Program.images,
    ],
    ids=lambda way: way.__name__,
)


@pytest.fixture
def program(paid_page: Any) -> Iterator[Callable[..., Program]]:
    """Make programs with keys of their own."""
    opened: list[httpx.Client] = []

    def new(owner: str, **options: Any) -> Program:
        _, text = access_of(paid_page).keys.create(owner, "test", Role.ADMIN, **options)
        http = httpx.Client(
            base_url=f"http://127.0.0.1:{paid_page.server_port}",
            headers={"authorization": f"Bearer {text}"},
            timeout=30,
            trust_env=False,
        )
        opened.append(http)
        return Program(http)

    yield new
    for http in opened:
        http.close()


@WAYS
def test_paid_workflow_of_users_and_of_keys_without_the_right_is_refused(
    program: Any, way: Callable[[Program], str]
) -> None:
    for spender in (program("vera", may_spend=True), program("anna")):
        assert REFUSED in way(spender)


@WAYS
def test_paid_workflow_of_an_admin_with_a_key_that_may_spend_runs(
    program: Any, way: Callable[[Program], str]
) -> None:
    answer = way(program("anna", may_spend=True))
    assert re.search(r'"job\\*": ?\\*"[0-9a-f-]{36}|"b64_json":"', answer), answer
    assert KEY not in answer


def test_paid_workflow_is_refused_before_the_press_and_marked(paid_page: Any, program: Any) -> None:
    for owner, words in (
        ("vera", "Costs credits, which you may not spend"),
        ("anna", "Costs credits"),
    ):
        with PageClient.open(paid_page, owner) as person:
            draft = {"preset": "paid", "prompt": "", "values": {}}
            texts = person.client.post("/create/estimate", json=draft).json()["texts"]
            assert texts[0] == words
    listed = program("anna")._client.call("presets")[0]
    assert {one["id"] for one in listed if one["paid"]} == {"paid"}


def test_repeat_of_a_paid_job_needs_the_right(program: Any) -> None:
    owner = program("anna", may_spend=True)
    job = json.loads(owner.press())["job"]
    until(lambda: job in owner.http.get("/library").text)
    retry = {"job": job, "press": "again"}
    assert REFUSED in program("anna").http.post("/queue/retry", json=retry).text
    assert owner.http.post("/queue/retry", json=retry).json()["done"]
