"""``comfy-ui run``: run a preset or a workflow file and save its output files."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from ..errors import ComfyHeadlessError, GenerationFailedError, ValidationError
from ..protocol.queue_and_history import GROUP_KEY
from ..settings import Settings
from .command_support import connect, open_source, own_presets, print_json
from .exit_status import ExitStatus, status_of
from .job_commands import check_extended, print_saved, save_result
from .progress_display import display_for

if TYPE_CHECKING:
    from ..client import ComfyWSClient
    from ..workflow.controls import Control
    from ..workflow.graph import Graph
    from ..workflow.prepare import PreparedGraph
    from ..workflow.presets.schema import Param


class _PreparedJob(NamedTuple):
    """A graph to run, and what its wildcards were expanded to."""

    prompt_id: str
    prepared: PreparedGraph
    chosen: dict[str, Any]


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
    check_extended(arguments)

    async def work() -> int:
        async with connect(settings) as client:
            jobs = await _prepare(client, arguments, values, settings)
            _print_notices(jobs)
            return await _run_all(client, jobs, arguments)

    return asyncio.run(work())


def _print_notices(jobs: Sequence[_PreparedJob]) -> None:
    lines = dict.fromkeys(notice for job in jobs for notice in job.prepared.notices)
    for job in jobs:
        lines |= dict.fromkeys(f"{name}: {value}" for name, value in job.chosen.items())
    for line in lines:
        print(line, file=sys.stderr)


async def _run_all(
    client: ComfyWSClient, jobs: Sequence[_PreparedJob], arguments: argparse.Namespace
) -> int:
    """Queue all jobs, then save the results in order. One that fails does not end the others."""
    status = ExitStatus.DONE
    reports: list[dict[str, Any]] = []
    unfinished = [job.prompt_id for job in jobs]  # from the start: Ctrl+C can cancel at once
    try:
        await _queue_all(client, jobs, strict=not arguments.partial)
        for job in jobs:
            try:
                report = await _result(client, job, arguments)
            except GenerationFailedError as error:
                if len(jobs) == 1:
                    raise
                print(f"error: {job.prompt_id}: {error}", file=sys.stderr)
                status = status_of(error)
            else:
                reports.append(report)
                if not arguments.json:
                    print_saved(report)
            unfinished.remove(job.prompt_id)
    except asyncio.CancelledError:  # Ctrl+C
        print("Cancelling …", file=sys.stderr)
        for prompt_id in reversed(unfinished):
            await client.cancel(prompt_id)
        raise
    if arguments.json:
        print_json(reports if len(jobs) > 1 else reports[0])
    return status


async def _queue_all(client: ComfyWSClient, jobs: Sequence[_PreparedJob], *, strict: bool) -> None:
    """Queue all jobs or none; several as a group."""
    extra_data = {GROUP_KEY: str(uuid4())} if len(jobs) > 1 else None
    for number, job in enumerate(jobs):
        try:
            await client.queue_prompt(
                job.prepared.graph, prompt_id=job.prompt_id, strict=strict, extra_data=extra_data
            )
        except ComfyHeadlessError:
            for queued in reversed(jobs[:number]):
                await client.cancel(queued.prompt_id)
            raise


async def _result(
    client: ComfyWSClient, job: _PreparedJob, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Wait for a job and save its files; return what to print."""
    display = display_for(arguments)
    try:
        result = await client.wait_for_completion(
            job.prompt_id, on_progress=display, timeout=arguments.timeout
        )
    finally:
        display.close()
    return await save_result(
        result, arguments, chosen=job.chosen, notices=list(job.prepared.notices)
    )


async def _prepare(
    client: ComfyWSClient,
    arguments: argparse.Namespace,
    values: Mapping[str, Any],
    settings: Settings,
) -> list[_PreparedJob]:
    """Return a job for each combination of the arrays in prompts, all with the same seed.

    Local files among ``values`` are uploaded.
    """
    from ..client import UploadedFile
    from ..workflow.conditioning.picture_values import PICTURE_VALUES, pictures_in, read_entries
    from ..workflow.prepare import file_values, prepare, prompt_values, settable_values
    from ..workflow.prompt_arrays import prompt_arrays
    from ..workflow.wildcards import WildcardFolder

    registry = await client.object_info()
    presets = await asyncio.to_thread(own_presets, settings)
    source = await asyncio.to_thread(open_source, arguments.workflow, presets)
    settables = settable_values(source, registry, presets=presets)
    if arguments.extend is not None:
        values = await _continuing(client, arguments.extend, settables, values)
    prepared_values = dict(values)
    own_values = {name: value for name, value in values.items() if name not in PICTURE_VALUES}
    for file_name in await asyncio.to_thread(file_values, source, own_values, registry):
        prepared_values[file_name] = await _uploaded(client, values[file_name])
    for key in values.keys() - own_values.keys():
        entries = read_entries(key, values[key])
        for entry in entries:
            entry["image"] = await _uploaded(client, entry["image"])
        prepared_values[key] = entries
    arrays = [n for n, v in own_values.items() if isinstance(v, str) and prompt_arrays(v)]
    prompts = prompt_values(source, arrays, registry) if arrays else set()
    expanded = _expanded(prepared_values, settables, [name for name in arrays if name in prompts])
    if len(expanded) > 1 and arguments.prompt_id is not None:
        raise ValidationError(f"--prompt-id names one job, and this prompt makes {len(expanded)}.")
    jobs = []
    now = datetime.now().astimezone()
    for each in expanded:
        files = (*each.values(), *pictures_in(each))
        prepared = await asyncio.to_thread(
            prepare,
            source,
            each,
            presets=presets,
            object_info=[registry],
            wildcards=WildcardFolder(settings.wildcards_dir),
            uploads={value for value in files if isinstance(value, UploadedFile)},
            now=now,
        )
        if not arguments.partial:
            prepared.require_runnable()
        if arguments.extend is not None:
            prepared = replace(prepared, graph=_continued(prepared.graph))
        prompt_id = arguments.prompt_id or str(uuid4())
        jobs.append(_PreparedJob(prompt_id, prepared, _chosen(prepared, settables, each)))
    return jobs


async def _continuing(
    client: ComfyWSClient,
    video: Path,
    settables: Iterable[Param | Control],
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """The values that start with the last frame of a video, in its size unless a size is set."""
    from ..library.video_editing import last_frame
    from ..pictures import open_result
    from ..worker_processes.process_pool import DECODING_VIDEO, WORKERS

    ids = {settable.role: settable.id for settable in reversed([*settables])}
    if "image" not in ids:
        raise _no_extension()
    frame = await WORKERS.run(last_frame, video, limits=DECODING_VIDEO)
    with open_result(io.BytesIO(frame)) as picture:
        size = dict(zip(("width", "height"), picture.size, strict=True))
    if not values.keys() & {"size", ids.get("width"), ids.get("height")} and ids.keys() >= {*size}:
        values = {**values, **{ids[role]: pixels for role, pixels in size.items()}}
    return {**values, ids["image"]: await client.upload_image(frame)}


def _continued(graph: Graph) -> Graph:
    from ..workflow.video_extension import continue_video

    extended = continue_video(graph)
    if extended is None:
        raise _no_extension()
    return extended


def _no_extension() -> ValidationError:
    return ValidationError(
        "This cannot continue a video.", hint="Choose a preset that makes a video from an image."
    )


def _expanded(
    values: Mapping[str, Any], settables: Iterable[Param | Control], prompts: Sequence[str]
) -> list[dict[str, Any]]:
    """The values of each job that the arrays in prompts stand for; all have one seed."""
    from ..workflow.fields.numbers import random_seed
    from ..workflow.prompt_arrays import expand_array_values

    expanded = expand_array_values(values, prompts)
    seed = next((settable.id for settable in settables if settable.role == "seed"), None)
    if len(expanded) > 1 and seed is not None and values.get(seed, -1) in (-1, ""):
        shared = random_seed()
        expanded = [{**each, seed: shared} for each in expanded]
    return expanded


async def _uploaded(client: ComfyWSClient, name: object) -> str:
    """The name on the server: of a local file after its upload, else the name itself."""
    from ..client import UploadedFile

    if isinstance(name, UploadedFile):
        return name
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
