"""Serve the app or the demo engine, show status and checks, manage users and the database."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from getpass import getpass

from ..errors import ValidationError, closest
from ..settings import DEFAULT_URL, Settings
from .command_support import print_json, print_table, server
from .exit_status import ExitStatus


def app(_: argparse.Namespace, settings: Settings) -> int:
    """Serve the app until it is stopped."""
    from ..features import require_feature

    require_feature("ui")
    if settings.engine:
        from .engine_command import set_up

        set_up(settings)
    # Modules and the page make half a million objects that stay: nothing to collect among them.
    gc.disable()
    try:
        from ..web import launch
        from ..web.process_memory import keep_little

        keep_little()
        launch(settings)  # enables it when all is served
    finally:
        gc.enable()
    return 0


def demo(arguments: argparse.Namespace, _: Settings) -> int:
    """Serve the demo engine until it is stopped."""
    from ..demo import DemoServer

    host = arguments.host or "127.0.0.1"
    with DemoServer(host=host, port=arguments.port, speed=arguments.speed) as engine:
        print(f"The demo engine is at {engine.url}; Ctrl+C stops it.", flush=True)
        threading.Event().wait()
    return 0


def status(arguments: argparse.Namespace, settings: Settings) -> int:
    """Show the health of each server and the installed extras."""
    from ..features import FEATURES, list_missing_features
    from ..health import check_health

    urls = settings.comfyui_urls or (DEFAULT_URL,)
    reports = [check_health(**server(settings, url)) for url in urls]
    missing = list_missing_features()
    if arguments.json:
        servers = [report.to_dict() for report in reports]
        report = {"server": servers[0], "servers": servers}
        print_json({**report, "features": dict(FEATURES), "install": missing})
    else:
        print(*reports, sep="\n")
        for name, line in missing.items():
            print(f"extra {name}: not installed; {line}")
    return 0 if all(report.ok for report in reports) else 1


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


def users(arguments: argparse.Namespace, settings: Settings) -> int:
    """List, add, invite or remove users who may log in."""
    from ..features import require_feature

    require_feature("ui")
    from ..scale.choose_stores import open_documents
    from ..web.auth.accounts import Accounts, Role
    from ..web.auth.api_keys import ApiKeys
    from ..web.auth.invitations import Invitations

    documents = open_documents(settings)
    accounts = Accounts(documents)
    if arguments.remove is not None or arguments.add not in {None, *accounts.names()}:
        # A new user of an old name must not find the keys of the previous one in use.
        ApiKeys(documents).revoke_all(arguments.remove or arguments.add)
    role = Role.ADMIN if arguments.admin else Role.USER
    if arguments.invite is not None:
        code = Invitations(accounts, documents).create(role)
        print(f"{arguments.invite.rstrip('/')}/#invitation={code}")
        return 0
    if arguments.add is not None:
        password = sys.stdin.readline().rstrip("\n") if not sys.stdin.isatty() else getpass()
        accounts.add(arguments.add, password, role)
    elif arguments.remove is not None and not accounts.remove(arguments.remove):
        names = [*accounts.names()]
        raise ValidationError(
            f"There is no user '{arguments.remove}'.", hint=closest(arguments.remove, names)
        )
    print_table([(name, role.name.lower()) for name, role in accounts.names().items()])
    return 0


def worker(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run jobs on one ComfyUI until SIGTERM or SIGINT; a second one ends the worker at once."""
    _database_url(settings)
    from ..client import ComfyWSClient
    from ..scale.worker_process import run_worker

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        task = asyncio.current_task()

        def on_signal() -> None:
            if stop.is_set() and task is not None:
                task.cancel()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        async with ComfyWSClient(**server(settings)) as client:
            await run_worker(
                settings,
                client,
                name=arguments.name,
                concurrency=arguments.concurrency,
                drain_s=arguments.drain,
                stop=stop,
            )

    with suppress(asyncio.CancelledError):
        asyncio.run(run())
    return 0


def db_upgrade(_: argparse.Namespace, settings: Settings) -> int:
    """Create the tables, or bring them up to date."""
    url = _database_url(settings)
    from ..scale import postgres_migrations

    for name in asyncio.run(postgres_migrations.upgrade(url)):
        print(f"applied {name}")
    return db_check(_, settings)


def db_check(_: argparse.Namespace, settings: Settings) -> int:
    """Check that the app can use the database."""
    url = _database_url(settings)
    from ..scale import postgres_migrations

    version = asyncio.run(postgres_migrations.check(url))
    print(f"The database is ready (schema {version}).")
    return 0


def db_import(_: argparse.Namespace, settings: Settings) -> int:
    """Copy jobs and results from the SQLite database of the data folder."""
    url = _database_url(settings)
    from ..scale.sqlite_import import import_sqlite

    rows = asyncio.run(import_sqlite(settings.data_dir, url))
    print(f"Copied {rows['jobs']} jobs and {rows['items']} results.")
    return 0


def _database_url(settings: Settings) -> str:
    from ..features import require_feature

    require_feature("scale")
    if settings.database is None:
        raise ValidationError(
            "COMFY_UI_DATABASE is not set.",
            hint="Set it to postgresql://USER:PASSWORD@HOST/NAME.",
        )
    return settings.database.get_secret_value()
