"""Presets and workflow files: list, convert, check, show the controls."""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import InvalidWorkflowError
from ..settings import Settings
from .command_support import (
    check_file,
    object_info,
    open_source,
    own_presets,
    print_json,
    print_table,
    write,
)

if TYPE_CHECKING:
    from ..workflow import Control
    from ..workflow.presets.schema import Param


def presets(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the shipped presets and those in the data folder."""
    listed = [*own_presets(settings).values()]
    if arguments.json:
        print_json([preset.model_dump(mode="json", exclude={"graph"}) for preset in listed])
    else:
        print_table([(preset.id, preset.kind, preset.title) for preset in listed])
    return 0


def convert(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write a preset or a workflow in API format."""
    from ..workflow.prepare import prepare
    from ..workflow.presets.schema import Preset

    if arguments.output is not None:
        check_file(arguments.output)
    listed = own_presets(settings)
    source = open_source(arguments.source, listed)
    needs_server = not isinstance(source, Preset) and source.format == "editor"
    prepared = prepare(
        source,
        {},
        presets=listed,
        object_info=[object_info(settings)] if needs_server else [],
        rng=random.Random(),
    )
    text = json.dumps(prepared.graph, indent=2, ensure_ascii=False)
    if arguments.output is None:
        print(text)
    else:
        write(arguments.output, text + "\n")
    return 0


def check(arguments: argparse.Namespace, settings: Settings) -> int:
    """Report what the server lacks for a preset or a workflow; 1 if it cannot run."""
    from ..workflow.prepare import source_problems
    from ..workflow.presets.schema import Preset

    listed = own_presets(settings)
    source = open_source(arguments.source, listed)
    registry = object_info(settings, fresh=True)
    try:
        problems = source_problems(source, registry, presets=listed)
    except InvalidWorkflowError as error:
        if not error.problems:
            raise
        problems = [*error.problems]
    if arguments.json:
        print_json([asdict(problem) for problem in problems])
    elif problems:
        for problem in problems:
            print(f"{problem.severity}: {problem}")
    else:
        print(f"This {'preset' if isinstance(source, Preset) else 'workflow'} can run.")
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def controls(arguments: argparse.Namespace, settings: Settings) -> int:
    """Show what can be set: a preset's params, or the controls found in a workflow."""
    from ..workflow.prepare import settable_values

    listed = own_presets(settings)
    source = open_source(arguments.source, listed)
    settables = settable_values(source, object_info(settings), presets=listed)
    if arguments.json:
        print_json([_as_json(settable) for settable in settables])
    else:
        print_table([_row(settable) for settable in settables])
    return 0


def _as_json(settable: Param | Control) -> dict[str, Any]:
    from ..workflow.presets.schema import Param

    return settable.model_dump(mode="json") if isinstance(settable, Param) else asdict(settable)


def _row(settable: Param | Control) -> tuple[str, ...]:
    bounds = ""
    if settable.choices:
        bounds = f"{len(settable.choices)} choices"
    elif settable.min is not None or settable.max is not None:
        bounds = f"{settable.min} … {settable.max}"
    default = str(settable.default if settable.default is not None else "").replace("\n", " ")
    where = ", ".join(f"{target.node}.{target.input}" for target in settable.targets)
    group = "advanced" if settable.advanced else ""
    return (settable.id, settable.role, settable.label, default[:32], bounds, group, where)
