"""Create the Python environment of ComfyUI with uv, and check what PyTorch finds in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...errors import EngineError, InstallCancelledError, StorageError
from ..planning.stack_choice import DEFAULT_INDEX, Stack
from ..supervision.process_identity import end_tree, remember

__all__ = ["ProbeResult", "Tool", "check_device", "find_uv", "folder_bytes", "probe"]

_POLL_S: Final = 0.2
_TAIL_CHARS: Final = 4000
# Settings of other projects that would change what is installed where.
_FOREIGN: Final = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT")
_PROBE: Final = """
import json, torch
def first():
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name(0)
    if getattr(torch, "xpu", None) and torch.xpu.is_available():
        return "xpu", torch.xpu.get_device_name(0)
    if torch.backends.mps.is_available():
        return "mps", "Apple GPU"
    return "cpu", "CPU"
device, name = first()
print("\\n" + json.dumps({"torch": torch.__version__, "device": device, "name": name}))
"""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What PyTorch reports: its version, and the device that it computes on."""

    torch: str
    device: str
    name: str


def find_uv() -> Path | None:
    """Return the path of uv: the one that runs the app, the installed package's, or on PATH."""
    running = os.environ.get("UV")
    if running and Path(running).is_file():
        return Path(running)
    try:
        from uv import find_uv_bin
    except ImportError:
        located = shutil.which("uv")
        return Path(located) if located else None
    try:
        return Path(find_uv_bin())
    except FileNotFoundError:
        return None


class Tool:
    """Runs the commands of an installation: logged, cancellable, and never orphaned.

    Args:
        log: the file that takes their output.
        process_file: holds the process id while one runs, so that the next installation can end
            a command whose installer was killed.
        cancel: set to stop.
    """

    def __init__(self, log: Path, process_file: Path, cancel: threading.Event) -> None:
        self._log = log
        self._process_file = process_file
        self._cancel = cancel

    def run(
        self,
        command: Sequence[str],
        *,
        failure: str,
        environment: Mapping[str, str] | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> str:
        """Run a command and return its output.

        Args:
            command: the program and its arguments.
            failure: the message if it fails.
            environment: environment variables to add.
            watch: called several times a second.

        Raises:
            InstallCancelledError: ``cancel`` was set.
            StorageError: the disk is full.
            EngineError: it failed.
        """
        variables = {name: text for name, text in os.environ.items() if name not in _FOREIGN}
        with self._log.open("a+b") as log:
            log.write(f"$ {' '.join(map(str, command))}\n".encode())
            log.flush()
            start = log.tell()
            try:
                process = subprocess.Popen(  # noqa: S603 -- commands of the installer
                    [*command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**variables, **(environment or {})},
                    cwd=self._log.parent,
                )
            except OSError as error:
                raise EngineError(f"{failure} {command[0]}: {error.strerror or error}.") from error
            try:
                remember(self._process_file, process.pid)
                while process.poll() is None:
                    if self._cancel.wait(_POLL_S):
                        raise InstallCancelledError("The installation was cancelled.")
                    watch()
            finally:
                if process.poll() is None:
                    end_tree(process.pid)
                    process.wait()
                self._process_file.unlink(missing_ok=True)
            log.seek(start)
            output = log.read().decode(errors="replace")
        if process.returncode != 0:
            raise _tool_error(failure, output, self._log)
        return output


def _tool_error(failure: str, output: str, log: Path) -> EngineError | StorageError:
    tail = output[-_TAIL_CHARS:].strip()
    lowered = tail.lower()
    last = " ".join(tail.splitlines()[-6:])[-600:]
    if "no space left" in lowered or "os error 28" in lowered or "disk is full" in lowered:
        return StorageError(
            f"{failure} The disk is full.",
            hint="Free some space and start again: it continues where it stopped.",
        )
    if "hash mismatch" in lowered:
        return EngineError(
            f"{failure} A package has another content than its index says. {last}",
            hint="Nothing of it was installed. If it happens again, use another index.",
        )
    if any(sign in lowered for sign in ("dns error", "failed to fetch", "error sending request")):
        return EngineError(
            f"{failure} The package index cannot be reached. {last}",
            hint="Check the network or the proxy and start again: it continues where it stopped.",
        )
    return EngineError(f"{failure} {last}", hint=f"The whole output is in {log}.")


def check_device(result: ProbeResult, stack: Stack | None, *, log: Path) -> ProbeResult:
    """Check that PyTorch computes on the device that its build is for; return the one to use.

    If the CPU was chosen, a build that finds a GPU, as the package index has, uses the CPU.

    Raises:
        EngineError: it does not, for example because a build for the CPU was installed.
    """
    if stack is not None and stack.device == "cpu":
        return ProbeResult(result.torch, "cpu", "CPU")
    if stack is not None and result.device != stack.device:
        raise EngineError(
            f"PyTorch {result.torch} does not find the GPU: it would compute on the "
            f"{result.name}, and {stack.title} was installed.",
            hint=f"Check the driver with: comfy-ui doctor. For the CPU: --stack cpu. Log: {log}",
        )
    return result


def probe(tool: Tool, python: Path) -> ProbeResult:
    """Import PyTorch in an environment and return what it finds.

    Raises:
        EngineError: it cannot be imported.
    """
    output = tool.run([str(python), "-c", _PROBE], failure="PyTorch cannot be loaded.")
    try:
        return ProbeResult(**json.loads(output.strip().splitlines()[-1]))
    except (ValueError, TypeError, IndexError) as error:
        raise EngineError(f"PyTorch gave no usable answer: {output[-300:]}") from error


class FolderMeter:
    """Measures the growth of a folder, at most a tenth of the time."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._now = now
        self._next_at = 0.0
        self.size_bytes = 0

    def measure(self) -> bool:
        """Measure if it is time again; whether it was."""
        start = self._now()
        if start < self._next_at:
            return False
        self.size_bytes = folder_bytes(self._folder)
        self._next_at = self._now() + max(0.5, 10 * (self._now() - start))
        return True


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder; files that vanish meanwhile do not count."""
    total = 0
    pending = [str(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def environment_python(folder: Path) -> Path:
    """Return the path of the Python in an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def create_environment(tool: Tool, uv: str, folder: Path, python: str, cache: Path) -> None:
    """Create an empty environment that can be moved.

    Raises:
        EngineError, StorageError, InstallCancelledError: see :meth:`Tool.run`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    tool.run(
        [uv, "venv", "--relocatable", "--no-project", "--python", python, str(folder)],
        failure="The Python environment cannot be created.",
        environment=_uv_environment(cache),
    )


def copy_environment(source: Path, target: Path, advance: Callable[[], None]) -> None:
    """Copy an environment that can be moved. Its files are linked where the disk allows that.

    uv replaces files instead of writing into them, so the one that is copied stays as it is.

    Raises:
        OSError: the disk refuses.
    """
    shutil.rmtree(target, ignore_errors=True)

    def copy(one: str, other: str) -> str:
        advance()
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)
        return other

    shutil.copytree(source, target, symlinks=True, copy_function=copy)


def install_packages(
    tool: Tool,
    uv: str,
    folder: Path,
    *,
    requirements: Sequence[Path],
    stack: Stack,
    pins: Sequence[str],
    cache: Path,
    torch_index: str | None = None,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Install requirement files and ``pins``. What is there already is not fetched again.

    Raises:
        EngineError, StorageError, InstallCancelledError: see :meth:`Tool.run`.
    """
    command = [uv, "pip", "install", "--python", str(environment_python(folder))]
    if torch_index:
        if torch_index != DEFAULT_INDEX:
            command += ["--index", f"{torch_index.rstrip('/')}/{stack.name}"]
    elif stack.backend:
        command += ["--torch-backend", stack.backend]
    files = [argument for path in requirements for argument in ("-r", str(path))]
    tool.run(
        [*command, *files, *pins],
        failure="The Python packages cannot be installed.",
        environment=_uv_environment(cache),
        watch=watch,
    )


def _uv_environment(cache: Path) -> dict[str, str]:
    own = {} if "UV_CACHE_DIR" in os.environ else {"UV_CACHE_DIR": str(cache)}
    return {**own, "UV_CONCURRENT_DOWNLOADS": "2", "UV_NO_PROGRESS": "1"}
