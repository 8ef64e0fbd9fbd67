"""The ``comfy-ui`` command: the app, and its features from a terminal.

Results go to stdout, everything else to stderr. The exit status tells kinds of failure apart, see
:class:`.ExitStatus`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from .. import __version__, logging, telemetry
from ..errors import (
    ComfyHeadlessError,
    GenerationError,
    GenerationTimeoutError,
    InvalidWorkflowError,
)
from ..settings import DEFAULT_URL, Settings, load_settings
from . import (
    app_commands,
    engine_command,
    job_commands,
    keys_command,
    library_commands,
    model_commands,
    run_command as run_,
    workflow_commands,
)
from .command_support import own_presets
from .completion import SHELLS, completion_script
from .exit_status import ExitStatus, status_of
from .progress_display import PreviewStyle, ProgressStyle


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
            s.get_secret_value()
            for s in (
                settings.comfyui_token,
                settings.api_key_comfy_org,
                settings.openai_api_key,
                settings.hf_token,
                settings.database,
                settings.metrics_token,
            )
            if s
        ]
        logging.configure(settings.log_level, as_json=settings.log_json, secrets=secrets)
        telemetry.heed_environment(prompts=settings.trace_prompts)
        status: int = arguments.command(arguments, settings)
    except ComfyHeadlessError as error:
        _print_error(error, extended=getattr(arguments, "extend", None))
        return status_of(error)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, such as `head`, has exited
        sys.stderr.close()
        return 1
    return status


def _print_error(error: ComfyHeadlessError, *, extended: Path | None = None) -> None:
    print(f"error: {error.message}", file=sys.stderr)
    if isinstance(error, InvalidWorkflowError):
        for problem in error.problems:
            if str(problem) != error.message:
                print(f"  {problem}", file=sys.stderr)
    hint = error.hint
    if isinstance(error, GenerationError) and error.prompt_id:
        print(f"prompt_id: {error.prompt_id}", file=sys.stderr)
        if isinstance(error, GenerationTimeoutError):
            hint = f"The job continues. Wait for it: comfy-ui resume {error.prompt_id}"
            if extended is not None:
                hint += f" --extend {shlex.quote(str(extended))}"
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def _completion(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the completion script of a shell."""
    presets = {preset.id: preset.title for preset in own_presets(settings).values()}
    print(completion_script(_parser(), arguments.shell, presets=presets), end="")
    return 0


# --- arguments --------------------------------------------------------------------------------

_APP_OPTIONS = (
    *("host", "port", "share", "auth", "mcp", "data_dir", "models_dir", "database"),
    *("engine", "engine_source", "engine_stack", "engine_python", "engine_memory"),
    *("engine_packages", "torch_index", "torch_packages"),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="comfy-ui", description="ComfyUI without nodes: serve the app, or run one command."
    )
    parser.add_argument("--version", action="version", version=f"comfy-ui {__version__}")
    _common(parser)
    _engine(parser)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (7860)")
    parser.add_argument("--share", action="store_true", default=None, help="create a public link")
    parser.add_argument("--auth", metavar="USER:PASS", help="require this login, with admin rights")
    parser.add_argument(
        "--mcp", action="store_true", default=None, help="offer tools for assistants at /mcp"
    )
    parser.add_argument(
        "--engine",
        action="store_true",
        default=None,
        help="install a ComfyUI on this machine if there is none yet, and use it",
    )
    parser.add_argument("--data-dir", type=Path, help="folder for jobs and results")
    parser.add_argument("--models-dir", type=Path, help="ComfyUI's models folder")
    parser.set_defaults(command=app_commands.app)

    commands = parser.add_subparsers(title="commands", metavar="")

    def add(
        name: str, command: Callable[[argparse.Namespace, Settings], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        _common(sub)
        sub.set_defaults(command=command)
        return sub

    sub = add("run", run_.run, "Run a preset or a workflow file and save its output files.")
    _engine(sub)
    sub.add_argument("workflow", help="preset id, or a JSON, image or video file with a workflow")
    sub.add_argument("prompt", nargs="?", help="short for --set prompt=…")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    sub.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="NAME[:WEIGHT]",
        help="load a LoRA, short for <lora:NAME:WEIGHT> in the prompt; may be repeated",
    )
    sub.add_argument(
        "--controlnet",
        action="append",
        default=[],
        metavar="TYPE=IMAGE[,KEY=VALUE…]",
        help="guide the result by an image, such as canny=room.png,strength=0.8; may be repeated",
    )
    sub.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="IMAGE[,KEY=VALUE…]",
        help="take up the style or subject of an image; may be repeated",
    )
    sub.add_argument(
        "--extend",
        type=Path,
        metavar="VIDEO",
        help="continue a video from its last frame, and join both into a new file",
    )
    _result_options(sub)
    _waiting_options(sub)
    sub.add_argument(
        "--prompt-id", metavar="UUID", help="queue the job under this id, to resume it later"
    )
    _data_dir(sub)
    sub.add_argument(
        "--partial", action="store_true", help="run the valid outputs if others are invalid"
    )

    sub = add("jobs", job_commands.jobs, "List running, pending and ended jobs of the server.")
    sub.add_argument("--limit", type=_count, default=20, help="how many ended jobs to list (20)")
    sub.add_argument("--json", action="store_true", help="print the jobs as JSON")

    sub = add("cancel", job_commands.cancel, "Cancel jobs, pending or running.")
    sub.add_argument("prompt_id", nargs="+", help="ids of jobs or groups, see jobs")

    sub = add("resume", job_commands.resume, "Wait for a job again and save its output files.")
    sub.add_argument("prompt_id")
    _extend_option(sub)
    _result_options(sub)
    _waiting_options(sub)

    sub = add("fetch", job_commands.fetch, "Save the output files of a job that has ended.")
    sub.add_argument("prompt_id")
    _extend_option(sub)
    _result_options(sub)

    sub = add(
        "users",
        app_commands.users,
        "List, add, invite or remove users who may log in. Adding one asks for the password.",
    )
    change = sub.add_mutually_exclusive_group()
    change.add_argument("--add", metavar="NAME", help="add a user, or change the password")
    change.add_argument("--remove", metavar="NAME", help="remove a user")
    change.add_argument(
        "--invite",
        metavar="URL",
        help="print a link below the address of the page with which one person creates a login",
    )
    sub.add_argument("--admin", action="store_true", help="give the user admin rights")
    _data_dir(sub)

    _actions(
        add(
            "db", app_commands.db_check, "Look after the PostgreSQL database of COMFY_UI_DATABASE."
        ),
        _add_db_actions,
    )
    sub = add(
        "worker",
        app_commands.worker,
        "Run the jobs of a PostgreSQL database on one ComfyUI, until it is stopped.",
    )
    sub.add_argument("--server", dest="comfyui", metavar="URL", help="the same as --comfyui")
    sub.add_argument(
        "--database",
        metavar="URL",
        help="the database; COMFY_UI_DATABASE does not show its password to other users",
    )
    sub.add_argument("--name", help="name of this host, if it gets a new one at each start")
    sub.add_argument(
        "--concurrency", type=_count, default=2, help="jobs at the server, one of them runs (2)"
    )
    sub.add_argument(
        "--drain",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long jobs may run on after a stop (300); the next worker resumes the rest",
    )
    _data_dir(sub)
    _actions(
        add("keys", keys_command.list_, "Create, list or revoke API keys for programs."),
        _add_key_actions,
    )
    _actions(
        add("engine", engine_command.status, "Install, run and update a ComfyUI on this machine."),
        engine_command.add_actions,
    )

    sub = add(
        "import",
        library_commands.import_,
        "Import a folder of results, such as ComfyUI's output folder, into the library.",
    )
    sub.add_argument("folder", type=Path, nargs="?")
    sub.add_argument(
        "--all", action="store_true", help="also import files without generation metadata"
    )
    sub.add_argument(
        "--dry-run", action="store_true", help="list what would be added; change nothing"
    )
    sub.add_argument("--undo", action="store_true", help="take back what the last import added")
    _data_dir(sub)
    sub.add_argument("--quiet", action="store_true", help="show no progress")
    sub.add_argument("--json", action="store_true", help="print the result as JSON")

    sub = add("trim", library_commands.trim, "Write a part of a video to a new file.")
    sub.add_argument("video", type=Path)
    sub.add_argument("start", type=_time, help="where the part begins: seconds, or 1:23.5")
    sub.add_argument("end", type=_time, help="where it ends")
    sub.add_argument("-o", "--output", type=Path, help="file to write (VIDEO_part.mp4)")
    _progress_options(sub)

    sub = add("presets", workflow_commands.presets, "List the presets.")
    _data_dir(sub)
    sub.add_argument("--json", action="store_true")

    sub = add(
        "models",
        model_commands.models,
        "List the model files that the server lacks, or manage those on this machine.",
    )
    _engine(sub)
    _data_dir(sub)
    sub.add_argument(
        "source",
        nargs="*",
        metavar="ACTION | SOURCE",
        help="needs [SOURCE ...] (what the server lacks: of preset ids, workflow files, or all "
        "presets), list [FOLDER ...], duplicates, suggest, download ADDRESS [FILE ...] (Hugging "
        "Face or Civitai, or a SOURCE), move FILE, delete FILE, trash, "
        "restore FILE, empty-trash; without an action: needs",
    )
    sub.add_argument("--variant", help="a variant of the preset")
    sub.add_argument("--to", metavar="FOLDER", help="the folder for a file (where it belongs)")
    sub.add_argument("--quiet", action="store_true", help="show no progress")
    sub.add_argument("--memory", type=float, metavar="GB", help="the GPU's memory (the server's)")
    sub.add_argument("--yes", action="store_true", help="delete although a preset needs the file")
    _models_dir(sub)
    sub.add_argument("--json", action="store_true")

    text = "Download the missing model files of a preset or a workflow to this machine."
    sub = add("download", model_commands.download, text)
    _engine(sub)
    _data_dir(sub)
    sub.add_argument("source", help="preset id or workflow file")
    sub.add_argument("--variant", help="a variant of the preset")
    _models_dir(sub)
    sub.add_argument("--quiet", action="store_true", help="show no progress")

    sub = add(
        "check",
        workflow_commands.check,
        "Report what the server lacks for a preset or a workflow.",
    )
    _engine(sub)
    _data_dir(sub)
    sub.add_argument("source", help="preset id, workflow file, or the .toml file of a preset")
    sub.add_argument("--json", action="store_true")

    sub = add("convert", workflow_commands.convert, "Write a preset or a workflow in API format.")
    _engine(sub)
    _data_dir(sub)
    sub.add_argument("source", help="preset id or workflow file")
    sub.add_argument("-o", "--output", type=Path, help="file to write (stdout)")

    sub = add(
        "controls", workflow_commands.controls, "Show what can be set in a preset or a workflow."
    )
    _engine(sub)
    _data_dir(sub)
    sub.add_argument("source", help="preset id or workflow file")
    sub.add_argument("--json", action="store_true")

    sub = add("status", app_commands.status, "Show the server's health and the installed extras.")
    sub.add_argument("--json", action="store_true")

    sub = add(
        "doctor",
        app_commands.doctor,
        "Check Python, GPU, disk, port, server, presets, models and language model, and advise "
        "what to do. The output has no secrets and can be pasted into an issue.",
    )
    _data_dir(sub)
    sub.add_argument("--json", action="store_true", help="print the results as JSON")

    sub = add("demo", app_commands.demo, "Serve only the demo engine, for any ComfyUI client.")
    sub.add_argument("--host")
    sub.add_argument("--port", type=int, default=8188)
    sub.add_argument("--speed", default="6", type=_speed, help="'instant' or steps per second (6)")

    sub = add("completion", _completion, "Print the completion script of a shell.")
    sub.add_argument("shell", choices=SHELLS)
    _data_dir(sub)
    return parser


def _actions(
    parser: argparse.ArgumentParser, add_actions: Callable[[engine_command.Add], None]
) -> None:
    """Give a command actions of its own, as ``keys create``."""
    actions = parser.add_subparsers(title="actions", metavar="", required=True)

    def add(
        name: str, command: Callable[[argparse.Namespace, Settings], int], text: str
    ) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text)
        _common(sub)
        _data_dir(sub)
        sub.set_defaults(command=command)
        return sub

    add_actions(add)


def _add_db_actions(add: engine_command.Add) -> None:
    add("upgrade", app_commands.db_upgrade, "Create the tables, or bring them up to date.")
    text = "Check that the app can use the database; change nothing."
    add("check", app_commands.db_check, text)
    text = "Copy jobs and results from the SQLite database of the data folder, once."
    add("import", app_commands.db_import, text)


def _add_key_actions(add: engine_command.Add) -> None:
    sub = add("create", keys_command.create, "Create a key and print it, once.")
    sub.add_argument("name", help="what the key is for, as 'Open WebUI'")
    sub.add_argument("--user", metavar="NAME", help="the user that the key acts for")
    sub.add_argument("--role", choices=["user", "admin"], help="at most the user's, the default")
    _limit_options(sub)
    sub = add("limit", keys_command.limit, "Replace the limits of a key.")
    sub.add_argument("id")
    _limit_options(sub)
    sub = add("list", keys_command.list_, "List the keys with their last use.")
    sub.add_argument("--user", metavar="NAME", help="only the keys of this user")
    sub.add_argument("--json", action="store_true", help="print the keys and their uses as JSON")
    sub = add("revoke", keys_command.revoke, "Revoke keys. They end at once.")
    sub.add_argument("id", nargs="+")


def _limit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spend",
        action=argparse.BooleanOptionalAction,
        help="whether it may run paid workflows, if the user may",
    )
    for name, text in (
        ("--requests", "requests at a time"),
        ("--jobs", "unfinished jobs at a time"),
        ("--per-minute", "requests a minute"),
    ):
        parser.add_argument(name, type=int, metavar="N", help=f"{text} (no limit)")


def _extend_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--extend", type=Path, metavar="VIDEO", help="join to the video that the job continues"
    )


def _result_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), help="folder for the files (.)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(quiet=True, progress="none", preview="none", timeout=None)


def _waiting_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=_seconds, help="maximum seconds to wait")
    _progress_options(parser)
    parser.add_argument(
        "--preview",
        choices=get_args(PreviewStyle),
        default="none",
        help="show preview images above the bar, by a protocol of your terminal (none)",
    )


def _progress_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(preview="none")
    parser.add_argument("--quiet", action="store_true", default=False, help="show no progress")
    parser.add_argument(
        "--progress",
        choices=get_args(ProgressStyle),
        default="auto",
        help="how to show progress on stderr; json: one object per line (a bar on a terminal)",
    )


def _common(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: a subcommand's default must not overwrite an option before the subcommand.
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
    parser.add_argument("--demo", action="store_true", default=missing, help="use the demo engine")


def _models_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models-dir",
        type=Path,
        default=argparse.SUPPRESS,
        help="ComfyUI's models folder (asked of ComfyUI)",
    )


def _data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=argparse.SUPPRESS,
        help="folder for jobs, results, presets and wildcards",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("a number of seconds above 0")
    return seconds


def _time(text: str) -> float:
    seconds = 0.0
    try:
        for part in text.split(":"):
            seconds = 60 * seconds + float(part)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("a time, as 83.5 or 1:23.5")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("a whole number from 0")
    return int(text)


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
