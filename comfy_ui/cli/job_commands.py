"""``comfy-ui jobs``, ``cancel``, ``resume`` and ``fetch``: jobs that are on the server already."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import GenerationError, JobLostError, ValidationError
from ..protocol.messages import ExecutionError, ExecutionSuccess
from ..settings import Settings
from ..workflow.prompt_of_graph import prompt_of_graph
from ..workflow.video_extension import continues_video
from .command_support import connect, print_json, print_table
from .exit_status import ExitStatus
from .library_commands import join_to
from .progress_display import ProgressDisplay, display_for

if TYPE_CHECKING:
    from ..client import AsyncResult, ComfyWSClient
    from ..protocol.queue_and_history import HistoryEntry, QueueAnswer, QueueSnapshot

_PROMPT_CHARACTERS = 50


def jobs(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the server's jobs: running, pending, and the last ones that ended."""

    async def work() -> list[dict[str, Any]]:
        async with connect(settings) as client:
            queue = await client.queue()
            ended = await client.recent(max_items=arguments.limit)
        listed = [_row(id_, "running", job) for id_, job in queue.running.items()]
        listed += [
            {**_row(id_, "pending", job), "queue_position": job.position}
            for id_, job in queue.pending.items()
        ]
        return listed + [
            {**_row(id_, _state(entry), entry), "seconds": entry.seconds}
            for id_, entry in reversed(ended.items())
        ]

    listed = asyncio.run(work())
    if arguments.json:
        print_json(listed)
    else:
        print_table([_cells(row) for row in listed])
    return 0


def cancel(arguments: argparse.Namespace, settings: Settings) -> int:
    """Cancel jobs or groups, pending or running; 5 if one is unknown, has ended or still runs."""

    async def stop(client: ComfyWSClient, prompt_id: str, place: str) -> str:
        if place == "absent" and await client.history(prompt_id) is None:
            return "not cancelled: the server has no such job"
        stopped = place != "absent" and await client.cancel(prompt_id)
        return "cancelled" if stopped else "not cancelled: it has ended"

    async def work() -> dict[str, str]:
        outcomes: dict[str, str] = {}
        async with connect(settings) as client:
            queue = await client.queue()
            named = [id_ for each in arguments.prompt_id for id_ in _members(queue, each)]
            places = {each: queue.answer(each).place for each in named}
            # Pending jobs first, or one starts when the running one ends.
            for pending in (True, False):
                ids = [each for each, place in places.items() if (place == "pending") is pending]
                stopped = await asyncio.gather(*(stop(client, each, places[each]) for each in ids))
                outcomes.update(zip(ids, stopped, strict=True))
        return {each: outcomes[each] for each in places}

    outcomes = asyncio.run(work())
    for prompt_id, outcome in outcomes.items():
        print(f"{prompt_id}  {outcome}")
    return ExitStatus.DONE if {*outcomes.values()} == {"cancelled"} else ExitStatus.JOB_FAILED


def resume(arguments: argparse.Namespace, settings: Settings) -> int:
    """Wait for a job again and save its output files."""

    async def waited(client: ComfyWSClient, display: ProgressDisplay) -> AsyncResult:
        return await client.resume(
            arguments.prompt_id, on_progress=display, timeout=arguments.timeout
        )

    return _save_result(arguments, settings, waited)


def fetch(arguments: argparse.Namespace, settings: Settings) -> int:
    """Save the output files of a job that has ended."""

    async def ended(client: ComfyWSClient, display: ProgressDisplay) -> AsyncResult:
        del display  # nothing to wait for
        prompt_id = arguments.prompt_id
        if await client.history(prompt_id) is None:
            if (await client.queue()).answer(prompt_id).place != "absent":
                raise GenerationError(
                    "The job has not ended.",
                    prompt_id=prompt_id,
                    hint=f"Wait for it: comfy-ui resume {prompt_id}",
                )
            raise JobLostError("The server has no trace of the job.", prompt_id=prompt_id)
        return await client.wait_for_completion(prompt_id)

    return _save_result(arguments, settings, ended)


def check_extended(arguments: argparse.Namespace) -> None:
    """Check the video of ``--extend`` before the job is waited for.

    Raises:
        ValidationError: there is no such file.
    """
    if arguments.extend is not None and not arguments.extend.is_file():
        raise ValidationError(f"There is no file '{arguments.extend}'.")


async def save_result(
    result: AsyncResult, arguments: argparse.Namespace, **details: Any
) -> dict[str, Any]:
    """Save the files of a result, joined to the video of ``--extend``; return what to print."""
    saved = await result.save(arguments.output)
    if arguments.extend is not None:
        saved = [
            await join_to(arguments.extend, path, display_for(arguments))
            if path.suffix == ".mp4"
            else path
            for path in saved
        ]
    return {
        "prompt_id": result.prompt_id,
        "seconds": result.seconds,
        "cached": result.cached,
        "seed": result.seed,
        "files": [str(path) for path in saved],
        "texts": list(result.texts),
        **details,
    }


def print_saved(report: Mapping[str, Any]) -> None:
    """Print the paths and texts of a result."""
    for line in (*report["files"], *report["texts"]):
        print(line)


def _save_result(
    arguments: argparse.Namespace,
    settings: Settings,
    wait: Callable[[ComfyWSClient, ProgressDisplay], Awaitable[AsyncResult]],
) -> int:
    from ..client.transfer.files import check_folder

    check_folder(arguments.output)
    check_extended(arguments)

    async def work() -> None:
        async with connect(settings) as client:
            display = display_for(arguments)
            try:
                result = await wait(client, display)
            except asyncio.CancelledError:  # Ctrl+C
                display.close()
                print("The job continues on the server.", file=sys.stderr)
                raise
            finally:
                display.close()
            report = await save_result(result, arguments)
            entry = await client.history(arguments.prompt_id)
        if arguments.extend is None and entry is not None and continues_video(entry.graph or {}):
            print(
                "This clip continues a video. Repeat the command with --extend VIDEO to join both.",
                file=sys.stderr,
            )
        print_json(report) if arguments.json else print_saved(report)

    asyncio.run(work())
    return 0


def _members(queue: QueueSnapshot, name: str) -> list[str]:
    """Return the unfinished jobs of a group, or the name if it is none of a group."""
    jobs = {**queue.running, **queue.pending}
    return [id_ for id_, job in jobs.items() if job.group_id == name] or [name]


def _row(prompt_id: str, state: str, job: QueueAnswer | HistoryEntry) -> dict[str, Any]:
    prompt, seed = prompt_of_graph(job.graph or {})
    return {
        "prompt_id": prompt_id,
        "state": state,
        "prompt": prompt or None,
        "seed": seed,
        "group": job.group_id,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    detail = ""
    if row.get("queue_position"):
        detail = f"number {row['queue_position']}"
    elif row.get("seconds") is not None:
        detail = f"{row['seconds']:.1f} s"
    prompt = " ".join((row["prompt"] or "").split())
    group = f"group {row['group']}" if row["group"] else ""
    return row["prompt_id"], row["state"], detail, prompt[:_PROMPT_CHARACTERS], group


def _state(entry: HistoryEntry) -> str:
    if isinstance(entry.ending, ExecutionSuccess):
        return "succeeded"
    return "failed" if isinstance(entry.ending, ExecutionError) else "cancelled"
