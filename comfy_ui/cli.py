"""``comfy-ui``: the app, and the same capabilities from a terminal.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 it could not be done
(the message says why and what to do), 2 wrong usage, 130 stopped with Ctrl+C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from . import __version__, logs, tracing
from .errors import ComfyHeadlessError, InvalidWorkflowError, StorageError, ValidationError, closest
from .settings import DEFAULT_URL, Settings, load_settings

if TYPE_CHECKING:
    from .client import ComfyWSClient, Progress
    from .errors import Problem
    from .workflow import Control

FILE_ROLES = {"image", "mask", "video", "audio"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings(
            comfyui_url=arguments.comfyui,
            comfyui_token=arguments.token,
            demo=getattr(arguments, "demo", None),
            log_level=arguments.log_level,
            **{name: getattr(arguments, name, None) for name in _APP_OPTIONS},
        )
        secrets = [
            s.get_secret_value() for s in (settings.comfyui_token, settings.openai_api_key) if s
        ]
        logs.configure(settings.log_level, as_json=settings.log_json, secrets=secrets)
        tracing.heed_environment(prompts=settings.trace_prompts)
        status: int = arguments.command(arguments, settings)
    except ComfyHeadlessError as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our stdout, `head` for instance, has gone
        sys.stderr.close()
        return 1
    return status


# --- the commands -----------------------------------------------------------------------------


def _app(_: argparse.Namespace, settings: Settings) -> int:
    from .features import require_feature

    require_feature("ui")
    from .ui import launch

    launch(settings)
    return 0


def _demo(arguments: argparse.Namespace, _: Settings) -> int:
    from .demo import DemoServer

    host = arguments.host or "127.0.0.1"
    with DemoServer(host=host, port=arguments.port, speed=arguments.speed) as server:
        print(f"The embedded engine is at {server.url}; Ctrl+C ends it.", flush=True)
        threading.Event().wait()
    return 0


def _presets(arguments: argparse.Namespace, _: Settings) -> int:
    from .workflow import list_presets

    presets = list_presets()
    if arguments.json:
        _print_json([preset.model_dump(mode="json", exclude={"graph"}) for preset in presets])
    else:
        _print_table([(preset.id, preset.kind, preset.title) for preset in presets])
    return 0


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    values = _values(arguments.set)
    if arguments.prompt is not None:
        values.setdefault("prompt", arguments.prompt)

    async def work() -> None:
        async with _connect(settings) as client:
            graph = await _graph(client, arguments.workflow, values, partial=arguments.partial)
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
                _print_json(
                    {
                        "prompt_id": result.prompt_id,
                        "seconds": result.seconds,
                        "cached": result.cached,
                        "files": [str(path) for path in saved],
                        "texts": list(result.texts),
                    }
                )
            else:
                for line in [*map(str, saved), *result.texts]:
                    print(line)

    asyncio.run(work())
    return 0


def _convert(arguments: argparse.Namespace, settings: Settings) -> int:
    from .workflow import load_workflow

    workflow = load_workflow(arguments.file)
    graph = workflow.to_graph(_object_info(settings) if workflow.format == "editor" else {})
    text = json.dumps(graph, indent=2, ensure_ascii=False)
    if arguments.output is None:
        print(text)
    else:
        _write(arguments.output, text + "\n")
    return 0


def _check(arguments: argparse.Namespace, settings: Settings) -> int:
    from .workflow import check_workflow, load_workflow

    object_info = _object_info(settings, fresh=True)
    try:
        graph = load_workflow(arguments.file).to_graph(object_info)
        problems: Sequence[Problem] = check_workflow(graph, object_info)
    except InvalidWorkflowError as error:
        if not error.problems:
            raise
        problems = error.problems
    if arguments.json:
        from dataclasses import asdict

        _print_json([asdict(problem) for problem in problems])
    elif problems:
        for problem in problems:
            print(f"{problem.severity}: {problem}")
    else:
        print("This workflow can run.")
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def _controls(arguments: argparse.Namespace, settings: Settings) -> int:
    from dataclasses import asdict

    from .workflow import find_controls, load_workflow

    object_info = _object_info(settings)
    workflow = load_workflow(arguments.file)
    graph = workflow.to_graph(object_info)
    controls = find_controls(graph, object_info, workflow.editor)
    if arguments.json:
        _print_json([asdict(control) for control in controls])
    else:
        _print_table([_control_row(control) for control in controls])
    return 0


def _status(arguments: argparse.Namespace, settings: Settings) -> int:
    from .features import FEATURES, list_missing_features
    from .health import check_health

    report = check_health(**_server(settings))
    missing = list_missing_features()
    if arguments.json:
        _print_json({"server": report.to_dict(), "features": dict(FEATURES), "install": missing})
    else:
        print(report)
        for name, line in missing.items():
            print(f"extra {name}: not installed; {line}")
    return 0 if report.ok else 1


def _users(arguments: argparse.Namespace, settings: Settings) -> int:
    from .features import require_feature

    require_feature("ui")
    from .ui.accounts import ACCOUNTS_FILE, Accounts, Role

    accounts = Accounts(settings.data_dir / ACCOUNTS_FILE)
    if arguments.add is not None:
        password = sys.stdin.readline().rstrip("\n") if not sys.stdin.isatty() else getpass()
        accounts.add(arguments.add, password, Role.OWNER if arguments.owner else Role.VISITOR)
    elif arguments.remove is not None and not accounts.remove(arguments.remove):
        names = [*accounts.names()]
        raise ValidationError(
            f"There is no user '{arguments.remove}'.", hint=closest(arguments.remove, names)
        )
    _print_table([(name, role.name.lower()) for name, role in accounts.names().items()])
    return 0


# --- what they share --------------------------------------------------------------------------


def _server(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for a client of the configured server."""
    token = settings.comfyui_token
    return {
        "url": settings.comfyui_url or DEFAULT_URL,
        "token": token.get_secret_value() if token else None,
        "timeout": settings.timeout_s,
        "verify": settings.verify_tls,
    }


@asynccontextmanager
async def _connect(settings: Settings) -> AsyncIterator[ComfyWSClient]:
    from .client import ComfyWSClient

    if settings.demo:
        from .demo import DemoServer

        async with DemoServer(speed="instant") as server, ComfyWSClient(url=server.url) as client:
            yield client
    else:
        async with ComfyWSClient(**_server(settings)) as client:
            yield client


async def _graph(
    client: ComfyWSClient, source: str, values: Mapping[str, Any], *, partial: bool
) -> dict[str, Any]:
    """The API graph for a preset id or a workflow file, with ``values`` written into it.

    Raises:
        InvalidWorkflowError: what the server lacks for it, unless ``partial``.
    """
    from .client import UploadedFile
    from .workflow import (
        check_workflow,
        compile_workflow,
        find_controls,
        get_preset,
        list_presets,
        load_workflow,
    )
    from .workflow.check import error_for
    from .workflow.controls import apply_values

    library = await client.object_info()
    if await asyncio.to_thread(Path(source).exists):
        workflow = load_workflow(Path(source))
        graph = workflow.to_graph(library)
        controls = find_controls(graph, library, workflow.editor)
        values = await _upload(client, values, {c.id: c.role for c in controls})
        graph = apply_values(graph, controls, values)
    else:
        ids = [preset.id for preset in list_presets()]
        if source not in ids:
            raise ValidationError(
                f"There is no file and no preset named '{source}'.", hint=closest(source, ids)
            )
        values = await _upload(client, values, {p.id: p.role for p in get_preset(source).params})
        graph = compile_workflow(source, object_info=library, **values)
    uploads = [value for value in values.values() if isinstance(value, UploadedFile)]
    error = error_for(check_workflow(graph, library, uploads=uploads))
    if error is not None and not partial:
        raise error
    return graph


async def _upload(
    client: ComfyWSClient, values: Mapping[str, Any], roles: Mapping[str, str]
) -> dict[str, Any]:
    """``values`` with local files replaced by what the server made of them."""
    done = dict(values)
    for name, value in values.items():
        if roles.get(name) in FILE_ROLES and await asyncio.to_thread(Path(str(value)).is_file):
            done[name] = await client.upload_image(Path(value))
    return done


def _object_info(settings: Settings, *, fresh: bool = False) -> Mapping[str, Any]:
    """The node list of the configured server, kept on disk for each server and version.

    ``fresh``: ask the server, whose models may have changed since.
    """
    from .client import ComfyClient

    if settings.demo:
        from .demo import DemoServer

        server = DemoServer(speed="instant")
        with server.in_thread(), ComfyClient(url=server.url) as client:
            return client.object_info().raw
    with ComfyClient(**_server(settings)) as client:
        name = f"{client.url} {client.system_stats().comfyui_version}"
        digest = hashlib.sha256(name.encode()).hexdigest()[:20]
        path = settings.data_dir / "cache" / f"object_info-{digest}.json"
        if not fresh:
            try:
                kept = json.loads(path.read_bytes())
            except (OSError, ValueError):  # not there yet, or cut short
                kept = None
            if isinstance(kept, dict):
                return kept
        raw = client.object_info().raw
    with contextlib.suppress(OSError):  # without the file the next command asks again
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(f".{os.getpid()}")
        half.write_text(json.dumps(raw), encoding="utf-8")
        half.replace(path)
    return raw


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


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error


def _complain(error: ComfyHeadlessError) -> None:
    print(f"error: {error.message}", file=sys.stderr)
    if isinstance(error, InvalidWorkflowError):
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


# --- arguments --------------------------------------------------------------------------------

_APP_OPTIONS = ("host", "port", "share", "auth", "mcp", "data_dir")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="comfy-ui", description="ComfyUI without nodes: the app, and what it can do from here."
    )
    parser.add_argument("--version", action="version", version=f"comfy-ui {__version__}")
    _common(parser)
    _engine(parser)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (7860)")
    parser.add_argument("--share", action="store_true", default=None, help="make a public link")
    parser.add_argument("--auth", metavar="USER:PASS", help="ask for this login, an owner's")
    parser.add_argument(
        "--mcp", action="store_true", default=None, help="offer tools for assistants at /mcp"
    )
    parser.add_argument("--data-dir", type=Path, help="folder for jobs and results")
    parser.set_defaults(command=_app)

    commands = parser.add_subparsers(title="commands", metavar="")

    def add(
        name: str, command: Callable[[argparse.Namespace, Settings], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        _common(sub)
        sub.set_defaults(command=command)
        return sub

    sub = add("run", _run, "Run a preset or a workflow file and save what it makes.")
    _engine(sub)
    sub.add_argument("workflow", help="preset id, or a JSON file, picture or video with a workflow")
    sub.add_argument("prompt", nargs="?", help="short for --set prompt=…")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    sub.add_argument("-o", "--output", type=Path, default=Path(), help="folder for the files (.)")
    sub.add_argument("--timeout", type=float, help="seconds to wait at most")
    sub.add_argument(
        "--partial", action="store_true", help="run the valid outputs although others are not"
    )
    sub.add_argument("--quiet", action="store_true", help="no progress")
    sub.add_argument("--json", action="store_true", help="tell the result as JSON")

    sub = add("users", _users, "Who may log in: list, add (the password is asked for), remove.")
    change = sub.add_mutually_exclusive_group()
    change.add_argument("--add", metavar="NAME", help="add a user, or change the password")
    change.add_argument("--remove", metavar="NAME", help="remove a user")
    sub.add_argument("--owner", action="store_true", help="may do all that you may")
    sub.add_argument(
        "--data-dir", type=Path, default=argparse.SUPPRESS, help="folder for jobs and results"
    )

    sub = add("presets", _presets, "List the shipped presets.")
    sub.add_argument("--json", action="store_true")

    sub = add("check", _check, "Say what a workflow lacks on the server.")
    _engine(sub)
    sub.add_argument("file", type=Path)
    sub.add_argument("--json", action="store_true")

    sub = add("convert", _convert, "Write a workflow in API format.")
    _engine(sub)
    sub.add_argument("file", type=Path)
    sub.add_argument("-o", "--output", type=Path, help="file to write (stdout)")

    sub = add("controls", _controls, "Show the controls found in a workflow.")
    _engine(sub)
    sub.add_argument("file", type=Path)
    sub.add_argument("--json", action="store_true")

    sub = add("status", _status, "Show the server's health and the installed extras.")
    sub.add_argument("--json", action="store_true")

    sub = add("demo", _demo, "Serve only the embedded engine, for any ComfyUI client.")
    sub.add_argument("--host")
    sub.add_argument("--port", type=int, default=8188)
    sub.add_argument("--speed", default="6", type=_speed, help="'instant' or steps per second (6)")
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: a subcommand's default must not overwrite what stood before the subcommand.
    missing = None if parser.prog == "comfy-ui" else argparse.SUPPRESS
    parser.add_argument(
        "--comfyui", metavar="URL", default=missing, help=f"address of ComfyUI ({DEFAULT_URL})"
    )
    parser.add_argument("--token", default=missing, help="bearer token for ComfyUI")
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default=missing
    )


def _engine(parser: argparse.ArgumentParser) -> None:
    missing = None if parser.prog == "comfy-ui" else argparse.SUPPRESS
    parser.add_argument(
        "--demo", action="store_true", default=missing, help="use the embedded engine"
    )


def _speed(text: str) -> str | float:
    if text == "instant":
        return text
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if speed <= 0:
        raise argparse.ArgumentTypeError("'instant' or a number of steps per second above 0")
    return speed
