"""Presets and workflow files: list, convert, check, show the controls."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidWorkflowError
from ..settings import Settings
from .command_support import object_info, print_json, print_table, write

if TYPE_CHECKING:
    from ..errors import Problem
    from ..workflow import Control


def presets(arguments: argparse.Namespace, _: Settings) -> int:
    """List the shipped presets."""
    from ..workflow import list_presets

    listed = list_presets()
    if arguments.json:
        print_json([preset.model_dump(mode="json", exclude={"graph"}) for preset in listed])
    else:
        print_table([(preset.id, preset.kind, preset.title) for preset in listed])
    return 0


def convert(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write a workflow in API format."""
    from ..workflow import load_workflow

    workflow = load_workflow(arguments.file)
    graph = workflow.to_graph(object_info(settings) if workflow.format == "editor" else {})
    text = json.dumps(graph, indent=2, ensure_ascii=False)
    if arguments.output is None:
        print(text)
    else:
        write(arguments.output, text + "\n")
    return 0


def check(arguments: argparse.Namespace, settings: Settings) -> int:
    """Say what a workflow or a preset lacks on the server; 1 when that keeps it from running."""
    from ..workflow.presets.preset_store import load_preset, preset_problems

    is_preset = arguments.file.suffix == ".toml"
    if is_preset:
        preset = load_preset(arguments.file)
        problems: Sequence[Problem] = preset_problems(preset, object_info(settings, fresh=True))
    else:
        problems = _workflow_problems(arguments.file, settings)
    if arguments.json:
        print_json([asdict(problem) for problem in problems])
    elif problems:
        for problem in problems:
            print(f"{problem.severity}: {problem}")
    else:
        print(f"This {'preset' if is_preset else 'workflow'} can run.")
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def _workflow_problems(file: Path, settings: Settings) -> Sequence[Problem]:
    from ..workflow import check_workflow, load_workflow

    library = object_info(settings, fresh=True)
    try:
        return check_workflow(load_workflow(file).to_graph(library), library)
    except InvalidWorkflowError as error:
        if not error.problems:
            raise
        return error.problems


def controls(arguments: argparse.Namespace, settings: Settings) -> int:
    """Show the controls found in a workflow."""
    from ..workflow import find_controls, load_workflow

    library = object_info(settings)
    workflow = load_workflow(arguments.file)
    graph = workflow.to_graph(library)
    controls = find_controls(graph, library, workflow.editor)
    if arguments.json:
        print_json([asdict(control) for control in controls])
    else:
        print_table([_control_row(control) for control in controls])
    return 0


def _control_row(control: Control) -> tuple[str, ...]:
    bounds = ""
    if control.choices:
        bounds = f"{len(control.choices)} choices"
    elif control.min is not None or control.max is not None:
        bounds = f"{control.min} … {control.max}"
    default = str(control.default if control.default is not None else "").replace("\n", " ")
    where = ", ".join(f"{node}.{name}" for node, name in control.targets)
    group = "advanced" if control.advanced else ""
    return (control.id, control.role, control.label, default[:32], bounds, group, where)
