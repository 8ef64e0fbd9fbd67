"""The documentation: generated tables, a complete reference, running examples, live links."""

from __future__ import annotations

import ast
import inspect
import io
import re
import shutil
import socket
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import comfy_ui
from comfy_ui import ComfyClient, ComfyWSClient, client, errors
from tests.conftest import ROOT
from tests.docs import DOCS, PAGES, TABLES, TOP_LEVEL, examples, execute, with_table

LIBRARY = sorted((DOCS / "library").glob("*.md"))
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in LIBRARY)
LIBRARY_EXAMPLES = [
    example for page in LIBRARY for example in examples(page.read_text(encoding="utf-8"), "python")
]
CLIENTS = (ComfyClient, ComfyWSClient)

# The examples of the published documentation, word for word except for the workflow they queue.
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


def _lines_of_code(program: str) -> int:
    """Lines with code: no blank lines, comments and docstrings."""
    documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    docstrings = {
        line
        for node in ast.walk(ast.parse(program))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(program).readline)
    lines = {
        line
        for token in tokens
        if token.type not in blank | {tokenize.ENDMARKER}
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - docstrings)


def test_examples_page_counts_the_lines_of_each_program() -> None:
    page = (DOCS / "library" / "examples.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) ", page, re.MULTILINE)
    counted = {name: int(lines) for name, lines in rows}
    assert counted == {
        path.stem: _lines_of_code(path.read_text(encoding="utf-8"))
        for path in (ROOT / "examples").glob("*.py")
    }


@pytest.mark.parametrize("name", TABLES)
def test_table_is_up_to_date(name: str) -> None:
    text = TABLES[name][0].read_text(encoding="utf-8")
    assert with_table(text, name) == text, "run: python -m tests.docs"


def test_error_table_has_every_error() -> None:
    names = [name for name in vars(errors) if name.endswith("Error")]
    assert [name for name in names if f"`{name}`" not in REFERENCE and name != "ComfyUIError"] == []


def test_reference_has_every_public_name() -> None:
    documented = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)$", REFERENCE, re.MULTILINE))
    names = {f"comfy_ui.{name}" for name in comfy_ui.__all__}
    names |= {f"comfy_ui.client.{name}" for name in {*client.__all__} - {*comfy_ui.__all__}}
    assert names - documented == set()


@pytest.mark.parametrize("kind", CLIENTS)
def test_reference_has_every_method_of_client(kind: type) -> None:
    # autodoc takes the members that have a docstring
    methods = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
    assert len(methods) >= 46
    assert [name for name, method in methods.items() if not inspect.getdoc(method)] == []


def test_reference_has_every_constructor_argument() -> None:
    arguments = list(inspect.signature(ComfyClient).parameters)
    assert len(arguments) >= 13
    text = "\n".join(inspect.getdoc(part) or "" for part in (ComfyClient, ComfyClient.__init__))
    assert [name for name in arguments if not re.search(rf"\b{name}\b", text)] == []


def test_links_of_pages_lead_to_files_and_headings() -> None:
    for page in (*PAGES, *TOP_LEVEL):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
            name, _, anchor = target.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), (page, target)
            if anchor:
                assert anchor in _anchors(linked), (page, target)


def test_pages_name_files_that_exist() -> None:
    missing = [
        (page, name)
        for page in (*PAGES, *TOP_LEVEL)
        for name in re.findall(
            r"`((?:comfy_ui|tests|assets|\.ci)/[\w./-]*)`", page.read_text(encoding="utf-8")
        )
        if "NAME" not in name and not (ROOT / name).exists()
    ]
    assert missing == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_preset_example_is_a_preset(tmp_path: Path) -> None:
    page = (DOCS / "develop" / "add-a-preset.md").read_text(encoding="utf-8")
    (sidecar,) = examples(page, "toml")
    (tmp_path / "harbor.toml").write_text(sidecar, encoding="utf-8")
    shutil.copy(ROOT / "workflows" / "sd15.json", tmp_path / "harbor.json")
    graph = comfy_ui.compile_workflow("harbor", folders=[tmp_path], prompt="a pier", steps=7)
    assert graph["2"]["inputs"]["text"] == "a pier"
    assert graph["5"]["inputs"]["steps"] == 7


@pytest.fixture
def default_server() -> Iterator[None]:
    """The demo engine where the examples expect a ComfyUI: localhost:8188."""
    from comfy_ui.demo import DemoServer

    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8188)) == 0:
            pytest.skip("something else listens on port 8188")
    with DemoServer(port=8188, speed="instant").in_thread():
        yield


@pytest.mark.parametrize("module", ["comfy_ui", "comfy_headless"])
def test_published_example_runs_under_both_import_names(default_server, module, tmp_path) -> None:
    execute(PUBLISHED.replace("MODULE", module), tmp_path)


@pytest.mark.parametrize("number", range(len(LIBRARY_EXAMPLES)))
def test_library_example_saves_a_picture(default_server, number, tmp_path) -> None:
    execute(LIBRARY_EXAMPLES[number], tmp_path)
    assert list((tmp_path / "images").iterdir())
