"""Survey of the controls in official templates: ``python -m tests.workflow.template_survey``.

Prints how many of the core templates that sample have a control of each role, and how long
conversion and the search for controls take over all templates. Needs the recorded object_info of
ComfyUI 0.33.0.
"""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from time import process_time
from typing import Any

from comfy_ui.errors import InvalidWorkflowError, MissingNodesError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.controls import Control, find_controls
from comfy_ui.workflow.editor import convert_workflow
from tests.conftest import recorded_object_info
from tests.workflow import official_templates

# Controls by role that a prototype detected in the same 206 templates.
PROTOTYPE = {
    "prompt": 196, "seed": 205, "steps": 193, "cfg": 193, "model": 206, "sampler": 200,
    "negative": 139, "image": 119, "width": 84, "height": 84, "lora": 75, "fps": 53, "frames": 42,
}  # fmt: skip
SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")


@dataclass
class Survey:
    """Result of one pass over all templates."""

    by_role: Counter[str] = field(default_factory=Counter)  # sampling templates by role
    main: Counter[str] = field(default_factory=Counter)  # … among the controls that are shown
    sampling: list[str] = field(default_factory=list)
    controls: dict[str, list[Control]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)  # templates with nodes that 0.33.0 lacks
    convert_ms: dict[str, float] = field(default_factory=dict)
    controls_ms: dict[str, float] = field(default_factory=dict)


def survey(object_info: dict[str, Any]) -> Survey:
    """Convert every template and look for its controls.

    Times are CPU times of this process, measured with the node classes already parsed.
    """
    registry = NodeRegistry(object_info)
    result = Survey()
    files = [*official_templates.templates()]
    gc.collect()
    gc.freeze()  # keeps garbage collection of all 644 files out of the measured times
    for name, editor in files:
        try:
            graph = convert_workflow(editor, registry)  # also reads the node classes it uses
        except MissingNodesError:
            result.unknown.append(name)
            continue
        start = process_time()
        convert_workflow(editor, registry)
        converted = process_time()
        controls = find_controls(graph, registry, editor)
        result.convert_ms[name] = 1000 * (converted - start)
        result.controls_ms[name] = 1000 * (process_time() - converted)
        result.controls[name] = controls
        classes = [node["class_type"] for node in graph.values()]
        partner = any(registry[class_type].api_node for class_type in classes)
        if not partner and any(class_type in SAMPLERS for class_type in classes):
            result.sampling.append(name)
            result.by_role.update({control.role for control in controls})
            result.main.update({control.role for control in controls if not control.advanced})
    gc.unfreeze()
    return result


def table(result: Survey) -> str:
    """Format the survey as a table."""
    lines = [
        (
            f"{len(result.controls)} templates converted, {len(result.unknown)} need newer nodes; "
            f"{len(result.sampling)} core templates sample"
        ),
        "",
        f"{'role':<12}{'found':>6}{'shown':>7}{'prototype':>11}",
    ]
    lines += [
        f"{role:<12}{count:>6}{result.main[role]:>7}{PROTOTYPE.get(role, ''):>11}"
        for role, count in result.by_role.most_common()
    ]
    for title, times in (("conversion", result.convert_ms), ("controls", result.controls_ms)):
        worst = max(times, key=lambda name: times[name])
        lines.append(
            f"{title}: p50 {median(times.values()):.2f} ms, worst {times[worst]:.1f} ms ({worst})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        print(table(survey(recorded_object_info("0.33.0"))))
    except InvalidWorkflowError as error:
        raise SystemExit(f"A template is not read as a workflow: {error}") from error
