"""``comfy-ui run``: run a preset or a workflow file and save its output files."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..errors import ValidationError
from ..settings import Settings
from .command_support import connect, open_source, own_presets
from .job_commands import display_for, save_and_print

if TYPE_CHECKING:
    from ..client import ComfyWSClient
    from ..workflow.controls import Control
    from ..workflow.prepare import PreparedGraph
    from ..workflow.presets.schema import Param


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a preset or a workflow file and save its output files."""
    from ..client.submission import check_prompt_id
    from ..client.transfer.files import check_folder

    if arguments.prompt_id is not None:
        check_prompt_id(arguments.prompt_id)
    values = _values(arguments.set)
    if arguments.prompt is not None:
        values.setdefault("prompt", arguments.prompt)
    if arguments.lora:
        values["loras"] = arguments.lora
    if arguments.controlnet:
        values["controlnets"] = arguments.controlnet
    if arguments.reference:
        values["references"] = arguments.reference

    check_folder(arguments.output)

    async def work() -> None:
        async with connect(settings) as client:
            prepared, chosen = await _prepare(client, arguments.workflow, values, settings)
            if not arguments.partial:
                prepared.require_runnable()
            for notice in prepared.notices:
                print(notice, file=sys.stderr)
            for name, value in chosen.items():
                print(f"{name}: {value}", file=sys.stderr)
            display = display_for(arguments)
            prompt_id = arguments.prompt_id or str(uuid4())  # so that Ctrl+C can cancel at once
            try:
                await client.queue_prompt(
                    prepared.graph, prompt_id=prompt_id, strict=not arguments.partial
                )
                result = await client.wait_for_completion(
                    prompt_id, on_progress=display, timeout=arguments.timeout
                )
            except asyncio.CancelledError:  # Ctrl+C
                display.close()
                print("Cancelling …", file=sys.stderr)
                await client.cancel(prompt_id)
                raise
            finally:
                display.close()
            await save_and_print(result, arguments, chosen=chosen, notices=list(prepared.notices))

    asyncio.run(work())
    return 0


async def _prepare(
    client: ComfyWSClient, name: str, values: Mapping[str, Any], settings: Settings
) -> tuple[PreparedGraph, dict[str, Any]]:
    """The graph of a preset or a workflow file, and what its wildcards were expanded to.

    Local files among ``values`` are uploaded.
    """
    from ..client import UploadedFile
    from ..workflow.conditioning.picture_values import PICTURE_VALUES, pictures_in, read_entries
    from ..workflow.prepare import file_values, prepare, settable_values
    from ..workflow.wildcards import WildcardFolder

    registry = await client.object_info()
    presets = await asyncio.to_thread(own_presets, settings)
    source = await asyncio.to_thread(open_source, name, presets)
    prepared_values = dict(values)
    own_values = {name: value for name, value in values.items() if name not in PICTURE_VALUES}
    for file_name in await asyncio.to_thread(file_values, source, own_values, registry):
        prepared_values[file_name] = await _uploaded(client, values[file_name])
    for key in values.keys() - own_values.keys():
        entries = read_entries(key, values[key])
        for entry in entries:
            entry["image"] = await _uploaded(client, entry["image"])
        prepared_values[key] = entries
    settables = settable_values(source, registry, presets=presets)
    prepared = await asyncio.to_thread(
        prepare,
        source,
        prepared_values,
        presets=presets,
        object_info=[registry],
        wildcards=WildcardFolder(settings.wildcards_dir),
        uploads={
            value
            for value in (*prepared_values.values(), *pictures_in(prepared_values))
            if isinstance(value, UploadedFile)
        },
        now=datetime.now().astimezone(),
    )
    return prepared, _chosen(prepared, settables, values)


async def _uploaded(client: ComfyWSClient, name: object) -> str:
    """The name on the server: of a local file after its upload, else the name itself."""
    path = Path(str(name))
    if await asyncio.to_thread(path.is_file):
        return await client.upload_image(path)
    if path.is_absolute():  # any other name may be that of a file on the server
        raise ValidationError(f"There is no file '{path}'.")
    return str(name)


def _chosen(
    prepared: PreparedGraph, settables: Iterable[Param | Control], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The expanded prompts, and the seed if it was drawn; empty without wildcards."""
    names = [*prepared.templates]
    names += [s.id for s in settables if s.role == "seed" and prepared.templates]
    values = prepared.values
    return {
        name: values[name]
        for name in names
        if name in values and values[name] != defaults.get(name)
    }


def _values(assignments: Sequence[str]) -> dict[str, Any]:
    """``name=value`` pairs; a value that reads as a JSON number or boolean is one."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ValidationError(
                f"--set {assignment} is not of the form NAME=VALUE.",
                hint="For instance --set steps=20 --set prompt='a quiet harbor'.",
            )
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        values[name] = value if isinstance(value, (int, float, bool)) else text
    return values
