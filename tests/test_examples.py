"""The programs in examples/, run against the demo engine."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from comfy_ui import compile_workflow
from comfy_ui.client import ComfyClient, ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from tests.client.test_both_clients import sleeper, until_running
from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"


pytestmark = pytest.mark.slow  # the demo engine paints in earnest


@pytest.fixture
def server(engine: DemoServer, monkeypatch: pytest.MonkeyPatch) -> DemoServer:
    monkeypatch.setenv("COMFYUI_URL", engine.url)
    return engine


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    measured = {}
    for path in folder.glob("*.png"):
        with Image.open(path, formats=["PNG"]) as image:
            measured[path.name] = image.size
    return measured


def test_examples_are_all_tested() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    programs = {path.stem for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert len(programs) == 6
    assert [name for name in programs if f'"{name}' not in tested] == []


def test_batch_with_resume_finishes_after_a_crash_without_repeating_a_job(
    server: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.client.tracking.presence.RESUBMIT_AFTER_S", 0.1)
    program, prompts, out = load("batch_with_resume"), tmp_path / "p.txt", tmp_path / "out"
    prompts.write_text("a harbor\na pier\na bay\n")
    queue_prompt, queued = ComfyClient.queue_prompt, [0]

    def crash_at_the_third(self: ComfyClient, *args: Any, **options: Any) -> str:
        queued[0] += 1
        if queued[0] == 3:
            raise KeyboardInterrupt
        return queue_prompt(self, *args, **options)

    monkeypatch.setattr(ComfyClient, "queue_prompt", crash_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        program.main(prompts, out)
    program.main(prompts, out)
    assert len(sizes(out)) == 3
    with ComfyClient() as client:
        assert {*client.recent()} == {*json.loads((out / "batch.json").read_text())}


def test_fastapi_previews_streams_previews_and_the_result(server: DemoServer) -> None:
    with TestClient(load("fastapi_previews").app) as browser:
        page = browser.get("/images", params={"prompt": "a harbor"})
    kinds = [line.removeprefix("event: ") for line in page.text.splitlines() if "event: " in line]
    assert kinds[-1] == "result"
    assert {"progress", "preview"} <= {*kinds}
    assert "data:image/png;base64," in page.text


def test_video_pipeline_makes_a_video_of_its_own_image(server: DemoServer, tmp_path: Path) -> None:
    asyncio.run(load("video_pipeline").main("a lighthouse", tmp_path))
    assert "thumbnail.png" in sizes(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".png"] == [".mp4"]


def test_sampler_sweep_runs_each_combination_of_an_exported_file(
    server: DemoServer, tmp_path: Path
) -> None:
    exported = tmp_path / "exported.json"
    exported.write_text(
        json.dumps(compile_workflow("sd15", prompt="a harbor", width=384, height=384))
    )
    program = load("sampler_sweep")
    program.STEPS = (2,)
    program.main(exported, tmp_path)
    assert len(sizes(tmp_path)) == len(program.SAMPLERS) * len(program.STEPS)


def test_queue_worker_cancels_fails_and_finishes_tasks(
    server: DemoServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = Faults(test_nodes=True)
    program = load("queue_worker")
    tasks = [
        {"id": "long", "workflow": sleeper(), "values": {}},
        {"id": "broken", "workflow": "nosuchpreset", "values": {}},
        {"cancel": "long"},
        {"id": "short", "workflow": "sd15", "values": {"prompt": "a bay", "steps": 1, "seed": 5}},
    ]

    async def lines() -> Any:
        for task in tasks:
            if "cancel" in task:
                async with ComfyWSClient() as client:
                    await until_running(client, program.job_of("long"))
            yield task

    monkeypatch.setattr(program, "lines", lines)
    asyncio.run(program.main())
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(each["id"], each["state"]) for each in answers} == {
        ("long", "cancelled"),
        ("broken", "failed"),
        ("short", "done"),
    }
    assert next(each for each in answers if each["id"] == "short")["seed"] == 5


def _cells(path: Path) -> Iterator[tuple[CodeType, CodeType | None]]:
    """Each code cell as statements, and its last expression."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        shown = None
        if isinstance(last, ast.Expr):
            shown = compile(ast.Expression(last.value), path.name, "eval", flags=flags)
        yield compile(tree, path.name, "exec", flags=flags), shown


def test_notebook_shows_its_result_and_image(server: DemoServer) -> None:
    names: dict[str, Any] = {}

    async def execute(code: CodeType) -> Any:
        value = eval(code, names)
        return await value if asyncio.iscoroutine(value) else value

    async def notebook() -> list[Any]:
        shown = []
        for statements, expression in _cells(EXAMPLES / "notebook.ipynb"):
            await execute(statements)
            shown.append(None if expression is None else await execute(expression))
            if hasattr(shown[-1], "_repr_html_"):
                shown[-1] = (
                    shown[-1]._repr_png_()
                    if hasattr(shown[-1], "_repr_png_")
                    else shown[-1]._repr_html_()
                )
        return shown

    result, values, image, closed = asyncio.run(notebook())
    assert "data:image/png;base64," in result
    assert values[1] == 8
    assert Image.open(io.BytesIO(image), formats=["PNG"]).size
    assert closed is None
