"""Start a version that is not in use yet, run a graph without models, and stop it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ...client import ClientOptions, ComfyClient
from ...errors import ComfyHeadlessError, EngineError, InstallCancelledError
from ..engine_paths import EnginePaths
from ..packs.pack_folders import InstalledPack, failed_pack, pack_error
from ..supervision.process_identity import end_tree, remember
from ..supervision.server_command import (
    HOST,
    ServerOptions,
    free_port,
    prepare_folders,
    server_command,
)
from ..supervision.server_log import explain_exit, read_tail

__all__ = ["GRAPH", "run_smoke_test"]

# One core node that makes an image and one that returns it: no model is needed.
GRAPH: Final[dict[str, Any]] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 4_227_327},
    },
    "2": {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "smoke-test"},
    },
}
_POLL_S: Final = 0.25
_START_S: Final = 900.0  # slow disks and a first start with a cold cache take minutes
_GRAPH_S: Final = 300.0
_LOG_BYTES: Final = 2**20


def run_smoke_test(
    python: Path,
    source: Path,
    paths: EnginePaths,
    *,
    device: str,
    options: ServerOptions,
    cancel: threading.Event,
    packs: Sequence[InstalledPack] = (),
    spawn: Callable[[Sequence[str], Path, Path], subprocess.Popen[bytes]] | None = None,
) -> None:
    """Start the version in ``source`` with node packs on a free port and run :data:`GRAPH`.

    Its working folders are in the staging folder, so that nothing of the version in use changes.

    Raises:
        EngineError: it does not start, a pack cannot be imported, or the graph fails.
        InstallCancelledError: ``cancel`` was set.
    """
    work = paths.staging / "smoke"
    log = paths.staging / "smoke.log"
    prepare_folders(paths, work, packs=packs)
    port = free_port(0)
    command = server_command(
        python, source, paths, port=port, device=device, options=options, work=work
    )
    log.unlink(missing_ok=True)
    process = (spawn or start_process)(command, source, log)
    try:
        with suppress(OSError):  # a full disk must not hide the result
            remember(paths.staging / "smoke.json", process.pid)
        url = f"http://{HOST}:{port}"
        with ComfyClient(url=url, timeout=10.0, options=ClientOptions(max_retries=0)) as client:
            _wait_until_ready(client, process, log, cancel, packs)
            _check_packs(log, packs)
            try:
                result = client.run(GRAPH, timeout=_GRAPH_S)
            except ComfyHeadlessError as error:
                raise EngineError(
                    f"ComfyUI started but could not run a small graph: {error.message}",
                    hint=error.hint,
                ) from error
            if not result.files:
                raise EngineError("ComfyUI ran a small graph but returned no image.")
    finally:
        end_tree(process.pid)
        process.wait()
        (paths.staging / "smoke.json").unlink(missing_ok=True)


def start_process(command: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start ComfyUI in a folder, with its output appended to a log.

    Raises:
        EngineError: it cannot be started.
    """
    try:
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 -- our own command line
                [*command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C in the terminal is for the app
            )
    except OSError as error:
        raise EngineError(
            f"ComfyUI cannot be started: {error.strerror or error}.",
            hint="Install it again: comfy-ui engine install",
        ) from error


def _check_packs(log: Path, packs: Sequence[InstalledPack]) -> None:
    failed = failed_pack(read_tail(log, _LOG_BYTES), packs)
    if failed is None:
        return
    pack, reason = failed
    raise EngineError(
        f"ComfyUI cannot import the node pack {pack.source.name}: {reason}",
        hint=f"See {log}. Without it: comfy-ui engine packs remove {pack.source.name}",
    )


def _wait_until_ready(
    client: ComfyClient,
    process: subprocess.Popen[bytes],
    log: Path,
    cancel: threading.Event,
    packs: Sequence[InstalledPack],
) -> None:
    for _ in range(int(_START_S / _POLL_S)):
        if process.poll() is not None:
            message, hint = explain_exit(read_tail(log))
            raise pack_error(EngineError(message, hint=hint), read_tail(log, _LOG_BYTES), packs)
        with suppress(ComfyHeadlessError):
            client.system_stats()
            return
        if cancel.wait(_POLL_S):
            raise InstallCancelledError("The installation was cancelled.")
    raise EngineError("ComfyUI did not answer within 15 minutes.", hint=f"See {log}.")
