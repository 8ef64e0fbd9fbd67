from __future__ import annotations

import doctest
from typing import Any

import pytest

from comfy_ui.errors import InvalidWorkflowError, MissingNodesError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.checks.requirements import preset_problems
from comfy_ui.workflow.editor import convert_workflow
from comfy_ui.workflow.fields.field_types import FILE_ROLES
from comfy_ui.workflow.graph import copied
from comfy_ui.workflow.presets import preset_from_workflow as module
from comfy_ui.workflow.presets.preset_from_workflow import models_of, preset_from_workflow
from comfy_ui.workflow.presets.preset_store import (
    build_graph,
    get_preset,
    resolve_values,
)
from tests.conftest import recorded_object_info
from tests.workflow.official_templates import templates


@pytest.fixture(scope="module")
def registry() -> NodeRegistry:
    return NodeRegistry(recorded_object_info("0.33.0"))


def test_preset_from_workflow_doctest_passes() -> None:
    assert doctest.testmod(module).failed == 0


def test_preset_from_workflow_graph_becomes_preset_with_controls(registry: NodeRegistry) -> None:
    shipped = get_preset("sdxl")
    preset = preset_from_workflow(shipped.graph, registry, title="My SDXL")
    assert preset.id.startswith("my_sdxl-")
    assert preset.id == preset_from_workflow(shipped.graph, registry, title="My SDXL").id
    assert (preset.kind, preset.task) == ("image", "t2i")
    for role in ("prompt", "negative", "width", "height", "seed", "steps", "cfg"):
        assert preset.by_role(role) is not None, role  # type: ignore[arg-type]
    assert [model.filename for model in preset.models] == ["sd_xl_base_1.0.safetensors"]
    assert preset.models[0].url


def test_preset_from_workflow_seed_and_missing_file_have_no_default(registry: NodeRegistry) -> None:
    graph = copied(get_preset("sdxl_img2img").graph)
    next(n for n in graph.values() if n["class_type"] == "LoadImage")["inputs"]["image"] = (
        "gone.png"
    )
    preset = preset_from_workflow(graph, registry, title="x")
    picture, seed = preset.by_role("image"), preset.by_role("seed")
    assert picture is not None
    assert picture.default is None
    assert not picture.optional
    assert seed is not None
    assert seed.default is None


def test_preset_from_workflow_missing_model_is_reported(registry: NodeRegistry) -> None:
    preset = preset_from_workflow(get_preset("sdxl").graph, registry, title="x")
    problems = preset_problems(preset, registry)
    assert [problem.kind for problem in problems] == ["missing_model"]


def test_models_of_editor_file_returns_urls() -> None:
    good = {"name": "a.safetensors", "url": "https://x.org/a", "directory": "vae"}
    bad: list[Any] = [{"name": 3}, "x", {**good, "url": "javascript:alert(1)"}, {**good, "name": 1}]
    node = {"id": 1, "type": "VAELoader", "properties": {"models": [*bad, good]}}
    inner = {"nodes": [{**node, "properties": {"models": [{**good, "name": "b.ckpt"}]}}, 7]}
    editor = {"nodes": [node, {"properties": 1}], "definitions": {"subgraphs": [inner, None]}}
    model_files = [(m.filename, m.folder, m.url) for m in models_of(editor)]
    assert model_files == [
        ("a.safetensors", "vae", "https://x.org/a"),
        ("b.ckpt", "vae", "https://x.org/a"),
    ]


def test_preset_from_workflow_invalid_graph_raises(registry: NodeRegistry) -> None:
    with pytest.raises(InvalidWorkflowError):
        preset_from_workflow({"1": {"inputs": {}}}, registry, title="x")


def test_preset_from_workflow_official_template_rebuilds_its_graph(registry: NodeRegistry) -> None:
    """With unchanged values, only seeds and files differ from the template's graph."""
    seen = 0
    for name, editor in [*templates()][::6]:
        try:
            graph = convert_workflow(editor, registry)
        except MissingNodesError:
            continue
        seen += 1
        preset = preset_from_workflow(graph, registry, title=name, editor=editor)
        drawn = {(t.node, t.input) for p in preset.params for t in p.targets
                 if p.role == "seed" or p.role in FILE_ROLES}  # fmt: skip
        files = {p.id: "x.png" for p in preset.params if p.role in FILE_ROLES and not p.default}
        values = resolve_values(preset, files, object_info=registry)
        rebuilt, original = build_graph(preset, values), copied(graph)
        for node, key in drawn:
            rebuilt[node]["inputs"].pop(key, None)
            original[node]["inputs"].pop(key, None)
        assert rebuilt == original, name
    assert seen > 50
