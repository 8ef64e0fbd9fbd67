"""``comfy-ui run``: a preset or a workflow file, from values to files."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..errors import ValidationError, closest
from ..settings import Settings
from ..workflow.fields.roles import FILE_ROLES
from .command_support import connect, print_json

if TYPE_CHECKING:
    from ..client import ComfyWSClient, Progress


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a preset or a workflow file and save what it makes."""
    values = _values(arguments.set)
    if arguments.prompt is not None:
        values.setdefault("prompt", arguments.prompt)

    async def work() -> None:
        async with connect(settings) as client:
            wildcards = settings.data_dir / "wildcards"
            graph, chosen = await _graph(
                client, arguments.workflow, values, wildcards, partial=arguments.partial
            )
            for name, value in chosen.items():
                print(f"{name}: {value}", file=sys.stderr)
            bar = _Bar(visible=not arguments.quiet)
            prompt_id = str(uuid4())  # ours, so that it can be cancelled before the answer is here
            try:
                await client.queue_prompt(graph, prompt_id=prompt_id, strict=not arguments.partial)
                result = await client.wait_for_completion(
                    prompt_id, on_progress=bar, timeout=arguments.timeout
                )
            except asyncio.CancelledError:  # Ctrl+C: the server must not go on for nobody
                bar.close()
                print("Cancelling …", file=sys.stderr)
                await client.cancel(prompt_id)
                raise
            finally:
                bar.close()
            saved = await result.save(arguments.output)
            if arguments.json:
                print_json(
                    {
                        "prompt_id": result.prompt_id,
                        "seconds": result.seconds,
                        "cached": result.cached,
                        "files": [str(path) for path in saved],
                        "texts": list(result.texts),
                        "chosen": chosen,
                    }
                )
            else:
                for line in [*map(str, saved), *result.texts]:
                    print(line)

    asyncio.run(work())
    return 0


async def _graph(
    client: ComfyWSClient,
    source: str,
    values: Mapping[str, Any],
    wildcards: Path,
    *,
    partial: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The API graph for a preset id or a workflow file, with ``values`` written into it.

    Besides it the values that wildcards have changed: the prompts, and the seed that chose.

    Raises:
        InvalidWorkflowError: what the server lacks for it, unless ``partial``.
    """
    from ..client import UploadedFile
    from ..prompts import WildcardFolder, expand_values
    from ..workflow import (
        check_workflow,
        compile_workflow,
        find_controls,
        get_preset,
        list_presets,
        load_workflow,
    )
    from ..workflow.checks.graph_checks import error_for
    from ..workflow.controls import apply_values
    from ..workflow.filename_prefix import fill_prefixes

    library = await client.object_info()
    if await asyncio.to_thread(Path(source).exists):
        workflow = load_workflow(Path(source))
        graph = workflow.to_graph(library)
        controls = find_controls(graph, library, workflow.editor)
        words = expand_values(values, controls, WildcardFolder(wildcards))
        sent = await _upload(client, words.values, {c.id: c.role for c in controls})
        graph = apply_values(graph, controls, sent)
    else:
        ids = [preset.id for preset in list_presets()]
        if source not in ids:
            raise ValidationError(
                f"There is no file and no preset named '{source}'.", hint=closest(source, ids)
            )
        params = get_preset(source).params
        words = expand_values(values, params, WildcardFolder(wildcards))
        sent = await _upload(client, words.values, {p.id: p.role for p in params})
        graph = compile_workflow(source, object_info=library, **sent)
    uploads = [value for value in sent.values() if isinstance(value, UploadedFile)]
    error = error_for(check_workflow(graph, library, uploads=uploads))
    if error is not None and not partial:
        raise error
    chosen = {name: text for name, text in words.values.items() if text != values.get(name)}
    return fill_prefixes(graph, datetime.now().astimezone()), chosen


async def _upload(
    client: ComfyWSClient, values: Mapping[str, Any], roles: Mapping[str, str]
) -> dict[str, Any]:
    """``values`` with local files replaced by what the server made of them."""
    done = dict(values)
    for name, value in values.items():
        if roles.get(name) in FILE_ROLES and await asyncio.to_thread(Path(str(value)).is_file):
            done[name] = await client.upload_image(Path(value))
    return done


def _values(assignments: Sequence[str]) -> dict[str, Any]:
    """``name=value`` pairs; a value that reads as a JSON number or boolean is one."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ValidationError(
                f"--set {assignment} is not of the form NAME=VALUE.",
                hint="For instance --set steps=20 --set prompt='a quiet harbour'.",
            )
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        values[name] = value if isinstance(value, (int, float, bool)) else text
    return values


class _Bar:
    """One line on stderr that shows how far the job is."""

    def __init__(self, *, visible: bool) -> None:
        self._live = visible and sys.stderr.isatty()
        self._told = ""
        self._plain = visible and not self._live

    def __call__(self, progress: Progress) -> None:
        parts = [f"{progress.progress:3.0f} %", progress.phase]
        if progress.queue_position:
            parts.append(f"{progress.queue_position} in the queue")
        if progress.steps and progress.step is not None:
            parts.append(f"step {progress.step:g} of {progress.steps:g}")
        if progress.node_title:
            parts.append(progress.node_title)
        if progress.eta is not None:
            parts.append(f"{progress.eta:.0f} s left")
        if self._live:
            line = "  ".join(parts)[:78]
            print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
            self._told = line
        elif self._plain and self._told != progress.phase:  # a log file wants changes, not frames
            print(f"{progress.phase} …", file=sys.stderr)
            self._told = progress.phase

    def close(self) -> None:
        if self._live and self._told:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)
            self._told = ""
