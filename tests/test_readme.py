"""What the README says is so."""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from comfy_ui import errors
from tests.conftest import ROOT
from tests.docs import SECURITY, examples, execute, secured, up_to_date

README = (ROOT / "README.md").read_text(encoding="utf-8")
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")

# The examples of the published documentation, word for word but for the workflow they queue.
PUBLISHED = """
import asyncio
from MODULE import FEATURES, list_missing_features, ComfyClient, ComfyWSClient, enhance_prompt
from MODULE import compile_workflow

print(FEATURES["ai"], list_missing_features())
workflow = compile_workflow("sd15", prompt="a cat", seed=1, steps=2)

client = ComfyClient()
client = ComfyClient(host="192.168.1.100", port=8188)
client = ComfyClient(timeout=300)

async def main():
    async with ComfyWSClient() as ws:
        prompt_id = await ws.queue_prompt(workflow)
        result = await ws.wait_for_completion(
            prompt_id, on_progress=lambda p: print(f"Progress: {p.progress}%")
        )
        assert result["images"] and result.images[0].filename.endswith(".png"), result

asyncio.run(main())
print(enhance_prompt("a cat", style="detailed").enhanced)
"""


def test_the_table_of_rights_is_the_one_that_is_asked() -> None:
    written = SECURITY.read_text(encoding="utf-8")
    assert secured(written) == written, "run: python -m tests.docs"


def test_the_tables_of_settings_and_errors_are_up_to_date() -> None:
    assert up_to_date(README) == README, "run: python -m tests.docs"


def test_every_error_is_in_the_table() -> None:
    named = [name for name in vars(errors) if name.endswith("Error") and name != "ComfyUIError"]
    assert [name for name in named if f"`{name}`" not in README] == []


def test_ci_runs_the_readmes_test_command() -> None:
    command = next(c.strip() for c in examples(README, "sh") if c.strip().endswith("pytest"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_spaces_get_the_pinned_gradio_and_no_index_lines() -> None:
    (version,) = re.findall(r"^sdk_version: (.+)$", README, flags=re.MULTILINE)
    assert f"gradio=={version}" in REQUIREMENTS.splitlines()
    assert all(re.match(r"[a-z0-9._-]+==\S+( ; .+)?$", line) for line in REQUIREMENTS.splitlines())


def test_the_pins_for_spaces_cover_all_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(d for name in extras for d in extras[name])]
    pins = {
        name: Version(line.partition("==")[2].split()[0])
        for line in REQUIREMENTS.splitlines()
        for name in [line.partition("==")[0]]
    }
    for asked in map(Requirement, wanted):
        if asked.name != "comfy-ui":
            assert asked.specifier.contains(pins[asked.name]), asked
    assert {"authlib", "itsdangerous"} <= set(pins), "gradio[oauth]"


@pytest.fixture
def default_server() -> Iterator[None]:
    """The embedded engine where the examples expect a ComfyUI: localhost:8188."""
    from comfy_ui.demo import DemoServer

    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8188)) == 0:
            pytest.skip("something else listens on port 8188")
    with DemoServer(port=8188, speed="instant").in_thread():
        yield


@pytest.mark.parametrize("module", ["comfy_ui", "comfy_headless"])
def test_the_published_examples_work_to_the_letter(default_server, module, tmp_path) -> None:
    execute(PUBLISHED.replace("MODULE", module), tmp_path)


@pytest.mark.parametrize("number", range(len(examples(README, "python"))))
def test_the_readmes_python_examples_work(default_server, number, tmp_path) -> None:
    execute(examples(README, "python")[number], tmp_path)
    assert list((tmp_path / "pictures").iterdir()), "the example saves a picture"
