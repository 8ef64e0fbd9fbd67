"""Import results into the library; cut and join videos on this machine."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ValidationError
from ..settings import Settings
from .command_support import check_file, print_json
from .progress_display import ProgressDisplay, display_for

if TYPE_CHECKING:
    from ..library.folder_import import ImportProgress


T = TypeVar("T")


def import_(arguments: argparse.Namespace, settings: Settings) -> int:
    """Import a folder of results into the local user's library, or undo the last import."""
    if arguments.undo:
        return _undo(settings)
    if arguments.folder is None:
        raise ValidationError("Name a folder.", hint="For instance ComfyUI's output folder.")
    from dataclasses import asdict

    from ..library.folder_import import ImportProgress
    from ..library.library_service import open_library
    from ..scale.choose_stores import choose_stores
    from ..storage.records import LOCAL_USER_ID

    live = not arguments.quiet and sys.stderr.isatty()
    done = ImportProgress(folder=arguments.folder)

    def on_added(path: Path) -> None:
        if arguments.dry_run and not arguments.json:
            print(path)

    def show(progress: ImportProgress) -> None:
        nonlocal done
        done = progress
        if live:
            line = f"\r{progress.looked_at:,} of {progress.found:,}"
            print(line, end="", file=sys.stderr, flush=True)

    async def work() -> None:
        async with open_library(settings.data_dir, open_stores=choose_stores(settings)) as library:
            await library.import_folder(
                arguments.folder,
                LOCAL_USER_ID,
                on_progress=show,
                on_added=on_added,
                generated_only=not arguments.all,
                dry_run=arguments.dry_run,
            )

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        print(f"\n{_summary(done)} Import the folder again to continue.", file=sys.stderr)
        raise
    finally:
        if live:
            print(file=sys.stderr)
    if arguments.json:
        print_json(asdict(done))
    else:
        print(_summary(done, dry_run=arguments.dry_run))
        if done.skipped:
            print("Files without generation metadata are imported with --all.", file=sys.stderr)
        if done.added and not arguments.dry_run:
            print("comfy-ui import --undo takes these back.", file=sys.stderr)
    return 0


def trim(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write a part of a video to a new file."""
    from ..library.video_editing import cut_video

    del settings  # it needs no server
    video: Path = arguments.video
    target: Path = arguments.output or video.with_name(f"{video.stem}_part.mp4")
    if not video.is_file():
        raise ValidationError(f"There is no file '{video}'.")
    if arguments.start >= arguments.end:
        raise ValidationError("The part ends before it begins.", hint="Name the start first.")
    if target.exists():
        raise ValidationError(
            f"'{target}' exists already.", hint="Name another file with --output."
        )
    check_file(target)
    cut = functools.partial(_encode, cut_video, video, target, arguments.start, arguments.end)
    asyncio.run(cut(display=display_for(arguments)))
    print(target)
    return 0


async def join_to(video: Path, clip: Path, display: ProgressDisplay) -> Path:
    """Join a clip to the video that it continues; return the new file beside the clip.

    The clip is deleted, unless both had to be encoded again.
    """
    from ..library.video_editing import join_videos

    target = clip.with_name(f"{clip.stem}_extended.mp4")
    if await _encode(join_videos, video, clip, target, display=display):
        await asyncio.to_thread(clip.unlink)
    return target


async def _encode(function: Callable[..., T], *arguments: Any, display: ProgressDisplay) -> T:
    """Run a function that writes its last path argument; a file that is not complete is removed."""
    from ..client import Progress
    from ..protocol.progress import Phase
    from ..worker_processes.process_pool import ENCODING_VIDEO, VIDEO_WORKERS

    target = [each for each in arguments if isinstance(each, Path)][-1]

    def show(fraction: float) -> None:
        display(Progress("", phase=Phase.SAVING, progress=100 * fraction))

    try:
        return await VIDEO_WORKERS.run(
            function, *arguments, limits=ENCODING_VIDEO, on_progress=show
        )
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        display.close()


def _undo(settings: Settings) -> int:
    """Delete what the last import added; the imported folder stays unchanged."""
    from ..library.library_service import open_library
    from ..scale.choose_stores import choose_stores
    from ..storage.records import LOCAL_USER_ID

    async def work() -> list[int]:
        async with open_library(settings.data_dir, open_stores=choose_stores(settings)) as library:
            return await library.undo_import(LOCAL_USER_ID)

    removed = asyncio.run(work())
    print(f"{len(removed)} removed. They can be restored in the Library for a week.")
    return 0


def _summary(done: ImportProgress, *, dry_run: bool = False) -> str:
    added = "would be added" if dry_run else "added"
    return (
        f"{done.added} {added}, {done.known} already there, "
        f"{done.skipped} without generation metadata, {done.failed} unreadable."
    )
