"""Import results into the library."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ..settings import Settings
from .command_support import print_json


def import_(arguments: argparse.Namespace, settings: Settings) -> int:
    """Import a folder of results into the local user's library."""
    from dataclasses import asdict

    from ..library.folder_import import ImportProgress
    from ..library.library_service import open_library
    from ..storage.records import LOCAL_USER_ID

    live = not arguments.quiet and sys.stderr.isatty()

    def show(progress: ImportProgress) -> None:
        if live:
            line = f"\r{progress.looked_at:,} of {progress.found:,}"
            print(line, end="", file=sys.stderr, flush=True)

    async def work() -> ImportProgress:
        async with open_library(settings.data_dir) as library:
            return await library.import_folder(arguments.folder, LOCAL_USER_ID, on_progress=show)

    try:
        done = asyncio.run(work())
    finally:
        if live:
            print(file=sys.stderr)
    if arguments.json:
        print_json(asdict(done))
    else:
        print(f"{done.added} added, {done.known} already there, {done.failed} unreadable.")
    return 0
