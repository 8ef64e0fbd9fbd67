"""Check the whole installation: ``comfy-ui doctor``."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import ExitStack

from ..settings import DEFAULT_URL, Settings
from .command_support import print_json, server
from .exit_status import ExitStatus


def doctor(arguments: argparse.Namespace, settings: Settings) -> int:
    """Check this machine, the servers and the models; exits with 1 if there is a problem."""
    from ..client import ClientOptions, ComfyClient
    from ..doctor.doctor_report import report_on
    from ..doctor.inspect_machine import ThreadedClient, inspect_machine

    urls = () if settings.demo else settings.comfyui_urls or (DEFAULT_URL,)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                ComfyClient(**server(settings, url), options=ClientOptions(max_retries=0))
            )
            for url in urls
        ]
        machine = asyncio.run(
            inspect_machine(
                settings,
                [ThreadedClient(client) for client in clients],
                configured=bool(settings.comfyui_urls),
                demo=settings.demo,
                preset_folders=[settings.presets_dir],
            )
        )
    report = report_on(machine, settings)
    if arguments.json:
        print_json(report.to_dict())
    else:
        print(report)
    return ExitStatus.DONE if report.ok else ExitStatus.FAILED
